//! Concatenation: several uploads, sent side by side, become one.

use std::sync::Arc;

use axum::response::Response;
use tokio::{fs::File, io::AsyncWriteExt};
use trunkline_units::AttachmentId;

use super::{create, expiry, headers::Metadata, load, upload_id};
use crate::{
    Grant, finish,
    problem::{Code, Problem},
    records::{Role, State, Upload},
    service::Shared,
};

/// Joins finished parts, in their order. They are gone afterwards.
pub(super) async fn join(
    shared: Arc<Shared>,
    grant: Grant,
    metadata: Metadata,
    parts: Vec<String>,
) -> Result<Response, Problem> {
    let mut uploads: Vec<Upload> = Vec::with_capacity(parts.len());
    for part in &parts {
        let upload = load(&shared, &grant, &upload_id(part)?).await?;
        let complete = upload.state == State::Receiving && upload.bytes == Some(upload.offset);
        if upload.role != Role::Partial || !complete {
            return Err(Problem::new(Code::BadParts, "a part is not partial, or not finished"));
        }
        if uploads.iter().any(|other| other.id == upload.id) {
            return Err(Problem::new(Code::BadParts, "a part is named twice"));
        }
        uploads.push(upload);
    }
    let bytes = uploads.iter().map(|part| part.offset).sum();
    let new = create::new_upload(&shared, &grant, metadata, Some(bytes), Role::Final)?;
    let work = tokio::spawn(async move {
        let id = create::begin(&shared, new).await?;
        if let Err(problem) = assemble(&shared, &id, &uploads).await {
            shared.spool.remove(&id).await?;
            shared.records.remove(vec![id]).await?;
            return Err(problem);
        }
        shared.records.advance(&id, bytes, expiry(&shared)).await?;
        shared.records.remove(uploads.iter().map(|part| part.id.clone()).collect()).await?;
        for part in &uploads {
            shared.spool.remove(&part.id).await?;
        }
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
