//! What shards must agree about: how many allocations each user has.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts allocations by user across the shards of one process, which share it in an `Arc`. It is locked when an
/// allocation is made and when it ends, never for a packet.
///
/// Memory: one entry for each user with live allocations, so never more entries than allocations.
#[derive(Debug, Default)]
pub struct Ledger {
    users: Mutex<BTreeMap<Box<[u8]>, u32>>,
}

impl Ledger {
    /// Counts one more allocation of `user`, unless there are `max` already.
    pub(crate) fn admit(&self, user: &[u8], max: u32) -> bool {
        let mut users = self.lock();
        match users.get_mut(user) {
            Some(count) if *count >= max => false,
            Some(count) => {
                *count += 1;
                true
            }
            None if max > 0 => {
                users.insert(user.into(), 1);
                true
            }
            None => false,
        }
    }

    /// Counts one allocation of `user` less.
    pub(crate) fn release(&self, user: &[u8]) {
        let mut users = self.lock();
        if let Some(count) = users.get_mut(user) {
            *count -= 1;
            if *count == 0 {
                users.remove(user);
            }
        }
    }

    /// Users with live allocations.
    #[must_use]
    pub fn users(&self) -> usize {
        self.lock().len()
    }

    /// A shard that panicked leaves counts that are right: each change is one step.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Box<[u8]>, u32>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
