//! Faults as RFC 9457 problems.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use trunkline_signaling_api::rest;

use crate::{fault::Fault, meters};

/// A fault on its way out.
pub(crate) struct Problem(Fault);

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        Problem(fault)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Problem(fault) = self;
        meters::error(fault.code);
        let status = StatusCode::from_u16(fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_ms = fault.retry_ms();
        let problem = rest::Problem {
            r#type: "about:blank".into(),
            title: status.canonical_reason().unwrap_or("Error").into(),
            status: status.as_u16(),
            detail: fault.text,
            code: fault.code,
            retry_ms,
            limit: fault.limit,
        };
        let text = serde_json::to_string(&problem).expect("a problem has string keys");
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(ms) = retry_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2: a 401 names the scheme.
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
