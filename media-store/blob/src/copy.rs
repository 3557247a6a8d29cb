//! Copying one store into another: resumable, verified, in bounded memory.

mod journal;

use std::{io, path::Path, time::Duration};

use aws_lc_rs::digest::{Context, Digest, SHA256};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{Blob, BlobError, BlobStore, Key, LIST_MAX, Multipart, PART_BYTES, PART_NUMBER_MAX, PartsFrom};
use journal::{Entry, Journal};

/// Objects on their way at a time, each with at most one part in memory.
const IN_FLIGHT: usize = 4;
/// Attempts for one object while a store is unavailable, with pauses that double from the first: some 30 s in all.
const ATTEMPTS: u32 = 7;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Verified objects that a crash may forget, to be copied again.
const SYNC_EVERY: u64 = 64;
/// Failures that [`CopyError::Incomplete`] tells one by one.
pub const FAILURES_TOLD_MAX: usize = 20;

/// What a copy has done so far, or in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Objects copied and verified by this run.
    pub copied: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that an earlier run has copied and verified and the destination still has.
    pub skipped: u64,
    /// Objects that were deleted from the source while this ran.
    pub gone: u64,
    /// Objects that the destination gave back otherwise than they had been read. Also among `failed`.
    pub mismatches: u64,
    /// Objects that are not copied.
    pub failed: u64,
}

/// Why a copy is not complete. Running it again goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The journal cannot be read or written.
    #[error("the journal: {0}")]
    Journal(#[from] io::Error),
    /// The source does not list its objects.
    #[error("the source cannot be listed: {0}")]
    Source(#[source] BlobError),
    /// All objects were tried, and some failed.
    #[error("{} of the objects were not copied, {} of them for other bytes than were read", .summary.failed, .summary.mismatches)]
    Incomplete {
        /// What was done.
        summary: Summary,
        /// The first [`FAILURES_TOLD_MAX`] objects that failed, and why.
        failures: Vec<(Key, String)>,
    },
}

/// Copies every object of `from` to `to`, in key order, under the same keys. Each is read back from `to`, and its SHA-256
/// compared with that of what was read from `from`; only then does `journal` (a file, made if absent) hold it. A later
/// run with the same journal skips what the journal holds and `to` still has at that length, so objects that were added
/// while one run went on are copied by the next. `from` is only read. `progress` hears what has been done, after each
/// object.
///
/// MIME types come along from a store that keeps them; else it is `application/octet-stream`.
///
/// # Errors
/// [`CopyError::Incomplete`] at the end if some objects failed: they do not keep the others from being copied.
pub async fn copy(
    from: &dyn BlobStore,
    to: &dyn BlobStore,
    journal: &Path,
    mut progress: impl FnMut(Summary),
) -> Result<Summary, CopyError> {
    let mut journal = Journal::open(journal).await?;
    let mut summary = Summary::default();
    let mut failures = Vec::new();
    let mut last: Option<Key> = None;
    loop {
        let page = patiently(|| from.list(last.as_ref(), LIST_MAX)).await.map_err(CopyError::Source)?;
        let Some((end, _)) = page.last() else { break };
        last = Some(end.clone());
        let held = journal.find(page.iter().map(|(key, _)| key.clone()).collect()).await?;
        let mut outcomes = stream::iter(page.into_iter().zip(held))
            .map(|((key, blob), held)| async move {
                let outcome = one(from, to, &key, &blob, held).await;
                (key, outcome)
            })
            .buffered(IN_FLIGHT);
        while let Some((key, outcome)) = outcomes.next().await {
            match outcome {
                Ok(Outcome::Copied(entry)) => {
                    summary.copied += 1;
                    summary.bytes += entry.bytes;
                    journal.add(&entry).await?;
                    if summary.copied.is_multiple_of(SYNC_EVERY) {
                        journal.sync().await?;
                    }
                }
                Ok(Outcome::Skipped) => summary.skipped += 1,
                Ok(Outcome::Gone) => summary.gone += 1,
                Err(failure) => {
                    tracing::warn!(%failure, %key, "an object is not copied");
                    summary.failed += 1;
                    summary.mismatches += u64::from(matches!(failure, Failure::Mismatch));
                    if failures.len() < FAILURES_TOLD_MAX {
                        failures.push((key, failure.to_string()));
                    }
                }
            }
            progress(summary);
        }
    }
    journal.sync().await?;
    if summary.failed > 0 { Err(CopyError::Incomplete { summary, failures }) } else { Ok(summary) }
}

enum Outcome {
    Copied(Entry),
    Skipped,
    Gone,
}

/// Why one object is not copied.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("reading it: {0}")]
    Read(#[source] BlobError),
    #[error("writing it: {0}")]
    Write(#[source] BlobError),
    #[error("reading it back: {0}")]
    ReadBack(#[source] BlobError),
    #[error("the destination gives back other bytes than it was sent")]
    Mismatch,
}

impl Failure {
    fn is_retryable(&self) -> bool {
        match self {
            Failure::Read(fault) | Failure::Write(fault) | Failure::ReadBack(fault) => fault.is_retryable(),
            Failure::Mismatch => false,
        }
    }
}

/// Copies one object, or finds that it need not.
async fn one(
    from: &dyn BlobStore,
    to: &dyn BlobStore,
    key: &Key,
    blob: &Blob,
    held: Option<Entry>,
) -> Result<Outcome, Failure> {
    if held.is_some_and(|held| held.bytes == blob.bytes) {
        match patiently(|| to.head(key)).await {
            Ok(there) if there.bytes == blob.bytes => return Ok(Outcome::Skipped),
            Ok(_) | Err(BlobError::NotFound) => {}
            Err(fault) => return Err(Failure::ReadBack(fault)),
        }
    }
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=ATTEMPTS {
        match transfer(from, to, key).await {
            Err(Failure::Read(BlobError::NotFound)) => return Ok(Outcome::Gone),
            Err(failure) if failure.is_retryable() && attempt < ATTEMPTS => {
                tracing::debug!(%failure, attempt, "an object is copied again");
            }
            settled => return settled.map(Outcome::Copied),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    unreachable!("the last attempt returns")
}

/// One attempt: reads, writes, reads back, compares.
async fn transfer(from: &dyn BlobStore, to: &dyn BlobStore, key: &Key) -> Result<Entry, Failure> {
    let blob = from.head(key).await.map_err(Failure::Read)?;
    let mime = blob.mime.as_deref().unwrap_or("application/octet-stream");
    let mut source = Source {
        chunks: from.range(key, 0..blob.bytes).await.map_err(Failure::Read)?,
        rest: Bytes::new(),
        hash: Context::new(&SHA256),
    };
    if blob.bytes <= PART_BYTES as u64 {
        let bytes = source.take(PART_BYTES).await.map_err(Failure::Read)?;
        to.put_bytes(key, bytes, mime).await.map_err(Failure::Write)?;
    } else {
        let upload = to.begin(key, mime, PartsFrom::Server).await.map_err(Failure::Write)?;
        let sent = send(&mut source, to, &upload, part_bytes(blob.bytes)).await;
        if sent.is_err()
            && let Err(fault) = to.abort(&upload).await
        {
            tracing::warn!(%fault, "an upload in parts is left to the sweep");
        }
        sent?;
    }
    let read = source.hash.finish();
    let there = digest(to, key, blob.bytes).await?;
    if there.as_ref() != read.as_ref() {
        return Err(Failure::Mismatch);
    }
    Ok(Entry { key: key.clone(), bytes: blob.bytes, sha256: hex::encode(read) })
}

async fn send(
    source: &mut Source,
    to: &dyn BlobStore,
    upload: &Multipart,
    part_bytes: usize,
) -> Result<(), Failure> {
    for number in 1..=PART_NUMBER_MAX {
        let bytes = source.take(part_bytes).await.map_err(Failure::Read)?;
        if bytes.is_empty() {
            break;
        }
        to.put_part(upload, number, bytes).await.map_err(Failure::Write)?;
    }
    to.commit(upload).await.map_err(Failure::Write).map(drop)
}

/// Bytes of each part of an object: 8 MiB unless it would have too many.
fn part_bytes(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(u64::from(PART_NUMBER_MAX))).unwrap_or(usize::MAX).max(PART_BYTES)
}

/// What is read from the source, hashed as it comes.
struct Source {
    chunks: crate::BlobStream,
    rest: Bytes,
    hash: Context,
}

impl Source {
    /// The next `most` bytes; fewer only at the end.
    async fn take(&mut self, most: usize) -> Result<Bytes, BlobError> {
        let mut taken = BytesMut::new();
        while taken.len() < most {
            if self.rest.is_empty() {
                match self.chunks.try_next().await? {
                    Some(chunk) => {
                        self.hash.update(&chunk);
                        self.rest = chunk;
                    }
                    None => break,
                }
            }
            if taken.is_empty() && self.rest.len() < most {
                taken.reserve(most);
            }
            let fits = self.rest.len().min(most - taken.len());
            taken.extend_from_slice(&self.rest.split_to(fits));
        }
        Ok(taken.freeze())
    }
}

/// SHA-256 of the first `bytes` bytes of what the destination holds, which are all if it holds what it was sent.
async fn digest(to: &dyn BlobStore, key: &Key, bytes: u64) -> Result<Digest, Failure> {
    let there = to.head(key).await.map_err(Failure::ReadBack)?;
    if there.bytes != bytes {
        return Err(Failure::Mismatch);
    }
    let mut hash = Context::new(&SHA256);
    let mut chunks = to.range(key, 0..bytes).await.map_err(Failure::ReadBack)?;
    while let Some(chunk) = chunks.try_next().await.map_err(Failure::ReadBack)? {
        hash.update(&chunk);
    }
    Ok(hash.finish())
}

/// Tries again while the store is unavailable, as long as for an object.
async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, BlobError>
where
    F: Future<Output = Result<T, BlobError>>,
{
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(fault) if fault.is_retryable() => tracing::debug!(%fault, "a store is tried again"),
            settled => return settled,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    attempt().await
}

#[cfg(test)]
mod tests;
