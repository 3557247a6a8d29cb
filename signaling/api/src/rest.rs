//! Bodies of the HTTP requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_units::{ConversationId, DeviceId, UserId};

use crate::{ErrorCode, Head, Message};

/// `POST /v1/conversations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CreateConversation {
    /// Its members; the maker need not be named.
    pub members: Vec<UserId>,
    /// A title, 1–128 characters. Without one, the same two people always share one conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// `GET /v1/conversations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Conversations {
    /// The caller's conversations, those with the newest activity first.
    pub heads: Vec<Head>,
}

/// `POST /v1/conversations/{id}/members`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AddMember {
    /// Whom to add.
    pub user: UserId,
}

/// `GET /v1/conversations/{id}/messages`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Messages {
    /// The conversation.
    pub conv: ConversationId,
    /// Messages in ascending order.
    pub messages: Vec<Message>,
    /// Whether there are more in the direction asked for.
    pub more: bool,
}

/// `POST /v1/demo/login`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DemoLogin {
    /// Whom to be.
    pub user: UserId,
    /// Binds the token to one device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

/// The answer to [`DemoLogin`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DemoToken {
    /// A JWT.
    pub token: String,
}

impl std::fmt::Debug for DemoToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DemoToken(redacted)")
    }
}

/// RFC 9457 problem details, as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Always `about:blank` (RFC 9457 §4.2.1): `code` tells problems apart.
    pub r#type: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// For people.
    pub detail: String,
    /// For programs.
    pub code: ErrorCode,
    /// When trying again makes sense, milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}
