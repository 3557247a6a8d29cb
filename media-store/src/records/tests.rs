//! What the records promise, on a real database.

use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

use super::{NewObject, OverQuota, Quota, Records, Role, State, Upload, Variant};
use crate::{Kind, attachment::Content, problem::Document};

const QUOTA: Quota = Quota { user_uploads: 3, user_files: 10, user_bytes: 1_000, tenant_bytes: 0 };
const LATER: UnixMillis = UnixMillis(1_000);

fn open() -> (Records, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Records::open(&folder.path().join("media.db")).unwrap(), folder)
}

fn id(text: &str) -> AttachmentId {
    AttachmentId::new(text).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn upload(name: &str, by: &str, bytes: Option<u64>) -> Upload {
    Upload {
        id: id(name),
        user: user(by),
        conv: ConversationId::new("c").unwrap(),
        tenant: "default".into(),
        kind: Kind::File,
        name: Some("фото.jpg".into()),
        mime: None,
        bytes,
        bytes_max: 500,
        offset: 0,
        state: State::Receiving,
        role: Role::Whole,
        metadata: None,
        concat: None,
        direct: None,
        sha256: None,
        problem: None,
        expires_at: LATER,
    }
}

fn content(bytes: u64) -> Content {
    Content {
        kind: Kind::File,
        r#type: "text/plain".into(),
        bytes,
        width: None,
        height: None,
        thumbhash: None,
        animated: false,
        duration_ms: None,
        waveform: None,
        variants: vec!["file".into()],
    }
}

fn object(name: &str, sha256: &str, bytes: u64) -> NewObject {
    NewObject {
        id: name.into(),
        tenant: "default".into(),
        sha256: sha256.into(),
        content: content(bytes),
        whole: true,
        first: variant("file", name),
    }
}

fn variant(name: &str, key: &str) -> Variant {
    Variant {
        name: name.into(),
        key: format!("aa/{key}/{name}"),
        mime: "text/plain".into(),
        bytes: 7,
        zstd: false,
        identity_bytes: 7,
        etag: "e".into(),
    }
}

#[tokio::test]
async fn the_last_byte_makes_an_upload_received() {
    let (records, _folder) = open();
    records.create(upload("u", "a", Some(100)), QUOTA).await.unwrap().unwrap();
    records.advance(&id("u"), 99, LATER, QUOTA).await.unwrap().unwrap();
    let held = records.upload(&id("u")).await.unwrap().unwrap();
    assert_eq!((held.state, held.offset, held.name.as_deref()), (State::Receiving, 99, Some("фото.jpg")));
    records.advance(&id("u"), 100, LATER, QUOTA).await.unwrap().unwrap();
    assert_eq!(records.upload(&id("u")).await.unwrap().unwrap().state, State::Received);
    assert_eq!(records.working().await.unwrap(), [id("u")]);
    // What is received is not moved by a request that was late.
    records.advance(&id("u"), 50, LATER, QUOTA).await.unwrap().unwrap();
    assert_eq!(records.upload(&id("u")).await.unwrap().unwrap().offset, 100);
}

#[tokio::test]
async fn a_part_waits_for_the_whole() {
    let (records, _folder) = open();
    let part = Upload { role: Role::Partial, ..upload("p", "a", Some(5)) };
    records.create(part, QUOTA).await.unwrap().unwrap();
    records.advance(&id("p"), 5, LATER, QUOTA).await.unwrap().unwrap();
    assert_eq!(records.upload(&id("p")).await.unwrap().unwrap().state, State::Receiving);
}

#[tokio::test]
async fn a_deferred_length_may_be_nothing() {
    let (records, _folder) = open();
    records.create(upload("u", "a", None), QUOTA).await.unwrap().unwrap();
    records.advance(&id("u"), 30, LATER, QUOTA).await.unwrap().unwrap();
    let held = records.upload(&id("u")).await.unwrap().unwrap();
    assert_eq!((held.state, held.bytes), (State::Receiving, None));
    records.declare(&held, 30, QUOTA).await.unwrap().unwrap();
    records.advance(&id("u"), 30, LATER, QUOTA).await.unwrap().unwrap();
    assert_eq!(records.upload(&id("u")).await.unwrap().unwrap().state, State::Received);
}

#[tokio::test]
async fn shares_are_kept_before_the_bytes_come() {
    let (records, _folder) = open();
    records.create(upload("u1", "a", Some(600)), QUOTA).await.unwrap().unwrap();
    let over = records.create(upload("u2", "a", Some(401)), QUOTA).await.unwrap();
    assert_eq!(over, Err(OverQuota::Bytes));
    records.create(upload("u2", "a", Some(400)), QUOTA).await.unwrap().unwrap();
    records.create(upload("u3", "a", Some(0)), QUOTA).await.unwrap().unwrap();
    let over = records.create(upload("u4", "a", Some(0)), QUOTA).await.unwrap();
    assert_eq!(over, Err(OverQuota::Uploads));
    // Others have their own; the tenant's is everybody's.
    records.create(upload("v", "b", Some(1_000)), QUOTA).await.unwrap().unwrap();
    let tight = Quota { tenant_bytes: 2_100, ..QUOTA };
    let over = records.has_room("default", &user("c"), 101, tight).await.unwrap();
    assert_eq!(over, Err(OverQuota::TenantBytes));
    assert_eq!(records.has_room("other", &user("c"), 101, tight).await.unwrap(), Ok(()));
    records.remove(vec![id("u1")]).await.unwrap();
    assert_eq!(records.has_room("default", &user("a"), 600, QUOTA).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn stored_bytes_count_until_they_are_let_go() {
    let (records, _folder) = open();
    records.add_object(object("o", "h", 900)).await.unwrap();
    records.attach(&id("u"), "o", &user("a"), "default", None).await.unwrap().unwrap();
    // Again is harmless.
    records.attach(&id("u"), "o", &user("a"), "default", None).await.unwrap().unwrap();
    assert_eq!(records.has_room("default", &user("a"), 100, QUOTA).await.unwrap(), Ok(()));
    assert_eq!(records.has_room("default", &user("a"), 101, QUOTA).await.unwrap(), Err(OverQuota::Bytes));
    records.detach(vec![id("u"), id("u"), id("unknown")]).await.unwrap();
    assert_eq!(records.has_room("default", &user("a"), 1_000, QUOTA).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn the_same_bytes_are_one_object_of_a_tenant() {
    let (records, _folder) = open();
    let (first, ours) = records.add_object(object("o1", "h", 5)).await.unwrap();
    assert!(ours);
    let (second, ours) = records.add_object(object("o2", "h", 5)).await.unwrap();
    assert!(!ours);
    assert_eq!(first, second);
    let elsewhere = NewObject { tenant: "other".into(), ..object("o3", "h", 5) };
    assert!(records.add_object(elsewhere).await.unwrap().1);
    let found = records.find("default", Kind::File, "h").await.unwrap().unwrap();
    assert_eq!((found.object.as_str(), found.whole), ("o1", true));
    assert!(records.find("default", Kind::Photo, "h").await.unwrap().is_none());
}

#[tokio::test]
async fn an_object_goes_with_its_last_attachment() {
    let (records, _folder) = open();
    records.add_object(object("o", "h", 5)).await.unwrap();
    for name in ["u", "v"] {
        records.attach(&id(name), "o", &user("a"), "default", None).await.unwrap().unwrap();
    }
    records.detach(vec![id("u")]).await.unwrap();
    assert!(records.doomed(10).await.unwrap().is_empty());
    records.detach(vec![id("v")]).await.unwrap();
    assert_eq!(records.doomed(10).await.unwrap(), [("o".to_owned(), vec!["aa/o/file".to_owned()])]);
    // Doomed is for ever: the same bytes become another object.
    assert!(records.attach(&id("w"), "o", &user("a"), "default", None).await.unwrap().is_none());
    assert!(!records.add_variant("o", variant("320", "o")).await.unwrap());
    assert!(records.add_object(object("o2", "h", 5)).await.unwrap().1);
    records.forget("o").await.unwrap();
    assert!(records.doomed(10).await.unwrap().is_empty());
    let keys = vec!["aa/o/file".to_owned(), "aa/o2/file".to_owned()];
    assert_eq!(records.unknown_keys(keys).await.unwrap(), ["aa/o/file"]);
}

#[tokio::test]
async fn a_variant_is_added_once() {
    let (records, _folder) = open();
    records.add_object(object("o", "h", 5)).await.unwrap();
    assert!(records.add_variant("o", variant("640", "x")).await.unwrap());
    assert!(!records.add_variant("o", variant("640", "y")).await.unwrap());
    assert_eq!(records.variant("o", "640").await.unwrap().unwrap().key, "aa/x/640");
}

#[tokio::test]
async fn what_nobody_works_on_expires() {
    let (records, _folder) = open();
    for name in ["old", "received", "failed"] {
        records.create(upload(name, "a", Some(9)), QUOTA).await.unwrap().unwrap();
    }
    records.advance(&id("received"), 9, LATER, QUOTA).await.unwrap().unwrap();
    let problem = Document::refused("damaged", "cut off".into());
    records.fail(&id("failed"), &problem, LATER).await.unwrap();
    assert_eq!(records.upload(&id("failed")).await.unwrap().unwrap().problem, Some(problem));
    assert!(records.expired(LATER, 10).await.unwrap().is_empty());
    let expired = records.expired(UnixMillis(1_001), 10).await.unwrap();
    let names: Vec<&str> = expired.iter().map(|upload| upload.id.as_str()).collect();
    assert_eq!(names, ["failed", "old"]);
    let asked = vec!["old".into(), "received".into(), "failed".into(), "stranger".into()];
    assert_eq!(records.spooled(asked).await.unwrap(), ["old", "received"]);
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("media.db");
    {
        let records = Records::open(&path).unwrap();
        records.create(upload("u", "a", Some(100)), QUOTA).await.unwrap().unwrap();
        records.advance(&id("u"), 64, LATER, QUOTA).await.unwrap().unwrap();
    }
    let records = Records::open(&path).unwrap();
    assert_eq!(records.upload(&id("u")).await.unwrap().unwrap().offset, 64);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("media.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(Records::open(&path).is_err());
}
