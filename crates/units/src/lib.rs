//! Units and identifiers that several crates share: ids that cannot leak into a log, data rates and sizes that
//! carry their unit, and wall-clock instants.

mod data;
mod id;
mod time;

pub use data::{DataRate, DataSize};
pub use id::{
    AttachmentId, CallId, ConversationId, DeviceId, ID_CHARS_MAX, IdError, MessageId, RequestId, SessionId,
    UserId,
};
pub use time::UnixMillis;

#[cfg(test)]
mod tests;
