//! Signaling as values: what conversations, calls, cursors and limits allow, with no socket, clock or store of its own.
//!
//! - [`call`]: the call machine. The store runs it inside the transaction that persists its result, so two nodes
//!   never disagree on who won.
//! - [`conversation`]: who may do what, what a message may refer to, and from where a member may read.
//! - [`outgoing`]: what one session is still owed, in a bounded queue.
//! - [`bucket`], [`limits`]: how much, how often.
//!
//! Time comes in as an argument: [`UnixMillis`](trunkline_units::UnixMillis) where it is stored or told to clients,
//! `Instant` where it only measures.

pub mod bucket;
pub mod call;
pub mod conversation;
pub mod limits;
pub mod outgoing;
mod refusal;

pub use refusal::Refusal;
