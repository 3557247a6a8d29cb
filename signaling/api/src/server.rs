//! What a server says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_units::{
    CallId, ConversationId, DeviceId, MessageId, RequestId, SessionId, UnixMillis, UserId,
};

use crate::{CallView, ErrorCode, Head, Message, SlotAssignment};

/// One frame from the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "t")]
pub enum ServerFrame {
    /// The answer to `hello`.
    #[serde(rename = "welcome")]
    Welcome(Box<Welcome>),
    /// A request succeeded.
    #[serde(rename = "ok")]
    Ok(Ok),
    /// A request failed, or the client did something wrong.
    #[serde(rename = "error")]
    Error(ErrorFrame),
    /// A message of the log.
    #[serde(rename = "message")]
    Message(Message),
    /// How far a member has come.
    #[serde(rename = "receipt")]
    Receipt(Receipt),
    /// The answer to `history`.
    #[serde(rename = "page")]
    Page(Page),
    /// Messages that can no longer be given.
    #[serde(rename = "gap")]
    Gap(Gap),
    /// The queue overflowed: the client pulls pages from its cursors.
    #[serde(rename = "behind")]
    Behind {},
    /// Someone is writing.
    #[serde(rename = "typing")]
    Typing(TypingBy),
    /// A conversation's membership or title changed.
    #[serde(rename = "conversation")]
    Conversation(Head),
    /// A call changed.
    #[serde(rename = "call")]
    Call(Box<CallView>),
    /// The answer to `media.offer`.
    #[serde(rename = "media.answer")]
    MediaAnswer(MediaAnswer),
    /// Who is in which slot.
    #[serde(rename = "slots")]
    Slots(Slots),
    /// The SFU lost this participant's transport: offer again.
    #[serde(rename = "media.gone")]
    MediaGone(MediaGone),
    /// The connection ends.
    #[serde(rename = "bye")]
    Bye(Bye),
}

/// The answer to `hello`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Welcome {
    /// This connection.
    pub session: SessionId,
    /// Who the server takes the client for.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// The server's clock.
    pub now: UnixMillis,
    /// The user's conversations, those with the newest activity first.
    pub heads: Vec<Head>,
    /// There are more conversations than fit this frame: `GET /v1/conversations` gives them all.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub heads_more: bool,
    /// Live calls of the user's conversations.
    pub calls: Vec<CallView>,
    /// What the server takes.
    pub limits: OutLimits,
    /// TURN servers and credentials for them.
    pub relays: Relays,
}

/// Limits that a client should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutLimits {
    /// Longest frame, bytes.
    pub frame_bytes: u32,
    /// Longest message body as JSON text, bytes.
    pub body_bytes: u32,
    /// Most messages a page.
    pub history: u32,
    /// Sustained `send` rate of one device.
    pub sends_per_second: u32,
}

/// TURN servers, as `RTCConfiguration.iceServers` takes them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Relays {
    /// The servers.
    pub ice_servers: Vec<IceServer>,
    /// How long the credentials hold, seconds.
    pub ttl_s: u64,
}

/// One `RTCIceServer`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IceServer {
    /// URLs (RFC 7065).
    pub urls: Vec<String>,
    /// TURN user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// A request succeeded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Ok {
    /// To `send`.
    Send(SendOk),
    /// To `call.*`.
    Call(CallOk),
}

/// The message is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SendOk {
    /// The message's id.
    pub id: MessageId,
    /// Its conversation.
    pub conv: ConversationId,
    /// Its place there.
    pub seq: u64,
    /// When it was committed.
    pub at: UnixMillis,
}

/// The call moved, or already stood there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallOk {
    /// The request.
    pub id: RequestId,
    /// The call; in answer to an invite perhaps another than the one asked for (glare).
    pub call: CallId,
    /// The version that the request led to.
    pub ver: u64,
}

/// A request failed, or the client did something wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorFrame {
    /// The request, if the fault is one request's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<RequestId>,
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub text: String,
    /// When trying again makes sense, milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_ms: Option<u64>,
}

/// How far a member has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The conversation.
    pub conv: ConversationId,
    /// The member.
    pub user: UserId,
    /// Delivered up to.
    pub delivered: u64,
    /// Read up to.
    pub read: u64,
}

/// The answer to `history`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page {
    /// The request.
    pub id: RequestId,
    /// The conversation.
    pub conv: ConversationId,
    /// Messages in ascending order.
    pub messages: Vec<Message>,
    /// Whether there are more in the direction asked for. A page may hold fewer than `limit` so that it fits a frame.
    pub more: bool,
}

/// Messages that can no longer be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// The conversation.
    pub conv: ConversationId,
    /// The first missing sequence number.
    pub from: u64,
    /// The last missing sequence number.
    pub to: u64,
    /// Why.
    pub why: GapReason,
}

/// Why messages cannot be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GapReason {
    /// Their time was over, or they were sent before this user joined.
    Expired,
}

/// Someone is writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TypingBy {
    /// The conversation.
    pub conv: ConversationId,
    /// Who.
    pub user: UserId,
}

/// The answer to `media.offer`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaAnswer {
    /// The request.
    pub id: RequestId,
    /// The call.
    pub call: CallId,
    /// Session description (RFC 8866).
    pub sdp: String,
}

impl std::fmt::Debug for MediaAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaAnswer").field("sdp_bytes", &self.sdp.len()).finish_non_exhaustive()
    }
}

/// Who is in which slot now: a full list each time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    /// The call.
    pub call: CallId,
    /// Every slot.
    pub slots: Vec<SlotAssignment>,
}

/// The SFU lost this participant's transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaGone {
    /// The call.
    pub call: CallId,
    /// For people and logs.
    pub why: String,
}

/// The connection ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bye {
    /// Why.
    pub code: ByeCode,
    /// Reconnect after a random time between these two, in milliseconds.
    pub retry_ms: [u64; 2],
}

/// Why the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ByeCode {
    /// The server stops; another or the same will be there soon.
    Shutdown,
    /// The token no longer holds: get another first.
    Revoked,
    /// The same device connected again: do not reconnect.
    Replaced,
    /// The client does not read.
    Slow,
    /// The client broke the protocol.
    Protocol,
}

impl ByeCode {
    /// The code as it stands on the wire; also a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            ByeCode::Shutdown => "shutdown",
            ByeCode::Revoked => "revoked",
            ByeCode::Replaced => "replaced",
            ByeCode::Slow => "slow",
            ByeCode::Protocol => "protocol",
        }
    }
}
