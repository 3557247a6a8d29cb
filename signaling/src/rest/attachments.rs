//! Uploads and links: who may have them is decided here; what they are, by the media store.

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Bytes,
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use trunkline_signaling_api::{
    ErrorCode,
    rest::{AttachmentLinks, RequestUpload, UploadGrant},
};
use trunkline_signaling_core::conversation::{upload_name, upload_type};
use trunkline_units::{AttachmentId, ConversationId};

use super::{Shareds, body, caller::Caller, id, problem::Problem, query};
use crate::{
    fault::Fault,
    hub::Doing,
    ports::{AttachmentGrants, GrantError, UploadWish},
    service::Shared,
};

/// How long the media store may take to grant an upload.
const GRANT_TIMEOUT: Duration = Duration::from_secs(10);

fn media_store(shared: &Shared) -> Result<&Arc<dyn AttachmentGrants>, Fault> {
    // Trying again will not help: no time to wait is told.
    let none = || Fault::new(ErrorCode::Unavailable, "this server stores no attachments");
    shared.attachments.as_ref().ok_or_else(none)
}

/// `POST /v1/conversations/{id}/uploads`.
pub(super) async fn request_upload(
    State(shared): Shareds,
    Path(conv): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<(StatusCode, Json<UploadGrant>), Problem> {
    let caller = Caller::of(&shared, &headers)?;
    caller.allow(&shared, Doing::Uploading)?;
    let conv = id(ConversationId::new(&conv))?;
    let RequestUpload { kind, bytes, name, r#type } = body(&bytes)?;
    let name = name.map_or(Ok(None), |name| upload_name(&name)).map_err(Fault::from)?;
    let mime = r#type.map_or(Ok(None), |mime| upload_type(&mime)).map_err(Fault::from)?;
    let store = media_store(&shared)?;
    shared.store.check_member(&conv, &caller.user).await.map_err(Fault::from)?;
    let wish = UploadWish { user: caller.user, conv, tenant: caller.tenant, kind, bytes, name, mime };
    let granted = tokio::time::timeout(GRANT_TIMEOUT, store.upload(wish)).await;
    let granted = granted.unwrap_or(Err(GrantError::Unavailable)).map_err(Fault::from)?;
    Ok((StatusCode::CREATED, Json(granted)))
}

/// The query of links.
#[derive(Deserialize)]
pub(super) struct LinksQuery {
    variant: Option<String>,
}

/// `GET /v1/attachments/{id}/links`.
pub(super) async fn links(
    State(shared): Shareds,
    Path(attachment): Path<String>,
    asked: Result<Query<LinksQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<AttachmentLinks>, Problem> {
    let caller = Caller::of(&shared, &headers)?;
    let attachment = id(AttachmentId::new(&attachment))?;
    let LinksQuery { variant } = query(asked)?;
    let store = media_store(&shared)?;
    let attachment = shared.store.attachment(&attachment, &caller.user).await.map_err(Fault::from)?;
    Ok(Json(store.links(&attachment, variant.as_deref())))
}
