//! Uploads, messages that refer to them, and links, with a media store that only remembers.

use std::time::Duration;

use serde_json::{Value, json};
use trunkline_signaling::{Claims, Rate, Tenant};
use trunkline_signaling_api::{AttachmentKind, ClientFrame, ErrorCode, Message, Send};
use trunkline_units::{AttachmentId, ConversationId, MessageId, UnixMillis};

use crate::{
    grants::{BYTES_MAX, photo},
    support::{Client, Server, attachment_id, config, key, user},
};

/// As the media store does when it has one.
async fn offer(server: &Server, conv: &ConversationId, who: &str, name: &str) {
    server.signaling.references().offer(conv, &user(who), photo(name), UnixMillis(1)).await.unwrap();
}

async fn say_with(client: &mut Client, conv: &ConversationId, id: &str, attachments: &[&str]) {
    let (id, conv, body) = (MessageId::new(id).unwrap(), conv.clone(), json!({"text": "look"}));
    let attachments = attachments.iter().map(|name| attachment_id(name)).collect();
    client.say(&ClientFrame::Send(Send { id, conv, kind: "text".into(), body, attachments })).await;
}

fn uploads(conv: &ConversationId) -> String {
    format!("/v1/conversations/{}/uploads", conv.as_str())
}

async fn links(server: &Server, who: &str, id: &str) -> (u16, Value) {
    let path = format!("/v1/attachments/{id}/links");
    server.http("GET", &path, Some(&Server::token(who)), None).await
}

#[tokio::test]
async fn members_are_granted_uploads() {
    let mut server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let wish = json!({"kind": "photo", "bytes": 900, "name": "фото.jpg", "type": "image/jpeg"});
    let (status, grant) =
        server.http("POST", &uploads(&conv), Some(&Server::token("alice")), Some(wish)).await;
    let expected = json!({"grant": "grant-of-alice", "endpoint": "/v1/uploads", "expires_at": 5_000,
                          "bytes_max": 900, "direct": false});
    assert_eq!((status, grant), (201, expected));
    let wished = server.wished();
    assert_eq!((wished.user, wished.conv, wished.kind), (user("alice"), conv.clone(), AttachmentKind::Photo));
    assert_eq!((wished.bytes, wished.name.as_deref(), wished.tenant), (Some(900), Some("фото.jpg"), None));
    assert_eq!(wished.mime.as_deref(), Some("image/jpeg"));

    // As little as can be said, by a token of a tenant.
    let mut claims = Claims::of_user(&user("bob"), None, Duration::from_secs(600));
    claims.tenant = Some(Tenant::new("acme").unwrap());
    let (status, _) = server
        .http("POST", &uploads(&conv), Some(&claims.sign(&key())), Some(json!({"kind": "voice"})))
        .await;
    let wished = server.wished();
    assert_eq!((status, wished.kind, wished.bytes), (201, AttachmentKind::Voice, None));
    assert_eq!((wished.name, wished.mime, wished.tenant), (None, None, claims.tenant));
}

#[tokio::test]
async fn uploads_that_are_not_granted() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let here = uploads(&conv);
    let file = |name: &str, bytes: u64| json!({"kind": "file", "name": name, "bytes": bytes});
    for (who, path, body, status, code) in [
        ("mallory", &*here, file("a", 1), 404, "not_found"),
        ("alice", "/v1/conversations/nowhere/uploads", file("a", 1), 404, "not_found"),
        ("alice", "/v1/conversations/a%20b/uploads", file("a", 1), 400, "bad_id"),
        ("alice", &here, file("a", BYTES_MAX + 1), 413, "too_large"),
        ("alice", &here, file("over", 1), 403, "quota_exceeded"),
        ("alice", &here, file("down", 1), 503, "unavailable"),
        ("alice", &here, file(&"x".repeat(256), 1), 413, "too_large"),
        ("alice", &here, json!({"kind": "file", "type": "x".repeat(128)}), 413, "too_large"),
        ("alice", &here, json!({"kind": "film"}), 400, "bad_frame"),
        ("alice", &here, json!({"kind": "file", "bytes": -1}), 400, "bad_frame"),
        ("alice", &here, json!({"kind": "file", "name": ["a"]}), 400, "bad_frame"),
        ("alice", &here, json!({}), 400, "bad_frame"),
        ("alice", &here, json!([]), 400, "bad_frame"),
    ] {
        let (got, problem) = server.http("POST", path, Some(&Server::token(who)), Some(body)).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{path}: {problem}");
        assert_eq!(problem["retry_ms"].is_u64(), code == "unavailable");
        assert_eq!(problem["limit"].is_u64(), code == "too_large", "{problem}");
    }
    let (_, problem) =
        server.http("POST", &here, Some(&Server::token("alice")), Some(file("a", u64::MAX))).await;
    assert_eq!(problem["limit"], BYTES_MAX);
    assert_eq!(server.http("POST", &here, None, Some(file("a", 1))).await.0, 401);
}

/// What a name or a type has that nobody can see does not get any further.
#[tokio::test]
async fn names_that_mean_harm_arrive_plain() {
    let mut server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    for (name, mime, plain_name, plain_mime) in [
        ("Icon\r\u{0}\u{7f}\u{85}", "image/png\r\nX-Evil: 1", Some("Icon"), None),
        ("\n\t ", "", None, None),
        ("", "text", None, None),
        ("a\"b;c/../d", "text/plain; charset=utf-8", Some("a\"b;c/../d"), Some("text/plain; charset=utf-8")),
    ] {
        let wish = json!({"kind": "file", "name": name, "type": mime});
        let (status, _) =
            server.http("POST", &uploads(&conv), Some(&Server::token("alice")), Some(wish)).await;
        let wished = server.wished();
        assert_eq!((status, wished.name.as_deref(), wished.mime.as_deref()), (201, plain_name, plain_mime));
    }
}

#[tokio::test]
async fn uploads_have_a_rate_of_their_own() {
    let mut config = config();
    config.limits.uploads = Rate { per_second: 0.001, burst: 2.0 };
    let server = Server::with(config).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let wish = async |who: &str| {
        let body = Some(json!({"kind": "file"}));
        server.http("POST", &uploads(&conv), Some(&Server::token(who)), body).await
    };
    assert_eq!((wish("alice").await.0, wish("alice").await.0), (201, 201));
    let (status, problem) = wish("alice").await;
    assert_eq!((status, problem["code"].as_str()), (429, Some("rate_limited")));
    assert!(problem["retry_ms"].as_u64().unwrap() > 1_000);
    assert_eq!(wish("bob").await.0, 201);
    // What else alice does is not held up.
    assert_eq!(server.http("GET", "/v1/conversations", Some(&Server::token("alice")), None).await.0, 200);
}

#[tokio::test]
async fn without_a_media_store() {
    let server = Server::without_attachments(config()).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let body = Some(json!({"kind": "file"}));
    let (status, problem) = server.http("POST", &uploads(&conv), Some(&Server::token("alice")), body).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")));
    // It will not be better later.
    assert!(problem["retry_ms"].is_null());
    assert_eq!(links(&server, "alice", "x").await.0, 503);
}

#[tokio::test]
async fn a_photo_is_sent_and_shown() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    for name in ["x", "y"] {
        offer(&server, &conv, "alice", name).await;
    }
    say_with(&mut alice, &conv, "m1", &["y", "x"]).await;
    alice.answer("m1").await.unwrap();
    // The server's own view, to everyone, live and later.
    let is_whole = |message: &Message| assert_eq!(message.attachments, [photo("y"), photo("x")]);
    is_whole(&alice.message().await);
    is_whole(&bob.message().await);
    is_whole(&bob.history(&conv, None, None).await.messages[0]);
    // Sent again, it is the same message; no second one comes.
    say_with(&mut alice, &conv, "m1", &["y", "x"]).await;
    alice.answer("m1").await.unwrap();
    assert_eq!(alice.send(&conv, "m2").await.seq, 2);
    assert_eq!(bob.message().await.seq, 2);

    let (status, body) = links(&server, "bob", "x").await;
    assert_eq!((status, body["id"].as_str(), body["expires_at"].as_u64()), (200, Some("x"), Some(6_000)));
    let expected = json!({"320": "/v1/media/x/320?k=signed", "1280": "/v1/media/x/1280?k=signed"});
    assert_eq!(body["links"], expected);
    for (asked, more) in [("640", true), ("999", false), ("../640", false), ("", false)] {
        let path = format!("/v1/attachments/x/links?variant={asked}");
        let (status, body) = server.http("GET", &path, Some(&Server::token("bob")), None).await;
        assert_eq!((status, body["links"]["640"].is_string()), (200, more), "{asked}");
        assert_eq!(body["links"].as_object().unwrap().len(), 2 + usize::from(more));
    }
}

#[tokio::test]
async fn links_are_for_those_who_see_the_message() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    offer(&server, &conv, "alice", "x").await;
    let code = async |who: &str, id: &str| {
        let (status, body) = links(&server, who, id).await;
        (status, body["code"].as_str().unwrap_or_default().to_owned())
    };
    let not_member = (403, "not_member".to_owned());
    assert_eq!(code("alice", "x").await.0, 200);
    assert_eq!(code("bob", "x").await, not_member);
    say_with(&mut alice, &conv, "m1", &["x"]).await;
    alice.answer("m1").await.unwrap();
    assert_eq!(code("bob", "x").await.0, 200);
    assert_eq!(code("mallory", "x").await, not_member);
    assert_eq!(code("alice", "unknown").await, (404, "not_found".to_owned()));
    assert_eq!(code("alice", "a%20b").await, (400, "bad_id".to_owned()));
    assert_eq!(server.http("GET", "/v1/attachments/x/links", None, None).await.0, 401);
    // Who comes later sees what is said later.
    let members = format!("/v1/conversations/{}/members", conv.as_str());
    server.http("POST", &members, Some(&Server::token("alice")), Some(json!({"user": "carol"}))).await;
    assert_eq!(code("carol", "x").await, not_member);
    say_with(&mut alice, &conv, "m2", &["x"]).await;
    alice.answer("m2").await.unwrap();
    assert_eq!(code("carol", "x").await.0, 200);
    server.http("DELETE", &format!("{members}/carol"), Some(&Server::token("alice")), None).await;
    assert_eq!(code("carol", "x").await, not_member);
}

#[tokio::test]
async fn what_cannot_be_referred_to_is_not_sent() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let other = server.conversation(&["alice", "bob"], Some("Other")).await;
    let mut alice = server.client("alice", "laptop").await;
    offer(&server, &conv, "alice", "x").await;
    offer(&server, &conv, "bob", "theirs").await;
    offer(&server, &other, "alice", "elsewhere").await;
    let many: Vec<String> = (0..11).map(|n| format!("n{n}")).collect();
    for name in &many {
        offer(&server, &conv, "alice", name).await;
    }
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (n, bad) in [&["unknown"][..], &["theirs"], &["elsewhere"], &["x", "x"], &["x", "theirs"], &many]
        .into_iter()
        .enumerate()
    {
        say_with(&mut alice, &conv, &format!("m{n}"), bad).await;
        let fault = alice.answer(&format!("m{n}")).await.unwrap_err();
        assert_eq!((fault.code, fault.retry_ms), (ErrorCode::BadAttachment, None), "{bad:?}");
    }
    for (id, attachments, code) in [
        ("q1", json!(["a/b"]), "bad_id"),
        ("q2", json!([{"id": "x"}]), "bad_frame"),
        ("q3", json!("x"), "bad_frame"),
        ("q4", json!(vec!["x"; 10_000]), "bad_attachment"),
    ] {
        let frame = json!({"t": "send", "id": id, "conv": conv, "kind": "text", "body": 1, "attachments": attachments});
        alice.say_text(frame.to_string()).await;
        assert_eq!(alice.answer(id).await.unwrap_err().code.as_str(), code, "{id}");
    }
    // Nothing of it is in the log; and the id of what was refused is free.
    say_with(&mut alice, &conv, "m0", &many[1..]).await;
    alice.answer("m0").await.unwrap();
    let first = alice.message().await;
    assert_eq!((first.seq, first.attachments.len()), (1, 10));
}

#[tokio::test]
async fn what_nobody_refers_to_is_given_to_the_sweep() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let references = server.signaling.references();
    for name in ["x", "y"] {
        offer(&server, &conv, "alice", name).await;
    }
    say_with(&mut alice, &conv, "m1", &["x"]).await;
    alice.answer("m1").await.unwrap();
    let taken: Vec<AttachmentId> = references.take_unreferenced(UnixMillis(2), 9).await.unwrap();
    assert_eq!(taken, [attachment_id("y")]);
    say_with(&mut alice, &conv, "m2", &["y"]).await;
    assert_eq!(alice.answer("m2").await.unwrap_err().code, ErrorCode::BadAttachment);
    assert_eq!(links(&server, "alice", "y").await.0, 404);
    references.forget(&taken).await.unwrap();
    assert!(references.take_unreferenced(UnixMillis(2), 9).await.unwrap().is_empty());
    assert_eq!(links(&server, "alice", "x").await.0, 200);
}
