//! What waits for the shell: outputs in order, the bytes of all of them in one buffer.

use std::collections::VecDeque;
use std::ops::Range;

use trunkline_stun::AddressFamily;

use crate::event::EventKind;
use crate::{ClientPath, Event, Output, RelayId};

/// Bytes that wait. The shell drains after every input, so this is a bound, not a buffer.
const OUTBOX_MAX: usize = 256 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Messages are written to its end, then queued by [`Outbox::transmit`].
    pub(crate) bytes: Vec<u8>,
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
enum Queued {
    Transmit { path: ClientPath, range: Range<usize> },
    Bind { relay: RelayId, port: u16 },
    Close { relay: RelayId },
    Event { user: Range<usize>, kind: EventKind },
}

impl Outbox {
    /// Uses the buffer anew if nothing waits.
    pub(crate) fn reuse(&mut self) {
        if self.queue.is_empty() {
            self.bytes.clear();
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= OUTBOX_MAX
    }

    /// Queues what was appended to `bytes` since `start`.
    pub(crate) fn transmit(&mut self, path: ClientPath, start: usize) {
        self.queue.push_back(Queued::Transmit { path, range: start..self.bytes.len() });
    }

    pub(crate) fn bind(&mut self, relay: RelayId, port: u16) {
        self.queue.push_back(Queued::Bind { relay, port });
    }

    pub(crate) fn close(&mut self, relay: RelayId) {
        self.queue.push_back(Queued::Close { relay });
    }

    pub(crate) fn event(&mut self, user: &[u8], kind: EventKind) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(user);
        self.queue.push_back(Queued::Event { user: start..self.bytes.len(), kind });
    }

    pub(crate) fn pop(&mut self) -> Option<Output<'_>> {
        let output = match self.queue.pop_front()? {
            Queued::Transmit { path, range } => Output::Transmit { path, data: &self.bytes[range] },
            Queued::Bind { relay, port } => {
                let family: AddressFamily = relay.family();
                Output::BindRelay { relay, family, port }
            }
            Queued::Close { relay } => Output::CloseRelay { relay },
            Queued::Event { user, kind } => Output::Event(Event::new(&self.bytes[user], kind)),
        };
        Some(output)
    }
}
