//! What signaling needs of others. They implement it without knowing signaling: the composition root joins them.

use async_trait::async_trait;
use trunkline_signaling_api::{Relays, SlotAssignment, SlotView};
use trunkline_units::{CallId, DeviceId, UserId};

/// Why there is no answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The offer is malformed, or asks for what cannot be.
    #[error("{0}")]
    BadSdp(String),
    /// The room or the node is full.
    #[error("no room for more media")]
    LimitExceeded,
    /// The media plane cannot answer now.
    #[error("the media plane is not available")]
    Unavailable,
}

/// The SFU, as signaling sees it. Signaling asks for a participant only after its leg has joined.
#[async_trait]
pub trait MediaPlane: Send + Sync {
    /// Joins a participant, or replaces its transport; returns the SDP answer. Answers within ten seconds, or is taken
    /// for unavailable.
    async fn offer(
        &self,
        call: &CallId,
        user: &UserId,
        device: &DeviceId,
        sdp: &str,
    ) -> Result<String, MediaError>;

    /// What a participant has on its screen. Slots not named keep what they had.
    fn view(&self, call: &CallId, user: &UserId, device: &DeviceId, slots: Vec<SlotView>);

    /// A participant is no longer in the call. Nothing happens if it was not there.
    fn leave(&self, call: &CallId, user: &UserId, device: &DeviceId);

    /// The call is over: everyone leaves.
    fn close(&self, call: &CallId);
}

/// What the SFU tells signaling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaEvent {
    /// Who is in which of a participant's slots; a full list each time.
    Slots {
        /// The call.
        call: CallId,
        /// The participant who sees them.
        user: UserId,
        /// On this device.
        device: DeviceId,
        /// Every slot.
        slots: Vec<SlotAssignment>,
    },
    /// A participant's transport carries media, for the first time or again.
    Connected {
        /// The call.
        call: CallId,
        /// The participant.
        user: UserId,
        /// On this device.
        device: DeviceId,
    },
    /// A participant's transport is lost. It may offer again.
    Gone {
        /// The call.
        call: CallId,
        /// The participant.
        user: UserId,
        /// On this device.
        device: DeviceId,
        /// For people and logs.
        why: String,
    },
    /// There is media in the call. Told every ten seconds or so: without it the call's lease runs out.
    Alive {
        /// The call.
        call: CallId,
    },
}

/// Who hands out credentials for the relays near a user.
pub trait RelayCredentials: Send + Sync {
    /// Relays and fresh credentials for `user`.
    fn mint(&self, user: &UserId) -> Relays;
}
