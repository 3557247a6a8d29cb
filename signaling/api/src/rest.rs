//! Bodies of the HTTP requests.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_units::{AttachmentId, ConversationId, DeviceId, MessageId, UnixMillis, UserId};

use crate::{AttachmentKind, ErrorCode, Head, Message};

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

/// `POST /v1/conversations/{id}/messages`: what the frame `send` does. The answer is a [`SendOk`](crate::SendOk).
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SendMessage {
    /// The message's own id, a UUIDv7. The same again from the same user and device gives the same answer.
    pub id: MessageId,
    /// See [`Send::kind`](crate::Send::kind).
    pub kind: String,
    /// Any JSON value of at most 16 KiB as text.
    pub body: Value,
    /// Up to ten attachments that this user has uploaded into this conversation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachmentId>,
    /// The device that it is from, unless the token names it; else `rest`, or `server` under the server key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
}

impl std::fmt::Debug for SendMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendMessage").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// `PUT /v1/conversations/{id}/retention`. The answer is the [`Head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("required" = ["seconds"]))]
pub struct SetRetention {
    /// How long messages are kept, from a minute to ten years; null: as long as the server keeps them by itself. The field
    /// must be there, null or not.
    #[serde(deserialize_with = "Option::deserialize")]
    pub seconds: Option<u64>,
}

/// `POST /v1/conversations/{id}/uploads`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestUpload {
    /// What it is to be: decides the limit and the treatment.
    pub kind: AttachmentKind,
    /// Its size, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What it is called, at most 255 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its MIME type as the client takes it, at most 127 characters. The content decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
}

impl std::fmt::Debug for RequestUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestUpload").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The right to upload one thing into one conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadGrant {
    /// For `Authorization: Bearer` at the endpoint.
    pub grant: String,
    /// Where to upload to: a path of this server.
    pub endpoint: String,
    /// From then on it begins no upload; what it began it continues.
    pub expires_at: UnixMillis,
    /// Most bytes.
    pub bytes_max: u64,
    /// Whether the bytes may go straight to the blob store.
    pub direct: bool,
}

impl std::fmt::Debug for UploadGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UploadGrant(redacted)")
    }
}

/// `GET /v1/attachments/{id}/links`: signed addresses of an attachment's variants.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttachmentLinks {
    /// The attachment.
    pub id: AttachmentId,
    /// From then on they open nothing.
    pub expires_at: UnixMillis,
    /// Path and query by variant.
    pub links: BTreeMap<String, String>,
}

impl std::fmt::Debug for AttachmentLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AttachmentLinks(redacted)")
    }
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
    /// The limit that was exceeded, if it is one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}
