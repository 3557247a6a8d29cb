//! What nobody needs any more goes: uploads that were left, attachments that no message refers to, and whatever a process
//! that died left in the store or the spool.

use std::{collections::HashSet, sync::Arc, time::SystemTime};

use tokio::time::{Instant, MissedTickBehavior};
use trunkline_media_blob::{BlobError, Key, Multipart};
use trunkline_units::AttachmentId;

use crate::{
    clock, direct,
    meters::{self, Swept},
    ports::ReferencesError,
    problem::Problem,
    records::RecordsError,
    service::Shared,
};

/// Rows that one step takes.
const STEP: u32 = 256;

/// Keys that one listing of the store gives.
const LISTING: usize = 1_000;

/// Why a sweep was not finished. The next one goes on.
#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Records(#[from] RecordsError),
    #[error(transparent)]
    References(#[from] ReferencesError),
    #[error("the blob store: {0}")]
    Store(#[from] BlobError),
    #[error("the spool: {0}")]
    Spool(#[from] std::io::Error),
    #[error("an upload could not be ended: {0:?}")]
    Upload(Problem),
}

/// Sweeps until the store stops.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(shared.config.sweep_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Looking at every key of the store is not for every sweep.
    let orphans_every = (shared.config.orphan_age / 4).max(shared.config.sweep_every);
    let mut orphans_due = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        let with_orphans = Instant::now() >= orphans_due;
        let swept = tokio::select! {
            swept = sweep(&shared, with_orphans) => swept,
            () = shared.stop.cancelled() => return,
        };
        match swept {
            Ok(()) if with_orphans => orphans_due = Instant::now() + orphans_every,
            Ok(()) => {}
            Err(fault) => {
                meters::sweep_failed();
                tracing::warn!(%fault, "a sweep was not finished; the next one goes on");
            }
        }
    }
}

async fn sweep(shared: &Shared, with_orphans: bool) -> Result<(), SweepError> {
    expired_uploads(shared).await?;
    unreferenced(shared).await?;
    doomed_objects(shared).await?;
    if with_orphans {
        shared.records.doom_unattached().await?;
        let awaited = direct::awaited(shared).await?;
        orphaned_blobs(shared, &awaited).await?;
        orphaned_multiparts(shared, &awaited).await?;
        orphaned_spool(shared).await?;
    }
    Ok(())
}

async fn expired_uploads(shared: &Shared) -> Result<(), SweepError> {
    loop {
        let expired = shared.records.expired(clock::now(), STEP).await?;
        for upload in &expired {
            // A request that writes to it at this moment has just made it younger.
            let turn = shared.turns.seize(&upload.id).await;
            let now = shared.records.upload(&upload.id).await?;
            if now.is_some_and(|now| now.expires_at <= clock::now()) {
                shared.end(upload).await.map_err(SweepError::Upload)?;
                meters::swept(Swept::Upload, 1);
            }
            drop(turn);
        }
        if expired.len() < STEP as usize {
            return Ok(());
        }
    }
}

/// Attachments first here, then there: whatever a process that dies in between leaves is given again.
async fn unreferenced(shared: &Shared) -> Result<(), SweepError> {
    let Some(references) = shared.references.get() else { return Ok(()) };
    loop {
        let before = clock::now().before(shared.limits.grace);
        let taken = references.take_unreferenced(before, STEP).await?;
        if taken.is_empty() {
            return Ok(());
        }
        shared.records.detach(taken.clone()).await?;
        references.forget(&taken).await?;
        meters::swept(Swept::Attachment, taken.len());
    }
}

/// The bytes first, then the record that knows where they are.
async fn doomed_objects(shared: &Shared) -> Result<(), SweepError> {
    loop {
        let doomed = shared.records.doomed(STEP).await?;
        for (object, keys) in &doomed {
            for key in keys.iter().filter_map(|key| Key::new(key).ok()) {
                shared.store.delete(&key).await?;
            }
            shared.records.forget(object).await?;
            meters::swept(Swept::Object, 1);
        }
        if doomed.len() < STEP as usize {
            return Ok(());
        }
    }
}

async fn orphaned_blobs(shared: &Shared, awaited: &[Multipart]) -> Result<(), SweepError> {
    // What was put directly is known by its upload, until it has been read back.
    let awaited: HashSet<&Key> = awaited.iter().map(Multipart::key).collect();
    let mut after: Option<Key> = None;
    loop {
        let listed = shared.store.list(after.as_ref(), LISTING).await?;
        let Some((last, _)) = listed.last() else { return Ok(()) };
        after = Some(last.clone());
        let now = SystemTime::now();
        let old = |modified| now.duration_since(modified).is_ok_and(|age| age > shared.config.orphan_age);
        let keys: Vec<String> = listed
            .iter()
            .filter(|(key, blob)| old(blob.modified) && !awaited.contains(key))
            .map(|(key, _)| key.as_str().to_owned())
            .collect();
        for key in shared.records.unknown_keys(keys).await? {
            if let Ok(key) = Key::new(&key) {
                shared.store.delete(&key).await?;
                meters::swept(Swept::OrphanBlob, 1);
            }
        }
    }
}

async fn orphaned_multiparts(shared: &Shared, awaited: &[Multipart]) -> Result<(), SweepError> {
    for multipart in shared.store.unfinished(shared.config.orphan_age).await? {
        if !awaited.iter().any(|known| known.id() == multipart.id()) {
            shared.store.abort(&multipart).await?;
            meters::swept(Swept::OrphanMultipart, 1);
        }
    }
    Ok(())
}

async fn orphaned_spool(shared: &Shared) -> Result<(), SweepError> {
    let old = shared.spool.list().await?.into_iter().filter(|(_, age)| *age > shared.config.orphan_age);
    let old: Vec<String> = old.map(|(id, _)| id.as_str().to_owned()).collect();
    let known = shared.records.spooled(old.clone()).await?;
    for id in old.iter().filter(|id| !known.contains(id)).filter_map(|id| AttachmentId::new(id).ok()) {
        shared.spool.remove(&id).await?;
        meters::swept(Swept::OrphanSpool, 1);
    }
    Ok(())
}
