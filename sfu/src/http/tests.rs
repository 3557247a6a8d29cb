use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::http::Request;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tower::ServiceExt;
use trunkline_sfu_core::dtls::DtlsIdentity;
use trunkline_test_peer::{Peer, PeerSpec};

use super::*;
use crate::{Limits, SfuConfig};

const KEY: &[u8] = b"a key for tests of thirty-two b.";

fn started() -> (Sfu, Router) {
    let (events, _) = unbounded_channel();
    let config = SfuConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: Vec::new(),
        shards: 1,
        limits: Limits::default(),
    };
    let sfu = Sfu::start(&config, events).unwrap();
    (sfu.clone(), router(HttpState::new(sfu, KEY)))
}

fn token(claims: &Value) -> String {
    let expires = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(60);
    let mut all = json!({ "sub": "alice", "room": "room", "exp": expires.as_secs() });
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    jsonwebtoken::encode(&Header::default(), &all, &EncodingKey::from_secret(KEY)).unwrap()
}

fn offer() -> String {
    offer_of(PeerSpec::caller(1, 0))
}

fn offer_of(spec: PeerSpec) -> String {
    let identity = Arc::new(DtlsIdentity::generate().unwrap());
    Peer::new(spec, identity, Instant::now()).offer()
}

async fn send(router: &Router, method: &str, path: &str, token: &str, kind: &str, body: String) -> Response {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", kind)
        .body(Body::from(body))
        .unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 100_000).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn whip_answers_with_a_location_that_can_be_deleted() {
    let (sfu, router) = started();
    let token = token(&json!({ "publish": true }));
    let made = send(&router, "POST", "/v1/whip/room", &token, "application/sdp", offer()).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    assert_eq!(made.headers()["content-type"], "application/sdp");
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with("/v1/whip/room/whip-"), "{location}");
    assert!(text(made).await.contains("a=ice-lite"));
    let gone = send(&router, "DELETE", &location, &token, "text/plain", String::new()).await;
    assert_eq!(gone.status(), StatusCode::OK);
    sfu.shutdown();
}

#[tokio::test]
async fn each_refusal_has_its_own_status_and_code() {
    let (sfu, router) = started();
    let publish = token(&json!({ "publish": true }));
    let subscribe = token(&json!({ "subscribe": true }));
    let listens = offer_of(PeerSpec::caller(1, 1));
    let cases = [
        (publish.clone(), "/v1/whip/room", "application/sdp", listens, 403, "forbidden"),
        (subscribe, "/v1/whep/room", "application/sdp", offer(), 403, "forbidden"),
        (token(&json!({ "subscribe": true })), "/v1/whip/room", "application/sdp", offer(), 403, "forbidden"),
        (publish.clone(), "/v1/whep/room", "application/sdp", offer(), 403, "forbidden"),
        (publish.clone(), "/v1/whip/other", "application/sdp", offer(), 403, "forbidden"),
        (
            token(&json!({ "publish": true, "exp": 1 })),
            "/v1/whip/room",
            "application/sdp",
            offer(),
            401,
            "bad_token",
        ),
        ("nonsense".to_owned(), "/v1/whip/room", "application/sdp", offer(), 401, "bad_token"),
        (publish.clone(), "/v1/whip/room", "text/plain", offer(), 415, "bad_content_type"),
        (publish.clone(), "/v1/whip/room", "application/sdp", "v=0\r\n".to_owned(), 400, "bad_sdp"),
    ];
    for (token, path, kind, body, status, code) in cases {
        let response = send(&router, "POST", path, &token, kind, body).await;
        assert_eq!(response.status(), status, "{path} {code}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(problem["code"], code);
        assert!(problem["title"].as_str().is_some_and(|t| !t.is_empty()));
    }
    for n in 0..=8 {
        let response = send(&router, "POST", "/v1/whip/room", &publish, "application/sdp", offer()).await;
        assert_eq!(response.status(), if n < 8 { 201 } else { 503 }, "one token does not fill a room");
    }
    let long = "v".repeat(SDP_BYTES_MAX + 1);
    let response = send(&router, "POST", "/v1/whip/room", &publish, "application/sdp", long).await;
    assert_eq!(response.status(), 413);
    sfu.shutdown();
}
