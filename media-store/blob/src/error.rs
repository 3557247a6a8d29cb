//! What goes wrong, by fault.

use std::io;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlobError {
    /// No such object, or no such multipart upload (any more).
    #[error("there is no such object")]
    NotFound,
    /// The object is shorter than the range that was asked for; `held` is its length where the store told it.
    #[error("the object is too short: {asked} bytes were asked for, it has {held:?}")]
    Short {
        /// The end of the range, bytes.
        asked: u64,
        /// The object's length, bytes.
        held: Option<u64>,
    },
    /// The store does not answer, or says that it cannot now. The call has been tried several times already where that
    /// helps; trying later may succeed. Whether the change was made is unknown.
    #[error("the blob store is unavailable: {0}")]
    Unavailable(String),
    /// The store refuses what an operator has to put right: credentials, the bucket, a clock.
    #[error("the blob store refuses: {0}")]
    Refused(String),
    /// We, or the store, did what should not happen.
    #[error("the blob store failed: {0}")]
    Internal(String),
    /// The local disk's error: of the disk store itself, or of the caller's file.
    #[error("disk: {0}")]
    Io(#[source] io::Error),
}

impl BlobError {
    /// Whether the same call may succeed a while later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, BlobError::Unavailable(_))
    }
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> BlobError {
        BlobError::Io(error)
    }
}
