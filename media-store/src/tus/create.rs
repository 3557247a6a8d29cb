//! `POST`: an upload begins, refused before its bytes if it may not.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use trunkline_units::AttachmentId;

use super::{
    check_version,
    checksum::Checksum,
    concatenation, expiry,
    headers::{self as tus, Concat, Length, Metadata},
    is_octets, place,
    receive::Intake,
};
use crate::{
    Grant, clock, finish, meters,
    problem::{Code, Problem},
    records::{Role, State as UploadState, Upload},
    service::Shared,
};

/// `POST /v1/uploads`.
pub(crate) async fn create(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_version(&headers)?;
    let grant = shared.grant(&headers)?;
    creates(&grant)?;
    let metadata = tus::metadata(&headers)?;
    let given = tus::given(&headers)?;
    let role = match tus::concat(&headers)? {
        Some(Concat::Final(parts)) => {
            return concatenation::join(shared, given, grant, metadata, parts).await;
        }
        Some(Concat::Partial) => Role::Partial,
        None => Role::Whole,
    };
    let length = tus::length(&headers)?
        .ok_or_else(|| Problem::new(Code::BadRequest, "Upload-Length or Upload-Defer-Length is wanted"))?;
    let checksum = tus::text(&headers, &tus::CHECKSUM)?.map(Checksum::parse).transpose()?;
    let with_upload = is_octets(&headers);
    let mut new = new_upload(&shared, &grant, metadata, known(length), role)?;
    (new.metadata, new.concat) = (given.metadata, given.concat);
    let work = tokio::spawn(async move {
        let _seat = shared.seat()?;
        let id = begin(&shared, new).await?;
        let mut offset = 0;
        if with_upload {
            offset = first_bytes(&shared, &id, body, checksum).await?;
        } else if length == Length::Known(0) {
            advance(&shared, &id, 0).await?;
        }
        finish::if_received(&shared, &id).await?;
        Ok(created(&shared, &id, offset))
    });
    work.await.unwrap_or_else(|fault| Err(Problem::internal(&fault)))
}

/// Refuses a grant whose time is over.
pub(crate) fn creates(grant: &Grant) -> Result<(), Problem> {
    if grant.creates(clock::now()) {
        return Ok(());
    }
    Err(Problem::new(Code::ExpiredGrant, "the grant is too old to begin an upload: ask for a new one"))
}

pub(super) fn too_large(max: u64) -> Problem {
    Problem::new(Code::TooLarge, format!("at most {max} bytes"))
}

const fn known(length: Length) -> Option<u64> {
    match length {
        Length::Known(bytes) => Some(bytes),
        Length::Deferred => None,
    }
}

/// An upload under a grant, within its bounds.
pub(crate) fn new_upload(
    shared: &Shared,
    grant: &Grant,
    metadata: Metadata,
    bytes: Option<u64>,
    role: Role,
) -> Result<Upload, Problem> {
    let bytes_max = grant.max.min(shared.limits.bytes_of(grant.kind));
    if bytes.is_some_and(|bytes| bytes > bytes_max) {
        return Err(too_large(bytes_max));
    }
    shared.check_disk(bytes.unwrap_or(0))?;
    let id = AttachmentId::new(&uuid::Uuid::new_v4().to_string()).expect("a UUID keeps the rules for ids");
    Ok(Upload {
        id,
        user: grant.sub.clone(),
        conv: grant.conv.clone(),
        tenant: grant.tenant.clone(),
        kind: grant.kind,
        name: metadata.name.or_else(|| grant.name.clone()),
        mime: metadata.mime.or_else(|| grant.mime.clone()),
        bytes,
        bytes_max,
        offset: 0,
        state: UploadState::Receiving,
        role,
        metadata: None,
        concat: None,
        direct: None,
        sha256: None,
        problem: None,
        expires_at: expiry(shared),
    })
}

/// Bytes up to `offset` are durable: the record says so.
pub(super) async fn advance(shared: &Shared, id: &AttachmentId, offset: u64) -> Result<(), Problem> {
    Ok(shared.records.advance(id, offset, expiry(shared), shared.quota()).await??)
}

/// Makes the file, then the record: a file without a record is swept, a record without a file would be a lie.
pub(crate) async fn begin(shared: &Shared, new: Upload) -> Result<AttachmentId, Problem> {
    let (id, kind) = (new.id.clone(), new.kind);
    shared.spool.create(&id).await?;
    let began = shared.records.create(new, shared.quota()).await;
    if !matches!(began, Ok(Ok(()))) {
        shared.spool.remove(&id).await?;
    }
    began??;
    meters::created(kind);
    Ok(id)
}

/// The bytes that came with the creation.
async fn first_bytes(
    shared: &Arc<Shared>,
    id: &AttachmentId,
    body: Body,
    checksum: Option<Checksum>,
) -> Result<u64, Problem> {
    let upload = shared.records.upload(id).await?.ok_or_else(Problem::not_found)?;
    let turn = shared.turns.seize(id).await;
    let end = upload.bytes.unwrap_or(upload.bytes_max);
    let intake = Intake::open(shared.clone(), turn, id.clone(), 0, end).await?;
    match checksum {
        Some(checksum) => intake.keep_checked(body, checksum).await,
        None => intake.keep(body).await,
    }
}

pub(super) fn created(shared: &Shared, id: &AttachmentId, offset: u64) -> Response {
    let mut response = StatusCode::CREATED.into_response();
    let headers = response.headers_mut();
    place(headers, offset, expiry(shared));
    let location = HeaderValue::from_str(&format!("/v1/uploads/{}", id.as_str()));
    headers.insert(header::LOCATION, location.expect("an id is ASCII"));
    response
}
