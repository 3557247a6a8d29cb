//! REST beside the session: sending, and what a chat server does with its key.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use trunkline_signaling::{Rate, ServerKey, SignalingConfig, mint_token};
use trunkline_signaling_api::{ClientFrame, ErrorCode, Hello, ServerFrame};
use trunkline_units::ConversationId;

use crate::{
    grants::photo,
    support::{Client, Server, config, device, key, user},
};

const SERVER_KEY: &str = "a-chat-server-shows-this-and-it-is-long-enough";

fn with_key() -> SignalingConfig {
    let mut config = config();
    config.server_key = Some(ServerKey::new(SERVER_KEY.as_bytes()).unwrap());
    config
}

/// The header lines of a chat server that acts for somebody.
fn acting(who: &str) -> String {
    format!("Authorization: Bearer {SERVER_KEY}\r\nTrunkline-User: {who}\r\n")
}

fn messages(conv: &ConversationId) -> String {
    format!("/v1/conversations/{}/messages", conv.as_str())
}

fn text(id: &str) -> Value {
    json!({"id": id, "kind": "text", "body": {"text": id}})
}

#[tokio::test]
async fn a_message_over_rest_is_one_like_any_other() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut bob = server.client("bob", "phone").await;
    let alice = Server::token("alice");
    server
        .signaling
        .references()
        .offer(&conv, &user("alice"), photo("x"), trunkline_units::UnixMillis(1))
        .await
        .unwrap();
    let mut body = text("m1");
    body["attachments"] = json!(["x"]);
    let (status, ok) = server.http("POST", &messages(&conv), Some(&alice), Some(body.clone())).await;
    assert_eq!((status, &ok["id"], &ok["conv"], &ok["seq"]), (200, &json!("m1"), &json!(conv), &json!(1)));
    let live = bob.message().await;
    assert_eq!((live.seq, live.user, live.device), (1, user("alice"), device("rest")));
    assert_eq!((live.body, live.attachments), (json!({"text": "m1"}), vec![photo("x")]));
    assert_eq!(ok["at"], live.at.0);
    // The same again is the same; from another device it is another.
    assert_eq!(server.http("POST", &messages(&conv), Some(&alice), Some(body)).await, (200, ok));
    let mut other = text("m1");
    other["device"] = json!("laptop");
    let (_, ok) = server.http("POST", &messages(&conv), Some(&alice), Some(other)).await;
    assert_eq!(ok["seq"], 2);
    assert_eq!(bob.message().await.device, device("laptop"));
    // A token that is bound to a device speaks for that one alone.
    let bound = mint_token(&key(), &user("alice"), Some(&device("tablet")), Duration::from_secs(600));
    server.http("POST", &messages(&conv), Some(&bound), Some(text("m3"))).await;
    assert_eq!(bob.message().await.device, device("tablet"));
}

#[tokio::test]
async fn messages_over_rest_that_are_refused() {
    let mut config = config();
    config.limits.user_sends = Rate { per_second: 0.001, burst: 12.0 };
    let server = Server::with(config).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let other = server.conversation(&["alice", "bob"], Some("Other")).await;
    let bound = mint_token(&key(), &user("alice"), Some(&device("tablet")), Duration::from_secs(600));
    let (alice, mallory) = (Server::token("alice"), Server::token("mallory"));
    let post =
        async |token: &str, body: Value| server.http("POST", &messages(&conv), Some(token), Some(body)).await;
    let mut named = text("m");
    named["device"] = json!("laptop");
    let mut foreign = text("m");
    foreign["attachments"] = json!(["theirs"]);
    let long = json!({"id": "m", "kind": "text", "body": "x".repeat(16_384)});
    server.http("POST", &messages(&other), Some(&alice), Some(text("used"))).await;
    for (token, body, status, code) in [
        (&mallory, text("m"), 403, "not_member"),
        (&bound, named, 401, "bad_token"),
        (&alice, foreign, 400, "bad_attachment"),
        (&alice, long, 413, "too_large"),
        (&alice, json!({"id": "m", "kind": "call", "body": 1}), 403, "forbidden"),
        (&alice, json!({"id": "m", "kind": "a b", "body": 1}), 400, "bad_frame"),
        (&alice, json!({"id": "a b", "kind": "text", "body": 1}), 400, "bad_id"),
        (&alice, json!({"id": "m", "kind": "text", "body": 1, "attachments": ["/"]}), 400, "bad_id"),
        (&alice, json!({"id": "m", "kind": "text"}), 400, "bad_frame"),
        (&alice, text("used"), 409, "conflict"),
    ] {
        let (got, problem) = post(token, body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
    assert_eq!(post(&alice, text("m")).await.1["seq"], 1);
    // They count in the user's rate of sending.
    assert_eq!(post(&alice, text("n")).await.0, 200);
    let (status, problem) = post(&alice, text("o")).await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("rate_limited")));
}

#[tokio::test]
async fn a_chat_server_acts_for_people() {
    let mut server = Server::with(with_key()).await;
    let body = json!({"members": ["bob"]});
    let (status, head) = server.http_with("POST", "/v1/conversations", &acting("alice"), Some(body)).await;
    assert_eq!(status, 201);
    let conv = ConversationId::new(head["conv"].as_str().unwrap()).unwrap();
    let mut bob = server.client("bob", "phone").await;
    let at = |what: &str| format!("/v1/conversations/{}/{what}", conv.as_str());

    // The five steps of a photo, but for the upload itself.
    let tenant = format!("{}Trunkline-Tenant: acme\r\n", acting("alice"));
    let wish = json!({"kind": "photo", "name": "a.jpg"});
    let (status, grant) = server.http_with("POST", &at("uploads"), &tenant, Some(wish)).await;
    assert_eq!((status, grant["grant"].as_str()), (201, Some("grant-of-alice")));
    let wished = server.wished();
    assert_eq!((wished.user, wished.tenant.unwrap().as_str()), (user("alice"), "acme"));
    let references = server.signaling.references();
    references.offer(&conv, &user("alice"), photo("x"), trunkline_units::UnixMillis(1)).await.unwrap();
    let mut body = text("m1");
    body["attachments"] = json!(["x"]);
    let (status, ok) = server.http_with("POST", &at("messages"), &acting("alice"), Some(body)).await;
    assert_eq!((status, &ok["seq"]), (200, &json!(1)));
    let live = bob.message().await;
    assert_eq!(
        (live.user, live.device, live.attachments),
        (user("alice"), device("server"), vec![photo("x")])
    );
    let mut named = text("m2");
    named["device"] = json!("bot-7");
    server.http_with("POST", &at("messages"), &acting("alice"), Some(named)).await;
    assert_eq!(bob.message().await.device, device("bot-7"));

    // And everything else, as the user it names.
    for (who, method, path, body, status) in [
        ("bob", "GET", "/v1/attachments/x/links".to_owned(), None, 200),
        ("mallory", "GET", "/v1/attachments/x/links".to_owned(), None, 403),
        ("bob", "GET", at("messages?limit=1"), None, 200),
        ("mallory", "GET", at("messages"), None, 403),
        ("bob", "GET", "/v1/conversations".to_owned(), None, 200),
        ("bob", "PUT", at("retention"), Some(json!({"seconds": 3_600})), 200),
        ("mallory", "PUT", at("retention"), Some(json!({"seconds": 3_600})), 404),
        ("bob", "POST", at("members"), Some(json!({"user": "carol"})), 200),
        ("bob", "DELETE", at("members/carol"), None, 403),
        ("alice", "DELETE", at("members/carol"), None, 204),
    ] {
        let (got, body) = server.http_with(method, &path, &acting(who), body).await;
        assert_eq!(got, status, "{who} {method} {path}: {body}");
    }
}

#[tokio::test]
async fn a_server_key_that_does_not_hold() {
    let server = Server::with(with_key()).await;
    let bearer = |key: &str| format!("Authorization: Bearer {key}\r\n");
    let alice = "Trunkline-User: alice\r\n";
    let token = Server::token("bob");
    for (headers, status, code) in [
        (bearer(SERVER_KEY), 400, "bad_frame"),
        (format!("{}Trunkline-User: a b\r\n", bearer(SERVER_KEY)), 400, "bad_id"),
        (format!("{}Trunkline-User: \r\n", bearer(SERVER_KEY)), 400, "bad_id"),
        (format!("{}Trunkline-User: \u{e9}\r\n", bearer(SERVER_KEY)), 400, "bad_id"),
        (format!("{}{alice}Trunkline-User: bob\r\n", bearer(SERVER_KEY)), 400, "bad_frame"),
        (format!("{}{alice}Trunkline-Tenant: a/b\r\n", bearer(SERVER_KEY)), 400, "bad_id"),
        (format!("{}{alice}", bearer(&SERVER_KEY[..45])), 401, "bad_token"),
        (format!("{}{alice}", bearer(&format!("{SERVER_KEY}x"))), 401, "bad_token"),
        (format!("{}{alice}", bearer(&SERVER_KEY.replace("chat", "cHat"))), 401, "bad_token"),
        (format!("Authorization: Basic {SERVER_KEY}\r\n{alice}"), 401, "bad_token"),
        (alice.to_owned(), 401, "bad_token"),
    ] {
        let (got, problem) = server.http_with("GET", "/v1/conversations", &headers, None).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{headers}: {problem}");
    }
    // A user's token acts for its user, whatever else is said.
    server.conversation(&["bob", "carol"], None).await;
    let said = format!("{}{alice}", bearer(&token));
    let (_, list) = server.http_with("GET", "/v1/conversations", &said, None).await;
    assert_eq!(list["heads"].as_array().unwrap().len(), 1);
    // Where none is configured it is nothing.
    let server = Server::start().await;
    assert_eq!(server.http_with("GET", "/v1/conversations", &acting("alice"), None).await.0, 401);
}

#[tokio::test]
async fn a_server_key_opens_no_session() {
    let server = Server::with(with_key()).await;
    let mut client = Client::open(server.address, None).await;
    let hello =
        Hello { v: 1, token: SERVER_KEY.into(), device: Some(device("laptop")), cursors: BTreeMap::new() };
    client.say(&ClientFrame::Hello(hello)).await;
    let said = client.until_closed().await;
    assert!(matches!(said.as_slice(), [ServerFrame::Error(fault)] if fault.code == ErrorCode::BadToken));
}

#[tokio::test]
async fn a_chat_server_has_a_rate_of_its_own() {
    let mut config = with_key();
    let little = Rate { per_second: 0.001, burst: 1.0 };
    config.limits.requests = little;
    config.limits.user_sends = little;
    config.limits.uploads = little;
    config.limits.server_requests = Rate { per_second: 0.001, burst: 7.0 };
    let server = Server::with(config).await;
    // Nothing of it counts in the rates of whom it acts for.
    let body = Some(json!({"members": ["bob"]}));
    let (_, head) = server.http_with("POST", "/v1/conversations", &acting("alice"), body).await;
    let conv = ConversationId::new(head["conv"].as_str().unwrap()).unwrap();
    for n in 0..3 {
        let body = Some(text(&format!("m{n}")));
        assert_eq!(server.http_with("POST", &messages(&conv), &acting("alice"), body).await.0, 200);
        let path = format!("/v1/conversations/{}/uploads", conv.as_str());
        let body = Some(json!({"kind": "file"}));
        assert_eq!(server.http_with("POST", &path, &acting("alice"), body).await.0, 201);
    }
    let (status, problem) = server.http_with("GET", "/v1/conversations", &acting("bob"), None).await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("rate_limited")));
    assert!(problem["retry_ms"].as_u64().unwrap() > 1_000);
    // Nor the other way round.
    assert_eq!(server.http("GET", "/v1/conversations", Some(&Server::token("alice")), None).await.0, 200);
}
