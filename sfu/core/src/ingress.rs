//! One stream from a publisher: which track and layer it is, how well it arrives, and what it is missing.

use std::time::Instant;

use crate::repair::nack::NackGenerator;
use crate::rtcp::ReportBlock;
use crate::rtp::{Header, SequenceExtender};
use crate::session::{Codec, CodecMapping, ExtensionIds, NegotiatedSession, PublishedTrack};

/// What a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Packets of a layer of a track.
    Media { track: u8, layer: u8 },
    /// RFC 4588 retransmissions for that layer.
    Repair { track: u8, layer: u8 },
}

impl Role {
    pub(crate) fn track_and_layer(self) -> (u8, u8) {
        match self {
            Role::Media { track, layer } | Role::Repair { track, layer } => (track, layer),
        }
    }
}

/// The header extensions of a packet that we read, by the ids the session agreed on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Picked<'a> {
    pub mid: Option<&'a [u8]>,
    pub rid: Option<&'a [u8]>,
    pub repaired_rid: Option<&'a [u8]>,
    pub audio_level: Option<u8>,
    pub orientation: Option<u8>,
    pub transport_cc: Option<u16>,
}

impl<'a> Picked<'a> {
    pub(crate) fn from_packet(header: &Header, packet: &'a [u8], ids: &ExtensionIds) -> Self {
        let mut picked = Picked::default();
        for (id, data) in header.extensions(packet) {
            let id = Some(id);
            if id == ids.transport_cc {
                picked.transport_cc = data.first_chunk().map(|b| u16::from_be_bytes(*b));
            } else if id == ids.audio_level {
                picked.audio_level = data.first().copied();
            } else if id == ids.video_orientation {
                picked.orientation = data.first().copied();
            } else if id == ids.mid {
                picked.mid = Some(data);
            } else if id == ids.rid {
                picked.rid = Some(data);
            } else if id == ids.repaired_rid {
                picked.repaired_rid = Some(data);
            }
        }
        picked
    }
}

/// Finds the role of a new SSRC by what the packet itself says and the offer declared. Called only for packets
/// whose authentication tag was right: a forged one can map nothing.
pub(crate) fn identify(
    session: &NegotiatedSession,
    header: &Header,
    extensions: &Picked<'_>,
) -> Option<Role> {
    let declared = session.tracks.iter().enumerate().find_map(|(t, track)| {
        track.ssrcs.iter().enumerate().find_map(|(layer, &(media, rtx))| {
            let (track, layer) = (t as u8, layer as u8);
            if media == header.ssrc {
                Some(Role::Media { track, layer })
            } else if rtx == Some(header.ssrc) {
                Some(Role::Repair { track, layer })
            } else {
                None
            }
        })
    });
    if declared.is_some() {
        return declared;
    }
    let (index, track) = find_track(session, header, extensions)?;
    let (_, is_rtx) = mapping(track, header.payload_type)?;
    let rid = if is_rtx { extensions.repaired_rid.or(extensions.rid) } else { extensions.rid };
    let layer = match (rid, track.rids.is_empty()) {
        (Some(rid), false) => track.rids.iter().position(|r| r.as_bytes() == rid)?,
        (None, false) => return None, // which layer it is comes with a later packet
        (_, true) => 0,
    };
    let (track, layer) = (index as u8, layer as u8);
    Some(if is_rtx { Role::Repair { track, layer } } else { Role::Media { track, layer } })
}

fn find_track<'s>(
    session: &'s NegotiatedSession,
    header: &Header,
    extensions: &Picked<'_>,
) -> Option<(usize, &'s PublishedTrack)> {
    let mut tracks = session.tracks.iter().enumerate();
    match extensions.mid {
        Some(mid) => tracks.find(|(_, t)| t.mid.as_bytes() == mid),
        // Without a mid the payload type decides, if it belongs to one track only (RFC 9143 §9.2).
        None => {
            let mut fitting = tracks.filter(|(_, t)| mapping(t, header.payload_type).is_some());
            let first = fitting.next()?;
            fitting.next().is_none().then_some(first)
        }
    }
}

/// The codec under a payload type of a track, and whether that type is its RTX.
pub(crate) fn mapping(track: &PublishedTrack, payload_type: u8) -> Option<(CodecMapping, bool)> {
    track.codecs.iter().find_map(|m| {
        if m.payload_type == payload_type {
            Some((*m, false))
        } else if m.rtx_payload_type == Some(payload_type) {
            Some((*m, true))
        } else {
            None
        }
    })
}

/// Receiver's view of one SSRC (RFC 3550 §6.4.1 and appendix A).
pub(crate) struct Ingress {
    pub ssrc: u32,
    pub role: Role,
    pub extender: SequenceExtender,
    pub nack: NackGenerator,
    first: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    transit: Option<(Instant, u32)>,
    /// Interarrival jitter × 16, in timestamp units (RFC 3550 appendix A.8).
    jitter_x16: u64,
    /// Middle 32 bits of the last sender report's NTP time, and when it came.
    last_report: Option<(u32, Instant)>,
    pub last_packet: Instant,
}

impl Ingress {
    pub(crate) fn new(ssrc: u32, role: Role, missing_max: usize, now: Instant) -> Self {
        Self {
            ssrc,
            role,
            extender: SequenceExtender::default(),
            nack: NackGenerator::new(missing_max),
            first: None,
            highest: 0,
            received: 0,
            expected_before: 0,
            received_before: 0,
            transit: None,
            jitter_x16: 0,
            last_report: None,
            last_packet: now,
        }
    }

    /// Notes a packet that came by itself (not as a repair); returns its extended sequence number.
    pub(crate) fn on_packet(&mut self, header: &Header, codec: Codec, now: Instant) -> u64 {
        let sequence = self.extender.extend(header.sequence);
        self.first.get_or_insert(sequence);
        self.highest = self.highest.max(sequence);
        self.received += 1;
        self.last_packet = now;
        if matches!(self.role, Role::Media { .. }) {
            self.nack.on_packet(sequence, now); // a lost repair is asked for by its original's number
        }
        if let Some((before_at, before_rtp)) = self.transit {
            let rate = i64::from(codec.clock_rate());
            let arrived = (now.saturating_duration_since(before_at).as_micros() as i64) * rate / 1_000_000;
            let sent = i64::from(header.timestamp.wrapping_sub(before_rtp) as i32);
            let d = (arrived - sent).unsigned_abs().min(rate as u64 * 10);
            self.jitter_x16 = self.jitter_x16 + d - ((self.jitter_x16 + 8) >> 4);
        }
        self.transit = Some((now, header.timestamp));
        sequence
    }

    /// Notes a sender report for this stream.
    pub(crate) fn on_sender_report(&mut self, ntp: u64, now: Instant) {
        self.last_report = Some(((ntp >> 16) as u32, now));
    }

    /// A report block on what came since the one before.
    pub(crate) fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        let expected = self.highest - self.first? + 1;
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = self.received - self.received_before;
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction_lost = (lost_now * 256).checked_div(expected_now).unwrap_or(0).min(255) as u8;
        let lost = expected as i64 - self.received as i64;
        let (last_sr, delay) = self.last_report.map_or((0, 0), |(ntp, at)| {
            (ntp, (now.saturating_duration_since(at).as_micros() * 65_536 / 1_000_000) as u32)
        });
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost,
            cumulative_lost: lost.clamp(-0x80_0000, 0x7f_ffff) as i32,
            highest_sequence: (self.highest as u32).wrapping_sub(0x1_0000), // the extender starts one cycle up
            jitter: (self.jitter_x16 >> 4) as u32,
            last_sr,
            delay_since_last_sr: delay,
        })
    }
}
