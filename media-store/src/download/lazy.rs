//! Sizes that are made when somebody asks for them, and kept.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use trunkline_media_blob::Key;
use trunkline_media_pipeline::worker::{Event, Job, Work};
use trunkline_units::AttachmentId;

use crate::{
    Attachment, Kind,
    attachment::ORIGINAL,
    finish::{Failure, discard, made_in, put},
    problem::Problem,
    records::Variant,
    service::Shared,
};

/// Makes the size `name` of a photo from the smallest larger one that is there. Links are signed for sizes on the list
/// alone, so nobody makes us make others.
pub(super) async fn make(
    shared: &Arc<Shared>,
    attachment: &Attachment,
    object: &str,
    name: &str,
) -> Result<Variant, Problem> {
    let size = name.parse::<u32>().ok().filter(|_| attachment.content.kind == Kind::Photo);
    let size = size.ok_or_else(Problem::not_found)?;
    let place = shared.lazy.clone().try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("too many sizes are being made"))?;
    let Some(source) = source(shared, attachment, object, size).await? else {
        // Nothing is larger: the largest there is serves as well.
        return largest(shared, attachment, object).await;
    };
    // Goes on when its client goes: others want it too, and what it leaves must be cleared away.
    let (shared, object) = (shared.clone(), object.to_owned());
    let work = shared.clone().tasks.spawn(async move {
        let _place = place;
        one(&shared, &object, &source, size).await
    });
    work.await.unwrap_or_else(|fault| Err(Problem::internal(&fault)))
}

/// Makes one size, unless somebody was faster. One at a time of the same.
async fn one(shared: &Arc<Shared>, object: &str, source: &Variant, size: u32) -> Result<Variant, Problem> {
    let name = size.to_string();
    let id = AttachmentId::new(&format!("{object}-{name}")).map_err(|fault| Problem::internal(&fault))?;
    let _turn = shared.turns.seize(&id).await;
    if let Some(made) = shared.records.variant(object, &name).await? {
        return Ok(made);
    }
    let made = shrink(shared, &id, object, source, size).await;
    shared.spool.remove(&id).await?;
    let variant = made.map_err(|failure| match failure {
        Failure::Refused(problem) => Problem::internal(&format!("a stored photo was refused: {problem:?}")),
        Failure::Later(why) | Failure::Worker(why) => {
            tracing::warn!(why, "a size could not be made");
            Problem::unavailable("this size cannot be made now")
        }
    })?;
    if !shared.records.add_variant(object, variant.clone()).await? {
        // It is being removed.
        discard(shared, &variant).await;
        return shared.records.variant(object, &name).await?.ok_or_else(Problem::not_found);
    }
    Ok(variant)
}

/// The smallest stored variant that is larger than `size`.
async fn source(
    shared: &Shared,
    attachment: &Attachment,
    object: &str,
    size: u32,
) -> Result<Option<Variant>, Problem> {
    for name in &attachment.content.variants {
        let larger = name.parse::<u32>().map_or(name == ORIGINAL, |held| held > size);
        if larger && let Some(variant) = shared.records.variant(object, name).await? {
            return Ok(Some(variant));
        }
    }
    Ok(None)
}

async fn largest(shared: &Shared, attachment: &Attachment, object: &str) -> Result<Variant, Problem> {
    for name in attachment.content.variants.iter().rev() {
        if let Some(variant) = shared.records.variant(object, name).await? {
            return Ok(variant);
        }
    }
    Err(Problem::not_found())
}

async fn shrink(
    shared: &Arc<Shared>,
    id: &AttachmentId,
    object: &str,
    source: &Variant,
    size: u32,
) -> Result<Variant, Failure> {
    let workshop = shared.spool.workshop(id).await?;
    let input = workshop.join("source");
    let key = Key::new(&source.key).map_err(|fault| Failure::Later(fault.to_string()))?;
    let mut pieces = shared.store.range(&key, 0..source.bytes).await?;
    let mut file = tokio::fs::File::create(&input).await?;
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece?).await?;
    }
    file.flush().await?;
    drop(file);
    let limits = trunkline_media_pipeline::Limits::default();
    let job = Job { input, output: workshop.clone(), work: Work::Variant { size }, limits };
    let mut made = None;
    let mut worker = shared.workers.start(&job).await?;
    while let Some(event) = worker.next().await? {
        if let Event::Made(variant) = event {
            made = Some(variant);
        }
    }
    if let Err(refusal) = worker.end().await? {
        return Err(Failure::Later(refusal.text));
    }
    let made = made.ok_or_else(|| Failure::Worker("it made no variant".into()))?;
    put(shared, object, &size.to_string(), &made.mime, &made_in(&workshop, &made.file)).await
}
