//! Deadlines in a hashed timer wheel: setting, moving and clearing one costs the same however many there are, and
//! allocates only when an index is larger than any before it.

use std::time::{Duration, Instant};

/// Slots, a second each: a lifetime of up to 68 minutes is found in its first revolution.
const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
const NONE: u32 = u32::MAX;

/// One deadline for each small index at most, on full seconds since `start`: a deadline between two is due at the
/// later one.
#[derive(Debug)]
pub(crate) struct Wheel {
    start: Instant,
    /// The first index of each slot's list.
    heads: Box<[u32]>,
    /// A bit for each slot whose list is not empty.
    occupied: [u64; WORDS],
    nodes: Vec<Node>,
    /// The first second that has not been looked at to its end.
    cursor: u32,
    set: usize,
}

/// An index in its slot's list, doubly linked.
#[derive(Debug, Clone, Copy)]
struct Node {
    previous: u32,
    next: u32,
    /// `NONE` when no deadline is set.
    second: u32,
}

const UNSET: Node = Node { previous: NONE, next: NONE, second: NONE };

fn slot_of(second: u32) -> usize {
    second as usize % SLOTS
}

impl Wheel {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            heads: vec![NONE; SLOTS].into(),
            occupied: [0; WORDS],
            nodes: Vec::new(),
            cursor: 0,
            set: 0,
        }
    }

    /// Sets or moves the deadline of `index`.
    pub(crate) fn set(&mut self, index: u32, at: Instant) {
        self.clear(index);
        let since = at.saturating_duration_since(self.start);
        let second = since.as_secs() + u64::from(since.subsec_nanos() > 0);
        let second = u32::try_from(second).unwrap_or(NONE - 1).min(NONE - 1).max(self.cursor);
        if self.nodes.len() <= index as usize {
            self.nodes.resize(index as usize + 1, UNSET);
        }
        let slot = slot_of(second);
        let next = std::mem::replace(&mut self.heads[slot], index);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = index;
        }
        self.nodes[index as usize] = Node { previous: NONE, next, second };
        self.occupied[slot / 64] |= 1 << (slot % 64);
        self.set += 1;
    }

    /// Forgets the deadline of `index`, if it has one.
    pub(crate) fn clear(&mut self, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize).filter(|node| node.second != NONE) else {
            return;
        };
        let Node { previous, next, second } = std::mem::replace(node, UNSET);
        if let Some(next) = self.nodes.get_mut(next as usize) {
            next.previous = previous;
        }
        let slot = slot_of(second);
        match self.nodes.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.heads[slot] = next,
        }
        if self.heads[slot] == NONE {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
        self.set -= 1;
    }

    /// No deadline is before it. It may be early by whole revolutions for those more than [`SLOTS`] seconds away.
    pub(crate) fn next(&self) -> Option<Instant> {
        let second = self.next_second()?;
        Some(self.start + Duration::from_secs(second.into()))
    }

    /// Takes out an index whose deadline is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let now = u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(NONE - 1);
        while self.cursor <= now {
            let mut index = self.heads[slot_of(self.cursor)];
            while let Some(node) = self.nodes.get(index as usize) {
                if node.second <= self.cursor {
                    self.clear(index);
                    return Some(index);
                }
                index = node.next;
            }
            self.cursor += 1;
            self.cursor = self.next_second().map_or(now + 1, |next| next.min(now + 1));
        }
        None
    }

    /// The first second from the cursor on whose slot is not empty.
    fn next_second(&self) -> Option<u32> {
        if self.set == 0 {
            return None;
        }
        let from = slot_of(self.cursor);
        // The cursor's word twice: its bits from the cursor on first, those before it last.
        (0..=WORDS).find_map(|step| {
            let word = (from / 64 + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << (from % 64),
                WORDS => !(u64::MAX << (from % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[word] & mask;
            let slot = word * 64 + bits.trailing_zeros() as usize;
            (bits != 0).then(|| self.cursor.saturating_add(((slot + SLOTS - from) % SLOTS) as u32))
        })
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn len(&self) -> usize {
        self.set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[allow(clippy::disallowed_methods, reason = "an origin: only differences count")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn due_at_the_second_not_before() {
        let start = origin();
        let mut wheel = Wheel::new(start);
        assert_eq!((wheel.next(), wheel.pop_due(start + ms(5000))), (None, None));
        wheel.set(3, start + ms(10_500));
        wheel.set(0, start + ms(11_000));
        wheel.set(7, start + ms(9_000_000));
        assert_eq!(wheel.next(), Some(start + ms(11_000)));
        assert_eq!(wheel.pop_due(start + ms(10_999)), None);
        let both = [wheel.pop_due(start + ms(11_000)), wheel.pop_due(start + ms(11_000))];
        assert_eq!(both, [Some(0), Some(3)]);
        assert_eq!(wheel.pop_due(start + ms(8_999_999)), None);
        assert_eq!(wheel.pop_due(start + ms(9_000_000)), Some(7));
        wheel.set(1, start);
        assert_eq!(wheel.pop_due(start + ms(9_001_000)), Some(1), "one that is past is due next");
        assert_eq!(wheel.len(), 0);
    }

    proptest! {
        /// The model: a map of deadlines rounded up to seconds.
        #[test]
        fn like_an_ordered_map(
            steps in prop::collection::vec((0..12_u32, 0..20_000_u64, 0..3_u8, 0..6_000_u64), 0..200),
        ) {
            let start = origin();
            let (mut wheel, mut model, mut now) = (Wheel::new(start), BTreeMap::new(), 0_u64);
            for (index, ahead, action, pass) in steps {
                if action == 0 {
                    wheel.clear(index);
                    model.remove(&index);
                } else {
                    let at = now + ahead * 1000 + u64::from(index);
                    wheel.set(index, start + ms(at));
                    model.insert(index, at.div_ceil(1000));
                }
                if action == 2 {
                    now += pass * 1000 + 1;
                    let mut due = Vec::new();
                    while let Some(index) = wheel.pop_due(start + ms(now)) {
                        due.push(index);
                    }
                    due.sort_unstable();
                    let second = now / 1000;
                    let expected: Vec<_> =
                        model.iter().filter(|(_, at)| **at <= second).map(|(index, _)| *index).collect();
                    prop_assert_eq!(due, expected);
                    model.retain(|_, at| *at > second);
                }
                prop_assert_eq!(wheel.len(), model.len());
                let first = model.values().min().map(|at| start + ms(at * 1000));
                prop_assert!(wheel.next() <= first && wheel.next().is_some() == first.is_some());
            }
        }
    }
}
