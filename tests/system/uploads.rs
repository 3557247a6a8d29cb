//! Uploads under SIGKILL: of the server, and of its S3 store. Nothing that was acknowledged is lost, no offset goes back, no
//! byte is wrong, and nothing is left over after the sweep. Some tens of kills here; `cargo xtask soak uploads` does
//! hundreds.
//!
//! As in `kill.rs`, a killed process proves the order of steps, not the fsync: for that the disk store has a model of a disk
//! that forgets (`media-store/blob`), and the spool syncs before its record. Within thirty kills it was seen to fail with
//! an offset recorded before its bytes (the spool is shorter: 500), with a reference that is not counted (the sweep takes
//! what a message refers to, and the schema does not let it: nothing is swept any more), and with a blob put after its
//! record (a message whose picture is not there: 404).

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Notify;
use trunkline_media_blob::testing::Weed;
use trunkline_media_blob::{BlobStore, FsStore, Key, S3Config, S3Store};
use uuid::Uuid;

use crate::random::Random;
use crate::server::{DataDir, Server, http, token};
use crate::wire::{Answer, ask};

/// Kills in an ordinary run; `cargo xtask soak uploads` sets the variable.
const KILLS: u64 = 30;
const KILLS_VARIABLE: &str = "TRUNKLINE_UPLOAD_KILLS";

/// Uploads at a time.
const UPLOADS: usize = 6;

/// Acknowledgements in one life before a kill: from, and how many more at most.
const ACKS: (u64, u64) = (3, 25);

fn kills() -> u64 {
    std::env::var(KILLS_VARIABLE).ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS)
}

/// The server's settings: everything happens within the test.
const SETTINGS: [(&str, &str); 5] = [
    ("TRUNKLINE_MEDIA__USER_UPLOADS", "1000000"),
    ("TRUNKLINE_MEDIA__UPLOAD_TTL", "1h"),
    ("TRUNKLINE_MEDIA__SWEEP_INTERVAL", "1s"),
    ("TRUNKLINE_MEDIA__GRACE", "10m"),
    ("TRUNKLINE_MEDIA__ORPHAN_AGE", "10m"),
];

/// Acknowledgements so far, and who waits for more.
#[derive(Default)]
struct Acks {
    count: AtomicU64,
    more: Notify,
}

impl Acks {
    fn one(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.more.notify_waiters();
    }

    async fn reach(&self, count: u64) {
        loop {
            let more = self.more.notified();
            if self.count.load(Ordering::Relaxed) >= count {
                return;
            }
            more.await;
        }
    }
}

/// One person's file, from its bytes to the message that refers to it.
struct Upload {
    kind: &'static str,
    content: Vec<u8>,
    random: Random,
    /// The message's id: the same however often it is sent.
    message: String,
    grant: Option<String>,
    path: Option<String>,
    /// Durable, as the server said.
    acked: u64,
    /// Of an upload straight to the store: the links that its parts still go to, and how long each is.
    direct: Option<Direct>,
    attachment: Option<Value>,
    sent: bool,
}

#[derive(Default)]
struct Direct {
    part_bytes: usize,
    links: Vec<String>,
    put: usize,
    /// The server has said that it has everything.
    finished: bool,
}

/// Where everything is sent.
struct Place<'a> {
    server: SocketAddr,
    token: &'a str,
    conv: &'a str,
}

impl Upload {
    /// Every third is a photo; and with `directly` every third goes straight to the store, as two parts.
    fn new(number: u64, directly: bool) -> Self {
        let mut random = Random(0x9e37_79b9 ^ (number + 1));
        let directly = directly && number % 3 == 1;
        let (kind, content) = match number % 3 {
            0 => ("photo", photo(&mut random)),
            _ => ("file", {
                // Parts have at least 8 MiB. Quickly made: nothing is to be compressed, and each must differ.
                let bytes = 1 + random.below(2_000_000) + if directly { 8 << 20 } else { 0 };
                let mut bytes = vec![0; usize::try_from(bytes).expect("small")];
                bytes.chunks_mut(8).for_each(|chunk| {
                    let random = random.below(u64::MAX).to_le_bytes();
                    chunk.copy_from_slice(&random[..chunk.len()]);
                });
                bytes
            }),
        };
        let direct = directly.then(Direct::default);
        let message = Uuid::now_v7().to_string();
        let (grant, path, attachment) = (None, None, None);
        Upload { kind, content, random, message, grant, path, acked: 0, direct, attachment, sent: false }
    }

    /// Goes on until the message is sent, or the server is gone.
    async fn work(&mut self, place: &Place<'_>, acks: &Acks) -> io::Result<()> {
        while !self.sent {
            self.step(place, acks).await?;
        }
        Ok(())
    }

    async fn step(&mut self, place: &Place<'_>, acks: &Acks) -> io::Result<()> {
        let Some(grant) = self.grant.clone() else {
            let wish = json!({"kind": self.kind, "bytes": self.content.len(), "name": "файл"});
            let path = format!("/v1/conversations/{}/uploads", place.conv);
            let answer = as_user(place, "POST", &path, &wish).await?;
            assert_eq!(answer.status, 201, "{answer:?}");
            self.grant = Some(answer.json()["grant"].as_str().expect("a grant").to_owned());
            return Ok(());
        };
        let bearer = format!("Bearer {grant}");
        if self.direct.as_ref().is_some_and(|direct| !direct.finished) {
            return self.directly(place, acks, &bearer).await;
        }
        let Some(path) = self.path.clone() else {
            let length = self.content.len().to_string();
            let headers =
                [("Authorization", &*bearer), ("Tus-Resumable", "1.0.0"), ("Upload-Length", &*length)];
            let answer = ask(place.server, "POST", "/v1/uploads", &headers, &[]).await?;
            assert_eq!(answer.status, 201, "{answer:?}");
            self.path = answer.header("location").map(str::to_owned);
            return Ok(());
        };
        if self.attachment.is_none() {
            return self.bytes(place, acks, &bearer, &path).await;
        }
        self.send(place).await
    }

    /// One step of an upload straight to the store.
    async fn directly(&mut self, place: &Place<'_>, acks: &Acks, bearer: &str) -> io::Result<()> {
        let headers = [("Authorization", bearer), ("Content-Type", "application/json")];
        let direct = self.direct.as_mut().expect("it is direct");
        let Some(path) = &self.path else {
            let wish = json!({"bytes": self.content.len()}).to_string();
            let answer = ask(place.server, "POST", "/v1/uploads/direct", &headers, wish.as_bytes()).await?;
            // The store may be dead at this moment.
            if answer.status == 201 {
                let begun = answer.json();
                self.path = Some(format!("/v1/uploads/{}", begun["id"].as_str().expect("an id")));
                direct.part_bytes =
                    usize::try_from(begun["part_bytes"].as_u64().expect("a size")).expect("small");
                let parts = begun["parts"].as_array().expect("parts").iter();
                direct.links = parts.map(|part| part["url"].as_str().expect("a link").to_owned()).collect();
            } else {
                assert_eq!(answer.status, 503, "{answer:?}");
            }
            return Ok(());
        };
        if let Some(link) = direct.links.get(direct.put) {
            let (host, path) =
                link.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
            let part =
                self.content.chunks(direct.part_bytes).nth(direct.put).expect("as many parts as links");
            // A store that was killed meanwhile gets it again.
            let put = ask(host.parse().expect("an address"), "PUT", &format!("/{path}"), &[], part).await;
            direct.put += usize::from(put.is_ok_and(|answer| answer.status == 200));
            return Ok(());
        }
        let answer = ask(place.server, "POST", &format!("{path}/finish"), &headers, &[]).await?;
        match answer.status {
            202 => {
                direct.finished = true;
                acks.one();
            }
            // A part that the store had taken is lost with it: what was never acknowledged by us.
            422 => direct.put = 0,
            _ => assert_eq!(answer.status, 503, "{answer:?}"),
        }
        Ok(())
    }

    /// One step of an upload through the server.
    async fn bytes(&mut self, place: &Place<'_>, acks: &Acks, bearer: &str, path: &str) -> io::Result<()> {
        let tus = [("Authorization", bearer), ("Tus-Resumable", "1.0.0")];
        let answer = ask(place.server, "HEAD", path, &tus, &[]).await?;
        assert_eq!(answer.status, 200, "an upload that was acknowledged is gone: {answer:?}");
        let offset: u64 =
            answer.header("upload-offset").and_then(|text| text.parse().ok()).expect("an offset");
        assert!(offset >= self.acked, "{} bytes were acknowledged, and {offset} are there", self.acked);
        self.acked = offset;
        let from = usize::try_from(offset).expect("small");
        if from == self.content.len() || self.direct.is_some() {
            let answer = ask(place.server, "GET", &format!("{path}?wait_s=30"), &tus, &[]).await?;
            let status = answer.json();
            assert_ne!(status["state"], "failed", "{status}");
            if status["state"] == "ready" {
                self.attachment = Some(status["attachment"].clone());
                acks.one();
            }
            return Ok(());
        }
        let piece = usize::try_from(1 + self.random.below(700_000)).expect("small");
        let piece = &self.content[from..(from + piece).min(self.content.len())];
        let offset = offset.to_string();
        let headers = [
            tus[0],
            tus[1],
            ("Upload-Offset", &*offset),
            ("Content-Type", "application/offset+octet-stream"),
        ];
        let answer = ask(place.server, "PATCH", path, &headers, piece).await?;
        assert_eq!(answer.status, 204, "{answer:?}");
        self.acked = answer.header("upload-offset").and_then(|text| text.parse().ok()).expect("an offset");
        acks.one();
        Ok(())
    }

    async fn send(&mut self, place: &Place<'_>) -> io::Result<()> {
        let id = &self.attachment.as_ref().expect("ready")["id"];
        let message = json!({"id": self.message, "kind": "text", "body": {"text": ""}, "attachments": [id]});
        let path = format!("/v1/conversations/{}/messages", place.conv);
        let answer = as_user(place, "POST", &path, &message).await?;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.sent = true;
        Ok(())
    }

    /// Everything that was promised is there, byte for byte.
    async fn check(&self, place: &Place<'_>) {
        let attachment = self.attachment.as_ref().expect("ready");
        let path = format!("/v1/attachments/{}/links", attachment["id"].as_str().expect("an id"));
        let answer = as_user(place, "GET", &path, &Value::Null).await.expect("the server lives");
        assert_eq!(answer.status, 200, "{answer:?}");
        let links = answer.json()["links"].as_object().expect("links").clone();
        assert_eq!(links.len(), attachment["variants"].as_array().expect("variants").len());
        for (variant, link) in links {
            let link = link.as_str().expect("a link");
            let answer = ask(place.server, "GET", link, &[], &[]).await.expect("the server lives");
            assert_eq!(answer.status, 200, "{variant}: {answer:?}");
            match variant.as_str() {
                "file" => assert!(answer.body == self.content, "a file came back changed"),
                _ => assert!(
                    [&b"\xff\xd8\xff"[..], b"\x89PNG", b"RIFF"].iter().any(|m| answer.body.starts_with(m))
                ),
            }
        }
    }
}

/// A request with the user's token, again whenever the server says when.
async fn as_user(place: &Place<'_>, method: &str, path: &str, body: &Value) -> io::Result<Answer> {
    let bearer = format!("Bearer {}", place.token);
    let headers = [("Authorization", &*bearer), ("Content-Type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    loop {
        let answer = ask(place.server, method, path, &headers, body.as_bytes()).await?;
        let Some(wait) = answer.header("retry-after").filter(|_| answer.status == 429) else {
            return Ok(answer);
        };
        let wait = wait.parse().expect("seconds");
        tokio::time::sleep(std::time::Duration::from_secs(wait)).await;
    }
}

/// A picture that no other one is: coarse noise, as PNG.
fn photo(random: &mut Random) -> Vec<u8> {
    let (width, height) = (400 + random.below(400), 300 + random.below(300));
    let (width, height) = (u32::try_from(width).expect("small"), u32::try_from(height).expect("small"));
    let tiles: Vec<[u8; 3]> =
        (0..64).map(|_| std::array::from_fn(|_| u8::try_from(random.below(256)).expect("a byte"))).collect();
    let pixel = |x: u32, y: u32| image::Rgb(tiles[((x / 50 + y / 50 * 7) % 64) as usize]);
    let mut png = io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(width, height, pixel).write_to(&mut png, image::ImageFormat::Png).expect("PNG");
    png.into_inner()
}

/// Who is killed.
enum Victim {
    Server,
    Store,
}

/// Lives and kills until there have been enough, then everything is finished and read back.
async fn survive(data: &DataDir, settings: &[(&str, &str)], mut store: Option<&mut Weed>, kills: u64) {
    let settings = [&SETTINGS[..], settings].concat();
    let alice = token(data, "alice");
    let mut random = Random(0x7472_756e);
    let mut uploads: Vec<Upload> = Vec::new();
    let mut started = 0;
    let acks = Acks::default();
    let mut conv = String::new();
    let mut killed = 0;
    while killed < kills {
        let server = Server::start(data, &["--role", "signaling,media-store"], &settings);
        if conv.is_empty() {
            let members = json!({"members": ["alice", "bob"]});
            let (_, head) = http(server.http(), "POST", "/v1/conversations", &alice, &members).await;
            let head: Value = serde_json::from_str(&head).expect("a head");
            head["conv"].as_str().expect("an id").clone_into(&mut conv);
        }
        let place = Place { server: server.http(), token: &alice, conv: &conv };
        // One life: the store may be killed several times in it, the server once.
        loop {
            let open = uploads.iter().filter(|upload| !upload.sent).count();
            uploads.extend((open..UPLOADS).map(|_| {
                started += 1;
                Upload::new(started, store.is_some())
            }));
            let enough = acks.count.load(Ordering::Relaxed) + ACKS.0 + random.below(ACKS.1);
            let victim = if store.is_some() && random.below(2) == 0 { Victim::Store } else { Victim::Server };
            let mut work = Box::pin(join_all(
                uploads.iter_mut().filter(|upload| !upload.sent).map(|one| one.work(&place, &acks)),
            ));
            let finished = tokio::select! {
                done = &mut work => {
                    done.into_iter().for_each(|one| one.expect("the server lives"));
                    true
                }
                () = acks.reach(enough) => false,
            };
            if finished {
                continue;
            }
            killed += 1;
            match (victim, &mut store) {
                (Victim::Store, Some(store)) => {
                    store.kill();
                    store.restart().await.expect("the store comes back");
                }
                _ => {
                    // While every request is under way. What was still answered counts.
                    server.kill();
                    drop(work.await);
                    break;
                }
            }
            if killed >= kills {
                server.kill();
                drop(work.await);
                break;
            }
        }
    }
    let server = Server::start(data, &["--role", "signaling,media-store"], &settings);
    let place = Place { server: server.http(), token: &alice, conv: &conv };
    let all = join_all(uploads.iter_mut().map(|upload| upload.work(&place, &acks))).await;
    all.into_iter().for_each(|one| one.expect("the server lives"));
    for upload in &uploads {
        upload.check(&place).await;
    }
    assert!(server.terminate().success());
    println!(
        "{killed} kills, {} acknowledgements, {} uploads, {} photos among them",
        acks.count.load(Ordering::Relaxed),
        uploads.len(),
        uploads.iter().filter(|upload| upload.kind == "photo").count()
    );
}

/// What the records know of the store's keys.
fn known_keys(data: &DataDir) -> BTreeSet<String> {
    let records = rusqlite::Connection::open(data.path().join("media/media.db")).expect("the records");
    let mut statement = records.prepare("SELECT key FROM variant").expect("the schema");
    let keys = statement.query_map((), |row| row.get(0)).expect("keys");
    keys.collect::<Result<_, _>>().expect("keys are text")
}

/// Multiparts in the store whose clients never heard their address: they wait for their time to be over.
fn awaited_multiparts(data: &DataDir) -> BTreeSet<String> {
    let records = rusqlite::Connection::open(data.path().join("media/media.db")).expect("the records");
    let direct = "SELECT direct FROM upload WHERE direct IS NOT NULL AND state = 0";
    let mut statement = records.prepare(direct).expect("the schema");
    let multiparts = statement.query_map((), |row| row.get::<_, String>(0)).expect("multiparts");
    let multiparts =
        multiparts.map(|text| serde_json::from_str::<Value>(&text.expect("text")).expect("JSON"));
    multiparts.map(|multipart| multipart["id"].as_str().expect("an id").to_owned()).collect()
}

/// Everything in the store.
async fn held_keys(store: &dyn BlobStore) -> BTreeSet<String> {
    let (mut held, mut after) = (BTreeSet::new(), None::<Key>);
    loop {
        let page = store.list(after.as_ref(), 1_000).await.expect("the store lists");
        let Some((last, _)) = page.last() else { return held };
        after = Some(last.clone());
        held.extend(page.iter().map(|(key, _)| key.as_str().to_owned()));
    }
}

/// With ages of a second, the sweep leaves exactly what the records know, and they know what they knew: everything is
/// referred to by a message. A blob of nobody's shows that a whole sweep has been.
async fn nothing_is_left(data: &DataDir, settings: &[(&str, &str)], store: &dyn BlobStore) {
    let (known, awaited) = (known_keys(data), awaited_multiparts(data));
    let at_once = [("TRUNKLINE_MEDIA__ORPHAN_AGE", "1s"), ("TRUNKLINE_MEDIA__GRACE", "1s")];
    let settings = [&SETTINGS[..3], settings, &at_once].concat();
    let nobodys = Key::new(format!("ff/{}", "f".repeat(32))).expect("a key");
    store.put_bytes(&nobodys, "nobody's".into(), "text/plain").await.expect("a put");
    let server = Server::start(data, &["--role", "signaling,media-store"], &settings);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let held = held_keys(store).await;
        assert!(held.is_superset(&known), "bytes that the records know are gone");
        let unfinished = store.unfinished(std::time::Duration::ZERO).await.expect("a list");
        if held == known && unfinished.iter().all(|multipart| awaited.contains(multipart.id())) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "orphans are left: {:?}", held.difference(&known));
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert!(server.terminate().success());
    assert_eq!(known_keys(data), known);
    let spooled = spooled(&data.path().join("media/spool"));
    let records = rusqlite::Connection::open(data.path().join("media/media.db")).expect("the records");
    for name in spooled {
        // What a client never heard the address of waits for its time to be over.
        let awaited: bool = records
            .query_row("SELECT count(*) FROM upload WHERE id = ?1 AND state = 0", [&name], |row| row.get(0))
            .expect("the schema");
        assert!(awaited, "{name} is in the spool, and nobody waits for it");
    }
}

fn spooled(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the spool");
    entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn uploads_survive_kills_on_a_disk() {
    let data = DataDir::new();
    survive(&data, &[], None, kills()).await;
    let store = FsStore::open(data.path().join("media/blobs")).expect("the blobs");
    nothing_is_left(&data, &[], &store).await;
}

#[tokio::test]
async fn uploads_survive_kills_of_the_server_and_of_its_s3_store() {
    let data = DataDir::new();
    let folder = DataDir::new();
    std::fs::create_dir_all(folder.path()).expect("a folder");
    let mut weed = Weed::start(folder.path()).await.expect("SeaweedFS starts: cargo xtask setup installs it");
    let config = weed.config(None);
    let store = S3Store::new(S3Config { create_bucket: true, ..config.clone() }).expect("a store");
    store.probe().await.expect("a bucket");
    let settings = [
        ("TRUNKLINE_MEDIA__STORE", "s3"),
        ("TRUNKLINE_MEDIA__S3_ENDPOINT", &weed.endpoint.clone()),
        ("TRUNKLINE_MEDIA__S3_BUCKET", &config.bucket),
        ("TRUNKLINE_MEDIA__S3_REGION", &config.region),
        ("TRUNKLINE_MEDIA__S3_ACCESS_KEY", &config.access_key),
        ("TRUNKLINE_MEDIA__S3_SECRET_KEY", &config.secret_key),
    ];
    survive(&data, &settings, Some(&mut weed), kills()).await;
    nothing_is_left(&data, &settings, &store).await;
}
