//! Token buckets: how often.

use std::time::{Duration, Instant};

/// A sustained rate and the burst above it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens that come back each second.
    pub per_second: f64,
    /// Tokens that a full bucket holds; at least 1.
    pub burst: f64,
}

/// A bucket that fills by itself. Costs 24 bytes; the [`Rate`] is the caller's.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        TokenBucket { tokens: rate.burst, filled_at: now }
    }

    /// Takes one token, or says how long until there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let idle = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + idle * rate.per_second).min(rate.burst);
        self.filled_at = self.filled_at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.tokens) / rate.per_second.max(1e-6);
        Err(Duration::from_secs_f64(wait.min(3_600.0)))
    }

    /// Whether it is as full as a new one, so that forgetting it forgives nothing.
    pub fn is_full(&self, rate: Rate, now: Instant) -> bool {
        let idle = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens + idle * rate.per_second >= rate.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mirrors a client that sends a burst, waits as told, and goes on at the sustained rate.
    #[test]
    fn a_burst_then_the_rate() {
        // A fixed origin: only differences count.
        let start = std::hint::black_box(origin());
        let rate = Rate { per_second: 4.0, burst: 2.0 };
        let mut bucket = TokenBucket::new(rate, start);
        assert!(bucket.take(rate, start).is_ok());
        assert!(bucket.take(rate, start).is_ok());
        let wait = bucket.take(rate, start).unwrap_err();
        assert_eq!(wait, Duration::from_millis(250));
        assert!(bucket.take(rate, start + wait).is_ok());
        assert!(bucket.take(rate, start + wait).is_err());
        assert!(!bucket.is_full(rate, start + wait));
        assert!(bucket.is_full(rate, start + Duration::from_secs(2)));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let start = origin() + Duration::from_secs(10);
        let rate = Rate { per_second: 1.0, burst: 1.0 };
        let mut bucket = TokenBucket::new(rate, start);
        assert!(bucket.take(rate, start).is_ok());
        assert!(bucket.take(rate, start - Duration::from_secs(5)).is_err());
        assert!(bucket.take(rate, start).is_err());
    }

    #[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
    fn origin() -> Instant {
        Instant::now()
    }
}
