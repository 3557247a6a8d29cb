//! What a shard has to say: packets in one arena, ready for a batched send, and everything else in queues.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::{Event, Neighbour, ShardId};

/// UDP_SEGMENT's own bound.
const RUN_PACKETS_MAX: usize = 64;
/// A run must fit one UDP datagram before the kernel cuts it.
const RUN_BYTES_MAX: usize = 65_000;
const EVENTS_MAX: usize = 65_536;

/// One send: a datagram, or a run of them to one destination that differ from `segment_size` only in the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub destination: SocketAddr,
    /// Which of our addresses to send from, where the socket is bound to a wildcard.
    pub source: Option<IpAddr>,
    /// Bytes within the batch.
    pub range: Range<usize>,
    /// Size of each datagram of the run; the last may be shorter.
    pub segment_size: usize,
}

#[derive(Default)]
pub(super) struct Outbox {
    pub arena: Vec<u8>,
    pub transmits: Vec<Transmit>,
    pub events: VecDeque<Event>,
    pub neighbours: VecDeque<(Option<ShardId>, Neighbour)>,
    /// The batch handed out by the last poll is cleared by the next.
    pub handed_out: bool,
}

impl Outbox {
    /// Where the next packet begins.
    pub(super) fn begin(&mut self) -> usize {
        if self.handed_out {
            self.arena.clear();
            self.transmits.clear();
            self.handed_out = false;
        }
        self.arena.len()
    }

    /// The packet that began at `start` is complete: it joins the last run or makes a new one.
    pub(super) fn commit(&mut self, start: usize, destination: SocketAddr, source: Option<IpAddr>) {
        let end = self.arena.len();
        let size = end - start;
        if let Some(last) = self.transmits.last_mut() {
            let run = last.range.len();
            let full = run.is_multiple_of(last.segment_size);
            if full
                && last.range.end == start
                && last.destination == destination
                && last.source == source
                && size <= last.segment_size
                && run + size <= RUN_BYTES_MAX
                && run / last.segment_size < RUN_PACKETS_MAX
            {
                last.range.end = end;
                return;
            }
        }
        self.transmits.push(Transmit { destination, source, range: start..end, segment_size: size.max(1) });
    }

    /// Takes back what was begun at `start`.
    pub(super) fn abandon(&mut self, start: usize) {
        self.arena.truncate(start);
    }

    pub(super) fn send(&mut self, bytes: &[u8], destination: SocketAddr, source: Option<IpAddr>) {
        let start = self.begin();
        self.arena.extend_from_slice(bytes);
        self.commit(start, destination, source);
    }

    pub(super) fn event(&mut self, event: Event) {
        // Events are a handful a participant; the bound is there for a shell that stopped polling.
        if self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    pub(super) fn neighbour(&mut self, to: Option<ShardId>, message: Neighbour) {
        if self.neighbours.len() < EVENTS_MAX {
            self.neighbours.push_back((to, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_packets_to_one_place_become_one_run_and_a_shorter_one_ends_it() {
        let mut out = Outbox::default();
        let a: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let b: SocketAddr = "192.0.2.2:1".parse().unwrap();
        for (size, to) in [(100, a), (100, a), (60, a), (100, a), (100, b), (120, b)] {
            out.send(&vec![0; size], to, None);
        }
        let seen: Vec<_> =
            out.transmits.iter().map(|t| (t.destination, t.range.len(), t.segment_size)).collect();
        assert_eq!(seen, [(a, 260, 100), (a, 100, 100), (b, 100, 100), (b, 120, 120)]);
    }
}
