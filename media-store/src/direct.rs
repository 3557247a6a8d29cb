//! Direct uploads: the bytes go to the S3 store by links that the store itself checks, and are verified at the end.
//!
//! What was put is read back through the spool, so that size, hash and type are known first hand and everything after that is
//! the same as for any other upload: what a client claims about bytes that we never saw is worth nothing.

use std::sync::Arc;

use aws_lc_rs::digest;
use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use trunkline_media_blob::{BlobError, Key, Multipart, PartsFrom};
use trunkline_units::{AttachmentId, UnixMillis};

use crate::{
    finish as finishing,
    finish::Failure,
    problem::{Code, Document, Problem},
    records::{RecordsError, Role, State as UploadState, Upload},
    service::Shared,
    status,
    tus::{
        self,
        headers::{Metadata, clean_mime, clean_name},
    },
};

/// Smallest part; the last one may be smaller.
const PART_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Most parts, so that their links fit one answer.
const PARTS_MAX: u64 = 512;

/// Longest request body, and how long it may take to come.
const REQUEST_BYTES_MAX: usize = 4_096;
const REQUEST_TIME: std::time::Duration = std::time::Duration::from_secs(10);

/// `POST /v1/uploads/direct`.
#[derive(Debug, Deserialize)]
struct Request {
    bytes: u64,
    /// Of all bytes, hex: checked when they are there.
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    r#type: Option<String>,
}

#[derive(Debug, Serialize)]
struct Part {
    number: u16,
    url: String,
}

#[derive(Debug, Serialize)]
struct Created {
    id: AttachmentId,
    /// Every part has so many, the last one the rest.
    part_bytes: u64,
    parts: Vec<Part>,
    /// The links open until then.
    expires_at: UnixMillis,
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

fn unavailable(fault: &BlobError) -> Problem {
    tracing::warn!(%fault, "the blob store failed a direct upload");
    Problem::unavailable("the store is not available now")
}

/// Begins a direct upload, and gives a link for each of its parts.
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let grant = shared.grant(&headers)?;
    tus::creates(&grant)?;
    if !shared.store.presigns() {
        return Err(Problem::new(Code::NotDirect, "this server has no store to upload to directly: use tus"));
    }
    let body = tokio::time::timeout(REQUEST_TIME, to_bytes(body, REQUEST_BYTES_MAX)).await;
    let body = body.map_err(|_| Problem::new(Code::Stalled, "the body did not come"))?;
    let body = body.map_err(|_| bad("the body is too long, or broke off"))?;
    let request: Request = serde_json::from_slice(&body).map_err(|_| bad("the body is not as documented"))?;
    if request.bytes == 0 {
        return Err(bad("an empty upload goes by tus"));
    }
    let sha256 = request.sha256.map(|hash| hash.to_ascii_lowercase());
    if sha256.as_ref().is_some_and(|hash| hash.len() != 64 || hex::decode(hash).is_err()) {
        return Err(bad("sha256 is 64 hexadecimal digits"));
    }
    let metadata = Metadata {
        name: request.name.as_deref().and_then(clean_name),
        mime: request.r#type.as_deref().and_then(clean_mime),
    };
    let mut new = tus::new_upload(&shared, &grant, metadata, Some(request.bytes), Role::Whole)?;
    let key = Key::new(format!("direct/{}", new.id.as_str())).map_err(|fault| Problem::internal(&fault))?;
    let multipart = shared.store.begin(&key, "application/octet-stream", PartsFrom::Client).await;
    let multipart = multipart.map_err(|fault| unavailable(&fault))?;
    new.direct = Some(recorded(&multipart));
    new.sha256 = sha256;
    let part_bytes = part_bytes(request.bytes);
    let mut parts = Vec::new();
    for number in 1..=request.bytes.div_ceil(part_bytes) {
        let bytes = part_bytes.min(request.bytes - (number - 1) * part_bytes);
        let number = u16::try_from(number).map_err(|fault| Problem::internal(&fault))?;
        let url = shared.store.presign_part(&multipart, number, bytes, shared.limits.upload_ttl).await;
        let url = url.map_err(|fault| unavailable(&fault))?;
        parts.push(Part { number, url: url.ok_or_else(|| Problem::internal(&"a store without links"))? });
    }
    let expires_at = new.expires_at;
    let begun = tus::begin(&shared, new).await;
    if begun.is_err()
        && let Err(fault) = shared.store.abort(&multipart).await
    {
        tracing::debug!(%fault, "a multipart that nobody needs was left for the sweep");
    }
    let created = Created { id: begun?, part_bytes, parts, expires_at };
    Ok((StatusCode::CREATED, Json(created)).into_response())
}

/// The parts are there: they are joined, read back, verified, and finished like any other upload. Once it has been
/// said, that goes on also after a crash.
pub(crate) async fn finish(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let grant = shared.grant(&headers)?;
    let upload = tus::load(&shared, &grant, &tus::upload_id(&id)?).await?;
    let multipart = multipart(&upload)?.ok_or_else(|| bad("this upload is not direct"))?;
    if upload.state == UploadState::Receiving {
        check_parts(&shared, &upload, &multipart).await?;
        shared.store.commit(&multipart).await.map_err(|fault| unavailable(&fault))?;
        shared.records.committed(&upload.id).await?;
        finishing::begin(&shared, upload.id.clone());
    }
    let upload = shared.records.upload(&upload.id).await?.ok_or_else(Problem::not_found)?;
    let state = status::tell(&shared, upload).await?;
    Ok((StatusCode::ACCEPTED, state).into_response())
}

async fn check_parts(shared: &Shared, upload: &Upload, multipart: &Multipart) -> Result<(), Problem> {
    match shared.store.list_parts(multipart).await {
        Ok(parts) => {
            let bytes: u64 = parts.iter().map(|part| part.bytes).sum();
            if Some(bytes) == upload.bytes {
                return Ok(());
            }
            Err(Problem::new(Code::Mismatch, format!("{bytes} bytes are there: put the missing parts first")))
        }
        // Joined already, by a request whose answer was lost.
        Err(BlobError::NotFound) => Ok(()),
        Err(fault) => Err(unavailable(&fault)),
    }
}

/// Reads what was put and committed into the spool, unless that was done before.
pub(crate) async fn fetch(shared: &Shared, upload: &Upload) -> Result<(), Failure> {
    let multipart = multipart(upload).map_err(|_| Failure::Later("a record that cannot be read".into()))?;
    let Some(key) = multipart.as_ref().map(Multipart::key) else { return Ok(()) };
    let declared = upload.bytes.unwrap_or_default();
    if upload.offset < declared {
        let held = shared.store.head(key).await?.bytes;
        let mut context = digest::Context::new(&digest::SHA256);
        if held == declared {
            let mut file = shared.spool.open_at(&upload.id, 0).await?;
            let mut bytes = shared.store.range(key, 0..held).await?;
            while let Some(piece) = bytes.next().await {
                let piece = piece?;
                context.update(&piece);
                file.write_all(&piece).await?;
            }
            file.flush().await?;
            file.sync_data().await?;
        }
        let hash = hex::encode(context.finish());
        if held != declared || upload.sha256.as_ref().is_some_and(|declared| *declared != hash) {
            shared.store.delete(key).await?;
            let detail = "what was put has another size or hash than was said".into();
            return Err(Failure::Refused(Document::refused("mismatch", detail)));
        }
        shared.records.fetched(&upload.id, declared).await?;
    }
    Ok(shared.store.delete(key).await?)
}

/// Gives up what a direct upload has in the store.
pub(crate) async fn abandon(shared: &Shared, upload: &Upload) -> Result<(), Problem> {
    let Some(multipart) = multipart(upload)? else { return Ok(()) };
    shared.store.abort(&multipart).await.map_err(|fault| unavailable(&fault))?;
    shared.store.delete(multipart.key()).await.map_err(|fault| unavailable(&fault))
}

/// A multipart upload as the records hold it.
fn recorded(multipart: &Multipart) -> String {
    serde_json::to_string(multipart).expect("a key and an id are JSON")
}

fn multipart(upload: &Upload) -> Result<Option<Multipart>, Problem> {
    let recorded = upload.direct.as_deref();
    recorded.map(serde_json::from_str).transpose().map_err(|fault| Problem::internal(&fault))
}

/// The direct uploads that are still awaited or not read back, as the store knows them.
pub(crate) async fn awaited(shared: &Shared) -> Result<Vec<Multipart>, RecordsError> {
    let records = shared.records.direct().await?;
    records.iter().map(|record| Ok(serde_json::from_str(record)?)).collect()
}

const fn part_bytes(bytes: u64) -> u64 {
    let even = bytes.div_ceil(PARTS_MAX);
    if even < PART_BYTES_MIN { PART_BYTES_MIN } else { even }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_large_enough_and_not_too_many() {
        assert_eq!(part_bytes(1), PART_BYTES_MIN);
        assert_eq!(part_bytes(2 << 30), PART_BYTES_MIN);
        let huge: u64 = 1 << 40;
        assert!(huge.div_ceil(part_bytes(huge)) <= PARTS_MAX);
    }
}
