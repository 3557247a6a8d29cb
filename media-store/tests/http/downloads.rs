//! Links and what they open.

use std::time::Duration;

use axum::http::Method;
use trunkline_media_store::Limits;
use trunkline_units::AttachmentId;

use crate::support::{Server, Setting, asked};

#[tokio::test]
async fn a_link_opens_one_variant_for_a_while() {
    let server = Server::start().await;
    let attachment = server.upload(&server.grant().await, "фото.bin", &[0xff, 0, 1, 2]).await;
    let link = server.link(&attachment);
    let answer = server.get(&link).await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &[0xff, 0, 1, 2][..]));
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert!(answer.header("cache-control").ends_with("immutable"));
    assert!(answer.header("content-disposition").ends_with("filename*=UTF-8''%D1%84%D0%BE%D1%82%D0%BE.bin"));

    let id = AttachmentId::new(attachment["id"].as_str().unwrap()).unwrap();
    let other = server.media.links(&id, &["320".into()], None).links["320"].clone();
    let bent = other.replace("/320?", "/file?");
    assert_eq!(server.get(&bent).await.problem(), (403, "link_wrong_variant".into()));
    assert_eq!(server.get(&other).await.problem(), (404, "not_found".into()));
    let (path, token) = link.split_once("?k=").unwrap();
    let tampered = format!("{path}?k=9{token}");
    assert_eq!(server.get(&tampered).await.problem(), (403, "link_forged".into()));
    assert_eq!(server.get(path).await.problem(), (403, "link_forged".into()));
    let nobody = AttachmentId::new("nobody").unwrap();
    let nowhere = server.media.links(&nobody, &["file".into()], None).links["file"].clone();
    assert_eq!(server.get(&nowhere).await.problem(), (404, "not_found".into()));
}

#[tokio::test]
async fn a_link_that_is_old_says_so() {
    let at_once = Duration::ZERO;
    let limits = Limits { link_ttl: at_once, link_step: at_once, ..Limits::default() };
    let server = Server::start_with(Setting { limits, ..Setting::default() }).await;
    let attachment = server.upload(&server.grant().await, "x", b"y").await;
    assert_eq!(server.get(&server.link(&attachment)).await.problem(), (403, "link_expired".into()));
}

#[tokio::test]
async fn the_same_link_is_given_for_a_while() {
    let server = Server::start().await;
    let id = AttachmentId::new("a").unwrap();
    let (first, second) =
        (server.media.links(&id, &["file".into()], None), server.media.links(&id, &["file".into()], None));
    // Unless the hour turned between the two.
    assert!(first == second || first.expires_at < second.expires_at);
    assert_eq!(first.expires_at.0 % 3_600_000, 0);
}

#[tokio::test]
async fn ranges_and_conditions() {
    let server = Server::start().await;
    let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    let attachment = server.upload(&server.grant().await, "x.bin", &content).await;
    let link = server.link(&attachment);
    let whole = server.get(&link).await;
    assert_eq!(whole.body, content);
    let tag = whole.header("etag").to_owned();
    let answer = server.send(asked(Method::GET, &link).header("range", "bytes=100-199")).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.header("content-range"), "bytes 100-199/800000");
    assert_eq!(answer.body, content[100..200]);
    let answer = server.send(asked(Method::GET, &link).header("range", "bytes=-5")).await;
    assert_eq!(answer.body, content[content.len() - 5..]);
    let answer = server.send(asked(Method::GET, &link).header("range", "bytes=800000-")).await;
    assert_eq!(
        (answer.problem(), answer.header("content-range")),
        ((416, "bad_range".into()), "bytes */800000")
    );
    let answer = server.send(asked(Method::GET, &link).header("if-none-match", &tag)).await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
    let resumed = asked(Method::GET, &link).header("range", "bytes=1-2").header("if-range", &tag);
    assert_eq!(server.send(resumed).await.status, 206);
    let changed = asked(Method::GET, &link).header("range", "bytes=1-2").header("if-range", "\"other\"");
    assert_eq!(server.send(changed).await.status, 200);
    let head = server.send(asked(Method::HEAD, &link)).await;
    assert_eq!((head.status.as_u16(), head.header("content-length"), head.body.len()), (200, "800000", 0));
}

#[tokio::test]
async fn text_is_stored_small_and_given_as_its_reader_takes_it() {
    let server = Server::start().await;
    let content = "In the beginning was the word, and it was repeated.\n".repeat(5_000);
    let attachment = server.upload(&server.grant().await, "words.txt", content.as_bytes()).await;
    assert_eq!(attachment["bytes"], content.len());
    let link = server.link(&attachment);
    let plain = server.get(&link).await;
    assert!(!plain.headers.contains_key("content-encoding"));
    assert_eq!(plain.header("content-length"), content.len().to_string());
    assert_eq!(
        (plain.header("content-type"), plain.header("vary")),
        ("text/plain; charset=utf-8", "Accept-Encoding")
    );
    assert_eq!(plain.body, content);
    let coded = server.send(asked(Method::GET, &link).header("accept-encoding", "gzip, zstd")).await;
    assert_eq!(coded.header("content-encoding"), "zstd");
    assert!(coded.body.len() < content.len() / 20);
    assert_eq!(zstd::decode_all(&coded.body[..]).unwrap(), content.as_bytes());
    assert_ne!(coded.header("etag"), plain.header("etag"));
    let middle = server.send(asked(Method::GET, &link).header("range", "bytes=100000-100099")).await;
    assert_eq!((middle.status.as_u16(), &middle.body[..]), (206, &content.as_bytes()[100_000..100_100]));
    let coded_range =
        asked(Method::GET, &link).header("accept-encoding", "zstd").header("range", "bytes=0-3");
    assert_eq!(server.send(coded_range).await.body, coded.body[..4]);
}

#[tokio::test]
async fn the_same_bytes_are_stored_once() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let first = server.upload(&grant, "one.bin", &[1, 2, 3, 0xff]).await;
    let second = server.upload(&grant, "two.bin", &[1, 2, 3, 0xff]).await;
    assert_ne!(first["id"], second["id"]);
    assert_eq!((&first["name"], &second["name"]), (&"one.bin".into(), &"two.bin".into()));
    assert_eq!(server.blobs(), 1);
    assert_eq!(server.get(&server.link(&second)).await.body, [1, 2, 3, 0xff][..]);
}

#[tokio::test]
async fn a_size_that_is_not_on_the_list_gets_no_link() {
    let server = Server::start_with(Setting { limits: Limits::default(), ..Setting::default() }).await;
    let id = AttachmentId::new("a").unwrap();
    let links = server.media.links(&id, &["320".into()], Some("4000"));
    assert_eq!(links.links.keys().collect::<Vec<_>>(), ["320"]);
}
