//! Faults as RFC 9457 problems. The code is stable, the detail is for people, the cause goes to the log.

use std::borrow::Cow;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{meters, records::OverQuota};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident;)+) => {
        /// What went wrong. Closed, and also a metric's label.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code { $($(#[$doc])* $name,)+ }

        impl Code {
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text,)+ }
            }

            const fn status(self) -> StatusCode {
                match self { $(Code::$name => StatusCode::$status,)+ }
            }
        }
    };
}

codes! {
    /// No grant, or none of ours.
    BadGrant = "bad_grant", UNAUTHORIZED;
    /// It creates no more uploads.
    ExpiredGrant = "expired_grant", UNAUTHORIZED;
    /// A header or body that is not as the protocol says.
    BadRequest = "bad_request", BAD_REQUEST;
    /// `Tus-Resumable` is missing or not 1.0.0.
    BadVersion = "bad_version", PRECONDITION_FAILED;
    /// `PATCH` wants `application/offset+octet-stream`.
    BadType = "bad_type", UNSUPPORTED_MEDIA_TYPE;
    /// Not there, or not for this grant.
    NotFound = "not_found", NOT_FOUND;
    /// `Upload-Offset` is not where the upload is.
    WrongOffset = "wrong_offset", CONFLICT;
    /// Another request has gone on with this upload.
    TakenOver = "taken_over", LOCKED;
    /// A final upload of a concatenation takes no bytes.
    FinalUpload = "final_upload", FORBIDDEN;
    /// Parts that are not finished, not partial, or somebody else's.
    BadParts = "bad_parts", BAD_REQUEST;
    /// More bytes than the grant, the kind or the declared length allow.
    TooLarge = "too_large", PAYLOAD_TOO_LARGE;
    /// The user's or the tenant's share is used up.
    QuotaExceeded = "quota_exceeded", FORBIDDEN;
    /// The bytes do not have the checksum (tus: 460, which no registry knows).
    ChecksumMismatch = "checksum_mismatch", BAD_REQUEST;
    /// An algorithm that we do not have.
    BadChecksum = "bad_checksum", BAD_REQUEST;
    /// The body brought nothing for too long. What came is kept.
    Stalled = "stalled", REQUEST_TIMEOUT;
    /// The disk is full.
    DiskFull = "disk_full", INSUFFICIENT_STORAGE;
    /// Try again later.
    Unavailable = "unavailable", SERVICE_UNAVAILABLE;
    /// Direct uploads want an S3 store.
    NotDirect = "not_direct", CONFLICT;
    /// What was put does not have the declared size or hash.
    Mismatch = "mismatch", UNPROCESSABLE_ENTITY;
    /// Not a link of ours.
    LinkForged = "link_forged", FORBIDDEN;
    /// It opened once.
    LinkExpired = "link_expired", FORBIDDEN;
    /// It opens another variant.
    LinkWrongVariant = "link_wrong_variant", FORBIDDEN;
    /// `Range` names nothing of this size.
    BadRange = "bad_range", RANGE_NOT_SATISFIABLE;
    /// A fault of ours.
    Internal = "internal", INTERNAL_SERVER_ERROR;
}

/// tus 1.0.0, checksum extension: what a mismatch is answered with.
const STATUS_CHECKSUM_MISMATCH: u16 = 460;

/// A fault on its way out.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) code: Code,
    detail: Cow<'static, str>,
    retry_s: Option<u64>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// A problem as JSON, on the wire and in the records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    r#type: Cow<'static, str>,
    title: Cow<'static, str>,
    status: u16,
    code: Cow<'static, str>,
    detail: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retry_ms: Option<u64>,
}

impl Document {
    /// Why an upload could not be made an attachment: 422, with the pipeline's own code.
    pub(crate) fn refused(code: &str, detail: String) -> Document {
        Document {
            r#type: "about:blank".into(),
            title: "Unprocessable Content".into(),
            status: 422,
            code: code.to_owned().into(),
            detail: detail.into(),
            retry_ms: None,
        }
    }
}

impl Problem {
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { code, detail: detail.into(), retry_s: None, headers: Vec::new() }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: impl Into<HeaderValue>) -> Problem {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn unavailable(why: &'static str) -> Problem {
        Problem { retry_s: Some(1), ..Problem::new(Code::Unavailable, why) }
    }

    pub(crate) fn not_found() -> Problem {
        Problem::new(Code::NotFound, "not found")
    }

    /// Logs the cause and tells nothing of it.
    pub(crate) fn internal(cause: &dyn std::fmt::Display) -> Problem {
        tracing::error!(%cause, "a media request failed");
        Problem::new(Code::Internal, "a fault of the server")
    }
}

impl From<OverQuota> for Problem {
    fn from(over: OverQuota) -> Problem {
        Problem::new(Code::QuotaExceeded, over.text())
    }
}

impl From<std::io::Error> for Problem {
    fn from(fault: std::io::Error) -> Problem {
        if fault.kind() == std::io::ErrorKind::StorageFull {
            tracing::error!("the media store's disk is full");
            return Problem { retry_s: Some(60), ..Problem::new(Code::DiskFull, "the disk is full") };
        }
        Problem::internal(&fault)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        meters::problem(self.code);
        let mut status = self.code.status();
        if self.code == Code::ChecksumMismatch {
            status = StatusCode::from_u16(STATUS_CHECKSUM_MISMATCH).expect("three digits");
        }
        let document = Document {
            r#type: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Checksum Mismatch").into(),
            status: status.as_u16(),
            code: self.code.as_str().into(),
            detail: self.detail,
            retry_ms: self.retry_s.map(|seconds| seconds * 1_000),
        };
        let text = serde_json::to_string(&document).expect("a problem has string keys");
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2: a 401 names the scheme.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        headers.extend(self.headers);
        response
    }
}
