//! One request's bytes: from the socket into the spool, durable before they are acknowledged.

use std::sync::Arc;

use axum::body::Body;
use futures_util::StreamExt;
use tokio::{fs::File, io::AsyncWriteExt};
use trunkline_units::AttachmentId;

use super::{checksum::Checksum, create::advance};
use crate::{
    meters,
    problem::{Code, Problem},
    service::Shared,
    turns::Turn,
};

/// Bytes between two moments at which what came is made durable while a request goes on. More: a killed server loses
/// more of what it had not acknowledged; fewer: more waiting for the disk.
const CHECKPOINT_BYTES: u64 = 8 * 1024 * 1024;

/// Why a request's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    /// The connection broke.
    Broken,
    /// Another request went on, or the server stops.
    TakenOver,
    Stalled,
    /// It would have gone past the upload's end.
    TooLong,
}

/// One request's writing.
pub(super) struct Intake {
    shared: Arc<Shared>,
    turn: Turn,
    id: AttachmentId,
    file: File,
    /// Where the upload is, what came now included.
    at: u64,
    durable: u64,
    /// Where it ends at the latest.
    end: u64,
}

impl Intake {
    /// Opens the spool at `offset`.
    pub(super) async fn open(
        shared: Arc<Shared>,
        turn: Turn,
        id: AttachmentId,
        offset: u64,
        end: u64,
    ) -> Result<Intake, Problem> {
        let file = shared.spool.open_at(&id, offset).await?;
        Ok(Intake { shared, turn, id, file, at: offset, durable: offset, end })
    }

    /// Receives until the body ends, whatever ends it, and keeps what came. Gives the offset that is durable then.
    pub(super) async fn keep(mut self, body: Body) -> Result<u64, Problem> {
        let end = self.read(body, None).await?;
        self.checkpoint().await?;
        answer(end, self.at)
    }

    /// Receives all of it with the right checksum, or nothing.
    pub(super) async fn keep_checked(mut self, body: Body, mut checksum: Checksum) -> Result<u64, Problem> {
        let from = self.at;
        let mut end = self.read(body, Some(&mut checksum)).await?;
        if end == End::Whole && checksum.matches() {
            if self.turn.advance(self.at).is_ok() {
                self.checkpoint().await?;
                return Ok(self.at);
            }
            end = End::TakenOver;
        }
        self.file.flush().await?;
        self.file.set_len(from).await?;
        answer(end, from)?;
        Err(Problem::new(
            Code::ChecksumMismatch,
            "the bytes do not have this checksum: nothing of them was kept",
        ))
    }

    async fn read(&mut self, body: Body, mut checksum: Option<&mut Checksum>) -> Result<End, Problem> {
        let mut chunks = body.into_data_stream();
        loop {
            let chunk = tokio::select! {
                biased;
                () = self.turn.stopped() => return Ok(End::TakenOver),
                () = self.turn.asked() => {
                    // Unchecked bytes are not the upload's yet: who asks is told where it was.
                    if checksum.is_none() {
                        self.checkpoint().await?;
                    }
                    continue;
                }
                chunk = tokio::time::timeout(self.shared.limits.stall, chunks.next()) => chunk,
            };
            let bytes = match chunk {
                Err(_) => return Ok(End::Stalled),
                Ok(None) => return Ok(End::Whole),
                Ok(Some(Err(_))) => return Ok(End::Broken),
                Ok(Some(Ok(bytes))) => bytes,
            };
            let after = self.at + bytes.len() as u64;
            if after > self.end {
                return Ok(End::TooLong);
            }
            if checksum.is_none() && self.turn.advance(after).is_err() {
                return Ok(End::TakenOver);
            }
            self.file.write_all(&bytes).await?;
            self.at = after;
            if let Some(checksum) = &mut checksum {
                checksum.update(&bytes);
            } else if after - self.durable >= CHECKPOINT_BYTES {
                self.checkpoint().await?;
            }
        }
    }

    /// Makes what came durable: first the bytes, then the record that says so.
    async fn checkpoint(&mut self) -> Result<(), Problem> {
        self.file.flush().await?;
        if self.at > self.durable {
            self.file.sync_data().await?;
        }
        // Others may have filled the disk since this began; a deferred length was never counted.
        self.shared.check_disk(0)?;
        advance(&self.shared, &self.id, self.at).await?;
        meters::received(self.at - self.durable);
        self.durable = self.at;
        self.turn.durable(self.at);
        Ok(())
    }
}

fn answer(end: End, at: u64) -> Result<u64, Problem> {
    match end {
        End::Whole => Ok(at),
        // Whoever hears this has lost the connection anyway.
        End::Broken => Err(Problem::new(Code::BadRequest, "the body ended early; what came of it is kept")),
        End::TakenOver => Err(Problem::new(Code::TakenOver, "another request goes on with this upload")),
        End::Stalled => Err(Problem::new(Code::Stalled, "the body stalled; what came of it is kept")),
        End::TooLong => Err(Problem::new(Code::TooLarge, "more bytes than the upload has")),
    }
}
