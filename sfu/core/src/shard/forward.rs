//! The path of a plain packet: into its layer's ring, to every subscriber here, and once to each neighbour that
//! wants it; and the way back: retransmissions and keyframe requests.

use std::time::{Duration, Instant};

use super::{Layer, Neighbour, ParticipantId, Run, Shard, ShardId};
use crate::codec::vp8;
use crate::drop::Drop;
use crate::egress::Egress;
use crate::packet::{ClockReport, PlainPacket, StreamKey};
use crate::repair::ring::PacketRing;
use crate::rtcp;
use crate::session::{Codec, ExtensionIds, MediaKind};
use crate::srtp::SrtpOutbound;
use crate::transport::Path;

/// Packets of one stream held together before they are forwarded: a GSO run is at most this long.
const RUN_MAX: usize = 32;
/// From a layer's first packet, or its new size, to the look at all layers. Lower reacts sooner; higher looks less often
/// at a publisher that changes its mind with every frame.
pub(super) const LAYERS_SETTLE: Duration = Duration::from_millis(50);
/// A layer is inactive after this long without a packet. Lower ends a freeze sooner when a publisher stops a layer;
/// higher leaves a slow one (a still screen at two frames a second) alone.
pub(super) const LAYER_SILENCE: Duration = Duration::from_millis(700);

impl Layer {
    pub(super) fn new(ring: usize) -> Self {
        Self {
            ring: PacketRing::new(ring),
            generation: 0,
            clock: None,
            last_packet: None,
            pixels: 0,
            keyframe_asked: None,
            keyframe_pending: false,
        }
    }

    /// The publisher began anew under another SSRC.
    pub(super) fn restart(&mut self, ring: usize) {
        *self = Self { generation: self.generation + 1, pixels: self.pixels, ..Self::new(ring) };
    }

    pub(super) fn active(&self, now: Instant) -> bool {
        self.last_packet.is_some_and(|at| now.saturating_duration_since(at) < LAYER_SILENCE)
    }
}

impl Shard {
    pub(super) fn ring_capacity(&self, kind: MediaKind) -> usize {
        match kind {
            MediaKind::Audio => self.limits.audio_ring_packets,
            MediaKind::Video => self.limits.video_ring_packets,
        }
    }

    /// Takes a packet of a publisher, its own or a neighbour's, into the layer, and queues it for forwarding.
    pub(super) fn accept(
        &mut self,
        member: usize,
        key: StreamKey,
        packet: PlainPacket,
        now: Instant,
    ) -> Result<(), Drop> {
        let track = &mut self.members[member].tracks[usize::from(key.track)];
        let layer = &mut track.layers[usize::from(key.layer)];
        if !layer.ring.insert(packet.clone()) {
            return Err(Drop::Duplicate);
        }
        let woke = !layer.active(now);
        layer.last_packet = Some(now);
        // Whoever waits is served by this one, however it came about.
        layer.keyframe_pending &= !packet.keyframe;
        let mut resized = false;
        if packet.keyframe
            && packet.codec == Codec::Vp8
            && let Some((width, height)) = vp8::keyframe_size(&packet.payload)
        {
            let pixels = u32::from(width) * u32::from(height);
            resized = std::mem::replace(&mut layer.pixels, pixels) != pixels;
        }
        // Only the owner sees every layer, and it looks a little later: many changes make one look.
        let owned = self.members[member].transport.is_some();
        let track = &mut self.members[member].tracks[usize::from(key.track)];
        if owned && track.layers.len() > 1 && (woke || resized) {
            let at = track.look_at.map_or(now + LAYERS_SETTLE, |due| due.min(now + LAYERS_SETTLE));
            track.look_at = Some(at);
            self.schedule(member, at);
        }
        if self.run.member != member || self.run.key != key || self.run.packets.len() >= RUN_MAX {
            self.flush_run(now);
            self.run.member = member;
            self.run.key = key;
        }
        self.run.packets.push(packet);
        Ok(())
    }

    /// Forwards the packets held back, all of them to one subscriber before the next: equal ones lie back to back
    /// and leave as one run.
    pub(super) fn flush_run(&mut self, now: Instant) {
        if self.run.packets.is_empty() {
            return;
        }
        let mut run = std::mem::replace(&mut self.run, Run::empty());
        if self.members.get(run.member).is_some_and(|m| m.id() == run.key.publisher) {
            self.forward(&run, now);
        }
        run.packets.clear();
        self.run = Run { member: usize::MAX, ..run };
    }

    fn forward(&mut self, run: &Run, now: Instant) {
        let (track, layer) = (usize::from(run.key.track), usize::from(run.key.layer));
        // Only the owner hands over: a neighbour that did would send everything round again.
        let owned = self.members[run.member].transport.is_some();
        let state = &self.members[run.member].tracks[track];
        for (&shard, &mask) in state.wants.iter().filter(|_| owned) {
            if mask >> layer & 1 == 1 {
                self.out.neighbour(
                    Some(shard),
                    Neighbour::Media {
                        publisher: run.key.publisher,
                        track: run.key.track,
                        layer: run.key.layer,
                        generation: run.key.generation,
                        packets: run.packets.clone(),
                    },
                );
            }
        }
        let subscribers = std::mem::take(&mut self.members[run.member].tracks[track].subscribers);
        let mut switched = false;
        for &(subscriber, egress) in &subscribers {
            switched |= self.forward_to(subscriber, egress, run, now);
        }
        self.members[run.member].tracks[track].subscribers = subscribers;
        if switched {
            self.update_wants(run.member, track);
        }
    }

    /// True if the subscriber began to receive this layer.
    fn forward_to(&mut self, subscriber: usize, egress: usize, run: &Run, now: Instant) -> bool {
        // Both clocks are needed only in the moment of a layer switch.
        let clocks = self.switch_clocks(subscriber, egress, run);
        let m = &mut self.members[subscriber];
        let extensions = m.registration.session.extensions;
        let Some(transport) = m.transport.as_mut() else { return false };
        let Some((_, outbound)) = transport.srtp.as_ref() else { return false };
        let stream = &mut transport.egress[egress];
        let path = transport.selected;
        let before = stream.current();
        for packet in &run.packets {
            let Some(mapped) = stream.place(run.key, packet, clocks, now) else { continue };
            let start = self.out.begin();
            let header_len = stream.write(&mut self.out.arena, &mapped, packet, &extensions);
            let roc = (mapped.sequence >> 16) as u32;
            if outbound.protect_rtp(&mut self.out.arena, start, header_len, roc).is_err() {
                self.out.abandon(start);
                continue;
            }
            let bytes = self.out.arena.len() - start;
            self.out.commit(start, path.remote, path.local);
            stream.packets = stream.packets.wrapping_add(1);
            stream.octets = stream.octets.wrapping_add(packet.payload.len() as u32);
            stream.guard.on_forwarded(bytes, now);
            self.stats.forwarded_packets += 1;
            self.stats.forwarded_bytes += bytes as u64;
        }
        stream.current() != before
    }

    fn switch_clocks(
        &self,
        subscriber: usize,
        egress: usize,
        run: &Run,
    ) -> Option<(ClockReport, ClockReport)> {
        let transport = self.members[subscriber].transport.as_ref()?;
        let current = transport.egress[egress].current()?;
        if current == run.key || (current.publisher, current.track) != (run.key.publisher, run.key.track) {
            return None;
        }
        let layers = &self.members[run.member].tracks[usize::from(run.key.track)].layers;
        layers[usize::from(current.layer)].clock.zip(layers[usize::from(run.key.layer)].clock)
    }

    /// Answers a subscriber's NACK from the publishers' rings: as RTX where agreed, else the very same packet.
    /// `lost_max` is what is left of the datagram's budget.
    pub(super) fn resend(
        &mut self,
        member: usize,
        nack: &rtcp::Nack<'_>,
        lost_max: &mut usize,
        now: Instant,
    ) {
        let m = &self.members[member];
        let extensions = m.registration.session.extensions;
        let Some(mut transport) = self.members[member].transport.take() else { return };
        if let Some((_, outbound)) = transport.srtp.as_ref()
            && let Some(stream) = transport.egress.iter_mut().find(|e| e.ssrc == nack.media_ssrc)
        {
            for lost in nack.lost() {
                let Some(left) = lost_max.checked_sub(1) else { break };
                *lost_max = left;
                let Some((key, sequence, out)) = stream.origin(lost) else { continue };
                let Some(packet) = self.held(key, sequence) else { continue };
                if !stream.guard.allow(out, packet.payload.len() + 40, transport.rtt, now) {
                    continue;
                }
                self.repeat(stream, outbound, &packet, out, &extensions, transport.selected);
            }
        }
        self.members[member].transport = Some(transport);
    }

    fn held(&self, key: StreamKey, sequence: u64) -> Option<PlainPacket> {
        let member = *self.by_id.get(&key.publisher)?;
        let layer = &self.members[member].tracks.get(usize::from(key.track))?.layers[usize::from(key.layer)];
        if layer.generation != key.generation {
            return None;
        }
        layer.ring.get(sequence).cloned()
    }

    fn repeat(
        &mut self,
        stream: &mut Egress,
        outbound: &SrtpOutbound,
        packet: &PlainPacket,
        out: u64,
        extensions: &ExtensionIds,
        path: Path,
    ) {
        let Some(mapped) = stream.again(out, packet) else { return };
        let start = self.out.begin();
        let (header_len, sequence) = match stream.write_rtx(&mut self.out.arena, &mapped, packet, extensions)
        {
            Some(written) => written,
            None => (stream.write(&mut self.out.arena, &mapped, packet, extensions), out),
        };
        if outbound.protect_rtp(&mut self.out.arena, start, header_len, (sequence >> 16) as u32).is_err() {
            self.out.abandon(start);
            return;
        }
        self.out.commit(start, path.remote, path.local);
        self.stats.resent_packets += 1;
    }

    /// A subscriber asked for a keyframe of one of our streams.
    pub(super) fn on_keyframe_request(&mut self, member: usize, ssrc: u32, now: Instant) {
        let Some(transport) = self.members[member].transport.as_ref() else { return };
        let Some(stream) = transport.egress.iter().find(|e| e.ssrc == ssrc) else { return };
        let Some((publisher, track)) = stream.source else { return };
        let layer = stream.current().map(|key| key.layer).or(stream.target);
        if let Some(layer) = layer {
            self.ask_keyframe(publisher, track, layer, now);
        }
    }

    /// Asks the publisher for a keyframe of a layer, at most once in `Limits::keyframe_interval`, or its owner to.
    pub(super) fn ask_keyframe(&mut self, publisher: ParticipantId, track: u8, layer: u8, now: Instant) {
        let Some(&member) = self.by_id.get(&publisher) else { return };
        let interval = self.limits.keyframe_interval;
        let m = &mut self.members[member];
        let Some(state) =
            m.tracks.get_mut(usize::from(track)).and_then(|t| t.layers.get_mut(usize::from(layer)))
        else {
            return;
        };
        if let Some(due) = state.keyframe_asked.map(|at| at + interval).filter(|due| *due > now) {
            // Not forgotten: whoever asks now may have come after the keyframe of the last request.
            state.keyframe_pending = true;
            self.schedule(member, due);
            return;
        }
        state.keyframe_asked = Some(now);
        state.keyframe_pending = false;
        match m.registration.claim.owner() {
            Some(owner) if owner == self.id => self.send_pli(member, track, layer),
            Some(owner) => self.out.neighbour(Some(owner), Neighbour::Keyframe { publisher, track, layer }),
            None => state.keyframe_asked = None,
        }
    }

    /// A neighbour begins to want layers: it is told what it cannot have seen so far.
    fn answer_want(&mut self, member: usize, track: u8, begun: u8, to: ShardId) {
        let m = &self.members[member];
        if m.transport.is_none() || begun == 0 {
            return;
        }
        let (publisher, state) = (m.id(), &m.tracks[usize::from(track)]);
        if state.layers.len() > 1 {
            let layers = state.infos.clone();
            self.out.neighbour(Some(to), Neighbour::Layers { publisher, track, layers });
        }
        for (layer, known) in (0u8..).zip(&state.layers) {
            if let (1, Some(clock)) = (begun >> layer & 1, known.clock) {
                self.out.neighbour(Some(to), Neighbour::Clock { publisher, track, layer, clock });
            }
        }
    }

    pub(super) fn on_neighbour(&mut self, from: ShardId, message: Neighbour, now: Instant) {
        match message {
            Neighbour::Datagram { source, local, mut bytes } => {
                self.on_datagram(source, local, &mut bytes, true, now);
            }
            Neighbour::Want { publisher, track, layers } => {
                let Some(&member) = self.by_id.get(&publisher) else {
                    if publisher > self.newest && self.early_wants.len() < self.limits.participants {
                        self.early_wants.insert((publisher, track, from), layers);
                    }
                    return;
                };
                let Some(state) = self.members[member].tracks.get_mut(usize::from(track)) else { return };
                let before = if layers == 0 {
                    state.wants.remove(&from).unwrap_or(0)
                } else {
                    state.wants.insert(from, layers).unwrap_or(0)
                };
                self.answer_want(member, track, layers & !before, from);
            }
            Neighbour::Layers { publisher, track, layers } => {
                let Some(&member) = self.by_id.get(&publisher) else { return };
                let Some(state) = self.members[member].tracks.get_mut(usize::from(track)) else { return };
                if layers.len() == state.layers.len() {
                    state.infos = layers;
                    self.retarget_track(member, usize::from(track), now);
                }
            }
            Neighbour::Media { publisher, track, layer, generation, packets } => {
                let Some(&member) = self.by_id.get(&publisher) else { return };
                let kind = self.members[member].registration.session.tracks[usize::from(track)].kind;
                let ring = self.ring_capacity(kind);
                let state = &mut self.members[member].tracks[usize::from(track)].layers[usize::from(layer)];
                if state.generation != generation {
                    state.restart(ring);
                    state.generation = generation;
                }
                for packet in packets {
                    let key = StreamKey { publisher, track, layer, generation };
                    if let Err(reason) = self.accept(member, key, packet, now) {
                        self.stats.drop(reason);
                    }
                }
            }
            Neighbour::Clock { publisher, track, layer, clock } => {
                let Some(&member) = self.by_id.get(&publisher) else { return };
                let state = &mut self.members[member].tracks[usize::from(track)].layers[usize::from(layer)];
                if state.clock.replace(clock).is_none() {
                    self.hasten_reports(member, usize::from(track), now);
                }
            }
            Neighbour::Keyframe { publisher, track, layer } => {
                self.ask_keyframe(publisher, track, layer, now);
            }
        }
    }
}
