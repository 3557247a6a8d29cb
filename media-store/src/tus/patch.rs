//! `PATCH`: bytes at an offset.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use trunkline_units::AttachmentId;

use super::{
    checksum::Checksum, expiry, headers as tus, is_octets, load, place, receive::Intake, wrong_offset,
};
use crate::{
    Grant, finish,
    problem::{Code, Problem},
    records::{Role, State, Upload},
    service::Shared,
};

/// Takes the bytes. What it does goes on when the client's connection goes: what has come is kept.
pub(super) async fn patch(
    shared: Arc<Shared>,
    grant: &Grant,
    id: AttachmentId,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !is_octets(&headers) {
        return Err(Problem::new(Code::BadType, "PATCH takes application/offset+octet-stream"));
    }
    let offset = tus::number(&headers, &tus::OFFSET)?
        .ok_or_else(|| Problem::new(Code::BadRequest, "PATCH wants Upload-Offset"))?;
    let checksum = tus::text(&headers, &tus::CHECKSUM)?.map(Checksum::parse).transpose()?;
    let upload = load(&shared, grant, &id).await?;
    if upload.role == Role::Final || upload.direct.is_some() {
        return Err(Problem::new(Code::FinalUpload, "this upload takes no bytes here"));
    }
    let work = tokio::spawn(append(shared, upload, offset, headers, body, checksum));
    work.await.unwrap_or_else(|fault| Err(Problem::internal(&fault)))
}

async fn append(
    shared: Arc<Shared>,
    upload: Upload,
    offset: u64,
    headers: HeaderMap,
    body: Body,
    checksum: Option<Checksum>,
) -> Result<Response, Problem> {
    let id = upload.id.clone();
    let _seat = shared.seat()?;
    let Ok(turn) = shared.turns.take(&id, offset).await else {
        shared.turns.settle(&id).await;
        let upload = shared.records.upload(&id).await?.ok_or_else(Problem::not_found)?;
        return Err(wrong_offset(upload.offset));
    };
    // Whoever had the turn before may have changed everything.
    let upload = shared.records.upload(&id).await?.ok_or_else(Problem::not_found)?;
    if upload.offset != offset {
        return Err(wrong_offset(upload.offset));
    }
    if upload.state != State::Receiving {
        // It is complete, and this request adds nothing: it has been said before.
        return Ok(accepted(&shared, offset));
    }
    let end = declare(&shared, &upload, &headers).await?;
    if tus::number(&headers, &header::CONTENT_LENGTH)?.is_some_and(|bytes| bytes > end - offset.min(end)) {
        return Err(Problem::new(Code::TooLarge, "more bytes than the upload has"));
    }
    let intake = Intake::open(shared.clone(), turn, id.clone(), offset, end).await?;
    let received = match checksum {
        Some(checksum) => intake.keep_checked(body, checksum).await,
        None => intake.keep(body).await,
    };
    finish::if_received(&shared, &id).await?;
    Ok(accepted(&shared, received?))
}

/// Takes a length that was deferred. Gives where the upload ends at the latest.
async fn declare(shared: &Shared, upload: &Upload, headers: &HeaderMap) -> Result<u64, Problem> {
    let Some(bytes) = tus::number(headers, &tus::LENGTH)? else {
        return Ok(upload.bytes.unwrap_or(upload.bytes_max));
    };
    match upload.bytes {
        Some(known) if known == bytes => Ok(bytes),
        Some(_) => Err(Problem::new(Code::BadRequest, "the upload has another length already")),
        None if bytes < upload.offset => Err(Problem::new(Code::BadRequest, "more has come already")),
        None if bytes > upload.bytes_max => Err(super::create::too_large(upload.bytes_max)),
        None => {
            let fits = shared.records.declare(upload, bytes, shared.quota()).await?;
            fits?;
            Ok(bytes)
        }
    }
}

fn accepted(shared: &Shared, offset: u64) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    place(response.headers_mut(), offset, expiry(shared));
    response.headers_mut().insert(tus::OFFSET, HeaderValue::from(offset));
    response
}
