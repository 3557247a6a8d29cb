//! WHIP (RFC 9725) and WHEP over the same code as every other participant: a client with nothing but sending
//! sections, and one with nothing but slots.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize};

use crate::control::Allowed;
use crate::{JoinError, Sfu};

/// Longest SDP that is read, in bytes.
const SDP_BYTES_MAX: usize = 64 * 1024;

/// What the two endpoints need.
#[derive(Clone)]
pub struct HttpState {
    sfu: Sfu,
    key: Arc<DecodingKey>,
}

impl HttpState {
    /// `jwt_key` is the shared HS256 key of the tokens.
    pub fn new(sfu: Sfu, jwt_key: &[u8]) -> Self {
        Self { sfu, key: Arc::new(DecodingKey::from_secret(jwt_key)) }
    }
}

/// `POST /v1/whip/{room}`, `POST /v1/whep/{room}`, and `DELETE` on what they answered.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/v1/whip/{room}", post(whip))
        .route("/v1/whep/{room}", post(whep))
        .route("/v1/whip/{room}/{resource}", delete(leave))
        .route("/v1/whep/{room}/{resource}", delete(leave))
        .layer(DefaultBodyLimit::max(SDP_BYTES_MAX))
        .with_state(state)
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    room: String,
    #[serde(default)]
    publish: bool,
    #[serde(default)]
    subscribe: bool,
}

#[derive(Clone, Copy)]
enum Side {
    Whip,
    Whep,
}

async fn whip(state: State<HttpState>, room: Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    join(&state, Side::Whip, &room, &headers, &body).unwrap_or_else(IntoResponse::into_response)
}

async fn whep(state: State<HttpState>, room: Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    join(&state, Side::Whep, &room, &headers, &body).unwrap_or_else(IntoResponse::into_response)
}

fn join(
    state: &HttpState,
    side: Side,
    room: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Problem> {
    let claims = authorize(state, room, headers)?;
    let (granted, allowed, segment) = match side {
        Side::Whip => (claims.publish, Allowed::Send, "whip"),
        Side::Whep => (claims.subscribe, Allowed::Receive, "whep"),
    };
    if !granted {
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "the token does not allow this"));
    }
    if headers.get(header::CONTENT_TYPE).is_none_or(|t| !t.as_bytes().starts_with(b"application/sdp")) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "bad_content_type",
            "the body must be application/sdp",
        ));
    }
    let offer = std::str::from_utf8(body)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "bad_sdp", "the offer is not UTF-8"))?;
    let resource = state
        .sfu
        .control
        .random_u64()
        .map(|n| format!("{segment}-{n:016x}"))
        .ok_or_else(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "no randomness"))?;
    let name = participant(&claims, &resource);
    let answer = state.sfu.control.join(room, &name, offer, allowed).map_err(|error| {
        let text = error.to_string();
        match error {
            JoinError::NotAllowed(_) => Problem::new(StatusCode::FORBIDDEN, "forbidden", &text),
            JoinError::Offer(_) => Problem::new(StatusCode::BAD_REQUEST, "bad_sdp", &text),
            JoinError::LimitExceeded { .. } | JoinError::Unavailable => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &text)
            }
        }
    })?;
    let location = format!("/v1/{segment}/{room}/{resource}");
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/sdp"));
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    Ok(response)
}

async fn leave(
    state: State<HttpState>,
    Path((room, resource)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match authorize(&state, &room, &headers) {
        Ok(claims) => {
            state.sfu.leave(&room, &participant(&claims, &resource));
            StatusCode::OK.into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// `user/device`, as in a call: one user's token cannot end another's session.
fn participant(claims: &Claims, resource: &str) -> String {
    format!("{}/{resource}", claims.sub)
}

fn authorize(state: &HttpState, room: &str, headers: &HeaderMap) -> Result<Claims, Problem> {
    let unauthorized = |text| Problem::new(StatusCode::UNAUTHORIZED, "bad_token", text);
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("Bearer "))
        .ok_or_else(|| unauthorized("a bearer token is needed"))?;
    let validation = Validation::new(Algorithm::HS256);
    let claims = jsonwebtoken::decode::<Claims>(token, &state.key, &validation)
        .map_err(|_| unauthorized("the token is not valid, or has expired"))?
        .claims;
    if claims.room != room {
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", "the token is for another room"));
    }
    Ok(claims)
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem {
    status: u16,
    code: &'static str,
    title: String,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, title: &str) -> Self {
        Self { status: status.as_u16(), code, title: title.to_owned() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

#[cfg(test)]
mod tests;
