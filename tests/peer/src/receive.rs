//! The receiving side of one stream: order, gaps, repair, and whether frames are whole.

use std::collections::BTreeMap;
use std::time::Instant;

use trunkline_sfu_core::codec::vp8;
use trunkline_sfu_core::repair::nack::NackGenerator;
use trunkline_sfu_core::rtp::SequenceExtender;

/// What arrived on one stream.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Packets, repairs included, duplicates not.
    pub packets: u32,
    /// Of those, as RTX or under an old number.
    pub repaired: u32,
    /// The same sequence number twice.
    pub duplicates: u32,
    /// Two different payloads under one sequence number: never.
    pub contradictions: u32,
    /// First and highest extended sequence numbers.
    pub first: Option<u64>,
    /// See `first`.
    pub highest: u64,
    /// Whole frames: by picture id for video, packets for audio.
    pub frames: u32,
    /// Width announced by the last keyframe.
    pub width: u16,
    /// Timestamps of first packets, by extended sequence number.
    pub timestamps: BTreeMap<u64, u32>,
    /// Picture ids, by extended sequence number.
    pub pictures: BTreeMap<u64, u16>,
    /// When the last packet came.
    pub last_at: Option<Instant>,
}

impl Received {
    /// Sequence numbers between first and highest that never came.
    pub fn missing(&self) -> u64 {
        self.first.map_or(0, |first| self.highest - first + 1 - u64::from(self.packets))
    }
}

pub(crate) struct Receiver {
    pub(crate) slot: usize,
    pub(crate) kind: &'static str,
    pub(crate) nack: NackGenerator,
    extender: SequenceExtender,
    /// By extended sequence number: (timestamp, starts a frame, ends it, payload's sum).
    seen: BTreeMap<u64, (u32, bool, bool, u64)>,
    counted: BTreeMap<u32, ()>,
    pub(crate) received: Received,
}

impl Receiver {
    pub(crate) fn new(slot: usize, kind: &'static str) -> Self {
        Self {
            slot,
            kind,
            nack: NackGenerator::new(256),
            extender: SequenceExtender::default(),
            seen: BTreeMap::new(),
            counted: BTreeMap::new(),
            received: Received::default(),
        }
    }

    pub(crate) fn on_packet(
        &mut self,
        sequence: u16,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        repaired: bool,
        now: Instant,
    ) {
        let sequence = if repaired { self.extender.peek(sequence) } else { self.extender.extend(sequence) };
        self.nack.on_packet(sequence, now);
        let received = &mut self.received;
        received.last_at = Some(now);
        let video = self.kind == "video";
        let descriptor = if video { vp8::Descriptor::parse(payload).ok() } else { None };
        let starts = !video || payload.first().is_some_and(|b| b & 0x10 != 0);
        let sum = payload
            .iter()
            .fold(u64::from(timestamp), |sum, &b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
        let ends = marker || !video;
        if let Some(before) = self.seen.insert(sequence, (timestamp, starts, ends, sum)) {
            received.duplicates += 1;
            received.contradictions += u32::from(before.3 != sum);
            return;
        }
        received.packets += 1;
        received.repaired += u32::from(repaired);
        received.first = Some(received.first.map_or(sequence, |first| first.min(sequence)));
        received.highest = received.highest.max(sequence);
        received.timestamps.insert(sequence, timestamp);
        if let Some(picture) = descriptor.as_ref().and_then(|d| d.picture_id) {
            received.pictures.insert(sequence, picture);
        }
        if let Some((width, _)) = vp8::keyframe_size(payload).filter(|_| video) {
            received.width = width;
        }
        if self.frame_is_whole(sequence) && self.counted.insert(timestamp, ()).is_none() {
            self.received.frames += 1;
        }
    }

    /// Looks both ways from `at` for the packets of its frame.
    fn frame_is_whole(&self, at: u64) -> bool {
        let Some(&(timestamp, ..)) = self.seen.get(&at) else { return false };
        let mut first = at;
        while let Some(&(t, starts, ..)) = self.seen.get(&first).filter(|p| p.0 == timestamp) {
            debug_assert_eq!(t, timestamp);
            if starts {
                break;
            }
            first -= 1;
        }
        if !self.seen.get(&first).is_some_and(|p| p.1 && p.0 == timestamp) {
            return false;
        }
        let mut last = at;
        while let Some(packet) = self.seen.get(&last).filter(|p| p.0 == timestamp) {
            if packet.2 {
                return true;
            }
            last += 1;
        }
        false
    }
}
