//! The trait, and what it speaks of.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::{BlobError, Key};

/// Most bytes of one chunk of a [`BlobStream`].
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;
/// Bytes of each part of a large object but its last. S3 takes no part below 5 MiB but the last.
pub const PART_BYTES: usize = 8 * 1024 * 1024;
/// The greatest number of a part; the least is 1.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// Most entries that [`BlobStore::list`] and [`BlobStore::unfinished`] give at a time.
pub const LIST_MAX: usize = 1000;

/// Chunks of at most [`CHUNK_BYTES_MAX`] bytes, as many bytes in sum as were asked for; or an error, which ends it.
pub type BlobStream = BoxStream<'static, Result<Bytes, BlobError>>;

/// What is known of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blob {
    /// Length, bytes.
    pub bytes: u64,
    /// When it was stored, by the store's clock; whole seconds on S3.
    pub modified: SystemTime,
    /// The store's own entity tag, where it has one.
    pub etag: Option<String>,
    /// The MIME type that it was stored with; `None` where the store keeps none (the disk), and in lists.
    pub mime: Option<String>,
}

/// One part that has been stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// 1 to [`PART_NUMBER_MAX`].
    pub number: u16,
    /// Length, bytes.
    pub bytes: u64,
}

/// Who sends the parts of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartsFrom {
    /// [`BlobStore::put_part`]: each part with its CRC-32C.
    Server,
    /// A client, straight to the S3 store, with the URLs of [`BlobStore::presign_part`]: without a checksum of the part,
    /// since an S3 store wants the checksum either in all parts of an upload or in none.
    Client,
}

/// An upload in parts that has begun. It can be kept as JSON and used by another process later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Multipart {
    pub(crate) key: Key,
    /// The store's name for it.
    pub(crate) id: String,
    pub(crate) parts_from: PartsFrom,
    /// Ours, kept with the object, so that a commit whose answer got lost is known again. Empty if found by a sweep.
    pub(crate) token: String,
    /// The parts that were put with it. Shared by clones.
    pub(crate) sent: Arc<Mutex<BTreeMap<u16, Sent>>>,
}

/// What S3 wants to hear of a part once more in the end, and not every server lists.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sent {
    pub(crate) etag: Option<String>,
    /// CRC-32C, base64.
    pub(crate) sum: Option<String>,
}

impl Multipart {
    pub(crate) fn new(key: Key, id: String, parts_from: PartsFrom, token: String) -> Multipart {
        Multipart { key, id, parts_from, token, sent: Arc::default() }
    }

    /// Where the object will be.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The store's name for this upload.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn note(&self, number: u16, sent: Sent) {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(number, sent);
    }

    pub(crate) fn sent(&self, number: u16) -> Option<Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }
}

/// How a client that follows a presigned URL is shown the object; headers of the answer that are `None` are as stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Encoding`.
    pub content_encoding: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
}

/// Stored bytes by key. Objects are immutable: they are put whole, replaced whole (by a later put of the same key, which
/// readers see from its end on) and deleted whole.
///
/// All calls have time limits. Those that change something are tried again for some half a minute while the store is
/// unavailable, those that read for about a second.
#[async_trait]
pub trait BlobStore: Send + Sync + Debug {
    /// Stores the file's bytes under `key`; durable when it returns. The disk store moves the file where it can (same
    /// volume) and copies it elsewhere, the S3 store sends it: after success, and never otherwise, the caller's file may
    /// be gone. If this future is dropped before it is done, the object may or may not come to be.
    ///
    /// # Errors
    /// [`BlobError::Io`] if the file cannot be read, and those of the store.
    async fn put_file(&self, key: &Key, file: &Path, mime: &str) -> Result<(), BlobError>;

    /// Stores at most [`PART_BYTES`] bytes under `key`; durable when it returns. More goes in parts.
    ///
    /// # Errors
    /// [`BlobError::Internal`] if they are more, and those of the store.
    async fn put_bytes(&self, key: &Key, bytes: Bytes, mime: &str) -> Result<(), BlobError>;

    /// Bytes `range.start` to before `range.end`. Memory is bounded by a few chunks.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], [`BlobError::Short`] if the object ends before the range does, and those of the store;
    /// all of them at once or, if they happen later, in the stream.
    async fn range(&self, key: &Key, range: Range<u64>) -> Result<BlobStream, BlobError>;

    /// What is known of the object.
    ///
    /// # Errors
    /// [`BlobError::NotFound`], and those of the store.
    async fn head(&self, key: &Key) -> Result<Blob, BlobError>;

    /// Deletes the object; durable when it returns. An absent one is fine.
    ///
    /// # Errors
    /// Those of the store.
    async fn delete(&self, key: &Key) -> Result<(), BlobError>;

    /// Objects whose keys come after `after`, in key order (bytewise), at most `limit` and [`LIST_MAX`]. Empty: that was
    /// all. An S3 server that keeps folders may order `a-b` and `a/b` its own way; going on after the last key of a page
    /// still gives every object once.
    ///
    /// # Errors
    /// Those of the store.
    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Blob)>, BlobError>;

    /// Begins an upload in parts. Nothing of it is seen under `key` before the commit.
    ///
    /// # Errors
    /// Those of the store.
    async fn begin(&self, key: &Key, mime: &str, parts_from: PartsFrom) -> Result<Multipart, BlobError>;

    /// Stores one part, durable when it returns; the same number again replaces it. On S3 all parts but the last have at
    /// least 5 MiB.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] if the upload is over, and those of the store.
    async fn put_part(&self, upload: &Multipart, number: u16, bytes: Bytes) -> Result<(), BlobError>;

    /// The parts that are stored, in order.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] if the upload is over, and those of the store.
    async fn list_parts(&self, upload: &Multipart) -> Result<Vec<Part>, BlobError>;

    /// Makes the object of all stored parts in their order; durable when it returns. Again after success is harmless.
    ///
    /// # Errors
    /// [`BlobError::NotFound`] if the upload was aborted or is long over, [`BlobError::Internal`] if it has no parts, and
    /// those of the store.
    async fn commit(&self, upload: &Multipart) -> Result<Blob, BlobError>;

    /// Gives the upload and its parts up. Harmless if it is over.
    ///
    /// # Errors
    /// Those of the store.
    async fn abort(&self, upload: &Multipart) -> Result<(), BlobError>;

    /// Uploads in parts that began at least `older_than` ago and are not over, at most [`LIST_MAX`]: what a sweep aborts.
    ///
    /// # Errors
    /// Those of the store.
    async fn unfinished(&self, older_than: Duration) -> Result<Vec<Multipart>, BlobError>;

    /// Whether clients can send and fetch bytes without us: whether the two calls below give URLs.
    fn presigns(&self) -> bool {
        false
    }

    /// A URL to `PUT` exactly `bytes` bytes of one part to, for `ttl` (at most a week); `None` on a disk.
    ///
    /// # Errors
    /// [`BlobError::Internal`] for a `ttl` that cannot be signed.
    async fn presign_part(
        &self,
        _upload: &Multipart,
        _number: u16,
        _bytes: u64,
        _ttl: Duration,
    ) -> Result<Option<String>, BlobError> {
        Ok(None)
    }

    /// A URL to `GET` the object from, for `ttl` (at most a week), shown as `shown` says; `None` on a disk.
    ///
    /// # Errors
    /// [`BlobError::Internal`] for a `ttl` that cannot be signed.
    async fn presign_get(
        &self,
        _key: &Key,
        _ttl: Duration,
        _shown: &Shown,
    ) -> Result<Option<String>, BlobError> {
        Ok(None)
    }

    /// Looks, at the start of a process, whether the store can be written to.
    ///
    /// # Errors
    /// A text that tells an operator what to put right.
    async fn probe(&self) -> Result<(), BlobError>;
}

/// The part's number, if it is one.
pub(crate) fn part_number(number: u16) -> Result<u16, BlobError> {
    if (1..=PART_NUMBER_MAX).contains(&number) {
        return Ok(number);
    }
    Err(BlobError::Internal(format!("a part's number is 1 to {PART_NUMBER_MAX}, not {number}")))
}
