//! Which relay ports are taken, and which one is next: not to be guessed from those before it (RFC 8656 §7.2).

use std::ops::RangeInclusive;

use rand_chacha::rand_core::RngCore;

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

    /// Takes a free port, an even one if asked; `None` when there is none.
    ///
    /// A random start, then the next free one: at most one pass over the range.
    pub(crate) fn take(&mut self, rng: &mut impl RngCore, even: bool) -> Option<u16> {
        let size = u32::from(self.last - self.first) + 1;
        if self.count == size {
            return None;
        }
        let start = ((u64::from(rng.next_u32()) * u64::from(size)) >> 32) as u32;
        let index = (start..size).chain(0..start).find(|index| {
            let port_is_even = (u32::from(self.first) + index).is_multiple_of(2);
            !self.is_taken(*index) && (!even || port_is_even)
        })?;
        self.taken[index as usize / 64] |= 1 << (index % 64);
        self.count += 1;
        u16::try_from(u32::from(self.first) + index).ok()
    }

    /// Gives a port back; one that is not taken is ignored.
    pub(crate) fn release(&mut self, port: u16) {
        let Some(index) = port.checked_sub(self.first).filter(|_| port <= self.last).map(u32::from) else {
            return;
        };
        if self.is_taken(index) {
            self.taken[index as usize / 64] &= !(1 << (index % 64));
            self.count -= 1;
        }
    }

    fn is_taken(&self, index: u32) -> bool {
        self.taken[index as usize / 64] & (1 << (index % 64)) != 0
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }
}
