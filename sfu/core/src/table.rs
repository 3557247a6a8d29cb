//! A hash table that cannot be iterated, so that no output ever depends on its order.
#![allow(clippy::disallowed_types)] // the one place: iteration is not offered

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// Look-up only; holds at most `max` entries.
pub(crate) struct Table<K, V> {
    map: HashMap<K, V>,
    max: usize,
}

impl<K: Hash + Eq, V> Table<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        Self { map: HashMap::new(), max }
    }

    pub(crate) fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.map.get(key)
    }

    /// False, and nothing stored, when the table is full.
    #[must_use]
    pub(crate) fn insert(&mut self, key: K, value: V) -> bool {
        if self.map.len() >= self.max && !self.map.contains_key(&key) {
            return false;
        }
        self.map.insert(key, value);
        true
    }

    pub(crate) fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.map.remove(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}
