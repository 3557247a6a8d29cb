//! What a client says.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trunkline_units::{AttachmentId, CallId, ConversationId, DeviceId, MessageId, RequestId};

use crate::{Media, SlotView};

/// One frame from a client. Unknown fields are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t")]
pub enum ClientFrame {
    /// The first frame.
    #[serde(rename = "hello")]
    Hello(Hello),
    /// Appends a message.
    #[serde(rename = "send")]
    Send(Send),
    /// This user's devices hold every message up to `seq`. No answer.
    #[serde(rename = "ack")]
    Ack(Ack),
    /// This user has read up to `seq`. No answer.
    #[serde(rename = "read")]
    Read(Read),
    /// Asks for a page of messages.
    #[serde(rename = "history")]
    History(History),
    /// The user is writing. No answer.
    #[serde(rename = "typing")]
    Typing(Typing),
    /// Rings the conversation's other members.
    #[serde(rename = "call.invite")]
    CallInvite(Invite),
    /// This device rings. No answer.
    #[serde(rename = "call.ringing")]
    CallRinging(CallRinging),
    /// Answers a ring, or joins a group call that is already live.
    #[serde(rename = "call.accept")]
    CallAccept(CallWithMedia),
    /// Says no.
    #[serde(rename = "call.decline")]
    CallDecline(CallRequest),
    /// The caller gives up.
    #[serde(rename = "call.cancel")]
    CallCancel(CallRequest),
    /// Leaves; in a conversation of two, ends the call.
    #[serde(rename = "call.end")]
    CallEnd(CallRequest),
    /// What this device now sends. No answer.
    #[serde(rename = "call.media")]
    CallMedia(CallMedia),
    /// A WebRTC offer.
    #[serde(rename = "media.offer")]
    MediaOffer(MediaOffer),
    /// What is on the screen. No answer.
    #[serde(rename = "media.view")]
    MediaView(MediaView),
}

impl ClientFrame {
    /// The frame's `t`; also a metric's label.
    pub const fn kind(&self) -> &'static str {
        match self {
            ClientFrame::Hello(_) => "hello",
            ClientFrame::Send(_) => "send",
            ClientFrame::Ack(_) => "ack",
            ClientFrame::Read(_) => "read",
            ClientFrame::History(_) => "history",
            ClientFrame::Typing(_) => "typing",
            ClientFrame::CallInvite(_) => "call.invite",
            ClientFrame::CallRinging(_) => "call.ringing",
            ClientFrame::CallAccept(_) => "call.accept",
            ClientFrame::CallDecline(_) => "call.decline",
            ClientFrame::CallCancel(_) => "call.cancel",
            ClientFrame::CallEnd(_) => "call.end",
            ClientFrame::CallMedia(_) => "call.media",
            ClientFrame::MediaOffer(_) => "media.offer",
            ClientFrame::MediaView(_) => "media.view",
        }
    }

    /// Every `t` a client may say.
    pub const KINDS: [&'static str; 15] = [
        "hello",
        "send",
        "ack",
        "read",
        "history",
        "typing",
        "call.invite",
        "call.ringing",
        "call.accept",
        "call.decline",
        "call.cancel",
        "call.end",
        "call.media",
        "media.offer",
        "media.view",
    ];
}

/// Who is there, and what they hold.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// Protocol version: [`crate::VERSION`].
    pub v: u32,
    /// A JWT with `sub`, `exp` and perhaps `device`.
    pub token: String,
    /// This device, unless the token names it; if both do, they agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// The highest sequence number held, for each conversation to be replayed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cursors: BTreeMap<ConversationId, u64>,
}

impl std::fmt::Debug for Hello {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello").field("v", &self.v).field("token", &"redacted").finish_non_exhaustive()
    }
}

/// Appends a message to a conversation. Sending the same `id` again gives the same sequence number.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Send {
    /// The message's own id, a UUIDv7; also the request's.
    pub id: MessageId,
    /// Where to.
    pub conv: ConversationId,
    /// `text`, or the application's own; `call` is the server's. 1–32 characters as in ids.
    pub kind: String,
    /// Any JSON value of at most 16 KiB as text.
    pub body: Value,
    /// Up to ten attachments that this user has uploaded into this conversation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<AttachmentId>,
}

impl std::fmt::Debug for Send {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Send").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// Delivered up to `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ack {
    /// The conversation.
    pub conv: ConversationId,
    /// A sequence number.
    pub seq: u64,
}

/// Read up to `seq`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    /// The conversation.
    pub conv: ConversationId,
    /// A sequence number.
    pub seq: u64,
}

/// Asks for a page: the newest messages below `before`, or the oldest above `after`, or the newest of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct History {
    /// The request.
    pub id: RequestId,
    /// The conversation.
    pub conv: ConversationId,
    /// Only messages with a lower sequence number. Not together with `after`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// Only messages with a higher sequence number. Not together with `before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// At most so many, 1–200; 50 if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// The user is writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Typing {
    /// The conversation.
    pub conv: ConversationId,
}

/// Rings the others of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Invite {
    /// The request.
    pub id: RequestId,
    /// The conversation.
    pub conv: ConversationId,
    /// The new call, a UUIDv7. The same again gives the same answer.
    pub call: CallId,
    /// What is asked for, and sent by the caller.
    pub media: Media,
}

/// This device rings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallRinging {
    /// The call.
    pub call: CallId,
}

/// `call.accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallWithMedia {
    /// The request.
    pub id: RequestId,
    /// The call.
    pub call: CallId,
    /// What this device will send.
    pub media: Media,
}

/// `call.decline`, `call.cancel`, `call.end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallRequest {
    /// The request.
    pub id: RequestId,
    /// The call.
    pub call: CallId,
}

/// What this device now sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallMedia {
    /// The call.
    pub call: CallId,
    /// Its media now.
    pub media: Media,
}

/// A WebRTC offer with the slots scheme.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaOffer {
    /// The request.
    pub id: RequestId,
    /// The call.
    pub call: CallId,
    /// Session description (RFC 8866).
    pub sdp: String,
}

impl std::fmt::Debug for MediaOffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaOffer").field("sdp_bytes", &self.sdp.len()).finish_non_exhaustive()
    }
}

/// What is on the screen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaView {
    /// The call.
    pub call: CallId,
    /// One entry a slot, at most 64; slots not named keep what they had.
    pub slots: Vec<SlotView>,
}
