//! The demo page: embedded in a release build, read from `web/demo/dist` by a development build.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

/// What a browser may load and where it may connect: this server alone. `blob:` is what recorded media plays from.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(self), geolocation=()"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Vite names these by their content: they never change.
const HASHED_FOLDER: &str = "assets/";
const CACHE_FOREVER: &str = "public, max-age=31536000, immutable";
const CACHE_ASK: &str = "no-cache";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Trunkline</title>\
    <h1>The page is not built yet</h1>\
    <p>The server runs. Build its page with <code>cargo xtask run</code>, \
    or with <code>npm ci &amp;&amp; npm run build</code> in <code>web/</code>.";

#[derive(RustEmbed)]
#[folder = "web/demo/dist"]
#[allow_missing = true]
struct Dist;

/// Answers what no API route has taken.
pub async fn serve(request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let mut response = if path.starts_with("v1/") {
        problem_not_found()
    } else if request.method() == Method::GET || request.method() == Method::HEAD {
        page(if path.is_empty() { "index.html" } else { path }, request.headers())
    } else {
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response()
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// RFC 9457, as every other error of the API.
fn problem_not_found() -> Response {
    let body = r#"{"type":"about:blank","title":"Not Found","status":404,"code":"not_found"}"#;
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

fn page(path: &str, asked: &HeaderMap) -> Response {
    match Dist::get(path) {
        Some(file) => found(path, file, asked),
        None if path == "index.html" => {
            let kind =
                [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, CACHE_ASK)];
            (kind, NOT_BUILT).into_response()
        }
        None => (StatusCode::NOT_FOUND, "not found\n").into_response(),
    }
}

fn found(path: &str, file: EmbeddedFile, asked: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    let cache = if path.starts_with(HASHED_FOLDER) { CACHE_FOREVER } else { CACHE_ASK };
    let caching = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, cache)];
    let known = asked.get_all(header::IF_NONE_MATCH).iter().any(|known| {
        known
            .to_str()
            .is_ok_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag))
    });
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    let kind = [(header::CONTENT_TYPE, content_type(path))];
    // In a release the bytes stand in the binary: no copy for each who asks.
    let body = match file.data {
        Cow::Borrowed(bytes) => Body::from(bytes),
        Cow::Owned(bytes) => Body::from(bytes),
    };
    (kind, caching, body).into_response()
}

/// Types are told, never guessed by the browser (`nosniff`).
fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("webp") => "image/webp",
        Some("woff2") => "font/woff2",
        Some("wasm") => "application/wasm",
        Some("mp3") => "audio/mpeg",
        Some("ogg" | "opus") => "audio/ogg",
        Some("wav") => "audio/wav",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(method: Method, path: &str) -> Response {
        serve(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    #[tokio::test]
    async fn the_page_is_served_built_or_not() {
        let response = get(Method::GET, "/").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(response.headers()[header::CACHE_CONTROL], CACHE_ASK);
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        for path in ["/missing.js", "/../Cargo.toml", "/%2e%2e/Cargo.toml", "//etc/passwd"] {
            assert_eq!(get(Method::GET, path).await.status(), StatusCode::NOT_FOUND, "{path}");
        }
        let api = get(Method::POST, "/v1/nothing").await;
        assert_eq!(api.headers()[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(get(Method::POST, "/").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    }

    #[test]
    fn an_unchanged_file_is_not_sent_again() {
        let Some(file) = Dist::get("index.html") else { return };
        let first = found("index.html", file, &HeaderMap::new());
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let again = found("index.html", Dist::get("index.html").unwrap(), &asked);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    }
}
