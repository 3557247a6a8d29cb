//! Bytes from the store into an answer's body, a piece at a time.

use std::{io::Read, ops::Range, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};
use trunkline_media_blob::{BlobError, Key};

use crate::{meters, problem::Problem, records::Variant, service::Shared};

/// Decompressed bytes on their way at a time: `PIECES` of `PIECE_BYTES`.
const PIECE_BYTES: usize = 64 * 1024;
const PIECES: usize = 4;

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
    shared: &Arc<Shared>,
    variant: &Variant,
    span: Range<u64>,
) -> Result<Body, Problem> {
    let key = Key::new(&variant.key).map_err(|fault| Problem::internal(&fault))?;
    let bytes = shared.store.range(&key, 0..variant.bytes).await.map_err(|fault| problem(&fault))?;
    let reader =
        SyncIoBridge::new(StreamReader::new(bytes.map(|piece| piece.map_err(std::io::Error::other))));
    let (pieces, received) = mpsc::channel::<std::io::Result<Bytes>>(PIECES);
    tokio::task::spawn_blocking(move || {
        if let Err(fault) = decompress(reader, span, &pieces) {
            // Nobody listens any more, or the answer breaks off: its length was told.
            let _ = pieces.blocking_send(Err(fault));
        }
    });
    let stream = futures_util::stream::unfold(received, async |mut received| {
        let piece = received.recv().await?;
        Some((piece, received))
    });
    Ok(Body::from_stream(stream))
}

fn decompress(
    from: impl Read,
    span: Range<u64>,
    to: &mpsc::Sender<std::io::Result<Bytes>>,
) -> std::io::Result<()> {
    let mut decoder = zstd::Decoder::new(from)?;
    std::io::copy(&mut decoder.by_ref().take(span.start), &mut std::io::sink())?;
    let mut decoder = decoder.take(span.end - span.start);
    loop {
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        decoder.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(());
        }
        meters::sent(piece.len() as u64);
        if to.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}
