//! Concatenation: several uploads, sent side by side, become one.

use std::{collections::BTreeSet, sync::Arc};

use axum::response::Response;
use tokio::{fs::File, io::AsyncWriteExt};
use trunkline_units::AttachmentId;

use super::{
    create,
    headers::{Given, Metadata},
    load, upload_id,
};
use crate::{
    Grant, finish,
    problem::{Code, Problem},
    records::{Role, State, Upload},
    service::Shared,
};

/// Joins finished parts, in their order. They are gone afterwards.
pub(super) async fn join(
    shared: Arc<Shared>,
    given: Given,
    grant: Grant,
    metadata: Metadata,
    parts: Vec<String>,
) -> Result<Response, Problem> {
    let ids = parts.iter().map(|part| upload_id(part)).collect::<Result<Vec<_>, _>>()?;
    let sorted: BTreeSet<_> = ids.iter().cloned().collect();
    if sorted.len() < ids.len() {
        return Err(Problem::new(Code::BadParts, "a part is named twice"));
    }
    let work = tokio::spawn(async move {
        let _seat = shared.seat()?;
        // A part belongs to one whole: of several that want it, one gets it. In one order for all, so that no two wait
        // for each other.
        let mut turns = Vec::with_capacity(sorted.len());
        for id in &sorted {
            load(&shared, &grant, id).await?;
            turns.push(shared.turns.seize(id).await);
        }
        let mut uploads: Vec<Upload> = Vec::with_capacity(ids.len());
        for id in &ids {
            let upload = load(&shared, &grant, id).await?;
            let complete = upload.state == State::Receiving && upload.bytes == Some(upload.offset);
            if upload.role != Role::Partial || !complete {
                return Err(Problem::new(Code::BadParts, "a part is not partial, or not finished"));
            }
            uploads.push(upload);
        }
        let bytes = uploads.iter().map(|part| part.offset).sum();
        let mut new = create::new_upload(&shared, &grant, metadata, Some(bytes), Role::Final)?;
        (new.metadata, new.concat) = (given.metadata, given.concat);
        let id = create::begin(&shared, new).await?;
        if let Err(problem) = assemble(&shared, &id, &uploads).await {
            shared.spool.remove(&id).await?;
            shared.records.remove(vec![id]).await?;
            return Err(problem);
        }
        create::advance(&shared, &id, bytes).await?;
        shared.records.remove(ids).await?;
        for part in &uploads {
            shared.spool.remove(&part.id).await?;
        }
        drop(turns);
        finish::if_received(&shared, &id).await?;
        Ok(create::created(&shared, &id, bytes))
    });
    work.await.unwrap_or_else(|fault| Err(Problem::internal(&fault)))
}

/// Copies the parts one after the other; the whole is durable before its record says so.
async fn assemble(shared: &Shared, id: &AttachmentId, parts: &[Upload]) -> Result<(), Problem> {
    let mut whole = shared.spool.open_at(id, 0).await?;
    for part in parts {
        let mut file = File::open(shared.spool.path(&part.id)).await?;
        let copied = tokio::io::copy(&mut file, &mut whole).await?;
        if copied != part.offset {
            return Err(Problem::internal(&"a part in the spool does not have its length"));
        }
    }
    whole.flush().await?;
    whole.sync_data().await?;
    Ok(())
}
