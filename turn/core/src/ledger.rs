//! What shards must agree about: how many allocations each user has, and which ports are reserved for whom.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use trunkline_stun::AddressFamily;

use crate::ports::PortPool;

/// RESERVATION-TOKEN (RFC 8656 §18.11): 64 random bits.
pub(crate) type Token = [u8; 8];

/// Shared by the shards of one process, in an `Arc`. It is locked when an allocation is made and when it ends, never
/// for a packet.
///
/// A client's two connections may be on two shards, so its quota is counted here, and a port that one shard reserved
/// can be asked for at another. Memory: an entry for each user with allocations or reservations, and one for each
/// reserved port, so never more entries than relay ports.
#[derive(Debug, Default)]
pub struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// How many relays each user has, reservations included.
    users: BTreeMap<Box<[u8]>, u32>,
    reservations: BTreeMap<Token, Reservation>,
    /// Ports that other shards were given by reservation and are done with.
    returned: Vec<(AddressFamily, u16)>,
}

#[derive(Debug)]
struct Reservation {
    user: Box<[u8]>,
    family: AddressFamily,
    port: u16,
}

impl Ledger {
    /// Counts `count` more of `user`, unless that would make more than `max`.
    pub(crate) fn admit(&self, user: &[u8], count: u32, max: u32) -> bool {
        let mut inner = self.lock();
        match inner.users.get_mut(user) {
            Some(counted) if *counted + count <= max => *counted += count,
            None if count <= max => {
                inner.users.insert(user.into(), count);
            }
            _ => return false,
        }
        true
    }

    /// Counts one of `user` less.
    pub(crate) fn release(&self, user: &[u8]) {
        self.lock().release(user);
    }

    /// Holds a port under a token for `user`, who has been counted for it.
    pub(crate) fn reserve(&self, token: Token, user: &[u8], family: AddressFamily, port: u16) {
        self.lock().reservations.insert(token, Reservation { user: user.into(), family, port });
    }

    /// The port held under a token, if it is that user's. The port and its count pass to the caller.
    pub(crate) fn redeem(&self, token: &Token, user: &[u8]) -> Option<(AddressFamily, u16)> {
        let mut inner = self.lock();
        inner.reservations.get(token).filter(|reservation| *reservation.user == *user)?;
        let reservation = inner.reservations.remove(token)?;
        Some((reservation.family, reservation.port))
    }

    /// Forgets a token whose time is over, and counts its user's reservation no more. The port passes to the caller.
    pub(crate) fn expire(&self, token: &Token) -> Option<(AddressFamily, u16)> {
        let mut inner = self.lock();
        let reservation = inner.reservations.remove(token)?;
        inner.release(&reservation.user);
        Some((reservation.family, reservation.port))
    }

    /// Takes back a port that belongs to another shard's pool.
    pub(crate) fn give_back(&self, family: AddressFamily, port: u16) {
        self.lock().returned.push((family, port));
    }

    /// Puts what was given back into the pools that it belongs to.
    pub(crate) fn collect(&self, v4: &mut PortPool, v6: &mut PortPool) {
        self.lock().returned.retain(|(family, port)| match family {
            AddressFamily::V4 => !v4.release(*port),
            AddressFamily::V6 => !v6.release(*port),
        });
    }

    /// Users with allocations or reservations.
    #[must_use]
    pub fn users(&self) -> usize {
        self.lock().users.len()
    }

    /// Ports that are held under a token.
    #[must_use]
    pub fn reservations(&self) -> usize {
        self.lock().reservations.len()
    }

    /// The most that is counted for any user.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn largest(&self) -> u32 {
        self.lock().users.values().copied().max().unwrap_or(0)
    }

    /// A shard that panicked leaves counts that are right: each change is one step.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn release(&mut self, user: &[u8]) {
        if let Some(count) = self.users.get_mut(user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.users.remove(user);
            }
        }
    }
}
