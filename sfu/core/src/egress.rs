//! One stream towards a subscriber: whatever fills it, its SSRC stays and its sequence numbers, timestamps and
//! picture ids go on without a gap.
//!
//! A change of source or layer begins a **segment**. Within a segment every number is the ingress number plus a
//! constant, so a lost packet stays a gap, a late one finds its place, and a retransmission is made again byte
//! for byte. That last point is a duty: SRTP must never seal two different packets under one sequence number.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::ParticipantId;
use crate::packet::{ClockReport, PlainPacket, StreamKey};
use crate::repair::resend::ResendGuard;
use crate::rtp::{self, Fields};
use crate::session::{Codec, CodecMapping, ExtensionIds, MediaKind, ReceiveSection};

/// Segments remembered for late packets and retransmissions.
const SEGMENTS_MAX: usize = 8;
/// A publisher's jump by more than this is not passed on: two of them would carry a subscriber's SRTP roll-over
/// counter astray (RFC 3711 §3.3.1), for this occupant of the slot and every later one.
const JUMP_MAX: u64 = 1_000;

struct Segment {
    key: StreamKey,
    first_in: u64,
    first_out: u64,
    timestamp_offset: u32,
    picture_offset: u16,
    tl0_offset: u8,
}

impl Segment {
    fn out(&self, sequence_in: u64) -> Option<u64> {
        Some(self.first_out + sequence_in.checked_sub(self.first_in)?)
    }
}

/// A packet's numbers on the subscriber's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    pub sequence: u64,
    pub timestamp: u32,
    picture: Option<(u16, u8)>,
    payload: CodecMapping,
}

/// State of one egress stream.
pub(crate) struct Egress {
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub kind: MediaKind,
    /// The slot it serves.
    pub slot: usize,
    codecs: Vec<CodecMapping>,
    /// Track that fills the stream now.
    pub source: Option<(ParticipantId, u8)>,
    /// Layer wanted; forwarding moves to it at its next keyframe.
    pub target: Option<u8>,
    segments: VecDeque<Segment>,
    /// The stream forwarded now.
    current: Option<StreamKey>,
    next_out: u64,
    last: Option<(u32, Instant)>,
    last_picture: u16,
    last_tl0: u8,
    pub packets: u32,
    pub octets: u32,
    rtx_next: u64,
    pub guard: ResendGuard,
}

impl Egress {
    /// `seed` chooses the first sequence numbers; they stay in the lower half of 16 bits, so that an early
    /// loss cannot be taken for a roll-over (RFC 3711 §3.3.1).
    pub(crate) fn new(
        section: &ReceiveSection,
        kind: MediaKind,
        slot: usize,
        seed: u32,
        resend_floor: usize,
        now: Instant,
    ) -> Self {
        Self {
            ssrc: section.ssrc,
            rtx_ssrc: section.rtx_ssrc,
            kind,
            slot,
            codecs: section.codecs.clone(),
            source: None,
            target: None,
            segments: VecDeque::new(),
            current: None,
            next_out: u64::from(seed & 0x3fff) + 1,
            last: None,
            last_picture: 0,
            last_tl0: 0,
            packets: 0,
            octets: 0,
            rtx_next: u64::from((seed >> 16) & 0x3fff) + 1,
            guard: ResendGuard::new(resend_floor, now),
        }
    }

    /// Whether a keyframe is needed before anything (more) can be forwarded.
    pub(crate) fn waits_for_keyframe(&self) -> bool {
        self.kind == MediaKind::Video
            && self.source.is_some()
            && self.target.is_some()
            && self.current.map(|c| (c.publisher, c.track, c.layer))
                != self.source.zip(self.target).map(|((p, t), l)| (p, t, l))
    }

    /// Empties the stream or gives it another track; forwarding stops at once.
    pub(crate) fn set_source(&mut self, source: Option<(ParticipantId, u8)>) {
        if self.source != source {
            self.source = source;
            self.current = None;
            self.target = None;
        }
    }

    /// Stops forwarding without changing the source (a hidden tile).
    pub(crate) fn pause(&mut self) {
        self.target = None;
        self.current = None;
    }

    /// Numbers for a packet of `key`, or `None` where this subscriber does not get it. `clocks` are the reports
    /// of the layer forwarded so far and of the packet's own, where both are known: they make a layer switch
    /// exact in time.
    pub(crate) fn place(
        &mut self,
        key: StreamKey,
        packet: &PlainPacket,
        clocks: Option<(ClockReport, ClockReport)>,
        now: Instant,
    ) -> Option<Mapped> {
        let payload = *self.codecs.iter().find(|m| m.codec == packet.codec)?;
        if self.current == Some(key) {
            let newest = self.segments.back()?;
            if newest.out(packet.sequence).is_some_and(|out| out > self.next_out + JUMP_MAX) {
                self.close_gap(packet.sequence);
                return Some(self.advance(packet, payload, now));
            }
            if packet.sequence >= newest.first_in {
                return Some(self.advance(packet, payload, now));
            }
        } else if self.source == Some((key.publisher, key.track))
            && self.target == Some(key.layer)
            && (self.kind == MediaKind::Audio || packet.keyframe)
        {
            self.begin_segment(key, packet, clocks, now);
            return Some(self.advance(packet, payload, now));
        }
        // A late packet of an earlier segment may still fill a gap there, never a number of a later one.
        let mut end = u64::MAX;
        for segment in self.segments.iter().rev() {
            if segment.key == key
                && let Some(out) = segment.out(packet.sequence)
                && out < end
                && end != u64::MAX
            {
                return Some(map(segment, out, packet, payload));
            }
            end = segment.first_out;
        }
        None
    }

    fn advance(&mut self, packet: &PlainPacket, payload: CodecMapping, now: Instant) -> Mapped {
        let segment = self.segments.back().expect("a current stream has a segment");
        let out = segment.out(packet.sequence).expect("not before the segment's start");
        let mapped = map(segment, out, packet, payload);
        if out >= self.next_out {
            self.next_out = out + 1;
            self.last = Some((mapped.timestamp, now));
            if let Some((picture, tl0)) = mapped.picture {
                self.last_picture = picture;
                self.last_tl0 = tl0;
            }
        }
        mapped
    }

    fn begin_segment(
        &mut self,
        key: StreamKey,
        packet: &PlainPacket,
        clocks: Option<(ClockReport, ClockReport)>,
        now: Instant,
    ) {
        let timestamp_offset = self.timestamp_offset(key, packet, clocks, now);
        let (picture_offset, tl0_offset) = match (&packet.vp8, self.segments.is_empty()) {
            (Some(d), false) => (
                self.last_picture.wrapping_add(1).wrapping_sub(d.picture_id.unwrap_or(0)),
                self.last_tl0.wrapping_add(1).wrapping_sub(d.tl0_pic_idx.unwrap_or(0)),
            ),
            _ => (0, 0),
        };
        self.push_segment(Segment {
            key,
            first_in: packet.sequence,
            first_out: self.next_out,
            timestamp_offset,
            picture_offset,
            tl0_offset,
        });
        self.current = Some(key);
    }

    /// Goes on with the same stream at `sequence_in`, as if nothing lay between.
    fn close_gap(&mut self, sequence_in: u64) {
        let Some(newest) = self.segments.back() else { return };
        self.push_segment(Segment { first_in: sequence_in, first_out: self.next_out, ..*newest });
    }

    fn push_segment(&mut self, segment: Segment) {
        if self.segments.len() == SEGMENTS_MAX {
            self.segments.pop_front();
        }
        self.segments.push_back(segment);
    }

    /// What to add to the packet's timestamp so that the stream's time goes on: exactly, by the publisher's
    /// clock, between two layers of one track; else by the time that has passed.
    fn timestamp_offset(
        &self,
        key: StreamKey,
        packet: &PlainPacket,
        clocks: Option<(ClockReport, ClockReport)>,
        now: Instant,
    ) -> u32 {
        let Some((last, at)) = self.last else { return 0 };
        let rate = packet.codec.clock_rate();
        if let (Some((old, new)), Some(segment)) = (clocks, self.segments.back())
            && (segment.key.publisher, segment.key.track) == (key.publisher, key.track)
        {
            let ntp_between = new.ntp.wrapping_sub(old.ntp) as i64;
            let ticks_between = (i128::from(ntp_between) * i128::from(rate)) >> 32;
            let in_old_time = old
                .rtp
                .wrapping_add(ticks_between as u32)
                .wrapping_add(packet.timestamp.wrapping_sub(new.rtp));
            let out = in_old_time.wrapping_add(segment.timestamp_offset);
            let ahead = out.wrapping_sub(last);
            if ahead > 0 && ahead < rate * 10 {
                return out.wrapping_sub(packet.timestamp);
            }
        }
        let passed = ticks(now.saturating_duration_since(at), rate).max(rate / 50);
        last.wrapping_add(passed).wrapping_sub(packet.timestamp)
    }

    /// The clock report to send for what is forwarded now, at `now`: (ntp, rtp).
    pub(crate) fn sender_clock(&self, source: ClockReport, rate: u32, now: Instant) -> Option<(u64, u32)> {
        let segment = self.segments.back().filter(|s| Some(s.key) == self.current)?;
        let since = now.saturating_duration_since(source.at);
        let ntp = source.ntp.wrapping_add(((since.as_nanos() << 32) / 1_000_000_000) as u64);
        let rtp = source.rtp.wrapping_add(ticks(since, rate)).wrapping_add(segment.timestamp_offset);
        Some((ntp, rtp))
    }

    /// The stream forwarded now.
    pub(crate) fn current(&self) -> Option<StreamKey> {
        self.current
    }

    /// Which ingress packet went out under the low 16 bits `sequence`: its stream, its number there, and its
    /// number here.
    pub(crate) fn origin(&self, sequence: u16) -> Option<(StreamKey, u64, u64)> {
        let newest = self.next_out.checked_sub(1)?;
        let behind = (newest as u16).wrapping_sub(sequence);
        let out = newest.checked_sub(u64::from(behind))?;
        let segment = self.segments.iter().rev().find(|s| s.first_out <= out)?;
        Some((segment.key, segment.first_in + (out - segment.first_out), out))
    }

    /// Numbers for repeating a packet that `origin` named.
    pub(crate) fn again(&self, out: u64, packet: &PlainPacket) -> Option<Mapped> {
        let payload = *self.codecs.iter().find(|m| m.codec == packet.codec)?;
        let segment = self.segments.iter().rev().find(|s| s.first_out <= out)?;
        Some(map(segment, out, packet, payload))
    }

    /// Appends the packet to `arena` in the clear; returns the header's length.
    pub(crate) fn write(
        &self,
        arena: &mut Vec<u8>,
        mapped: &Mapped,
        packet: &PlainPacket,
        extensions: &ExtensionIds,
    ) -> usize {
        let fields = Fields {
            marker: packet.marker,
            payload_type: mapped.payload.payload_type,
            sequence: mapped.sequence as u16,
            timestamp: mapped.timestamp,
            ssrc: self.ssrc,
        };
        let header_len = write_header(arena, &fields, packet, extensions);
        append_payload(arena, mapped, packet);
        header_len
    }

    /// Appends the packet as an RFC 4588 retransmission; returns the header's length and the RTX stream's
    /// extended sequence number. `None` where RTX was not agreed.
    pub(crate) fn write_rtx(
        &mut self,
        arena: &mut Vec<u8>,
        mapped: &Mapped,
        packet: &PlainPacket,
        extensions: &ExtensionIds,
    ) -> Option<(usize, u64)> {
        let (ssrc, payload_type) = (self.rtx_ssrc?, mapped.payload.rtx_payload_type?);
        let sequence = self.rtx_next;
        self.rtx_next += 1;
        let fields = Fields {
            marker: packet.marker,
            payload_type,
            sequence: sequence as u16,
            timestamp: mapped.timestamp,
            ssrc,
        };
        let header_len = write_header(arena, &fields, packet, extensions);
        rtp::write_rtx_osn(arena, mapped.sequence as u16);
        append_payload(arena, mapped, packet);
        Some((header_len, sequence))
    }
}

fn map(segment: &Segment, out: u64, packet: &PlainPacket, payload: CodecMapping) -> Mapped {
    let picture = packet.vp8.as_ref().map(|d| {
        (
            d.picture_id.unwrap_or(0).wrapping_add(segment.picture_offset) & 0x7fff,
            d.tl0_pic_idx.unwrap_or(0).wrapping_add(segment.tl0_offset),
        )
    });
    Mapped {
        sequence: out,
        timestamp: packet.timestamp.wrapping_add(segment.timestamp_offset),
        picture,
        payload,
    }
}

fn write_header(arena: &mut Vec<u8>, fields: &Fields, packet: &PlainPacket, ids: &ExtensionIds) -> usize {
    let level = ids.audio_level.zip(packet.audio_level);
    let turn = ids.video_orientation.zip(packet.orientation);
    match (level, turn) {
        (None, None) => rtp::write_header(arena, fields, &[]),
        (Some((id, value)), _) | (None, Some((id, value))) => {
            rtp::write_header(arena, fields, &[(id, &[value])])
        }
    }
}

fn append_payload(arena: &mut Vec<u8>, mapped: &Mapped, packet: &PlainPacket) {
    let start = arena.len();
    arena.extend_from_slice(&packet.payload);
    if let (Codec::Vp8, Some(descriptor), Some((picture, tl0))) = (packet.codec, &packet.vp8, mapped.picture)
    {
        descriptor.rewrite(&mut arena[start..], picture, tl0);
    }
}

fn ticks(duration: Duration, rate: u32) -> u32 {
    (duration.as_nanos() * u128::from(rate) / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests;
