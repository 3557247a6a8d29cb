//! Sending a file.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::{BUFFER_BYTES, S3Store};
use crate::{BlobError, BlobStore, Key, Multipart, PART_BYTES, PART_NUMBER_MAX, PartsFrom};

/// Parts of one file on their way at a time.
const IN_FLIGHT: usize = 2;
/// Part sizes are whole MiB.
const MIB: u64 = 1024 * 1024;

/// Consecutive pieces of a file, all of one size but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pieces {
    bytes: u64,
    each: u64,
}

impl Pieces {
    /// As small as they may be, and no more than S3 takes.
    fn of(bytes: u64) -> Pieces {
        let least = bytes.div_ceil(u64::from(PART_NUMBER_MAX)).div_ceil(MIB) * MIB;
        Pieces { bytes, each: least.max(PART_BYTES as u64) }
    }

    /// Number, offset and length of each.
    fn iter(self) -> impl Iterator<Item = (u16, u64, usize)> {
        let count = u16::try_from(self.bytes.div_ceil(self.each)).unwrap_or(PART_NUMBER_MAX);
        (0..count).map(move |index| {
            let at = u64::from(index) * self.each;
            let length = usize::try_from(self.each.min(self.bytes - at)).unwrap_or(usize::MAX);
            (index + 1, at, length)
        })
    }
}

impl S3Store {
    pub(super) async fn send_file(&self, key: &Key, file: &Path, mime: &str) -> Result<(), BlobError> {
        let path = file.to_owned();
        let (file, bytes) = blocking(move || {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file"));
            }
            Ok((Arc::new(file), metadata.len()))
        })
        .await?;
        if bytes <= PART_BYTES as u64 {
            let length = usize::try_from(bytes).unwrap_or(PART_BYTES);
            let _memory = self.reserve(length).await?;
            let bytes = piece(&file, 0, length).await?;
            return self.put_object(&self.name(key), bytes, mime).await;
        }
        let upload = self.begin(key, mime, PartsFrom::Server).await?;
        let sent = self.send_pieces(&upload, &file, Pieces::of(bytes)).await;
        if sent.is_err()
            && let Err(fault) = self.abort(&upload).await
        {
            tracing::warn!(%fault, "an upload in parts is left to the sweep");
        }
        sent
    }

    async fn send_pieces(
        &self,
        upload: &Multipart,
        file: &Arc<File>,
        pieces: Pieces,
    ) -> Result<(), BlobError> {
        let sends = stream::iter(pieces.iter()).map(|(number, at, length)| async move {
            let _memory = self.reserve(length).await?;
            let bytes = piece(file, at, length).await?;
            self.send_part(upload, number, bytes).await
        });
        sends.buffer_unordered(IN_FLIGHT).try_for_each(|()| async { Ok(()) }).await?;
        // Compares the object's length with that of its parts.
        let blob = self.commit(upload).await?;
        if blob.bytes != pieces.bytes {
            return Err(BlobError::Internal(format!("{} bytes sent, {} stored", pieces.bytes, blob.bytes)));
        }
        Ok(())
    }

    /// Waits until so much memory is free. What is larger than all of it gets all of it.
    async fn reserve(&self, bytes: usize) -> Result<tokio::sync::SemaphorePermit<'_>, BlobError> {
        let permits = u32::try_from(bytes.min(BUFFER_BYTES)).unwrap_or(u32::MAX);
        self.0.memory.acquire_many(permits).await.map_err(|closed| BlobError::Internal(closed.to_string()))
    }
}

/// Parts whose memory is kept for the next ones. Each is [`PART_BYTES`](crate::PART_BYTES); more than are in flight at a
/// time are of no use.
const SPARE_MAX: usize = IN_FLIGHT;

/// Memory of parts that have been sent. Freed, it would stay in the allocator's arena of whichever thread took it, and
/// threads are many.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// One part's memory; goes back when the last reference to its bytes does.
struct Buffer(Vec<u8>);

impl Buffer {
    fn of(length: usize) -> Buffer {
        let mut bytes = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        bytes.resize(length, 0);
        Buffer(bytes)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.0);
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < SPARE_MAX && bytes.capacity() <= crate::PART_BYTES {
            spare.push(bytes);
        }
    }
}

/// Bytes of a file, in memory.
async fn piece(file: &Arc<File>, at: u64, length: usize) -> Result<Bytes, BlobError> {
    let file = Arc::clone(file);
    let read = blocking(move || {
        let mut buffer = Buffer::of(length);
        file.read_exact_at(&mut buffer.0, at).map(|()| Bytes::from_owner(buffer))
    });
    Ok(read.await?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::Pieces;
    use crate::{PART_BYTES, PART_NUMBER_MAX};

    #[test]
    fn pieces_cover_a_file_and_fit_what_s3_takes() {
        let part = PART_BYTES as u64;
        for bytes in [part + 1, 2 * part, 2 * part + 1, 10_000 * part, 10_000 * part + 1, 5 << 40] {
            let pieces: Vec<_> = Pieces::of(bytes).iter().collect();
            assert!(pieces.len() <= usize::from(PART_NUMBER_MAX), "{bytes}");
            let mut end = 0;
            for (index, (number, at, length)) in pieces.iter().enumerate() {
                assert_eq!((usize::from(*number), *at), (index + 1, end));
                assert!(*length >= PART_BYTES || index + 1 == pieces.len());
                end = at + *length as u64;
            }
            assert_eq!(end, bytes);
        }
        assert_eq!(Pieces::of(3 * part), Pieces { bytes: 3 * part, each: part });
    }
}
