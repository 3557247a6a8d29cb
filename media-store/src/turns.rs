//! Whose turn it is to write to an upload. One request at a time does; another one that knows exactly how far the first has
//! come takes its place at once, so a phone that changed networks never waits for its dead connection. One that does
//! not know is told the offset, and disturbs nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use trunkline_units::AttachmentId;

/// The requests that write now. One entry for each: bounded by the requests that are let in.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<AttachmentId, Arc<Holder>>>);

/// The flag of [`Holder::received`]; uploads are smaller.
const TAKEN: u64 = 1 << 63;

struct Holder {
    /// What has come of the upload, durable or not, and whether the turn is taken: then no more comes. Both in one, so
    /// that of two at the same offset exactly one goes on.
    received: AtomicU64,
    /// What is durable of it.
    durable: watch::Sender<u64>,
    /// Somebody wants to know how far it is: make what came durable.
    ask: Notify,
    stop: CancellationToken,
    gone: CancellationToken,
}

/// One request's turn; over when it is dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    id: AttachmentId,
    holder: Arc<Holder>,
}

/// Somebody else writes, and is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Elsewhere;

impl Turns {
    /// Takes the turn of a request that goes on at `offset`.
    pub(crate) async fn take(self: &Arc<Self>, id: &AttachmentId, offset: u64) -> Result<Turn, Elsewhere> {
        loop {
            let holder = match self.enter(id, offset) {
                Ok(turn) => return Ok(turn),
                Err(holder) => holder,
            };
            holder.take_over(offset)?;
            holder.stop.cancel();
            holder.gone.cancelled().await;
        }
    }

    /// Takes the turn whoever has it: to end the upload.
    pub(crate) async fn seize(self: &Arc<Self>, id: &AttachmentId) -> Turn {
        loop {
            match self.enter(id, 0) {
                Ok(turn) => return turn,
                Err(holder) => {
                    holder.stop.cancel();
                    holder.gone.cancelled().await;
                }
            }
        }
    }

    /// Makes what a writing request has received durable, so that the records tell where the upload is.
    pub(crate) async fn settle(&self, id: &AttachmentId) {
        let Some(holder) = self.map().get(id).cloned() else { return };
        let received = holder.received.load(Ordering::Acquire) & !TAKEN;
        let mut durable = holder.durable.subscribe();
        holder.ask.notify_one();
        tokio::select! {
            _ = durable.wait_for(|durable| *durable >= received) => {}
            () = holder.gone.cancelled() => {}
        }
    }

    /// Asks every writing request to stop; what they received becomes durable.
    pub(crate) fn stop_all(&self) {
        self.map().values().for_each(|holder| holder.stop.cancel());
    }

    fn enter(self: &Arc<Self>, id: &AttachmentId, offset: u64) -> Result<Turn, Arc<Holder>> {
        let mut map = self.map();
        if let Some(holder) = map.get(id) {
            return Err(holder.clone());
        }
        let holder = Arc::new(Holder {
            received: AtomicU64::new(offset),
            durable: watch::channel(offset).0,
            ask: Notify::new(),
            stop: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        map.insert(id.clone(), holder.clone());
        Ok(Turn { turns: self.clone(), id: id.clone(), holder })
    }

    fn map(&self) -> MutexGuard<'_, HashMap<AttachmentId, Arc<Holder>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// Takes the turn of a request that is at `offset`, together with whoever does the same.
    fn take_over(&self, offset: u64) -> Result<(), Elsewhere> {
        let taken = offset | TAKEN;
        match self.received.compare_exchange(offset, taken, Ordering::AcqRel, Ordering::Acquire) {
            Err(other) if other != taken => Err(Elsewhere),
            _ => Ok(()),
        }
    }
}

impl Turn {
    /// So far it comes now, unless somebody else goes on from where it was.
    pub(crate) fn advance(&self, offset: u64) -> Result<(), Elsewhere> {
        let before = self.holder.received.load(Ordering::Acquire) & !TAKEN;
        let moved =
            self.holder.received.compare_exchange(before, offset, Ordering::AcqRel, Ordering::Acquire);
        moved.map(drop).map_err(|_| Elsewhere)
    }

    /// So much is durable.
    pub(crate) fn durable(&self, offset: u64) {
        self.holder.durable.send_replace(offset);
    }

    /// Waits until somebody wants to know how far it is.
    pub(crate) async fn asked(&self) {
        self.holder.ask.notified().await;
    }

    /// Waits until somebody else goes on.
    pub(crate) async fn stopped(&self) {
        self.holder.stop.cancelled().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.map().remove(&self.id);
        self.holder.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> AttachmentId {
        AttachmentId::new("u").unwrap()
    }

    #[tokio::test]
    async fn who_knows_the_offset_takes_over_and_who_does_not_disturbs_nothing() {
        let (turns, id) = (Arc::new(Turns::default()), id());
        let first = turns.take(&id, 0).await.unwrap();
        first.advance(100).unwrap();
        assert!(turns.take(&id, 0).await.is_err());
        assert!(!first.holder.stop.is_cancelled());
        let (second, ()) = tokio::join!(turns.take(&id, 100), async {
            first.stopped().await;
            first.advance(200).unwrap_err();
            drop(first);
        });
        assert!(second.is_ok());
    }

    #[tokio::test]
    async fn whoever_asks_learns_what_is_durable() {
        let (turns, id) = (Arc::new(Turns::default()), id());
        let turn = turns.take(&id, 0).await.unwrap();
        turn.advance(7).unwrap();
        tokio::join!(turns.settle(&id), async {
            turn.asked().await;
            turn.durable(7);
        });
        drop(turn);
        turns.settle(&id).await;
    }

    #[tokio::test]
    async fn a_turn_ends_with_its_request() {
        let turns = Arc::new(Turns::default());
        drop(turns.take(&id(), 5).await.unwrap());
        drop(turns.seize(&id()).await);
        assert!(turns.map().is_empty());
    }
}
