//! Who is in which room, who fills whose slots, and which layer each subscriber is given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use trunkline_stun::IntegrityKey;

use super::forward::{LAYER_SILENCE, LAYERS_SETTLE};
use super::{
    Event, GoneReason, Layer, Member, Neighbour, Owner, ParticipantId, Registration, Shard, ShardId,
    SlotState, Track,
};
use crate::layers::{self, LayerInfo, View};
use crate::session::{MediaKind, NegotiatedSession};
use crate::slots::{self, Candidate, Shape};

impl Shard {
    pub(super) fn on_join(&mut self, registration: Arc<Registration>, now: Instant) {
        let id = registration.participant;
        let room = self.rooms.get(&registration.room).map_or(0, Vec::len);
        if room >= self.limits.room_participants
            || self.by_id.len() >= self.limits.participants
            || self.by_id.get(&id).is_some()
        {
            // Control keeps the same bounds and refuses with an answer; this is the last line of defence.
            self.stats.drop(crate::drop::Drop::Limit);
            return;
        }
        let session = &registration.session;
        self.newest = self.newest.max(id);
        let mut early = self.take_early_wants(id);
        let tracks = session
            .tracks
            .iter()
            .enumerate()
            .map(|(n, t)| {
                let ring = self.ring_capacity(t.kind);
                let layers = t.rids.len().max(1);
                Track {
                    layers: (0..layers).map(|_| Layer::new(ring)).collect(),
                    subscribers: Vec::new(),
                    wants: early.remove(&(n as u8)).unwrap_or_default(),
                    wanted: 0,
                    infos: vec![LayerInfo::default(); layers],
                    look_at: None,
                }
            })
            .collect();
        let slots = session.slots.len();
        let ufrag = session.local.ufrag.clone();
        let room = registration.room;
        let member = self.members.insert(Member {
            integrity: IntegrityKey::short_term(session.local.pwd.as_bytes()),
            joined_at: now,
            tracks,
            transport: None,
            occupants: vec![None; slots],
            views: vec![View::Unknown; slots],
            strays: Vec::new(),
            scheduled: None,
            registration,
        });
        let stored = self.by_id.insert(id, member) && self.by_ufrag.insert(ufrag, member);
        debug_assert!(stored, "both tables hold as many as `participants`, checked above");
        self.rooms.entry(room).or_default().push(member);
        self.schedule(member, now + self.limits.connect);
        self.refresh_room(room, now);
    }

    /// What neighbours said they want of a participant before we heard of it, by track.
    fn take_early_wants(&mut self, id: ParticipantId) -> BTreeMap<u8, BTreeMap<ShardId, u8>> {
        let later = self.early_wants.split_off(&(ParticipantId(id.0 + 1), 0, ShardId(0)));
        let mut early: BTreeMap<u8, BTreeMap<ShardId, u8>> = BTreeMap::new();
        // Joins come in ascending order: what is older than this one can never join any more.
        for ((publisher, track, shard), layers) in std::mem::replace(&mut self.early_wants, later) {
            if publisher == id {
                early.entry(track).or_default().insert(shard, layers);
            }
        }
        early
    }

    pub(super) fn on_leave(&mut self, participant: ParticipantId, now: Instant) {
        let Some(member) = self.by_id.remove(&participant) else { return };
        self.flush_run(now);
        let mut m = self.members.remove(member);
        if let Some(due) = m.scheduled {
            self.timers.remove(&(due, member));
        }
        self.by_ufrag.remove(m.registration.session.local.ufrag.as_str());
        if let Some(transport) = m.transport.as_mut() {
            self.stats.transports -= 1;
            transport.dtls.close(now);
            while let Some(bytes) = transport.dtls.output() {
                self.out.send(&bytes, transport.selected.remote, transport.selected.local);
            }
            for address in &transport.addresses {
                if self.by_address.get(address) == Some(&Owner::Here(member)) {
                    self.by_address.remove(address);
                }
            }
        }
        for address in &m.strays {
            if matches!(self.by_address.get(address), Some(Owner::At(_))) {
                self.by_address.remove(address);
            }
        }
        let room = m.registration.room;
        if let Some(members) = self.rooms.get_mut(&room) {
            members.retain(|&other| other != member);
            if members.is_empty() {
                self.rooms.remove(&room);
            }
        }
        // It subscribes to nothing any more …
        let others = self.rooms.get(&room).cloned().unwrap_or_default();
        for &other in &others {
            for track in 0..self.members[other].tracks.len() {
                self.members[other].tracks[track].subscribers.retain(|&(s, _)| s != member);
                self.update_wants(other, track);
            }
        }
        // … and nobody to it.
        self.refresh_room(room, now);
    }

    pub(super) fn on_view(&mut self, participant: ParticipantId, sizes: &[(u16, View)], now: Instant) {
        let Some(&member) = self.by_id.get(&participant) else { return };
        for &(slot, view) in sizes {
            if let Some(known) = self.members[member].views.get_mut(usize::from(slot)) {
                *known = view;
            }
        }
        self.retarget_member(member, now);
    }

    /// Fills the slots of every participant of the room whose transport is ours.
    pub(super) fn refresh_room(&mut self, room: super::RoomId, now: Instant) {
        let members = self.rooms.get(&room).cloned().unwrap_or_default();
        for &member in &members {
            if self.members[member].transport.is_some() && self.assign_slots(member, &members) {
                self.announce_slots(member);
                self.retarget_member(member, now);
            }
        }
    }

    /// True if anything changed.
    fn assign_slots(&mut self, member: usize, room: &[usize]) -> bool {
        let candidates: Vec<_> = room
            .iter()
            .filter(|&&other| other != member)
            .map(|&other| &self.members[other])
            .filter(|m| !m.tracks.is_empty())
            .map(|m| Candidate {
                id: m.id(),
                audio: track_of(&m.registration.session, MediaKind::Audio).is_some(),
                video: track_of(&m.registration.session, MediaKind::Video).is_some(),
            })
            .collect();
        let m = &self.members[member];
        let shapes: Vec<_> = m
            .registration
            .session
            .slots
            .iter()
            .map(|s| Shape { audio: s.audio.is_some(), video: s.video.is_some() })
            .collect();
        let next = slots::assign(&shapes, &m.occupants, &candidates);
        if next == m.occupants {
            return false;
        }
        let changed: Vec<_> = (0..next.len()).filter(|&i| next[i] != m.occupants[i]).collect();
        self.members[member].occupants.clone_from(&next);
        for slot in changed {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                if let Some(egress) = self.egress_of(member, slot, kind) {
                    self.subscribe(member, egress, kind, next[slot]);
                }
            }
        }
        true
    }

    /// The egress that serves one half of a slot: they stand in the slots' order, audio before video.
    fn egress_of(&self, member: usize, slot: usize, kind: MediaKind) -> Option<usize> {
        let slots = &self.members[member].registration.session.slots;
        let before: usize = slots[..slot]
            .iter()
            .map(|s| usize::from(s.audio.is_some()) + usize::from(s.video.is_some()))
            .sum();
        let slot = &slots[slot];
        match kind {
            MediaKind::Audio => slot.audio.is_some().then_some(before),
            MediaKind::Video => slot.video.is_some().then_some(before + usize::from(slot.audio.is_some())),
        }
    }

    fn subscribe(&mut self, member: usize, egress: usize, kind: MediaKind, publisher: Option<ParticipantId>) {
        let source = publisher.and_then(|id| {
            let &other = self.by_id.get(&id)?;
            let track = track_of(&self.members[other].registration.session, kind)?;
            Some((other, id, track))
        });
        let Some(transport) = self.members[member].transport.as_mut() else { return };
        let before = transport.egress[egress].source;
        transport.egress[egress].set_source(source.map(|(_, id, track)| (id, track as u8)));
        if let Some((id, track)) = before
            && let Some(&other) = self.by_id.get(&id)
        {
            self.members[other].tracks[usize::from(track)].subscribers.retain(|&s| s != (member, egress));
            self.update_wants(other, usize::from(track));
        }
        if let Some((other, _, track)) = source {
            self.members[other].tracks[track].subscribers.push((member, egress));
        }
    }

    pub(super) fn announce_slots(&mut self, member: usize) {
        let m = &self.members[member];
        let states = m
            .registration
            .session
            .slots
            .iter()
            .zip(&m.occupants)
            .enumerate()
            .map(|(n, (slot, occupant))| SlotState {
                slot: n as u16,
                mid_audio: slot.audio.as_ref().map(|s| s.mid.clone()),
                mid_video: slot.video.as_ref().map(|s| s.mid.clone()),
                occupant: *occupant,
            })
            .collect();
        let id = m.id();
        self.out.event(Event::Slots(id, states));
    }

    /// Chooses the layers of everything this participant receives, and asks for the keyframes that takes.
    pub(super) fn retarget_member(&mut self, member: usize, now: Instant) {
        let streams = self.members[member].transport.as_ref().map_or(0, |t| t.egress.len());
        for egress in 0..streams {
            if let Some((publisher, track)) = self.retarget(member, egress, now)
                && let Some(&other) = self.by_id.get(&publisher)
            {
                self.update_wants(other, usize::from(track));
            }
        }
    }

    /// The same for everyone who receives this track.
    pub(super) fn retarget_track(&mut self, member: usize, track: usize, now: Instant) {
        let subscribers = self.members[member].tracks[track].subscribers.clone();
        for (subscriber, egress) in subscribers {
            self.retarget(subscriber, egress, now);
        }
        self.update_wants(member, track);
    }

    /// At the owner: looks at a track's layers, and tells everyone who chooses among them if something changed. The
    /// caller reschedules.
    pub(super) fn look_at_layers(&mut self, member: usize, now: Instant) {
        for track in 0..self.members[member].tracks.len() {
            let publisher = self.members[member].id();
            let state = &mut self.members[member].tracks[track];
            if state.layers.len() < 2 {
                continue;
            }
            let seen = |l: &Layer| LayerInfo { active: l.active(now), pixels: l.pixels };
            let infos: Vec<_> = state.layers.iter().map(seen).collect();
            // Again when the first of the active ones may have fallen silent.
            let last = state.layers.iter().filter(|l| l.active(now)).filter_map(|l| l.last_packet).min();
            state.look_at = last.map(|at| (at + LAYER_SILENCE).max(now + LAYERS_SETTLE));
            if infos != state.infos {
                state.infos.clone_from(&infos);
                for &shard in state.wants.keys() {
                    let layers = infos.clone();
                    let told = Neighbour::Layers { publisher, track: track as u8, layers };
                    self.out.neighbour(Some(shard), told);
                }
                self.retarget_track(member, track, now);
            }
        }
    }

    /// Chooses the layer of one stream; returns what fills it. The caller updates the neighbours' wants.
    fn retarget(&mut self, member: usize, egress: usize, now: Instant) -> Option<(ParticipantId, u8)> {
        let m = &self.members[member];
        let transport = m.transport.as_ref().filter(|t| t.connected())?;
        let stream = &transport.egress[egress];
        let (publisher, track) = stream.source?;
        let &other = self.by_id.get(&publisher)?;
        let infos = &self.members[other].tracks[usize::from(track)].infos;
        let target = match stream.kind {
            MediaKind::Audio => Some(0),
            MediaKind::Video => layers::select(infos, m.views[stream.slot]).map(|l| l as u8),
        };
        let transport = self.members[member].transport.as_mut()?;
        let stream = &mut transport.egress[egress];
        match target {
            Some(layer) => stream.target = Some(layer),
            None => stream.pause(),
        }
        if let (true, Some(layer)) = (stream.waits_for_keyframe(), target) {
            self.ask_keyframe(publisher, track, layer, now);
        }
        Some((publisher, track))
    }

    /// Says again what this shard wants for a participant's streams: a queue between shards may have overflowed.
    pub(super) fn repeat_wants(&mut self, member: usize) {
        let Some(transport) = self.members[member].transport.as_ref() else { return };
        let sources: Vec<_> = transport.egress.iter().filter_map(|e| e.source).collect();
        for (publisher, track) in sources {
            let Some(other) = self.by_id.get(&publisher).map(|&other| &self.members[other]) else { continue };
            if other.transport.is_none() {
                let layers = other.tracks[usize::from(track)].wanted;
                self.out.neighbour(
                    other.registration.claim.owner(),
                    Neighbour::Want { publisher, track, layers },
                );
            }
        }
    }

    /// Tells the neighbours which layers of a track of theirs are needed here, when that changed.
    pub(super) fn update_wants(&mut self, member: usize, track: usize) {
        let m = &self.members[member];
        if m.transport.is_some() {
            return; // ours
        }
        let state = &m.tracks[track];
        let mut wanted = 0u8;
        for &(subscriber, egress) in &state.subscribers {
            let Some(stream) = self.members[subscriber].transport.as_ref().map(|t| &t.egress[egress]) else {
                continue;
            };
            for layer in stream.target.into_iter().chain(stream.current().map(|key| key.layer)) {
                wanted |= 1 << layer;
            }
        }
        if wanted != state.wanted {
            let publisher = m.id();
            self.members[member].tracks[track].wanted = wanted;
            self.out.neighbour(None, Neighbour::Want { publisher, track: track as u8, layers: wanted });
        }
    }

    /// Whether an unclaimed member's time to connect is over; one shard says so for all.
    pub(super) fn expire_unclaimed(&mut self, member: usize, now: Instant) {
        let m = &self.members[member];
        let due = m.joined_at + self.limits.connect;
        if m.registration.claim.owner().is_some() {
            return;
        }
        if now < due {
            self.schedule(member, due);
        } else if self.id.0 == 0 {
            self.gone(member, GoneReason::NeverConnected);
        }
    }
}

/// The first track of that kind: the microphone, the camera.
fn track_of(session: &NegotiatedSession, kind: MediaKind) -> Option<usize> {
    session.tracks.iter().position(|t| t.kind == kind)
}
