//! Token buckets, each kept as one number: the time at which it will be full again.

use std::time::Duration;

/// Costs are kept in 2⁻²⁰ ns, so that a fast pace is not rounded away.
const SHIFT: u32 = 20;

/// How fast a bucket fills and how much it holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// The time that one unit takes to come back, in 2⁻²⁰ ns.
    unit: u64,
    /// The time that an empty bucket takes to fill, in ns.
    depth: u64,
}

/// The time at which the bucket is full, in ns since the server's start. In the past: it is full now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bucket(u64);

impl Pace {
    /// `per_second` units, and a bucket that fills in `depth`.
    pub(crate) fn new(per_second: u64, depth: Duration) -> Self {
        Self {
            unit: (1_000_000_000 << SHIFT) / per_second.max(1),
            depth: u64::try_from(depth.as_nanos()).unwrap_or(u64::MAX),
        }
    }

    /// The bucket after `units` were taken; `None` when it does not hold so many.
    pub(crate) fn take(&self, bucket: Bucket, units: u64, now: u64) -> Option<Bucket> {
        let cost = self.unit.saturating_mul(units) >> SHIFT;
        let full_at = bucket.0.max(now).saturating_add(cost);
        (full_at - now <= self.depth).then_some(Bucket(full_at))
    }
}

/// Packets and bytes a second together; what exceeds either is dropped. Both hold what passes in a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RelayPace {
    packets: Pace,
    bytes: Pace,
}

/// The state of a [`RelayPace`].
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RelayBuckets {
    packets: Bucket,
    bytes: Bucket,
}

impl RelayPace {
    pub(crate) fn new(packets_per_second: u64, bytes_per_second: u64) -> Self {
        let second = Duration::from_secs(1);
        Self { packets: Pace::new(packets_per_second, second), bytes: Pace::new(bytes_per_second, second) }
    }

    /// Takes one packet of that many bytes, or nothing if it does not fit.
    pub(crate) fn admit(&self, buckets: &mut RelayBuckets, bytes: usize, now: u64) -> bool {
        let taken =
            (self.packets.take(buckets.packets, 1, now), self.bytes.take(buckets.bytes, bytes as u64, now));
        let (Some(packets), Some(bytes)) = taken else { return false };
        *buckets = RelayBuckets { packets, bytes };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// How many packets of that size pass in `seconds`, one tried every microsecond.
    fn passed(pace: &RelayPace, bytes: usize, seconds: u64) -> u64 {
        let mut buckets = RelayBuckets::default();
        let tries = 0..seconds * SECOND / 1000;
        tries.filter(|i| pace.admit(&mut buckets, bytes, i * 1000)).count() as u64
    }

    #[test]
    fn a_burst_then_the_pace() {
        // A second's worth at once, then as many a second.
        assert_eq!(passed(&RelayPace::new(1000, u64::MAX), 100, 4), 5000 - 1);
        assert_eq!(passed(&RelayPace::new(u64::MAX, 1_000_000), 1000, 4), 5000 - 1);
        assert_eq!(passed(&RelayPace::new(u64::MAX, u64::MAX), 1200, 1), 1_000_000);
        let pace = RelayPace::new(10, u64::MAX);
        let mut buckets = RelayBuckets::default();
        let mut burst = |now| (0..100).filter(|_| pace.admit(&mut buckets, 1, now)).count();
        assert_eq!(
            [burst(0), burst(SECOND / 2), burst(10 * SECOND)],
            [10, 5, 10],
            "never more than it holds"
        );
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let pace = RelayPace::new(1000, 100_000);
        let mut buckets = RelayBuckets::default();
        assert!(pace.admit(&mut buckets, 60_000, 0));
        assert!(!pace.admit(&mut buckets, 60_000, 0));
        assert!(pace.admit(&mut buckets, 40_000, 0));
        assert!(!pace.admit(&mut buckets, 1, 0));
    }
}
