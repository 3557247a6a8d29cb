//! What one session is still owed: a bounded queue, and a cursor for each conversation.
//!
//! Live messages are queued as they come. A conversation in which the device is behind (after `hello`, or when a hint
//! was lost) is **lagging**: its messages are pulled from the store in order, and only while the queue is short, so
//! a long replay never overflows it. When live traffic overflows the queue, ephemerals go first; then everything that
//! history can give again is dropped, the client is told `behind`, and every cursor jumps to the newest message.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use trunkline_units::{CallId, ConversationId, UserId};

/// How a frame behaves when the queue is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Class {
    /// Answers a request, or ends the session: never dropped. Reading pauses while the queue is long, so their number
    /// is bounded by the requests in flight.
    Answer,
    /// The newest state of something: replaces its predecessor in the queue.
    State(StateKey),
    /// Nobody misses it: dropped first.
    Ephemeral,
}

/// Of what a frame is the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateKey {
    /// A call. Kept when the queue overflows.
    Call(CallId),
    /// The slots of a call. Kept when the queue overflows.
    Slots(CallId),
    /// A conversation's head. Kept when the queue overflows.
    Head(ConversationId),
    /// A member's receipt. Dropped when the queue overflows: heads have it.
    Receipt(ConversationId, UserId),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Answer,
    State(StateKey),
    Ephemeral,
    Log,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pushed {
    /// It is queued, replaced its predecessor, or was not needed.
    Fine,
    /// It, or others, were ephemeral and dropped.
    DroppedEphemerals,
    /// The queue was dropped and `behind` stands in it.
    Behind,
    /// Even what must be kept does not fit: the session is to be closed as slow.
    Hopeless,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Queued or sent up to here.
    sent: u64,
    /// The log is known to reach here.
    target: u64,
}

/// The queue and the cursors. `F` is an encoded frame.
#[derive(Debug)]
pub struct Outgoing<F> {
    queue: VecDeque<(Kind, F)>,
    bytes: usize,
    bytes_max: usize,
    cursors: BTreeMap<ConversationId, Cursor>,
    lagging: BTreeSet<ConversationId>,
    /// Pulled last: lagging conversations take turns.
    pulled_last: Option<ConversationId>,
    /// How far the log of that one was known to reach when it was asked for.
    asked_to: u64,
    behind: F,
}

impl<F: AsRef<[u8]> + Clone> Outgoing<F> {
    /// An empty queue of at most `bytes_max`; `behind` is the frame that says so.
    pub fn new(bytes_max: usize, behind: F) -> Self {
        Outgoing {
            queue: VecDeque::new(),
            bytes: 0,
            bytes_max,
            cursors: BTreeMap::new(),
            lagging: BTreeSet::new(),
            pulled_last: None,
            asked_to: 0,
            behind,
        }
    }

    /// Bytes queued.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is queued and nothing has to be pulled.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.lagging.is_empty()
    }

    /// Whether the queue is long enough that no more requests should be read.
    pub fn is_long(&self) -> bool {
        self.bytes > self.bytes_max / 2
    }

    /// Starts to deliver a conversation after `sent`, whose log reaches `last`. Forgets nothing that was sent.
    pub fn subscribe(&mut self, conv: &ConversationId, sent: u64, last: u64) {
        let cursor = self.cursors.entry(conv.clone()).or_insert(Cursor { sent, target: last });
        cursor.target = cursor.target.max(last);
        if cursor.target > cursor.sent {
            self.lagging.insert(conv.clone());
        }
    }

    /// Stops delivering a conversation. What is queued stays.
    pub fn unsubscribe(&mut self, conv: &ConversationId) {
        self.cursors.remove(conv);
        self.lagging.remove(conv);
    }

    /// Whether the conversation is delivered.
    pub fn is_subscribed(&self, conv: &ConversationId) -> bool {
        self.cursors.contains_key(conv)
    }

    /// Every conversation that is delivered.
    pub fn subscribed(&self) -> impl Iterator<Item = &ConversationId> {
        self.cursors.keys()
    }

    /// The log of a conversation reaches `last`: pulled if this device has less.
    pub fn hint(&mut self, conv: &ConversationId, last: u64) {
        if let Some(cursor) = self.cursors.get_mut(conv)
            && last > cursor.target.max(cursor.sent)
        {
            cursor.target = last;
            self.lagging.insert(conv.clone());
        }
    }

    /// A live message. Queued if it is the next one; known already: ignored; otherwise the conversation lags.
    pub fn message(&mut self, conv: &ConversationId, seq: u64, frame: &F) -> Pushed {
        let Some(cursor) = self.cursors.get_mut(conv) else { return Pushed::Fine };
        if seq != cursor.sent + 1 || self.lagging.contains(conv) {
            self.hint(conv, seq);
            return Pushed::Fine;
        }
        cursor.sent = seq;
        cursor.target = cursor.target.max(seq);
        self.enqueue(Kind::Log, frame.clone());
        self.relieve()
    }

    /// Any frame that is not of the log.
    pub fn push(&mut self, class: Class, frame: F) -> Pushed {
        match class {
            Class::Answer => {
                self.enqueue(Kind::Answer, frame);
                return Pushed::Fine;
            }
            Class::Ephemeral => {
                if self.bytes + frame.as_ref().len() > self.bytes_max {
                    return Pushed::DroppedEphemerals;
                }
                self.enqueue(Kind::Ephemeral, frame);
                return Pushed::Fine;
            }
            Class::State(key) => {
                let kind = Kind::State(key);
                if let Some((_, old)) = self.queue.iter_mut().find(|(k, _)| *k == kind) {
                    self.bytes = self.bytes - old.as_ref().len() + frame.as_ref().len();
                    *old = frame;
                } else {
                    self.enqueue(kind, frame);
                }
            }
        }
        self.relieve()
    }

    /// The next frame to put on the wire.
    pub fn pop(&mut self) -> Option<F> {
        let (_, frame) = self.queue.pop_front()?;
        self.bytes -= frame.as_ref().len();
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some(frame)
    }

    /// Which conversation to pull from the store next, and after which message; `None` while the queue is not short or
    /// nothing lags.
    pub fn next_pull(&mut self) -> Option<(ConversationId, u64)> {
        if self.bytes > self.bytes_max / 4 {
            return None;
        }
        let after_last = self.pulled_last.as_ref().and_then(|last| {
            self.lagging.range((std::ops::Bound::Excluded(last.clone()), std::ops::Bound::Unbounded)).next()
        });
        let conv = after_last.or_else(|| self.lagging.first())?.clone();
        self.pulled_last = Some(conv.clone());
        let cursor = self.cursors.get(&conv)?;
        self.asked_to = cursor.target;
        Some((conv.clone(), cursor.sent))
    }

    /// The answer to [`Self::next_pull`]: messages in ascending order, the oldest that the store has above the cursor.
    /// None at all means that there is nothing (any more) up to the target of then. `gap` makes the frame that tells of missing
    /// ones, first and last.
    pub fn pulled(&mut self, conv: &ConversationId, messages: Vec<(u64, F)>, gap: impl Fn(u64, u64) -> F) {
        let Some(mut cursor) = self.cursors.get(conv).copied() else { return };
        // What came after the store was asked is not missing.
        let asked_to = self.asked_to.min(cursor.target);
        if messages.is_empty() && cursor.sent < asked_to {
            self.enqueue(Kind::Log, gap(cursor.sent + 1, asked_to));
            cursor.sent = asked_to;
        }
        for (seq, frame) in messages {
            if seq <= cursor.sent {
                continue;
            }
            if seq > cursor.sent + 1 {
                self.enqueue(Kind::Log, gap(cursor.sent + 1, seq - 1));
            }
            self.enqueue(Kind::Log, frame);
            cursor.sent = seq;
        }
        cursor.target = cursor.target.max(cursor.sent);
        if cursor.sent >= cursor.target {
            self.lagging.remove(conv);
        }
        self.cursors.insert(conv.clone(), cursor);
    }

    fn enqueue(&mut self, kind: Kind, frame: F) {
        self.bytes += frame.as_ref().len();
        self.queue.push_back((kind, frame));
    }

    fn retain(&mut self, keep: impl Fn(&Kind) -> bool) {
        self.queue.retain(|(kind, _)| keep(kind));
        self.bytes = self.queue.iter().map(|(_, frame)| frame.as_ref().len()).sum();
    }

    /// Brings the queue below its bound.
    fn relieve(&mut self) -> Pushed {
        if self.bytes <= self.bytes_max {
            return Pushed::Fine;
        }
        self.retain(|kind| *kind != Kind::Ephemeral);
        if self.bytes <= self.bytes_max {
            return Pushed::DroppedEphemerals;
        }
        self.retain(|kind| !matches!(kind, Kind::Log | Kind::State(StateKey::Receipt(..))));
        if self.bytes > self.bytes_max {
            return Pushed::Hopeless;
        }
        self.lagging.clear();
        for cursor in self.cursors.values_mut() {
            cursor.sent = cursor.sent.max(cursor.target);
        }
        let behind = self.behind.clone();
        self.enqueue(Kind::Log, behind);
        Pushed::Behind
    }
}

#[cfg(test)]
mod tests;
