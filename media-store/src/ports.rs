//! What the media store needs of whoever keeps the messages. The composition root joins them.

use async_trait::async_trait;
use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

use crate::Attachment;

/// The messages' store cannot answer now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the messages' store: {0}")]
pub struct ReferencesError(pub String);

/// Who refers to what: kept with the messages, in their own transactions.
#[async_trait]
pub trait References: Send + Sync {
    /// Makes an attachment known, so that `user` can send it into `conv`. Again is harmless.
    async fn offer(
        &self,
        conv: &ConversationId,
        user: &UserId,
        attachment: &Attachment,
    ) -> Result<(), ReferencesError>;

    /// Attachments that no message has referred to since `before`. From then on no message can. Given again until they
    /// are forgotten.
    async fn take_unreferenced(
        &self,
        before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<AttachmentId>, ReferencesError>;

    /// Their bytes need not be known any more.
    async fn forget(&self, ids: &[AttachmentId]) -> Result<(), ReferencesError>;
}
