//! Bytes from the store into an answer's body, a piece at a time.

use std::ops::Range;

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures_util::{StreamExt, stream};
use trunkline_media_blob::{BlobError, BlobStream, Key};
use zstd::stream::raw::{Decoder, Operation};

use crate::{meters, problem::Problem, records::Variant, service::Shared};

/// Decompressed bytes at a time.
const PIECE_BYTES: usize = 64 * 1024;

pub(super) fn problem(fault: &BlobError) -> Problem {
    match fault {
        BlobError::NotFound => {
            tracing::error!("the records know of bytes that the blob store does not have");
            Problem::not_found()
        }
        other => {
            tracing::warn!(fault = %other, "the blob store failed a request");
            Problem::unavailable("not available now")
        }
    }
}

/// Bytes as they are stored.
pub(super) async fn stored(shared: &Shared, variant: &Variant, span: Range<u64>) -> Result<Body, Problem> {
    let key = Key::new(&variant.key).map_err(|fault| Problem::internal(&fault))?;
    let bytes = shared.store.range(&key, span).await.map_err(|fault| problem(&fault))?;
    Ok(Body::from_stream(bytes.inspect(|piece| {
        if let Ok(piece) = piece {
            meters::sent(piece.len() as u64);
        }
    })))
}

/// Bytes of what is stored as zstd, for who cannot read that. What comes before the span is decompressed and left out.
pub(super) async fn decompressed(
    shared: &Shared,
    variant: &Variant,
    span: Range<u64>,
) -> Result<Body, Problem> {
    let key = Key::new(&variant.key).map_err(|fault| Problem::internal(&fault))?;
    let from = shared.store.range(&key, 0..variant.bytes).await.map_err(|fault| problem(&fault))?;
    let decoder = Decoder::new().map_err(|fault| Problem::internal(&fault))?;
    let left = span.end - span.start;
    let inflated = Inflated { from, piece: Bytes::new(), decoder, skip: span.start, left };
    Ok(Body::from_stream(stream::try_unfold(inflated, async |mut inflated| {
        let piece = inflated.next().await?;
        Ok::<_, std::io::Error>(piece.map(|piece| (piece, inflated)))
    })))
}

/// A span of what a zstd stream holds. It costs nothing while its reader rests: no thread waits for anybody's modem.
struct Inflated {
    from: BlobStream,
    /// What of it was not decompressed yet.
    piece: Bytes,
    decoder: Decoder<'static>,
    /// Bytes before the span.
    skip: u64,
    /// Bytes of the span that are still to come.
    left: u64,
}

impl Inflated {
    async fn next(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut buffer = vec![0; PIECE_BYTES];
        while self.left > 0 {
            let status = self.decoder.run_on_buffers(&self.piece, &mut buffer)?;
            self.piece.advance(status.bytes_read);
            let written = status.bytes_written as u64;
            if written == 0 && self.piece.is_empty() {
                let piece = self.from.next().await.ok_or(std::io::ErrorKind::UnexpectedEof)?;
                self.piece = piece.map_err(std::io::Error::other)?;
            } else if written == 0 && status.bytes_read == 0 {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            let skipped = self.skip.min(written);
            self.skip -= skipped;
            let wanted = (written - skipped).min(self.left);
            if wanted > 0 {
                self.left -= wanted;
                meters::sent(wanted);
                let (from, to) = (skipped as usize, (skipped + wanted) as usize);
                return Ok(Some(Bytes::from(buffer).slice(from..to)));
            }
        }
        Ok(None)
    }
}
