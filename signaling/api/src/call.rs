//! What a call looks like from outside.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_units::{CallId, ConversationId, DeviceId, UnixMillis, UserId};

/// Which media a party sends or asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Media {
    /// Sound.
    pub audio: bool,
    /// Pictures.
    pub video: bool,
}

/// One device of one user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Party {
    /// The user.
    pub user: UserId,
    /// The device, unique within its user.
    pub device: DeviceId,
}

/// Where a call stands. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// Invited; no device has said that it rings.
    Inviting,
    /// At least one device rings.
    Ringing,
    /// Accepted; fewer than two participants have media.
    Connecting,
    /// Two participants had media at the same time.
    Connected,
    /// Over, with an [`EndReason`].
    Ended,
}

/// Why a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Everyone asked said no.
    Declined,
    /// The caller gave up before anyone accepted.
    Cancelled,
    /// Nobody answered before `ring_until`.
    TimedOut,
    /// The callee is in another call.
    Busy,
    /// Media never connected.
    Failed,
    /// It took place, and is over.
    Ended,
}

impl EndReason {
    /// The reason as it stands on the wire; also a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            EndReason::Declined => "declined",
            EndReason::Cancelled => "cancelled",
            EndReason::TimedOut => "timed_out",
            EndReason::Busy => "busy",
            EndReason::Failed => "failed",
            EndReason::Ended => "ended",
        }
    }

    /// What the conversation's `call` message says of it.
    pub const fn outcome(self) -> MissedOutcome {
        match self {
            EndReason::Declined => MissedOutcome::Declined,
            EndReason::Cancelled => MissedOutcome::Cancelled,
            EndReason::TimedOut => MissedOutcome::Missed,
            EndReason::Busy => MissedOutcome::Busy,
            EndReason::Failed => MissedOutcome::Failed,
            EndReason::Ended => MissedOutcome::Ended,
        }
    }
}

/// The outcome told by the message that a call leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MissedOutcome {
    /// Nobody answered in time.
    Missed,
    /// Everyone asked said no.
    Declined,
    /// The caller gave up before anyone accepted.
    Cancelled,
    /// It took place.
    Ended,
    /// Media never connected.
    Failed,
    /// The callee was in another call.
    Busy,
}

/// One device's part in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LegState {
    /// The caller's own device, until someone accepts.
    Inviting,
    /// It rings.
    Ringing,
    /// In the call: it may offer media.
    Joined,
    /// Was in the call.
    Left,
    /// Its user said no.
    Declined,
    /// Another device of its user accepted.
    AnsweredElsewhere,
}

/// What the receiving device itself is in the call: a [`LegState`], or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// No part in it (yet).
    None,
    /// See [`LegState::Inviting`].
    Inviting,
    /// See [`LegState::Ringing`].
    Ringing,
    /// See [`LegState::Joined`].
    Joined,
    /// See [`LegState::Left`].
    Left,
    /// See [`LegState::Declined`].
    Declined,
    /// See [`LegState::AnsweredElsewhere`].
    AnsweredElsewhere,
}

impl From<LegState> for DeviceState {
    fn from(state: LegState) -> Self {
        match state {
            LegState::Inviting => DeviceState::Inviting,
            LegState::Ringing => DeviceState::Ringing,
            LegState::Joined => DeviceState::Joined,
            LegState::Left => DeviceState::Left,
            LegState::Declined => DeviceState::Declined,
            LegState::AnsweredElsewhere => DeviceState::AnsweredElsewhere,
        }
    }
}

/// One device's part in a call, as everyone in the conversation sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LegView {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// Its part.
    pub state: LegState,
    /// What it says it sends.
    pub media: Media,
}

/// The `call` frame: all of a call's state, for one device. A client ignores one whose `ver` is not greater than
/// that which it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CallView {
    /// The call.
    pub call: CallId,
    /// Its conversation.
    pub conv: ConversationId,
    /// Where it stands.
    pub state: CallState,
    /// Grows with every change.
    pub ver: u64,
    /// Who rang.
    pub caller: Party,
    /// What the caller asked for.
    pub media: Media,
    /// When ringing stops by itself.
    pub ring_until: UnixMillis,
    /// The receiving device's own part.
    pub you: DeviceState,
    /// Every device that took part, in the order of user and device id.
    pub legs: Vec<LegView>,
    /// Why it ended; only when `state` is `ended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// When it last changed.
    pub at: UnixMillis,
}

/// What a client shows in one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct SlotView {
    /// The slot, counted from 0.
    pub slot: u16,
    /// Width in device pixels (CSS pixels × device pixel ratio); 0 with `height` 0 pauses.
    pub width: u16,
    /// Height in device pixels.
    pub height: u16,
}

/// Who is in one slot now; `user` and `device` are null when nobody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotAssignment {
    /// The slot, counted from 0.
    pub slot: u16,
    /// The mid of its audio section in the client's offer.
    pub mid_audio: Option<String>,
    /// The mid of its video section; null in an audio-only slot.
    pub mid_video: Option<String>,
    /// The user whose media is here.
    pub user: Option<UserId>,
    /// The device of that user.
    pub device: Option<DeviceId>,
}
