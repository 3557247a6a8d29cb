//! How much one egress stream repeats: no packet twice within a round trip, and no more than a share of
//! what it forwards. Without this, four bytes of NACK become seventeen packets.

use std::time::{Duration, Instant};

const REMEMBERED: usize = 128;

/// Limits retransmissions of one egress stream.
pub struct ResendGuard {
    recent: Vec<(u64, Instant)>,
    next: usize,
    window_start: Instant,
    forwarded: usize,
    resent: usize,
    floor: usize,
}

impl ResendGuard {
    /// `floor`: bytes a second that may be repeated whatever was forwarded.
    pub fn new(floor: usize, now: Instant) -> Self {
        Self { recent: Vec::new(), next: 0, window_start: now, forwarded: 0, resent: 0, floor }
    }

    /// Notes `bytes` forwarded for the first time.
    pub fn on_forwarded(&mut self, bytes: usize, now: Instant) {
        self.roll(now);
        self.forwarded += bytes;
    }

    /// Whether `sequence` of `bytes` may be repeated now; if so it is counted.
    pub fn allow(&mut self, sequence: u64, bytes: usize, rtt: Duration, now: Instant) -> bool {
        self.roll(now);
        if self.resent + bytes > self.forwarded.max(self.floor) {
            return false;
        }
        let again_after = (rtt * 3 / 4).clamp(Duration::from_millis(5), Duration::from_millis(250));
        let twice = self
            .recent
            .iter()
            .any(|&(s, at)| s == sequence && now.saturating_duration_since(at) < again_after);
        if twice {
            return false;
        }
        self.resent += bytes;
        if self.recent.len() < REMEMBERED {
            self.recent.push((sequence, now));
        } else {
            self.recent[self.next] = (sequence, now);
            self.next = (self.next + 1) % REMEMBERED;
        }
        true
    }

    fn roll(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window_start) >= Duration::from_secs(1) {
            self.window_start = now;
            self.forwarded /= 2; // half of the last second still counts: no cliff at the window's edge
            self.resent = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_round_trip_and_within_the_budget() {
        let t0 = crate::test_clock();
        let rtt = Duration::from_millis(40);
        let mut guard = ResendGuard::new(3_000, t0);
        assert!(guard.allow(5, 1_000, rtt, t0));
        assert!(!guard.allow(5, 1_000, rtt, t0 + Duration::from_millis(10)), "asked twice");
        assert!(guard.allow(5, 1_000, rtt, t0 + Duration::from_millis(31)));
        assert!(guard.allow(6, 1_000, rtt, t0));
        assert!(!guard.allow(7, 1_000, rtt, t0), "over the floor");
        guard.on_forwarded(10_000, t0);
        assert!(guard.allow(7, 1_000, rtt, t0), "a share of what is forwarded");
        assert!(guard.allow(8, 1_000, rtt, t0 + Duration::from_secs(2)));
    }
}
