//! Records arrivals by transport-wide sequence number, for the feedback of
//! draft-holmer-rmcat-transport-wide-cc-extensions-01.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::rtp::SequenceExtender;

/// Time between two feedback packets. Lower reacts sooner; higher spends less of the uplink.
pub const FEEDBACK_INTERVAL: Duration = Duration::from_millis(50);
/// Statuses in one feedback packet: at 50 ms this is 8,000 packets a second from one publisher.
const STATUSES_MAX: u64 = 400;
/// Arrivals kept between two feedbacks.
const PENDING_MAX: usize = 800;

/// Arrivals of one transport since the last feedback.
pub struct ArrivalRecorder {
    extender: SequenceExtender,
    pending: BTreeMap<u64, Instant>,
    next_base: u64,
    epoch: Instant,
    feedback_count: u8,
    first_pending_at: Option<Instant>,
}

/// One feedback packet's content: a run of sequence numbers from `base`, each arrived or not.
pub struct Feedback {
    /// Counts feedback packets, wrapping.
    pub count: u8,
    /// First sequence number reported, with when each arrived since the recorder's epoch.
    pub statuses: Vec<(u64, Option<Duration>)>,
}

impl ArrivalRecorder {
    /// `epoch` is the origin of the feedback's reference time.
    pub fn new(epoch: Instant) -> Self {
        Self {
            extender: SequenceExtender::default(),
            pending: BTreeMap::new(),
            next_base: 0,
            epoch,
            feedback_count: 0,
            first_pending_at: None,
        }
    }

    /// Notes a packet's arrival.
    pub fn on_packet(&mut self, sequence: u16, now: Instant) {
        let sequence = self.extender.extend(sequence);
        if self.pending.len() >= PENDING_MAX {
            self.pending.pop_first();
        }
        self.pending.entry(sequence).or_insert(now);
        self.first_pending_at.get_or_insert(now);
    }

    /// When the next feedback is due, if anything arrived.
    pub fn next_at(&self) -> Option<Instant> {
        self.first_pending_at.map(|at| at + FEEDBACK_INTERVAL)
    }

    /// The feedback that is due at `now`, if any. Call again until `None`: a long run is split.
    pub fn take(&mut self, now: Instant) -> Option<Feedback> {
        if self.next_at()? > now {
            return None;
        }
        let (&first, _) = self.pending.first_key_value()?;
        let (&last, _) = self.pending.last_key_value()?;
        // Report the gap since the last feedback too, unless it is a restart's jump; a late packet is reported anew.
        let base =
            if first > self.next_base && first - self.next_base < STATUSES_MAX / 2 && self.next_base > 0 {
                self.next_base
            } else {
                first
            };
        let end = if first < self.next_base {
            // Late ones, by themselves: what lies behind them was reported before, and is not to be called lost now.
            (first..)
                .find(|s| !self.pending.contains_key(&(s + 1)))
                .unwrap_or(first)
                .min(base + STATUSES_MAX - 1)
        } else {
            last.min(base + STATUSES_MAX - 1)
        };
        let statuses = (base..=end)
            .map(|s| (s, self.pending.remove(&s).map(|at| at.saturating_duration_since(self.epoch))))
            .collect();
        self.next_base = self.next_base.max(end + 1);
        if self.pending.is_empty() {
            self.first_pending_at = None;
        }
        let count = self.feedback_count;
        self.feedback_count = count.wrapping_add(1);
        Some(Feedback { count, statuses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_gaps_between_feedbacks_and_wraps() {
        let t0 = crate::test_clock();
        let mut recorder = ArrivalRecorder::new(t0);
        for s in [65_533u16, 65_534, 0] {
            recorder.on_packet(s, t0 + Duration::from_millis(1));
        }
        assert!(recorder.take(t0 + Duration::from_millis(20)).is_none());
        let f = recorder.take(t0 + Duration::from_millis(60)).unwrap();
        let seen: Vec<_> = f.statuses.iter().map(|(s, a)| (*s as u16, a.is_some())).collect();
        assert_eq!(seen, [(65_533, true), (65_534, true), (65_535, false), (0, true)]);
        recorder.on_packet(3, t0 + Duration::from_millis(70));
        let f = recorder.take(t0 + Duration::from_millis(130)).unwrap();
        assert_eq!(f.count, 1);
        let seen: Vec<_> = f.statuses.iter().map(|(s, a)| (*s as u16, a.is_some())).collect();
        assert_eq!(seen, [(1, false), (2, false), (3, true)]);
        assert!(recorder.take(t0 + Duration::from_secs(9)).is_none());
    }

    #[test]
    fn a_late_packet_is_reported_without_taking_back_the_others() {
        let t0 = crate::test_clock();
        let mut recorder = ArrivalRecorder::new(t0);
        let seen = |f: Feedback| f.statuses.iter().map(|(s, a)| (*s as u16, a.is_some())).collect::<Vec<_>>();
        for s in [10, 11, 13, 14] {
            recorder.on_packet(s, t0);
        }
        let first = recorder.take(t0 + Duration::from_millis(50)).unwrap();
        assert_eq!(seen(first), [(10, true), (11, true), (12, false), (13, true), (14, true)]);
        for s in [12, 15] {
            recorder.on_packet(s, t0 + Duration::from_millis(51));
        }
        let later = t0 + Duration::from_millis(101);
        assert_eq!(seen(recorder.take(later).unwrap()), [(12, true)]);
        assert_eq!(seen(recorder.take(later).unwrap()), [(15, true)]);
        assert!(recorder.take(later).is_none());
    }

    #[test]
    fn a_hostile_jump_costs_no_more_than_one_bounded_feedback() {
        let t0 = crate::test_clock();
        let mut recorder = ArrivalRecorder::new(t0);
        for s in (0..60_000u16).step_by(7) {
            recorder.on_packet(s, t0);
        }
        let f = recorder.take(t0 + Duration::from_millis(51)).unwrap();
        assert!(f.statuses.len() <= STATUSES_MAX as usize);
    }
}
