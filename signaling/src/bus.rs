//! The bus between nodes: a doorbell, never the record.
//!
//! A hint says that something changed; whoever hears it reads the store. Losing one costs the time until the next repair
//! poll, never a message.

use async_trait::async_trait;
use tokio::sync::broadcast;
use trunkline_units::{CallId, ConversationId, UserId};

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// A message was appended.
    Message {
        /// Where.
        conv: ConversationId,
        /// Its place.
        seq: u64,
    },
    /// A member's marks moved. They are absolute and only grow, so a lost or late one does no harm.
    Receipt {
        /// Where.
        conv: ConversationId,
        /// Whose.
        user: UserId,
        /// Delivered up to.
        delivered: u64,
        /// Read up to.
        read: u64,
    },
    /// A call changed.
    Call {
        /// Where.
        conv: ConversationId,
        /// Which.
        call: CallId,
    },
    /// Members or the title changed.
    Members {
        /// Where.
        conv: ConversationId,
    },
    /// Someone is writing. Never repaired.
    Typing {
        /// Where.
        conv: ConversationId,
        /// Who.
        user: UserId,
    },
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A hint.
    Hint(Hint),
    /// Some hints were lost: time for a repair poll.
    Lost,
}

/// One listener's end.
#[async_trait]
pub trait Listener: Send {
    /// The next hint; `None` once the bus is closed.
    async fn next(&mut self) -> Option<Heard>;
}

/// Carries hints to every node, the sender's own included.
pub trait Bus: Send + Sync {
    /// Tells everyone. Never blocks, and may lose it.
    fn publish(&self, hint: Hint);

    /// Hears what is published from now on.
    fn listen(&self) -> Box<dyn Listener>;
}

/// Hints kept for a listener that is busy. More: fewer early repair polls under a burst; worst case some 100 B each.
const HINTS_MAX: usize = 8_192;

/// The bus of a single node.
pub struct InProcessBus(broadcast::Sender<Hint>);

impl InProcessBus {
    /// A bus with no listeners.
    pub fn new() -> InProcessBus {
        InProcessBus(broadcast::channel(HINTS_MAX).0)
    }
}

impl Default for InProcessBus {
    fn default() -> Self {
        Self::new()
    }
}

impl Bus for InProcessBus {
    fn publish(&self, hint: Hint) {
        // No listener is no fault: nobody is connected to this node.
        let _ = self.0.send(hint);
    }

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(InProcessListener(self.0.subscribe()))
    }
}

struct InProcessListener(broadcast::Receiver<Hint>);

#[async_trait]
impl Listener for InProcessListener {
    async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(hint) => Some(Heard::Hint(hint)),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Heard::Lost),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
