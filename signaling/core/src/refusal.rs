//! Why a request is not granted, sorted by fault.

use trunkline_signaling_api::ErrorCode;

/// A request that the rules refuse. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The request is malformed in a way that types do not show.
    #[error("{0}")]
    Malformed(&'static str),
    /// No such thing, as far as this user may know.
    #[error("not found")]
    NotFound,
    /// The user is no member of the conversation.
    #[error("not a member of this conversation")]
    NotMember,
    /// The user's role does not allow it.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A message cannot refer to this. Whether it exists for others is not told.
    #[error("{0}")]
    BadAttachment(&'static str),
    /// It contradicts what already happened.
    #[error("{0}")]
    Conflict(&'static str),
    /// The call has ended.
    #[error("the call has ended")]
    CallEnded,
    /// The user is in another call.
    #[error("you are in another call")]
    Busy,
    /// The device is not in the call.
    #[error("this device has not joined the call")]
    NotJoined,
    /// Something is larger than its limit.
    #[error("{what} exceeds {max}")]
    TooLarge {
        /// What, with its unit.
        what: &'static str,
        /// The limit.
        max: usize,
    },
}

impl Refusal {
    /// The stable code told to the client.
    pub const fn code(self) -> ErrorCode {
        match self {
            Refusal::Malformed(_) => ErrorCode::BadFrame,
            Refusal::NotFound => ErrorCode::NotFound,
            Refusal::NotMember => ErrorCode::NotMember,
            Refusal::Forbidden(_) => ErrorCode::Forbidden,
            Refusal::BadAttachment(_) => ErrorCode::BadAttachment,
            Refusal::Conflict(_) => ErrorCode::Conflict,
            Refusal::CallEnded => ErrorCode::CallEnded,
            Refusal::Busy => ErrorCode::Busy,
            Refusal::NotJoined => ErrorCode::NotJoined,
            Refusal::TooLarge { .. } => ErrorCode::TooLarge,
        }
    }
}
