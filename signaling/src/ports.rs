//! What signaling needs of others. They implement it without knowing signaling: the composition root joins them.

use async_trait::async_trait;
use trunkline_signaling_api::{
    Attachment, AttachmentKind, Relays, SlotAssignment, SlotView,
    rest::{AttachmentLinks, UploadGrant},
};
use trunkline_units::{CallId, ConversationId, DeviceId, UserId};

use crate::auth::Tenant;

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

/// An upload that somebody wants to make. Its user is a member of the conversation.
#[derive(Clone, PartialEq, Eq)]
pub struct UploadWish {
    /// Who uploads, and alone can send it.
    pub user: UserId,
    /// The only conversation that it can be sent to.
    pub conv: ConversationId,
    /// Whose quota it counts in beside the user's; `None`: the default tenant's.
    pub tenant: Option<Tenant>,
    /// What it is to be.
    pub kind: AttachmentKind,
    /// Its size, if that is known.
    pub bytes: Option<u64>,
    /// What it is called: 1–255 characters, none of them a control character. It may still be a path, or mislead.
    pub name: Option<String>,
    /// Its type as the client says it: at most 127 printable characters of ASCII with a slash, perhaps with parameters.
    pub mime: Option<String>,
}

impl std::fmt::Debug for UploadWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let UploadWish { kind, bytes, .. } = self;
        f.debug_struct("UploadWish").field("kind", kind).field("bytes", bytes).finish_non_exhaustive()
    }
}

/// Why there is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Larger than its kind may be.
    #[error("at most {max} bytes")]
    TooLarge {
        /// The most.
        max: u64,
    },
    /// A share of storage is used up: which, in words for people.
    #[error("{0}")]
    QuotaExceeded(String),
    /// Not now.
    #[error("the media store is not available")]
    Unavailable,
}

/// The media store, as signaling sees it. What it in turn needs of signaling is
/// [`Signaling::references`](crate::Signaling::references).
#[async_trait]
pub trait AttachmentGrants: Send + Sync {
    /// Grants an upload, if there is room for it. Answers within ten seconds, or is taken for unavailable.
    async fn upload(&self, wish: UploadWish) -> Result<UploadGrant, GrantError>;

    /// Signed links to the variants of an attachment, for somebody who may see it; and to `extra`, one that a client named
    /// (any text at all), if it is made when asked for.
    fn links(&self, attachment: &Attachment, extra: Option<&str>) -> AttachmentLinks;
}
