//! How much, and how fast.

use std::time::Duration;

/// An amount of data in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataSize(u64);

impl DataSize {
    /// Nothing.
    pub const ZERO: DataSize = DataSize(0);

    /// An amount in bytes.
    pub const fn from_bytes(bytes: u64) -> Self {
        DataSize(bytes)
    }

    /// The amount in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The amount in bits; saturates.
    pub const fn bits(self) -> u64 {
        self.0.saturating_mul(8)
    }

    /// The sum; saturates.
    pub const fn saturating_add(self, other: DataSize) -> DataSize {
        DataSize(self.0.saturating_add(other.0))
    }

    /// The difference, never below zero.
    pub const fn saturating_sub(self, other: DataSize) -> DataSize {
        DataSize(self.0.saturating_sub(other.0))
    }
}

/// A rate of data in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DataRate(u64);

impl DataRate {
    /// Nothing at all.
    pub const ZERO: DataRate = DataRate(0);

    /// A rate in bits per second.
    pub const fn from_bps(bits_per_second: u64) -> Self {
        DataRate(bits_per_second)
    }

    /// A rate in kilobits (1,000 bits) per second; saturates.
    pub const fn from_kbps(kilobits_per_second: u64) -> Self {
        DataRate(kilobits_per_second.saturating_mul(1_000))
    }

    /// The rate in bits per second.
    pub const fn bps(self) -> u64 {
        self.0
    }

    /// What this rate carries in `time`, rounded down; saturates.
    pub fn over(self, time: Duration) -> DataSize {
        let bits = u128::from(self.0) * time.as_nanos() / 1_000_000_000;
        DataSize(u64::try_from(bits / 8).unwrap_or(u64::MAX))
    }

    /// How long `size` takes at this rate; `None` at rate zero.
    pub fn time_for(self, size: DataSize) -> Option<Duration> {
        if self.0 == 0 {
            return None;
        }
        let nanos = u128::from(size.0) * 8 * 1_000_000_000 / u128::from(self.0);
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}
