//! tus 1.0.0, clause by clause.

use axum::{body::Body, http::Method};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::mpsc;
use trunkline_media_store::{Kind, Limits, NotGranted, Wish};
use trunkline_units::{ConversationId, UserId};

use crate::support::{Server, Setting, asked, patch, post, tus};

/// A body that brings what is sent to it, and ends when the sender is dropped.
fn slow() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel::<Bytes>();
    let stream = futures_util::stream::unfold(receiver, async |mut receiver| {
        let bytes = receiver.recv().await?;
        Some((bytes, receiver))
    });
    (sender, Body::from_stream(stream.map(Ok::<_, std::io::Error>)))
}

#[tokio::test]
async fn options_tell_what_there_is() {
    let server = Server::start().await;
    let answer = server.send(asked(Method::OPTIONS, "/v1/uploads")).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("tus-version"), "1.0.0");
    let extensions = answer.header("tus-extension");
    for extension in [
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "checksum",
        "termination",
        "expiration",
        "concatenation",
    ] {
        assert!(extensions.split(',').any(|one| one == extension), "{extension}");
    }
    assert_eq!(answer.header("tus-checksum-algorithm"), "sha1,sha256,crc32c");
    assert_eq!(answer.header("tus-max-size"), "2147483648");
}

#[tokio::test]
async fn in_pieces() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "фото.jpg").await;
    assert_eq!(server.offset(&path, &grant).await, 0);
    let answer = server.send(patch(&path, &grant, 0, "hello")).await;
    assert_eq!((answer.status.as_u16(), answer.header("upload-offset")), (204, "5"));
    assert!(answer.headers.contains_key("upload-expires"));
    let answer = server.send(tus(Method::HEAD, &path, &grant)).await;
    assert_eq!((answer.header("upload-offset"), answer.header("upload-length")), ("5", "10"));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(server.send(patch(&path, &grant, 5, "world")).await.status, 204);
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(attachment["name"], "фото.jpg");
    assert_eq!((&attachment["kind"], &attachment["type"]), (&"file".into(), &"text/plain".into()));
    assert_eq!(server.get(&server.link(&attachment)).await.body, "helloworld");
    assert_eq!(server.messages.offered.lock().unwrap().len(), 1);
    // Said again, as after a lost answer.
    assert_eq!(server.send(patch(&path, &grant, 10, "")).await.status, 204);
    assert_eq!(server.send(patch(&path, &grant, 5, "world")).await.problem(), (409, "wrong_offset".into()));
}

#[tokio::test]
async fn with_its_creation() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let answer = server.send(post(&grant).header("upload-length", 3).octets("abc")).await;
    assert_eq!((answer.status.as_u16(), answer.header("upload-offset")), (201, "3"));
    let attachment = server.ready(answer.header("location"), &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "abc");
    let answer = server.send(post(&grant).header("upload-length", 6).octets("abc")).await;
    let path = answer.header("location").to_owned();
    assert_eq!(answer.header("upload-offset"), "3");
    assert_eq!(server.send(patch(&path, &grant, 3, "def")).await.status, 204);
    server.ready(&path, &grant).await;
    let answer = server.send(post(&grant).header("upload-length", 2).octets("abc")).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
}

#[tokio::test]
async fn of_nothing() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 0, "empty").await;
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    let answer = server.get(&server.link(&attachment)).await;
    assert_eq!((answer.status.as_u16(), answer.header("content-length")), (200, "0"));
}

#[tokio::test]
async fn whose_length_comes_later() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let answer = server.send(post(&grant).header("upload-defer-length", 1)).await;
    let path = answer.header("location").to_owned();
    assert_eq!(server.send(patch(&path, &grant, 0, "abc")).await.status, 204);
    let answer = server.send(tus(Method::HEAD, &path, &grant)).await;
    assert_eq!(answer.header("upload-defer-length"), "1");
    assert!(!answer.headers.contains_key("upload-length"));
    let short = patch(&path, &grant, 3, "").header("upload-length", 2);
    assert_eq!(server.send(short).await.problem(), (400, "bad_request".into()));
    let last = patch(&path, &grant, 3, "de").header("upload-length", 5);
    assert_eq!(server.send(last).await.status, 204);
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "abcde");
}

#[tokio::test]
async fn with_checksums() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 6, "sums").await;
    let sum = |line: &str, offset, body: &'static str| {
        patch(&path, &grant, offset, body).header("upload-checksum", line)
    };
    let good = sum("sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", 0, "abc");
    assert_eq!(server.send(good).await.header("upload-offset"), "3");
    let wrong = sum("sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0=", 3, "abd");
    assert_eq!(server.send(wrong).await.problem(), (460, "checksum_mismatch".into()));
    assert_eq!(server.offset(&path, &grant).await, 3);
    let unknown = sum("md5 kAFQmDzST7DWlj99KOF/cg==", 3, "abc");
    assert_eq!(server.send(unknown).await.problem(), (400, "bad_checksum".into()));
    let sha256 = sum("sha256 ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", 3, "abc");
    assert_eq!(server.send(sha256).await.status, 204);
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "abcabc");
}

#[tokio::test]
async fn in_parts_that_are_joined() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let mut parts = Vec::new();
    for text in ["first ", "second ", "third"] {
        let part = post(&grant).header("upload-concat", "partial").header("upload-length", text.len());
        let answer = server.send(part.octets(text)).await;
        assert_eq!(answer.status, 201);
        parts.push(answer.header("location").to_owned());
    }
    let head = server.send(tus(Method::HEAD, &parts[0], &grant)).await;
    assert_eq!(head.header("upload-concat"), "partial");
    let join =
        |list: String| post(&grant).header("upload-concat", format!("final;{list}")).name("joined.txt");
    let twice = server.send(join(format!("{} {}", parts[0], parts[0]))).await;
    assert_eq!(twice.problem(), (400, "bad_parts".into()));
    let stranger = server.grant_for("mallory", Kind::File, None).await;
    let stolen = post(&stranger).header("upload-concat", format!("final;{}", parts[0]));
    assert_eq!(server.send(stolen).await.problem(), (404, "not_found".into()));
    let answer = server.send(join(parts.join(" "))).await;
    assert_eq!((answer.status.as_u16(), answer.header("upload-offset")), (201, "18"));
    let path = answer.header("location").to_owned();
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "first second third");
    assert_eq!(server.send(tus(Method::HEAD, &parts[0], &grant)).await.status, 404);
    assert_eq!(server.send(patch(&path, &grant, 18, "x")).await.problem(), (403, "final_upload".into()));
}

#[tokio::test]
async fn that_is_not_finished_is_no_part() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let part = post(&grant).header("upload-concat", "partial").header("upload-length", 5).octets("abc");
    let path = server.send(part).await.header("location").to_owned();
    let join = post(&grant).header("upload-concat", format!("final;{path}"));
    assert_eq!(server.send(join).await.problem(), (400, "bad_parts".into()));
    let whole = server.create(&grant, 3, "whole").await;
    let join = post(&grant).header("upload-concat", format!("final;{whole}"));
    assert_eq!(server.send(join).await.problem(), (400, "bad_parts".into()));
}

#[tokio::test]
async fn that_is_ended_is_gone() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    server.send(patch(&path, &grant, 0, "hello")).await;
    assert_eq!(server.send(tus(Method::DELETE, &path, &grant)).await.status, 204);
    assert_eq!(server.send(tus(Method::HEAD, &path, &grant)).await.status, 404);
    assert_eq!(server.send(patch(&path, &grant, 5, "world")).await.problem(), (404, "not_found".into()));
    let by_post = server.create(&grant, 10, "x").await;
    let delete = tus(Method::POST, &by_post, &grant).header("x-http-method-override", "DELETE");
    assert_eq!(server.send(delete).await.status, 204);
}

#[tokio::test]
async fn that_is_malformed_is_told_so() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let without_version = asked(Method::POST, "/v1/uploads").bearer(&grant).header("upload-length", 1);
    let answer = server.send(without_version).await;
    assert_eq!((answer.problem(), answer.header("tus-version")), ((412, "bad_version".into()), "1.0.0"));
    for (request, expected) in [
        (post(&grant), (400, "bad_request")),
        (post(&grant).header("upload-length", "-1"), (400, "bad_request")),
        (post(&grant).header("upload-length", "1e3"), (400, "bad_request")),
        (post(&grant).header("upload-length", u64::MAX), (400, "bad_request")),
        (post(&grant).header("upload-length", i64::MAX), (413, "too_large")),
        (
            post(&grant).header("upload-length", 1).header("upload-metadata", "filename %"),
            (400, "bad_request"),
        ),
        (post("nonsense").header("upload-length", 1), (401, "bad_grant")),
        (tus(Method::PATCH, &path, &grant).header("upload-offset", 0), (415, "bad_type")),
        (tus(Method::PATCH, &path, &grant).octets("x"), (400, "bad_request")),
        (patch(&path, &grant, 3, "x"), (409, "wrong_offset")),
        (patch(&path, &grant, 0, "more than ten"), (413, "too_large")),
        (patch("/v1/uploads/unknown", &grant, 0, "x"), (404, "not_found")),
        (patch("/v1/uploads/%00", &grant, 0, "x"), (404, "not_found")),
        (tus(Method::POST, &path, &grant), (400, "bad_request")),
    ] {
        let answer = server.send(request).await;
        assert_eq!(answer.problem(), (expected.0, expected.1.to_owned()));
    }
    assert_eq!(server.offset(&path, &grant).await, 0);
}

#[tokio::test]
async fn is_its_own_grants_alone() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let other = server.grant_for("mallory", Kind::File, None).await;
    assert_eq!(server.send(tus(Method::HEAD, &path, &other)).await.status, 404);
    assert_eq!(server.send(patch(&path, &other, 0, "x")).await.problem(), (404, "not_found".into()));
    assert_eq!(server.send(tus(Method::DELETE, &path, &other)).await.status, 404);
    assert_eq!(server.send(asked(Method::GET, &path).bearer(&other)).await.status, 404);
    assert_eq!(server.send(asked(Method::GET, &path)).await.problem(), (401, "bad_grant".into()));
}

#[tokio::test]
async fn an_old_grant_begins_nothing_and_continues_what_it_began() {
    let folder = std::sync::Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(folder.clone(), Setting::default()).await;
    let path = server.create(&server.grant().await, 3, "x").await;
    let limits = Limits { grant_ttl: std::time::Duration::ZERO, ..Limits::default() };
    let server = Server::start_in(folder, Setting { limits, ..Setting::default() }).await;
    let old = server.grant().await;
    let answer = server.send(post(&old).header("upload-length", 1)).await;
    assert_eq!(answer.problem(), (401, "expired_grant".into()));
    assert_eq!(server.send(patch(&path, &old, 0, "abc")).await.status, 204);
}

#[tokio::test]
async fn shares_are_refused_before_the_bytes() {
    let limits = Limits { user_bytes: 100, file_bytes: 80, user_uploads: 3, ..Limits::default() };
    let server = Server::start_with(Setting { limits, ..Setting::default() }).await;
    let wish = |bytes| Wish {
        user: UserId::new("alice").unwrap(),
        conv: ConversationId::new("c").unwrap(),
        tenant: None,
        kind: Kind::File,
        bytes,
        name: None,
        mime: None,
    };
    let refused = server.media.grant(wish(Some(81))).await.unwrap_err();
    assert_eq!(refused, NotGranted::TooLarge { max: 80 });
    let grant = server.grant().await;
    server.create(&grant, 60, "a").await;
    assert!(matches!(server.media.grant(wish(Some(41))).await, Err(NotGranted::OverQuota(_))));
    let answer = server.send(post(&grant).header("upload-length", 41)).await;
    assert_eq!(answer.problem(), (403, "quota_exceeded".into()));
    let answer = server.send(post(&grant).header("upload-length", 81)).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
    server.create(&grant, 40, "b").await;
    server.create(&grant, 0, "c").await;
    let tight = server.grant_for("bob", Kind::File, Some(5)).await;
    let answer = server.send(post(&tight).header("upload-length", 6)).await;
    assert_eq!(answer.problem(), (413, "too_large".into()));
}

#[tokio::test]
async fn whose_length_comes_later_counts_as_it_comes() {
    let limits = Limits { user_bytes: 100, user_uploads: 1, user_files: 1, ..Limits::default() };
    let server = Server::start_with(Setting { limits, ..Setting::default() }).await;
    let grant = server.grant().await;
    let answer = server.send(post(&grant).header("upload-defer-length", 1)).await;
    let path = answer.header("location").to_owned();
    assert_eq!(server.send(patch(&path, &grant, 0, vec![b'a'; 60])).await.status, 204);
    let more = server.send(patch(&path, &grant, 60, vec![b'a'; 41])).await;
    assert_eq!(more.problem(), (403, "quota_exceeded".into()));
    assert_eq!(server.offset(&path, &grant).await, 60);
    let too_many = patch(&path, &grant, 60, "").header("upload-length", 101);
    assert_eq!(server.send(too_many).await.problem(), (403, "quota_exceeded".into()));
    let all = patch(&path, &grant, 60, vec![b'b'; 40]).header("upload-length", 100);
    assert_eq!(server.send(all).await.status, 204, "exactly the share fits");
    server.ready(&path, &grant).await;
}

#[tokio::test]
async fn parts_that_two_want_become_one_of_theirs() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let mut parts = Vec::new();
    for text in ["one ", "two "] {
        let part = post(&grant).header("upload-concat", "partial").header("upload-length", text.len());
        parts.push(server.send(part.octets(text)).await.header("location").to_owned());
    }
    let join = |list: String| server.send(post(&grant).header("upload-concat", format!("final;{list}")));
    let (a, b) = (parts.join(" "), parts.iter().rev().cloned().collect::<Vec<_>>().join(" "));
    let (a, b) = tokio::join!(join(a), join(b));
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 404], "{a:?} {b:?}");
}

#[tokio::test]
async fn is_told_about_as_it_was_begun() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 3, "фото.jpg").await;
    let head = server.send(tus(Method::HEAD, &path, &grant)).await;
    assert_eq!(head.header("upload-metadata"), "filename 0YTQvtGC0L4uanBn");
    let part = post(&grant).header("upload-concat", "partial").header("upload-length", 3).octets("abc");
    let part = server.send(part).await.header("location").to_owned();
    let list = format!("final;{part}");
    let whole = server.send(post(&grant).header("upload-concat", &list)).await;
    let head = server.send(tus(Method::HEAD, whole.header("location"), &grant)).await;
    assert_eq!(head.header("upload-concat"), list);
    let refused = server.send(patch(&path, "no grant", 0, "abc")).await;
    assert_eq!((refused.status.as_u16(), refused.header("tus-resumable")), (401, "1.0.0"));
}

#[tokio::test]
async fn without_a_grant_is_refused_before_its_body() {
    let server = Server::start().await;
    let (_bytes, never) = slow();
    let mut request = asked(Method::POST, "/v1/uploads/direct").bearer("no grant");
    request.body = never;
    assert_eq!(server.send(request).await.problem(), (401, "bad_grant".into()));
}

#[tokio::test]
async fn two_at_once_one_wins_and_the_other_is_told_where() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let (bytes, body) = slow();
    let first = server.send(patch(&path, &grant, 0, body));
    let second = async {
        bytes.send("hello".into()).unwrap();
        // Until the first one has them: HEAD makes what came durable, and disturbs nothing.
        while server.offset(&path, &grant).await < 5 {
            tokio::task::yield_now().await;
        }
        let refused = server.send(patch(&path, &grant, 0, "HELLOworld")).await;
        assert_eq!((refused.problem(), refused.header("upload-offset")), ((409, "wrong_offset".into()), "5"));
        bytes.send("world".into()).unwrap();
        drop(bytes);
    };
    let (first, ()) = tokio::join!(first, second);
    assert_eq!((first.status.as_u16(), first.header("upload-offset")), (204, "10"));
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "helloworld");
}

#[tokio::test]
async fn a_stalled_one_is_taken_over_by_who_knows_the_offset() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let (bytes, body) = slow();
    let stalled = server.send(patch(&path, &grant, 0, body));
    let resumed = async {
        bytes.send("hello".into()).unwrap();
        while server.offset(&path, &grant).await < 5 {
            tokio::task::yield_now().await;
        }
        // The dead connection is never told: its sender is still there.
        server.send(patch(&path, &grant, 5, "world")).await
    };
    let (stalled, resumed) = tokio::join!(stalled, resumed);
    assert_eq!(stalled.problem(), (423, "taken_over".into()));
    assert_eq!((resumed.status.as_u16(), resumed.header("upload-offset")), (204, "10"));
    drop(bytes);
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "helloworld");
}

#[tokio::test]
async fn a_stalled_one_ends_by_itself_and_keeps_what_came() {
    let limits = Limits { stall: std::time::Duration::from_millis(1), ..Limits::default() };
    let server = Server::start_with(Setting { limits, ..Setting::default() }).await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let (bytes, body) = slow();
    bytes.send("hello".into()).unwrap();
    let answer = server.send(patch(&path, &grant, 0, body)).await;
    assert_eq!(answer.problem(), (408, "stalled".into()));
    assert_eq!(server.offset(&path, &grant).await, 5);
}

#[tokio::test]
async fn a_broken_connection_keeps_what_came() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let pieces = [Ok(Bytes::from("hel")), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    server.send(patch(&path, &grant, 0, body)).await;
    assert_eq!(server.offset(&path, &grant).await, 3);
    // With a checksum nothing of it can be trusted.
    let pieces = [Ok(Bytes::from("lo")), Err(std::io::Error::other("cut"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let sum = format!("sha1 {}", STANDARD.encode([0; 20]));
    server.send(patch(&path, &grant, 3, body).header("upload-checksum", sum)).await;
    assert_eq!(server.offset(&path, &grant).await, 3);
}

#[tokio::test]
async fn a_photo_that_is_none_is_a_file_and_its_html_never_runs() {
    let server = Server::start().await;
    let grant = server.grant_for("alice", Kind::Photo, None).await;
    for (name, content) in [
        ("page.png", "<!doctype html><script>alert(1)</script>"),
        ("drawing.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>"),
    ] {
        let attachment = server.upload(&grant, name, content.as_bytes()).await;
        assert_eq!(attachment["kind"], "file");
        let answer = server.get(&server.link(&attachment)).await;
        assert!(
            !["text/html", "image/svg+xml", "text/xml"]
                .iter()
                .any(|m| answer.header("content-type").starts_with(m))
        );
        assert!(answer.header("content-disposition").starts_with("attachment"));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert!(answer.header("content-security-policy").starts_with("sandbox"));
    }
}

#[tokio::test]
async fn a_worker_that_dies_is_a_clear_problem() {
    let server = Server::start().await;
    let grant = server.grant_for("alice", Kind::Voice, None).await;
    let path = server.create(&grant, 4, "note").await;
    server.send(patch(&path, &grant, 0, "RIFF")).await;
    let status = server.send(asked(Method::GET, &format!("{path}?wait_s=30")).bearer(&grant)).await.json();
    assert_eq!((&status["state"], &status["problem"]["code"]), (&"failed".into(), &"failed".into()));
    assert_eq!(status["problem"]["status"], 422);
    // The service goes on.
    let files = server.grant().await;
    server.upload(&files, "x", b"y").await;
}

#[tokio::test]
async fn directly_wants_a_store_with_links() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let request =
        asked(Method::POST, "/v1/uploads/direct").bearer(&grant).json(&serde_json::json!({"bytes": 1}));
    assert_eq!(server.send(request).await.problem(), (409, "not_direct".into()));
}
