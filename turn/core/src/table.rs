//! Containers that keep a core replayable: keyed look-ups that never iterate, a slab, and a limiter by source.

#[allow(clippy::disallowed_types, reason = "behind a type that never iterates")]
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::time::Instant;

use siphasher::sip::SipHasher13;

/// Hashes under a key of ours, so that clients cannot choose colliding addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyedHash {
    keys: (u64, u64),
}

impl KeyedHash {
    pub(crate) fn new(keys: (u64, u64)) -> Self {
        Self { keys }
    }
}

impl BuildHasher for KeyedHash {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1)
    }
}

/// A hash map without iteration: its order would not replay.
#[derive(Debug)]
pub(crate) struct Lookup<K, V> {
    #[allow(clippy::disallowed_types, reason = "behind a type that never iterates")]
    map: HashMap<K, V, KeyedHash>,
}

impl<K: Hash + Eq, V> Lookup<K, V> {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        #[allow(clippy::disallowed_types, reason = "behind a type that never iterates")]
        let map = HashMap::with_hasher(hash);
        Self { map }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.map.get(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.map.insert(key, value);
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        self.map.remove(key);
        // A burst of allocations must not hold its memory for ever.
        if self.map.capacity() > 64 && self.map.len() * 8 < self.map.capacity() {
            self.map.shrink_to(self.map.len() * 2);
        }
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

/// Values at small indices, each index with a generation that grows when it is reused.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    max: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slab<T> {
    pub(crate) fn new(max: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), max }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty() && self.slots.len() >= self.max
    }

    /// Stores a value; `None` when `max` are stored.
    pub(crate) fn insert(&mut self, value: T) -> Option<(u32, u32)> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.max => {
                self.slots.push(Slot { generation: 0, value: None });
                u32::try_from(self.slots.len() - 1).ok()?
            }
            None => return None,
        };
        let slot = &mut self.slots[index as usize];
        slot.value = Some(value);
        Some((index, slot.generation))
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    /// A value with the generation under which it is stored.
    pub(crate) fn entry(&mut self, index: u32) -> Option<(u32, &mut T)> {
        let slot = self.slots.get_mut(index as usize)?;
        slot.value.as_mut().map(|value| (slot.generation, value))
    }
}

/// Counts answers per source and second in a fixed table: sources that share a bucket share its allowance.
#[derive(Debug)]
pub(crate) struct SourceLimiter {
    buckets: Box<[Bucket]>,
    hash: KeyedHash,
    per_second: u32,
    start: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    second: u32,
    count: u32,
}

/// A power of two: 8 bytes each, 32 KiB in all.
const BUCKETS: usize = 4096;

impl SourceLimiter {
    pub(crate) fn new(hash: KeyedHash, per_second: u32, start: Instant) -> Self {
        Self { buckets: vec![Bucket::default(); BUCKETS].into(), hash, per_second, start }
    }

    /// Whether the source may have one more answer this second.
    pub(crate) fn admit(&mut self, source: std::net::IpAddr, now: Instant) -> bool {
        let prefix = match source {
            std::net::IpAddr::V4(ip) => u64::from(ip.to_bits()),
            // One subscriber commonly holds a /64.
            std::net::IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64,
        };
        let second = now.saturating_duration_since(self.start).as_secs() as u32;
        let index = (self.hash.hash_one((source.is_ipv4(), prefix)) as usize) & (BUCKETS - 1);
        let bucket = &mut self.buckets[index];
        if bucket.second != second {
            *bucket = Bucket { second, count: 0 };
        }
        bucket.count = bucket.count.saturating_add(1);
        bucket.count <= self.per_second
    }
}
