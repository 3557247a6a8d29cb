//! How many connections there may be, over all shards.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections by source. Locked when one is accepted and when one ends, never for a packet.
///
/// Memory: one entry for each source with open connections, so never more than connections.
#[derive(Debug)]
pub(crate) struct Places {
    total_max: usize,
    source_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_source: HashMap<Source, usize>,
}

/// An IPv4 address, or the /64 of an IPv6 one: what one subscriber commonly holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.to_bits()),
            IpAddr::V6(ip) => Self::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

/// Why a connection is closed as soon as it is accepted; also the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// All places are taken.
    Total,
    /// The source has its share.
    Source,
}

impl Full {
    pub(crate) const ALL: [Self; 2] = [Self::Total, Self::Source];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Source => "source",
        }
    }
}

/// A connection's place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    source: Source,
}

impl Places {
    pub(crate) fn new(total_max: usize, source_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, source_max, taken: Mutex::default() })
    }

    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr) -> Result<Place, Full> {
        let source = Source::from(ip);
        let mut taken = self.lock();
        if taken.total >= self.total_max {
            return Err(Full::Total);
        }
        let count = taken.by_source.get(&source).copied().unwrap_or(0);
        if count >= self.source_max {
            return Err(Full::Source);
        }
        taken.by_source.insert(source, count + 1);
        taken.total += 1;
        Ok(Place { places: self.clone(), source })
    }

    /// A shard that panicked leaves counts that are right but for the one it was changing.
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        if let Some(count) = taken.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                taken.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_source_and_come_back() {
        let places = Places::new(3, 2);
        let take = |ip: &str| places.take(ip.parse().unwrap());
        let first = take("192.0.2.1").unwrap();
        let _second = take("::ffff:192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), Full::Source);
        let _third = take("2001:db8::1").unwrap();
        assert_eq!(take("2001:db8::2").unwrap_err(), Full::Total);
        drop(first);
        let _fourth = take("2001:db8::2").unwrap();
        assert_eq!(take("192.0.2.1").unwrap_err(), Full::Total);
        drop((_second, _third, _fourth));
        assert!(places.lock().by_source.is_empty() && places.lock().total == 0);
        assert!(take("2001:db8:0:0::1").is_ok());
    }

    #[test]
    fn one_ipv6_network_is_one_source() {
        let places = Places::new(10, 1);
        let _one = places.take("2001:db8:0:1::1".parse().unwrap()).unwrap();
        assert_eq!(places.take("2001:db8:0:1:ffff::2".parse().unwrap()).unwrap_err(), Full::Source);
        assert!(places.take("2001:db8:0:2::1".parse().unwrap()).is_ok());
    }
}
