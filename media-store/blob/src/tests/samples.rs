//! What tests put, and where.

use std::{
    ops::Range,
    path::PathBuf,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use futures_util::TryStreamExt;
use tempfile::TempDir;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::{BlobError, BlobStore, CHUNK_BYTES_MAX, Key, S3Store, testing::Weed};

/// Bytes that look random and are the same for the same seed.
pub(crate) fn sample(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes))
}

pub(crate) fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

/// Files of a test.
pub(crate) struct Scratch(pub(crate) TempDir);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    /// A new file with these bytes.
    pub(crate) fn file(&self, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(Uuid::new_v4().simple().to_string());
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

pub(crate) async fn put(store: &dyn BlobStore, name: &str, bytes: &[u8]) {
    let scratch = Scratch::new();
    store.put_file(&key(name), &scratch.file(bytes), "text/plain").await.unwrap();
}

/// All of the range's bytes, whose chunks have the right sizes.
pub(crate) async fn contents(
    store: &dyn BlobStore,
    name: &str,
    range: Range<u64>,
) -> Result<Vec<u8>, BlobError> {
    let mut chunks = store.range(&key(name), range).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.try_next().await? {
        assert!((1..=CHUNK_BYTES_MAX).contains(&chunk.len()), "a chunk of {} bytes", chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// One SeaweedFS for all tests that run at the same time: the last of them ends it.
pub(crate) struct SharedWeed {
    pub(crate) weed: Weed,
    _folder: TempDir,
}

impl SharedWeed {
    /// A store of one test's own.
    pub(crate) fn store(&self) -> S3Store {
        let prefix = Uuid::new_v4().simple().to_string();
        S3Store::new(self.weed.config(Some(&prefix))).unwrap()
    }
}

pub(crate) async fn shared_weed() -> Arc<SharedWeed> {
    static SHARED: Mutex<Weak<SharedWeed>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(weed) = shared.upgrade() {
        return weed;
    }
    let folder = tempfile::tempdir().unwrap();
    let weed = match Weed::start(folder.path()).await {
        Ok(weed) => weed,
        Err(fault) => panic!("{fault}"),
    };
    let weed = Arc::new(SharedWeed { weed, _folder: folder });
    *shared = Arc::downgrade(&weed);
    weed
}
