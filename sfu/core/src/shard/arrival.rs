//! What comes in from the network: sorted, proven, decrypted, and turned into plain packets.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use trunkline_stun::{self as stun, BindingRequest, IceRole, PacketKind};

use super::{Event, GoneReason, Neighbour, Owner, Shard, ShardId};
use crate::codec::{h264, vp8};
use crate::drop::Drop;
use crate::dtls::RtcDtls;
use crate::egress::Egress;
use crate::ingress::{self, Ingress, Picked, Role};
use crate::packet::{ClockReport, PlainPacket, StreamKey};
use crate::repair::nack;
use crate::rtcp;
use crate::rtp::{self, Header};
use crate::session::{Codec, MediaKind};
use crate::srtp::{SrtpDrop, SrtpInbound, SrtpOutbound};
use crate::transport::{Path, Transport};

/// Longer datagrams are nobody's media: packets are kept whole in rings and arenas, so this bounds both.
const DATAGRAM_MAX: usize = 1_500;
/// Sequence numbers of one datagram's NACKs that are looked at: a whole second of video.
const LOST_MAX: usize = 512;

impl Shard {
    pub(super) fn on_datagram(
        &mut self,
        source: SocketAddr,
        local: Option<IpAddr>,
        bytes: &mut [u8],
        handed_over: bool,
        now: Instant,
    ) {
        let result = match stun::classify(bytes) {
            _ if bytes.len() > DATAGRAM_MAX => Err(Drop::Limit),
            PacketKind::Stun => self.on_stun(Path { remote: source, local }, bytes, now),
            kind @ (PacketKind::Dtls | PacketKind::RtpOrRtcp) => match self.by_address.get(&source) {
                None => Err(Drop::UnknownSource),
                // Handed over once already: two shards that disagree must not play ball with it.
                Some(&Owner::At(_)) if handed_over => Err(Drop::UnknownSource),
                Some(&Owner::At(shard)) => {
                    self.hand_over(shard, source, local, bytes);
                    Ok(())
                }
                Some(&Owner::Here(member)) if kind == PacketKind::Dtls => self.on_dtls(member, bytes, now),
                Some(&Owner::Here(member)) if rtcp::is_rtcp(bytes) => self.on_rtcp(member, bytes, now),
                Some(&Owner::Here(member)) => self.on_rtp(member, bytes, now),
            },
            _ => Err(Drop::UnknownProtocol),
        };
        if let Err(reason) = result {
            self.stats.drop(reason);
        }
    }

    /// The kernel brings packets of another shard's participant here: its network changed.
    fn learn_stray(&mut self, member: usize, address: SocketAddr, owner: ShardId) -> Result<(), Drop> {
        match self.by_address.get(&address) {
            Some(Owner::At(shard)) if *shard == owner && self.members[member].strays.contains(&address) => {
                return Ok(());
            }
            // Somebody of ours has proven to be there; one spoofed request must not take the address away.
            Some(&Owner::Here(other)) if self.holds(other, address) => return Err(Drop::UnknownSource),
            _ => {}
        }
        let strays = &mut self.members[member].strays;
        strays.retain(|a| *a != address);
        if strays.len() >= self.limits.addresses_per_participant {
            let old = strays.remove(0);
            if matches!(self.by_address.get(&old), Some(Owner::At(shard)) if *shard == owner) {
                self.by_address.remove(&old);
            }
        }
        if !self.by_address.insert(address, Owner::At(owner)) {
            return Err(Drop::Limit);
        }
        self.members[member].strays.push(address);
        Ok(())
    }

    fn holds(&self, member: usize, address: SocketAddr) -> bool {
        let transport = self.members.get(member).and_then(|m| m.transport.as_ref());
        transport.is_some_and(|t| t.addresses.contains(&address))
    }

    fn hand_over(&mut self, shard: ShardId, source: SocketAddr, local: Option<IpAddr>, bytes: &[u8]) {
        self.out.neighbour(Some(shard), Neighbour::Datagram { source, local, bytes: bytes.to_vec() });
    }

    /// A connectivity check (RFC 8445 §7.3). Nothing is kept, and nothing answered, before its integrity is
    /// proven: a forged request costs one look-up and one HMAC.
    fn on_stun(&mut self, path: Path, bytes: &[u8], now: Instant) -> Result<(), Drop> {
        let request = BindingRequest::parse(bytes).map_err(|_| Drop::MalformedStun)?;
        let member = *self.by_ufrag.get(request.local_ufrag()).ok_or(Drop::UnknownUser)?;
        let m = &self.members[member];
        if request.remote_ufrag() != m.registration.session.remote.ufrag {
            return Err(Drop::UnknownUser);
        }
        if !request.verify(&m.integrity) {
            return Err(Drop::BadIntegrity);
        }
        let owner = m.registration.claim.claim(self.id);
        if owner != self.id {
            self.learn_stray(member, path.remote, owner)?;
            self.hand_over(owner, path.remote, path.local, bytes);
            return Ok(());
        }
        if m.transport.is_none() {
            self.claim_transport(member, path, now);
        }
        self.learn_address(member, path, request.use_candidate(), now)?;
        let start = self.out.begin();
        let key = &self.members[member].integrity;
        let id = request.transaction_id();
        if matches!(request.role(), Some(IceRole::Controlled(_))) {
            // RFC 8445 §7.3.1.1: a lite agent is always controlled.
            stun::write_binding_error(&mut self.out.arena, &id, 487, "Role Conflict", Some(key));
        } else {
            stun::write_binding_success(&mut self.out.arena, &id, path.remote, key);
        }
        self.out.commit(start, path.remote, path.local);
        self.pump_dtls(member, now);
        self.reschedule(member);
        Ok(())
    }

    /// The first proven packet of a participant came here: this shard owns it from now on.
    fn claim_transport(&mut self, member: usize, path: Path, now: Instant) {
        let m = &mut self.members[member];
        let session = &m.registration.session;
        let mut egress = Vec::new();
        for (n, slot) in session.slots.iter().enumerate() {
            for (section, kind) in [(&slot.audio, MediaKind::Audio), (&slot.video, MediaKind::Video)] {
                if let Some(section) = section {
                    let seed = self.rng.next() as u32;
                    egress.push(Egress::new(section, kind, n, seed, self.limits.resend_floor_bytes, now));
                }
            }
        }
        let dtls =
            RtcDtls::new(&self.identity, session.remote_fingerprint, !session.client_is_dtls_client, now);
        m.transport = Some(Box::new(Transport::new(path, Box::new(dtls), egress, now)));
        self.stats.transports += 1;
        let room = m.registration.room;
        self.refresh_room(room, now);
        // Whoever found somebody there has been told already.
        if self.members[member].occupants.iter().all(Option::is_none) {
            self.announce_slots(member);
        }
    }

    /// RFC 8445 §7.3.1.3–5: a proven source is a peer-reflexive candidate, and USE-CANDIDATE makes it the path.
    fn learn_address(&mut self, member: usize, path: Path, nominate: bool, now: Instant) -> Result<(), Drop> {
        let max = self.limits.addresses_per_participant;
        let transport = self.members[member].transport.as_mut().expect("claimed by the caller");
        transport.consent_at = now;
        if nominate || !transport.nominated {
            transport.selected = path;
            transport.nominated |= nominate;
        }
        if transport.addresses.contains(&path.remote)
            && self.by_address.get(&path.remote) == Some(&Owner::Here(member))
        {
            return Ok(());
        }
        transport.addresses.retain(|a| *a != path.remote);
        if transport.addresses.len() >= max {
            let selected = transport.selected.remote;
            let oldest = transport.addresses.iter().position(|a| *a != selected).ok_or(Drop::Limit)?;
            let old = transport.addresses.remove(oldest);
            if self.by_address.get(&old) == Some(&Owner::Here(member)) {
                self.by_address.remove(&old);
            }
        }
        if let Some(Owner::Here(before)) = self.by_address.get(&path.remote).copied()
            && before != member
            && let Some(t) = self.members[before].transport.as_mut()
        {
            // A NAT gave the address to somebody new, who has just proven to be there.
            t.addresses.retain(|a| *a != path.remote);
        }
        if !self.by_address.insert(path.remote, Owner::Here(member)) {
            return Err(Drop::Limit);
        }
        let transport = self.members[member].transport.as_mut().expect("claimed by the caller");
        transport.addresses.push(path.remote);
        Ok(())
    }

    fn on_dtls(&mut self, member: usize, bytes: &[u8], now: Instant) -> Result<(), Drop> {
        let transport = self.members[member].transport.as_mut().ok_or(Drop::UnknownSource)?;
        let result = transport.dtls.input(bytes, now);
        self.pump_dtls(member, now);
        if result.is_err() && !self.connected(member) {
            self.gone(member, GoneReason::DtlsFailed);
            return Err(Drop::Dtls);
        }
        self.reschedule(member);
        result.map_err(|_| Drop::Dtls)
    }

    fn connected(&self, member: usize) -> bool {
        self.members[member].transport.as_ref().is_some_and(|t| t.connected())
    }

    /// Runs DTLS' timers, sends what it has to say, and takes the keys when they are there.
    pub(super) fn pump_dtls(&mut self, member: usize, now: Instant) {
        let Some(transport) = self.members[member].transport.as_mut() else { return };
        transport.dtls_due = transport.dtls.timeout(now);
        while let Some(bytes) = transport.dtls.output() {
            self.out.send(&bytes, transport.selected.remote, transport.selected.local);
        }
        if transport.srtp.is_none()
            && let Some(keys) = transport.dtls.keys()
        {
            // A client may send RTCP under an SSRC of its own for each section, receiving ones too.
            let sources = self.limits.streams_per_participant + transport.egress.len();
            let inbound = SrtpInbound::from_master(&keys.inbound).with_max_ssrcs(sources);
            transport.srtp = Some((inbound, SrtpOutbound::from_master(&keys.outbound)));
            transport.report_due = now;
            let id = self.members[member].id();
            self.out.event(Event::Connected(id));
            self.retarget_member(member, now);
        } else if transport.dtls.is_closed() {
            let reason = if transport.connected() { GoneReason::Closed } else { GoneReason::DtlsFailed };
            self.gone(member, reason);
        }
    }

    pub(super) fn gone(&mut self, member: usize, reason: GoneReason) {
        let id = self.members[member].id();
        self.out.event(Event::Gone(id, reason));
    }

    fn on_rtp(&mut self, member: usize, bytes: &mut [u8], now: Instant) -> Result<(), Drop> {
        let header = Header::parse(bytes).map_err(|_| Drop::MalformedRtp)?;
        let m = &mut self.members[member];
        let transport = m.transport.as_mut().ok_or(Drop::UnknownSource)?;
        let (inbound, _) = transport.srtp.as_mut().ok_or(Drop::NoKeys)?;
        let wire_bytes = bytes.len() as u64;
        let length = inbound.unprotect_rtp(bytes, header.header_len).map_err(srtp_drop)?;
        let packet = &bytes[..length];
        let session = &m.registration.session;
        let picked = Picked::from_packet(&header, packet, &session.extensions);
        self.stats.received_packets += 1;
        self.stats.received_bytes += wire_bytes;
        if let Some(sequence) = picked.transport_cc {
            transport.arrivals.on_packet(sequence, now);
        }
        let feedback_due = transport.arrivals.next_at();
        let payload = header.payload(packet).map_err(|_| Drop::BadPadding)?;
        let known = transport.streams.iter().position(|s| s.ssrc == header.ssrc);
        if let Some(due) = feedback_due {
            self.schedule(member, due);
        }
        let stream = match known {
            Some(found) => found,
            None => self.new_stream(member, &header, &picked, now)?,
        };
        let m = &mut self.members[member];
        let transport = m.transport.as_mut().ok_or(Drop::UnknownSource)?;
        let (track, layer) = transport.streams[stream].role.track_and_layer();
        let section = &m.registration.session.tracks[usize::from(track)];
        let (codec, is_rtx) = ingress::mapping(section, header.payload_type).ok_or(Drop::UnknownStream)?;
        let codec = codec.codec;
        let is_repair = matches!(transport.streams[stream].role, Role::Repair { .. });
        if is_rtx != is_repair {
            return Err(Drop::UnknownStream);
        }
        let (sequence, payload) = if is_repair {
            transport.streams[stream].on_packet(&header, codec, now);
            let Some((original, payload)) = rtp::split_rtx(payload) else {
                return Ok(()); // padding that a bandwidth probe sends
            };
            let media = Role::Media { track, layer };
            let stream = transport.streams.iter_mut().find(|s| s.role == media).ok_or(Drop::UnknownStream)?;
            let sequence = stream.extender.peek(original);
            stream.nack.on_packet(sequence, now);
            self.stats.repaired_packets += 1;
            (sequence, payload)
        } else {
            let stream = &mut transport.streams[stream];
            let missing = stream.nack.missing();
            let sequence = stream.on_packet(&header, codec, now);
            if stream.nack.missing() > missing {
                self.schedule(member, now + nack::REORDER_DELAY);
            }
            (sequence, payload)
        };
        let keyframe = is_keyframe(codec, payload);
        let plain = PlainPacket {
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            codec,
            vp8: if codec == Codec::Vp8 { vp8::Descriptor::parse(payload).ok() } else { None },
            payload: Bytes::copy_from_slice(payload),
            audio_level: picked.audio_level,
            orientation: picked.orientation,
            keyframe,
        };
        let m = &self.members[member];
        let generation = m.tracks[usize::from(track)].layers[usize::from(layer)].generation;
        let key = StreamKey { publisher: m.id(), track, layer, generation };
        self.accept(member, key, plain, now)
    }

    /// An SSRC not seen before, in a packet whose tag was right.
    fn new_stream(
        &mut self,
        member: usize,
        header: &Header,
        picked: &Picked<'_>,
        now: Instant,
    ) -> Result<usize, Drop> {
        let m = &mut self.members[member];
        let session = &m.registration.session;
        let role = ingress::identify(session, header, picked).ok_or(Drop::UnknownStream)?;
        let (track, layer) = role.track_and_layer();
        if usize::from(layer) >= m.tracks[usize::from(track)].layers.len() {
            return Err(Drop::UnknownStream);
        }
        let kind = session.tracks[usize::from(track)].kind;
        let transport = m.transport.as_mut().ok_or(Drop::UnknownSource)?;
        let stream = Ingress::new(header.ssrc, role, self.limits.missing_per_stream, now);
        if let Some(old) = transport.streams.iter().position(|s| s.role == role) {
            // The client began the layer anew under another SSRC: its numbers have nothing to do with the old ones.
            transport.streams[old] = stream;
            if let Role::Media { .. } = role {
                let ring = self.ring_capacity(kind);
                self.members[member].tracks[usize::from(track)].layers[usize::from(layer)].restart(ring);
            }
            return Ok(old);
        }
        if transport.streams.len() >= self.limits.streams_per_participant {
            return Err(Drop::Limit);
        }
        transport.streams.push(stream);
        Ok(transport.streams.len() - 1)
    }

    fn on_rtcp(&mut self, member: usize, bytes: &mut [u8], now: Instant) -> Result<(), Drop> {
        let transport = self.members[member].transport.as_mut().ok_or(Drop::UnknownSource)?;
        let (inbound, _) = transport.srtp.as_mut().ok_or(Drop::NoKeys)?;
        let length = inbound.unprotect_rtcp(bytes).map_err(srtp_drop)?;
        let mut lost_max = LOST_MAX;
        for packet in rtcp::Compound::new(&bytes[..length]) {
            match packet {
                Ok(rtcp::Packet::Nack(nack)) => self.resend(member, &nack, &mut lost_max, now),
                Ok(packet) => self.on_rtcp_packet(member, &packet, now),
                Err(_) => return Err(Drop::MalformedRtp),
            }
        }
        Ok(())
    }

    fn on_rtcp_packet(&mut self, member: usize, packet: &rtcp::Packet<'_>, now: Instant) {
        match packet {
            rtcp::Packet::SenderReport(report) => {
                self.on_sender_report(member, report.ssrc, report.ntp, report.rtp_timestamp, now);
                report.blocks().for_each(|block| self.on_report_block(member, &block, now));
            }
            rtcp::Packet::ReceiverReport(report) => {
                report.blocks().for_each(|block| self.on_report_block(member, &block, now));
            }
            rtcp::Packet::Pli(pli) => self.on_keyframe_request(member, pli.media_ssrc, now),
            rtcp::Packet::Fir(fir) => {
                fir.entries().for_each(|entry| self.on_keyframe_request(member, entry.ssrc, now));
            }
            _ => {}
        }
    }

    fn on_sender_report(&mut self, member: usize, ssrc: u32, ntp: u64, rtp: u32, now: Instant) {
        let m = &mut self.members[member];
        let Some(transport) = m.transport.as_mut() else { return };
        let Some(stream) = transport.streams.iter_mut().find(|s| s.ssrc == ssrc) else { return };
        stream.on_sender_report(ntp, now);
        let Role::Media { track, layer } = stream.role else { return };
        let clock = ClockReport { ntp, rtp, at: now };
        let track_state = &mut m.tracks[usize::from(track)];
        let first = track_state.layers[usize::from(layer)].clock.replace(clock).is_none();
        let publisher = m.registration.participant;
        for (&shard, &mask) in &track_state.wants {
            if mask >> layer & 1 == 1 {
                self.out.neighbour(Some(shard), Neighbour::Clock { publisher, track, layer, clock });
            }
        }
        if first {
            self.hasten_reports(member, usize::from(track), now);
        }
    }

    fn on_report_block(&mut self, member: usize, block: &rtcp::ReportBlock, now: Instant) {
        let Some(transport) = self.members[member].transport.as_mut() else { return };
        if let Some(rtt) = transport.sent_reports.round_trip(block, now) {
            transport.rtt = (transport.rtt * 7 + rtt) / 8;
        }
    }
}

fn is_keyframe(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Opus => false,
        Codec::Vp8 => vp8::is_keyframe(payload),
        Codec::H264 { .. } => h264::is_keyframe(payload),
    }
}

fn srtp_drop(reason: SrtpDrop) -> Drop {
    match reason {
        SrtpDrop::Short | SrtpDrop::Unencrypted => Drop::MalformedRtp,
        SrtpDrop::BadTag => Drop::BadTag,
        SrtpDrop::Replayed | SrtpDrop::TooOld => Drop::Replayed,
        SrtpDrop::TooManySsrcs => Drop::Limit,
    }
}
