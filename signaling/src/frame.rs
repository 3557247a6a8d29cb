//! Encoded frames: made once, shared by every session that sends them.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use axum::extract::ws::Utf8Bytes;
use trunkline_signaling_api::{Message, ServerFrame};
use trunkline_units::ConversationId;

/// A server frame as JSON text. Cloning it shares the text.
#[derive(Clone, Debug)]
pub(crate) struct Frame(Utf8Bytes);

impl Frame {
    pub(crate) fn new(frame: &ServerFrame) -> Frame {
        let text = serde_json::to_string(frame).expect("frames have string keys and no failing Serialize");
        Frame(text.into())
    }

    pub(crate) fn text(self) -> Utf8Bytes {
        self.0
    }
}

impl AsRef<[u8]> for Frame {
    fn as_ref(&self) -> &[u8] {
        self.0.as_str().as_bytes()
    }
}

/// Bytes of recent messages kept for live delivery. More: a session that lags by a moment still needs no query.
const RECENT_BYTES_MAX: usize = 8 << 20;

type Key = (ConversationId, u64);

/// The newest messages of this node, encoded: what live delivery takes instead of reading the store for each session.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Ring>);

#[derive(Default)]
struct Ring {
    order: VecDeque<Key>,
    frames: HashMap<Key, Frame>,
    bytes: usize,
}

impl Recent {
    /// Encodes a committed message and keeps it.
    pub(crate) fn keep(&self, message: Message) {
        let key = (message.conv.clone(), message.seq);
        let frame = Frame::new(&ServerFrame::Message(message));
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.bytes += frame.as_ref().len();
        if ring.frames.insert(key.clone(), frame).is_none() {
            ring.order.push_back(key);
        }
        while ring.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = ring.order.pop_front()
        {
            if let Some(frame) = ring.frames.remove(&oldest) {
                ring.bytes -= frame.as_ref().len();
            }
        }
    }

    pub(crate) fn find(&self, conv: &ConversationId, seq: u64) -> Option<Frame> {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ring.frames.get(&(conv.clone(), seq)).cloned()
    }
}
