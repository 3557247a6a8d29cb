//! What a publisher's stream is missing, and when to ask for it (RFC 4585 §6.2.1).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Wait this long before the first request: most networks that reorder do so by a few milliseconds.
/// Higher asks less in vain; lower repairs sooner.
pub(crate) const REORDER_DELAY: Duration = Duration::from_millis(8);
/// This many newer packets make a gap a loss at once.
const REORDER_PACKETS: u64 = 3;
/// Requests for one packet before it is given up.
const TRIES_MAX: u8 = 10;
/// After so many packets asked for and not one repaired the sender is taken for one that repairs nothing (audio of most
/// clients), and is asked once for each from then on, in case it begins to.
const IN_VAIN_MAX: u32 = 32;
/// Older than this a packet is of no use to a live call.
const AGE_MAX: Duration = Duration::from_millis(1000);
/// Bounds of the time between two requests for one packet.
const RETRY_MIN: Duration = Duration::from_millis(20);
const RETRY_MAX: Duration = Duration::from_millis(250);

struct Missing {
    since: Instant,
    asked_at: Option<Instant>,
    tries: u8,
}

impl Missing {
    /// When to ask (again), or, once that is of no more use, when to forget it.
    fn ask_at(&self, retry: Duration, tries_max: u8) -> Instant {
        match self.asked_at {
            None => self.since + REORDER_DELAY,
            Some(at) if self.tries < tries_max => at + retry,
            Some(_) => self.since + AGE_MAX,
        }
    }
}

/// Receiver side of NACK for one stream.
pub struct NackGenerator {
    missing: BTreeMap<u64, Missing>,
    highest: Option<u64>,
    max: usize,
    /// Smoothed time from request to repaired packet: the round trip as repair sees it.
    rtt: Duration,
    /// Packets asked for since the last that was repaired.
    in_vain: u32,
}

impl NackGenerator {
    /// `max`: missing sequence numbers remembered at a time.
    pub fn new(max: usize) -> Self {
        Self { missing: BTreeMap::new(), highest: None, max, rtt: Duration::from_millis(60), in_vain: 0 }
    }

    /// Notes an arrived packet. A jump longer than `max` is a new start, not a loss.
    pub fn on_packet(&mut self, sequence: u64, now: Instant) {
        let Some(highest) = self.highest else {
            self.highest = Some(sequence);
            return;
        };
        if sequence <= highest {
            if let Some(found) = self.missing.remove(&sequence)
                && let Some(asked_at) = found.asked_at
            {
                self.in_vain = 0;
                if found.tries == 1 {
                    let sample = now.saturating_duration_since(asked_at);
                    self.rtt = (self.rtt * 7 + sample) / 8;
                }
            }
            return;
        }
        self.highest = Some(sequence);
        if sequence - highest > self.max as u64 {
            self.missing.clear();
            return;
        }
        for lost in highest + 1..sequence {
            self.missing.insert(lost, Missing { since: now, asked_at: None, tries: 0 });
        }
        while self.missing.len() > self.max {
            self.missing.pop_first();
        }
    }

    /// Appends to `due` the low 16 bits of what should be asked for now, in ascending order.
    pub fn collect(&mut self, now: Instant, due: &mut Vec<u16>) {
        let highest = self.highest.unwrap_or(0);
        let (retry, tries_max) = (self.retry_after(), self.tries_max());
        self.missing.retain(|_, m| now < m.since + AGE_MAX);
        for (sequence, m) in &mut self.missing {
            let overtaken = m.tries == 0 && highest - sequence >= REORDER_PACKETS;
            if overtaken || now >= m.ask_at(retry, tries_max) {
                self.in_vain = self.in_vain.saturating_add(u32::from(m.tries == 0));
                m.asked_at = Some(now);
                m.tries += 1;
                due.push(*sequence as u16);
            }
        }
    }

    /// When `collect` would next have something to do.
    pub fn next_at(&self) -> Option<Instant> {
        let (retry, tries_max) = (self.retry_after(), self.tries_max());
        self.missing.values().map(|m| m.ask_at(retry, tries_max)).min()
    }

    /// How many are missing now.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    fn tries_max(&self) -> u8 {
        if self.in_vain < IN_VAIN_MAX { TRIES_MAX } else { 1 }
    }

    fn retry_after(&self) -> Duration {
        (self.rtt * 3 / 2).clamp(RETRY_MIN, RETRY_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    #[test]
    fn asks_after_the_reorder_delay_and_again_after_a_round_trip() {
        let t0 = crate::test_clock();
        let mut nack = NackGenerator::new(64);
        let mut due = Vec::new();
        nack.on_packet(10, t0);
        nack.on_packet(12, t0);
        nack.collect(at(t0, 1), &mut due);
        assert!(due.is_empty(), "a reordered packet is given time");
        nack.collect(at(t0, 8), &mut due);
        assert_eq!(due, [11]);
        due.clear();
        nack.collect(at(t0, 40), &mut due);
        assert!(due.is_empty());
        nack.collect(at(t0, 100), &mut due);
        assert_eq!(due, [11]);
        nack.on_packet(11, at(t0, 110));
        assert_eq!(nack.missing(), 0);
        assert_eq!(nack.next_at(), None);
    }

    #[test]
    fn a_sender_that_repairs_nothing_is_asked_once_for_each() {
        let t0 = crate::test_clock();
        let mut nack = NackGenerator::new(256);
        let mut due = Vec::new();
        for n in 0..100u64 {
            nack.on_packet(n * 2, at(t0, n * 20));
            nack.collect(at(t0, n * 20 + 15), &mut due);
        }
        due.clear();
        for ms in (2_000..3_000).step_by(5) {
            nack.collect(at(t0, ms), &mut due);
        }
        assert!(due.len() <= 1, "{due:?}");
        nack.on_packet(205, at(t0, 3_000));
        for ms in (3_000..3_300).step_by(5) {
            nack.collect(at(t0, ms), &mut due);
        }
        nack.on_packet(201, at(t0, 3_310));
        nack.on_packet(209, at(t0, 3_320));
        due.clear();
        for ms in (3_320..3_900).step_by(5) {
            nack.collect(at(t0, ms), &mut due);
        }
        assert!(due.iter().filter(|s| **s == 206).count() > 1, "it did repair one: {due:?}");
    }

    #[test]
    fn three_newer_packets_make_it_a_loss_at_once() {
        let t0 = crate::test_clock();
        let mut nack = NackGenerator::new(64);
        for s in [1, 3, 4, 5] {
            nack.on_packet(s, t0);
        }
        let mut due = Vec::new();
        nack.collect(t0, &mut due);
        assert_eq!(due, [2]);
    }

    #[test]
    fn gives_up_by_age_and_stays_bounded() {
        let t0 = crate::test_clock();
        let mut nack = NackGenerator::new(8);
        for s in (0..1000).step_by(2) {
            nack.on_packet(s, t0);
        }
        assert_eq!(nack.missing(), 8);
        let mut due = Vec::new();
        nack.collect(at(t0, 1001), &mut due);
        assert!(due.is_empty());
        assert_eq!(nack.missing(), 0);
        nack.on_packet(1_000_000, at(t0, 1002));
        assert_eq!(nack.missing(), 0, "a jump is a new start");
    }
}
