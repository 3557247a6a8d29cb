//! Which relay ports are taken, and which one is next: not to be guessed from those before it (RFC 8656 §7.2).

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use rand_chacha::rand_core::RngCore;
use trunkline_stun::AddressFamily;

use crate::Ledger;
use crate::allocation::place;
use crate::ledger::Token;

/// What kind of port an Allocate asks for (RFC 8656 §§7.1, 18.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PortKind {
    /// Any.
    Any,
    /// EVEN-PORT.
    Even,
    /// EVEN-PORT with the R bit: an even one, and the next one held with it.
    EvenWithNext,
    /// RESERVATION-TOKEN: that one and no other, so it is never taken out of a pool.
    Reserved,
}

/// One shard's ports, and those of them that it holds under a token.
#[derive(Debug)]
pub(crate) struct Ports {
    /// IPv4, IPv6.
    pools: [PortPool; 2],
    pub(crate) ledger: Arc<Ledger>,
    /// Tokens of this shard with the time of their end, which is the order of their making. Those that were asked
    /// for stay until then.
    tokens: VecDeque<(Instant, Token)>,
    tokens_max: usize,
}

impl Ports {
    pub(crate) fn new(range: &RangeInclusive<u16>, ledger: Arc<Ledger>, tokens_max: usize) -> Self {
        let pools = [PortPool::new(range), PortPool::new(range)];
        Self { pools, ledger, tokens: VecDeque::new(), tokens_max }
    }

    /// Takes a free port; see [`PortPool::take`].
    pub(crate) fn take(
        &mut self,
        family: AddressFamily,
        kind: PortKind,
        rng: &mut impl RngCore,
    ) -> Option<u16> {
        if kind == PortKind::EvenWithNext && self.tokens.len() >= self.tokens_max {
            return None;
        }
        let [v4, v6] = &mut self.pools;
        self.ledger.collect(v4, v6);
        self.pools[place(family)].take(rng, kind)
    }

    /// Gives a port back: to its pool, which may be another shard's if it was reserved there.
    pub(crate) fn release(&mut self, family: AddressFamily, port: u16) {
        if !self.pools[place(family)].release(port) {
            self.ledger.give_back(family, port);
        }
    }

    /// Holds a port of ours under a token until `end`, which is not before that of any token so far.
    pub(crate) fn reserve(
        &mut self,
        token: Token,
        user: &[u8],
        family: AddressFamily,
        port: u16,
        end: Instant,
    ) {
        self.ledger.reserve(token, user, family, port);
        self.tokens.push_back((end, token));
    }

    /// The end of the oldest token.
    pub(crate) fn next_end(&self) -> Option<Instant> {
        self.tokens.front().map(|(end, _)| *end)
    }

    /// Ends the oldest token if its time has come; whether it had.
    pub(crate) fn end_token(&mut self, now: Instant) -> bool {
        let Some((_, token)) = self.tokens.pop_front_if(|(end, _)| *end <= now) else { return false };
        if let Some((family, port)) = self.ledger.expire(&token) {
            self.release(family, port);
        }
        true
    }

    /// Ports that are taken, in both families.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn count(&self) -> u32 {
        self.pools.iter().map(|pool| pool.count).sum()
    }
}

/// The free ports of one address, one bit each.
#[derive(Debug)]
pub(crate) struct PortPool {
    first: u16,
    last: u16,
    taken: Vec<u64>,
    count: u32,
}

impl PortPool {
    pub(crate) fn new(range: &RangeInclusive<u16>) -> Self {
        let (first, last) = (*range.start(), *range.end());
        let size = usize::from(last - first) + 1;
        Self { first, last, taken: vec![0; size.div_ceil(64)], count: 0 }
    }

    /// Takes a free port, and the one after it if so asked; `None` when there is none.
    ///
    /// A random start, then the next free one: at most one pass over the range.
    pub(crate) fn take(&mut self, rng: &mut impl RngCore, kind: PortKind) -> Option<u16> {
        let size = u32::from(self.last - self.first) + 1;
        if self.count == size {
            return None;
        }
        let start = ((u64::from(rng.next_u32()) * u64::from(size)) >> 32) as u32;
        let index = (start..size).chain(0..start).find(|index| {
            let even = (u32::from(self.first) + index).is_multiple_of(2);
            !self.is_taken(*index)
                && match kind {
                    PortKind::Any | PortKind::Reserved => true,
                    PortKind::Even => even,
                    PortKind::EvenWithNext => even && index + 1 < size && !self.is_taken(index + 1),
                }
        })?;
        self.set(index);
        if kind == PortKind::EvenWithNext {
            self.set(index + 1);
        }
        u16::try_from(u32::from(self.first) + index).ok()
    }

    /// Gives a port back. False if it is not of this pool; one that is not taken is ignored.
    pub(crate) fn release(&mut self, port: u16) -> bool {
        let Some(index) = port.checked_sub(self.first).filter(|_| port <= self.last).map(u32::from) else {
            return false;
        };
        if self.is_taken(index) {
            self.taken[index as usize / 64] &= !(1 << (index % 64));
            self.count -= 1;
        }
        true
    }

    fn set(&mut self, index: u32) {
        self.taken[index as usize / 64] |= 1 << (index % 64);
        self.count += 1;
    }

    fn is_taken(&self, index: u32) -> bool {
        self.taken[index as usize / 64] & (1 << (index % 64)) != 0
    }
}
