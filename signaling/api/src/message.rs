//! Messages and conversations.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_units::{CallId, ConversationId, DeviceId, MessageId, UnixMillis, UserId};

use crate::{Attachment, MissedOutcome};

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Takes part.
    Member,
    /// Also adds people, removes members, and says how long messages are kept.
    Admin,
    /// Also removes admins. One a conversation.
    Owner,
}

/// A member as the others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// Who.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// Some device of theirs holds every message up to this sequence number.
    pub delivered: u64,
    /// They have read up to this sequence number.
    pub read: u64,
}

/// A conversation in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Head {
    /// The conversation.
    pub conv: ConversationId,
    /// Its title, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Sequence number of its newest message; 0 while there is none.
    pub last_seq: u64,
    /// The first sequence number that this member can be given; greater than `last_seq` while there is none.
    pub min_seq: u64,
    /// How long its messages are kept, seconds, if it has a time of its own; else the server's holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_s: Option<u64>,
    /// Its members, in the order of their ids.
    pub members: Vec<MemberView>,
}

/// One message of a conversation's log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// The conversation.
    pub conv: ConversationId,
    /// Its place: gapless, from 1.
    pub seq: u64,
    /// The id its sender gave it; the call's id in a message of kind `call`.
    pub id: MessageId,
    /// Who sent it.
    pub user: UserId,
    /// From which device.
    pub device: DeviceId,
    /// `text`, `call`, or the application's own.
    pub kind: String,
    /// Any JSON value of at most 16 KiB; `{"text": "…"}` for kind `text`.
    pub body: Value,
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// When it was committed.
    pub at: UnixMillis,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").field("seq", &self.seq).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The body of a message of kind `call`, which only the server writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallMessage {
    /// The call.
    pub call: CallId,
    /// What came of it.
    pub outcome: MissedOutcome,
    /// Who rang.
    pub caller: UserId,
    /// Whether it was asked for with video.
    pub video: bool,
    /// How long it was connected, in whole seconds.
    pub seconds: u64,
}
