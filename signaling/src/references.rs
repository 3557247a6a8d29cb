//! What signaling offers to a media store: to make attachments known, and to learn which nobody refers to.

use std::sync::Arc;

use trunkline_signaling_api::Attachment;
use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

use crate::store::{Store, StoreError};

/// Which attachments messages refer to, counted in the transactions of the messages. Cloning it is cheap; it keeps the store
/// open.
#[derive(Clone)]
pub struct References(Arc<dyn Store>);

impl References {
    pub(crate) fn new(store: Arc<dyn Store>) -> References {
        References(store)
    }

    /// Makes an attachment known, for `user` to send into `conv`. Again is harmless: what is known of it is replaced while
    /// no message refers to it. It is kept even if the conversation or the membership is gone, for
    /// [`Self::take_unreferenced`] to find.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if its JSON is longer than 4 KiB; the store is not available.
    pub async fn offer(
        &self,
        conv: &ConversationId,
        user: &UserId,
        attachment: Attachment,
        at: UnixMillis,
    ) -> Result<(), StoreError> {
        self.0.offer_attachment(conv, user, attachment, at).await
    }

    /// Takes attachments that no message has referred to since `before`, at most `limit`. From then on none can. They are
    /// given again until they are forgotten.
    ///
    /// # Errors
    /// The store is not available.
    pub async fn take_unreferenced(
        &self,
        before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<AttachmentId>, StoreError> {
        self.0.take_unreferenced(before, limit).await
    }

    /// Forgets attachments that were taken, once their bytes are gone. Others stay.
    ///
    /// # Errors
    /// The store is not available.
    pub async fn forget(&self, ids: &[AttachmentId]) -> Result<(), StoreError> {
        self.0.forget_attachments(ids).await
    }
}

impl std::fmt::Debug for References {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("References")
    }
}
