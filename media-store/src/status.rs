//! `GET /v1/uploads/{id}`: how far an upload is, and what has become of it.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use trunkline_units::AttachmentId;

use crate::{
    Attachment, Grant,
    problem::{Document, Problem},
    records::{State as UploadState, Upload},
    service::Shared,
    tus,
};

/// Longest wait of one request, seconds: below what proxies on the way allow.
const WAIT_S_MAX: u64 = 30;

/// The query.
#[derive(Debug, Deserialize)]
pub(crate) struct Wait {
    /// Answer when something has become of it, or after so many seconds.
    #[serde(default)]
    wait_s: u64,
}

#[derive(Debug, Serialize)]
struct Status {
    id: AttachmentId,
    state: &'static str,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<Attachment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Document>,
}

/// Answers at once, or once it is ready or has failed.
pub(crate) async fn status(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    query: Result<Query<Wait>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let grant = shared.grant(&headers)?;
    let id = tus::upload_id(&id)?;
    let wait = query.map_or(0, |Query(wait)| wait.wait_s.min(WAIT_S_MAX));
    let upload = settled(&shared, &grant, &id, Duration::from_secs(wait)).await?;
    tell(&shared, upload).await
}

/// The upload, when something has become of it or the time is over.
async fn settled(
    shared: &Shared,
    grant: &Grant,
    id: &AttachmentId,
    wait: Duration,
) -> Result<Upload, Problem> {
    let deadline = tokio::time::Instant::now() + wait;
    loop {
        let mut news = shared.news.listen(id.as_str());
        let upload = tus::load(shared, grant, id).await?;
        if upload.state >= UploadState::Ready {
            return Ok(upload);
        }
        tokio::select! {
            changed = tokio::time::timeout_at(deadline, news.changed()) => if changed.is_err() { return Ok(upload) },
            () = shared.stop.cancelled() => return Ok(upload),
        }
    }
}

/// An upload as its client sees it.
pub(crate) async fn tell(shared: &Shared, upload: Upload) -> Result<Response, Problem> {
    let (state, made) = match upload.state {
        UploadState::Receiving => ("receiving", false),
        UploadState::Received => ("processing", false),
        UploadState::Ready | UploadState::Done => ("ready", true),
        UploadState::Failed => ("failed", false),
    };
    let attachment = match made {
        // `None`: swept already, because nobody sent it in time.
        true => shared.records.attachment(&upload.id).await?.map(|(attachment, _)| attachment),
        false => None,
    };
    let Upload { id, offset, bytes, problem, .. } = upload;
    let status = Status { id, state, offset, bytes, attachment, problem };
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, Json(status)).into_response())
}
