//! The closed set of error codes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A stable code, the same on the WebSocket and in HTTP problems. The text beside it is for people and may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// Not JSON, not an object, or fields of the wrong shape.
    BadFrame,
    /// A `t` this server does not know.
    UnknownType,
    /// `hello.v` is not a version this server speaks.
    BadVersion,
    /// The token is missing, forged, or not for this.
    BadToken,
    /// The token was good once.
    ExpiredToken,
    /// An id breaks the rules for ids.
    BadId,
    /// No such conversation, call or user for this caller.
    NotFound,
    /// The caller is no member of the conversation.
    NotMember,
    /// The caller's role does not allow it.
    Forbidden,
    /// An attachment that this sender cannot send here, one named twice, or too many.
    BadAttachment,
    /// A share of storage is used up.
    QuotaExceeded,
    /// A body, list or frame exceeds its limit.
    TooLarge,
    /// Too often; `retry_ms` says when to try again.
    RateLimited,
    /// The server cannot do it now; trying again is right.
    Unavailable,
    /// It contradicts what already happened.
    Conflict,
    /// The call has ended.
    CallEnded,
    /// The caller is in another call.
    Busy,
    /// This device's leg is not `joined`.
    NotJoined,
    /// The SDP offer cannot be answered.
    BadSdp,
    /// A fault of the server's own.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [ErrorCode; 20] = [
        ErrorCode::BadFrame,
        ErrorCode::UnknownType,
        ErrorCode::BadVersion,
        ErrorCode::BadToken,
        ErrorCode::ExpiredToken,
        ErrorCode::BadId,
        ErrorCode::NotFound,
        ErrorCode::NotMember,
        ErrorCode::Forbidden,
        ErrorCode::BadAttachment,
        ErrorCode::QuotaExceeded,
        ErrorCode::TooLarge,
        ErrorCode::RateLimited,
        ErrorCode::Unavailable,
        ErrorCode::Conflict,
        ErrorCode::CallEnded,
        ErrorCode::Busy,
        ErrorCode::NotJoined,
        ErrorCode::BadSdp,
        ErrorCode::Internal,
    ];

    /// The code as it stands on the wire; also a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            ErrorCode::BadFrame => "bad_frame",
            ErrorCode::UnknownType => "unknown_type",
            ErrorCode::BadVersion => "bad_version",
            ErrorCode::BadToken => "bad_token",
            ErrorCode::ExpiredToken => "expired_token",
            ErrorCode::BadId => "bad_id",
            ErrorCode::NotFound => "not_found",
            ErrorCode::NotMember => "not_member",
            ErrorCode::Forbidden => "forbidden",
            ErrorCode::BadAttachment => "bad_attachment",
            ErrorCode::QuotaExceeded => "quota_exceeded",
            ErrorCode::TooLarge => "too_large",
            ErrorCode::RateLimited => "rate_limited",
            ErrorCode::Unavailable => "unavailable",
            ErrorCode::Conflict => "conflict",
            ErrorCode::CallEnded => "call_ended",
            ErrorCode::Busy => "busy",
            ErrorCode::NotJoined => "not_joined",
            ErrorCode::BadSdp => "bad_sdp",
            ErrorCode::Internal => "internal",
        }
    }

    /// The HTTP status that goes with the code.
    pub const fn status(self) -> u16 {
        match self {
            ErrorCode::BadFrame
            | ErrorCode::UnknownType
            | ErrorCode::BadVersion
            | ErrorCode::BadId
            | ErrorCode::BadAttachment
            | ErrorCode::BadSdp => 400,
            ErrorCode::BadToken | ErrorCode::ExpiredToken => 401,
            ErrorCode::NotMember | ErrorCode::Forbidden | ErrorCode::QuotaExceeded => 403,
            ErrorCode::NotFound => 404,
            ErrorCode::Conflict | ErrorCode::Busy | ErrorCode::NotJoined => 409,
            ErrorCode::CallEnded => 410,
            ErrorCode::TooLarge => 413,
            ErrorCode::RateLimited => 429,
            ErrorCode::Internal => 500,
            ErrorCode::Unavailable => 503,
        }
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
