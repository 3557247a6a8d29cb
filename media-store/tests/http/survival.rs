//! What a process that dies leaves, and what is swept.

use std::{sync::Arc, time::Duration};

use axum::http::Method;
use trunkline_media_blob::{BlobStore, FsStore, Key};
use trunkline_media_store::Limits;
use trunkline_units::AttachmentId;

use crate::support::{Server, Setting, asked, patch, tus};

#[tokio::test]
async fn what_was_acknowledged_is_there_and_the_rest_is_cut_off() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    server.send(patch(&path, &grant, 0, "hello")).await;
    // A write that never came to its record.
    let id = path.rsplit('/').next().unwrap();
    let spooled = server.folder.path().join("spool").join(id);
    std::fs::write(&spooled, "hello, torn").unwrap();
    let server = server.restart().await;
    assert_eq!(server.offset(&path, &grant).await, 5);
    server.send(patch(&path, &grant, 5, "world")).await;
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "helloworld");
}

#[tokio::test]
async fn what_was_received_is_finished_by_the_next_process() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 5, "x").await;
    // As if the process had died right after its last record.
    let id = path.rsplit('/').next().unwrap();
    std::fs::write(server.folder.path().join("spool").join(id), "hello").unwrap();
    let folder = server.folder.clone();
    drop(server);
    let records = rusqlite::Connection::open(folder.path().join("media.db")).unwrap();
    records.execute("UPDATE upload SET offset = 5, state = 1", ()).unwrap();
    drop(records);
    let server = Server::start_in(folder, Setting::default()).await;
    let attachment = server.ready(&path, &grant).await["attachment"].clone();
    assert_eq!(server.get(&server.link(&attachment)).await.body, "hello");
}

#[tokio::test]
async fn what_no_message_refers_to_goes_with_its_bytes() {
    let setting = Setting { sweep_every: Duration::from_millis(1), ..Setting::default() };
    let server = Server::start_with(setting).await;
    let grant = server.grant().await;
    let kept = server.upload(&grant, "kept", &[1, 0xff]).await;
    let dropped = server.upload(&grant, "dropped", &[2, 0xff]).await;
    let link = server.link(&dropped);
    assert_eq!(server.blobs(), 2);
    let id = AttachmentId::new(dropped["id"].as_str().unwrap()).unwrap();
    server.messages.unreferenced.lock().unwrap().insert(id);
    while server.blobs() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.get(&link).await.problem(), (404, "not_found".into()));
    assert_eq!(server.get(&server.link(&kept)).await.status, 200);
    while !server.messages.unreferenced.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_rests_too_long_is_forgotten() {
    let limits = Limits { upload_ttl: Duration::ZERO, ..Limits::default() };
    let setting = Setting { limits, sweep_every: Duration::from_millis(1), ..Setting::default() };
    let server = Server::start_with(setting).await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let spool = server.folder.path().join("spool");
    while std::fs::read_dir(&spool).unwrap().count() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.send(tus(Method::HEAD, &path, &grant)).await.status, 404);
}

#[tokio::test]
async fn orphans_are_removed_and_nothing_else() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(folder.clone(), Setting::default()).await;
    let grant = server.grant().await;
    let kept = server.upload(&grant, "kept", &[1, 0xff]).await;
    let path = server.create(&grant, 10, "pending").await;
    drop(server);
    // What a process that died between its bytes and its record leaves.
    let orphan = Key::new("zz/orphan/file-0").unwrap();
    let store = FsStore::open(folder.path().join("blobs")).unwrap();
    store.put_bytes(&orphan, "x".into(), "text/plain").await.unwrap();
    std::fs::write(folder.path().join("spool/orphan"), "x").unwrap();
    let setting =
        Setting { sweep_every: Duration::from_millis(1), orphan_age: Duration::ZERO, ..Setting::default() };
    let server = Server::start_in(folder, setting).await;
    while server.blobs() > 1 || server.folder.path().join("spool/orphan").exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.get(&server.link(&kept)).await.status, 200);
    assert_eq!(server.offset(&path, &grant).await, 0);
}

#[tokio::test]
async fn a_stop_keeps_what_came() {
    let server = Server::start().await;
    let grant = server.grant().await;
    let path = server.create(&grant, 10, "x").await;
    let body = axum::body::Body::from_stream(futures_util::StreamExt::chain(
        futures_util::stream::iter([Ok::<_, std::io::Error>(bytes::Bytes::from("hello"))]),
        futures_util::stream::pending(),
    ));
    let stopped = async {
        while server.offset(&path, &grant).await < 5 {
            tokio::task::yield_now().await;
        }
        server.media.shutdown().await;
    };
    let (answer, ()) = tokio::join!(server.send(patch(&path, &grant, 0, body)), stopped);
    assert_eq!(answer.problem(), (423, "taken_over".into()));
    let refused = server.send(patch(&path, &grant, 5, "world")).await;
    assert_eq!(refused.problem(), (503, "unavailable".into()));
    let server = server.restart().await;
    assert_eq!(server.offset(&path, &grant).await, 5);
    assert_eq!(server.send(asked(Method::GET, &path).bearer(&grant)).await.json()["state"], "receiving");
}
