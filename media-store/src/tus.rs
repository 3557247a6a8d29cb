//! Resumable uploads: tus 1.0.0 (<https://tus.io/protocols/resumable-upload>) with creation, creation-with-upload,
//! creation-defer-length, checksum, termination, expiration and concatenation.
//!
//! An upload's id is its attachment's id. Every request carries the grant; the grant that created an upload continues it
//! however old it is.

mod checksum;
mod concatenation;
mod create;
pub(crate) mod headers;
mod patch;
mod receive;

use std::{sync::Arc, time::SystemTime};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use trunkline_units::{AttachmentId, UnixMillis};

use crate::{
    Grant, clock,
    problem::{Code, Problem},
    records::{State as UploadState, Upload},
    service::Shared,
};

use headers as tus;

pub(crate) use create::{begin, create, creates, new_upload};

/// The one version there is.
const V1: HeaderValue = HeaderValue::from_static("1.0.0");
const EXTENSIONS: &str =
    "creation,creation-with-upload,creation-defer-length,checksum,termination,expiration,concatenation";
const OFFSET_OCTETS: &str = "application/offset+octet-stream";

type Shareds = State<Arc<Shared>>;

/// `OPTIONS`: what this server can do. Asks for no grant.
pub(crate) async fn options(State(shared): Shareds) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(tus::VERSION, V1);
    headers.insert(tus::EXTENSION, HeaderValue::from_static(EXTENSIONS));
    headers.insert(tus::MAX_SIZE, HeaderValue::from(shared.limits.bytes_max()));
    headers.insert(tus::CHECKSUM_ALGORITHM, HeaderValue::from_static(checksum::ALGORITHMS));
    response
}

/// Says in every answer, errors too, which version is spoken.
pub(crate) async fn resumable(mut response: Response) -> Response {
    response.headers_mut().insert(tus::RESUMABLE, V1);
    response
}

/// `HEAD`: where the upload is. A request that writes to it goes on, after what it received is durable.
pub(crate) async fn head(
    State(shared): Shareds,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let grant = shared.grant(&headers)?;
    let id = upload_id(&id)?;
    shared.turns.settle(&id).await;
    let upload = load(&shared, &grant, &id).await?;
    let mut response = StatusCode::OK.into_response();
    let out = response.headers_mut();
    match upload.bytes {
        Some(bytes) => out.insert(tus::LENGTH, HeaderValue::from(bytes)),
        None => out.insert(tus::DEFER_LENGTH, HeaderValue::from_static("1")),
    };
    for (name, given) in [(tus::METADATA, &upload.metadata), (tus::CONCAT, &upload.concat)] {
        if let Some(given) = given.as_ref().and_then(|given| HeaderValue::from_str(given).ok()) {
            out.insert(name, given);
        }
    }
    place(out, upload.offset, upload.expires_at);
    Ok(response)
}

/// `DELETE`: the upload is not wanted any more. What it has become already is swept once nothing refers to it.
pub(crate) async fn delete(
    State(shared): Shareds,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let grant = shared.grant(&headers)?;
    let id = upload_id(&id)?;
    load(&shared, &grant, &id).await?;
    let turn = shared.turns.seize(&id).await;
    let upload = load(&shared, &grant, &id).await?;
    if matches!(upload.state, UploadState::Receiving | UploadState::Failed) {
        shared.end(&upload).await?;
    }
    drop(turn);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `PATCH`: more bytes.
pub(crate) async fn patch(
    State(shared): Shareds,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let grant = shared.grant(&headers)?;
    patch::patch(shared, &grant, upload_id(&id)?, headers, body).await
}

/// `POST` to an upload: another method that something on the way would not let through (`X-HTTP-Method-Override`).
pub(crate) async fn overridden(
    shared: Shareds,
    id: Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    match tus::text(&headers, &tus::METHOD_OVERRIDE)? {
        Some("PATCH") => patch(shared, id, headers, body).await,
        Some("DELETE") => delete(shared, id, headers).await,
        Some("HEAD") => head(shared, id, headers).await,
        _ => Err(Problem::new(Code::BadRequest, "POST to an upload wants X-HTTP-Method-Override")),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.get(tus::RESUMABLE) == Some(&V1) {
        return Ok(());
    }
    Err(Problem::new(Code::BadVersion, "Tus-Resumable: 1.0.0 is the version here").with(tus::VERSION, V1))
}

fn is_octets(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == OFFSET_OCTETS.as_bytes())
}

/// Whatever is no id names nothing.
pub(crate) fn upload_id(text: &str) -> Result<AttachmentId, Problem> {
    AttachmentId::new(text).map_err(|_| Problem::not_found())
}

/// The upload, if it is this grant's.
pub(crate) async fn load(shared: &Shared, grant: &Grant, id: &AttachmentId) -> Result<Upload, Problem> {
    let upload = shared.records.upload(id).await?.ok_or_else(Problem::not_found)?;
    // A stranger's id is worth nothing, and no hint.
    if upload.user != grant.sub || upload.conv != grant.conv || upload.tenant != grant.tenant {
        return Err(Problem::not_found());
    }
    Ok(upload)
}

/// Where an upload is and how long it waits, in an answer's headers.
fn place(headers: &mut HeaderMap, offset: u64, expires_at: UnixMillis) {
    headers.insert(tus::OFFSET, HeaderValue::from(offset));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(expires_at.0);
    if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(time)) {
        headers.insert(tus::EXPIRES, date);
    }
}

fn wrong_offset(offset: u64) -> Problem {
    Problem::new(Code::WrongOffset, "the upload is elsewhere: ask with HEAD")
        .with(tus::OFFSET, HeaderValue::from(offset))
}

/// When an upload that rests from now on is swept.
fn expiry(shared: &Shared) -> UnixMillis {
    clock::now().after(shared.limits.upload_ttl)
}
