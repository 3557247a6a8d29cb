//! What is particular to S3: servers that are killed, answers that are lost, credentials that are wrong.

mod proxy;

use std::{fs::OpenOptions, sync::Arc, time::Duration};

use aws_sdk_s3::types::ChecksumMode;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{S3Config, S3Store};
use crate::{
    BlobError, BlobStore, PART_BYTES, Part, PartsFrom, Shown,
    testing::Weed,
    tests::{Scratch, contents, key, put, sample, sha256, shared_weed},
};
use proxy::{Proxy, Trip};

const LARGE: usize = 64 * 1024 * 1024;

/// The store as it is reached through the proxy.
fn through(proxy: &Proxy, config: S3Config) -> S3Store {
    S3Store::new(S3Config { endpoint: Some(proxy.endpoint.clone()), ..config }).unwrap()
}

/// What a sweep does: afterwards nothing is left. Returns how many there were.
async fn sweep(store: &dyn BlobStore) -> usize {
    let orphans = store.unfinished(Duration::ZERO).await.unwrap();
    for orphan in &orphans {
        store.abort(orphan).await.unwrap();
    }
    assert!(store.unfinished(Duration::ZERO).await.unwrap().is_empty());
    orphans.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_the_middle_of_a_put_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut weed = Weed::start(folder.path()).await.unwrap();
    let bytes = sample(LARGE, 1);
    let scratch = Scratch::new();
    // In the first parts, half-way, and in the last.
    for (round, hold_after) in [3_000_000, 33_000_000, 66_000_000].into_iter().enumerate() {
        let direct = S3Store::new(weed.config(Some(&format!("round-{round}")))).unwrap();
        let proxy = Proxy::new(&weed.endpoint, Trip::HoldAfterSent(hold_after)).await;
        let store = through(&proxy, direct.0.config.clone());
        let file = scratch.file(&bytes);
        let putting = tokio::spawn(async move { store.put_file(&key("ab/large"), &file, "video/mp4").await });
        proxy.tripped().await;
        assert!(!putting.is_finished());
        assert!(matches!(direct.head(&key("ab/large")).await, Err(BlobError::NotFound)));
        weed.kill();
        proxy.release();
        assert!(matches!(direct.head(&key("ab/large")).await, Err(BlobError::Unavailable(_))));
        weed.restart().await.unwrap();
        putting.await.unwrap().unwrap();
        let stored = contents(&direct, "ab/large", 0..LARGE as u64).await.unwrap();
        assert_eq!(sha256(&stored), sha256(&bytes), "held after {hold_after}");
        assert_eq!(sweep(&direct).await, 0, "held after {hold_after}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_change_nothing() {
    let weed = shared_weed().await;
    let bytes = sample(2 * PART_BYTES + 5, 1);
    let scratch = Scratch::new();
    // Those to the beginning of an upload, to a part, to its end, and to a look at it; and how many orphans that makes.
    let lost = [
        (Trip::LoseAnswer("POST /", "?uploads"), 1),
        (Trip::LoseAnswer("PUT /", "partNumber=2"), 0),
        (Trip::LoseAnswer("POST /", "uploadId="), 0),
        (Trip::LoseAnswer("GET /", "uploadId="), 0),
        (Trip::LoseAnswer("HEAD /", "ab/lost"), 0),
    ];
    for (trip, orphans) in lost {
        let direct = weed.store();
        let proxy = Proxy::new(&weed.weed.endpoint, trip).await;
        let store = through(&proxy, direct.0.config.clone());
        store.put_file(&key("ab/lost"), &scratch.file(&bytes), "video/mp4").await.unwrap();
        assert!(proxy.has_tripped(), "{trip:?}");
        let stored = contents(&direct, "ab/lost", 0..bytes.len() as u64).await.unwrap();
        assert_eq!(sha256(&stored), sha256(&bytes), "{trip:?}");
        assert_eq!(sweep(&direct).await, orphans, "{trip:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_that_breaks_off_goes_on() {
    let weed = shared_weed().await;
    let direct = weed.store();
    let bytes = sample(3 * PART_BYTES, 1);
    put(&direct, "ab/down", &bytes).await;
    let proxy = Proxy::new(&weed.weed.endpoint, Trip::BreakAfterReceived(5_000_000)).await;
    let store = through(&proxy, direct.0.config.clone());
    let read = contents(&store, "ab/down", 17..bytes.len() as u64 - 1).await.unwrap();
    assert!(proxy.has_tripped());
    assert_eq!(sha256(&read), sha256(&bytes[17..bytes.len() - 1]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_is_dropped_leaves_an_orphan_that_the_sweep_finds() {
    let weed = shared_weed().await;
    let direct = weed.store();
    let proxy = Proxy::new(&weed.weed.endpoint, Trip::HoldAfterSent(20_000_000)).await;
    let store = through(&proxy, direct.0.config.clone());
    let scratch = Scratch::new();
    let file = scratch.file(&sample(LARGE, 1));
    let name = key("ab/dropped");
    tokio::select! {
        put = store.put_file(&name, &file, "video/mp4") => panic!("{put:?}"),
        () = proxy.tripped() => {}
    }
    proxy.release();
    assert_eq!(sweep(&direct).await, 1);
    assert!(matches!(direct.head(&name).await, Err(BlobError::NotFound)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_fails_aborts_its_upload() {
    let weed = shared_weed().await;
    let direct = weed.store();
    let proxy = Proxy::new(&weed.weed.endpoint, Trip::HoldAfterSent(20_000_000)).await;
    let store = through(&proxy, direct.0.config.clone());
    let scratch = Scratch::new();
    let file = scratch.file(&sample(LARGE, 1));
    let putting = tokio::spawn({
        let file = file.clone();
        async move { store.put_file(&key("ab/failed"), &file, "video/mp4").await }
    });
    proxy.tripped().await;
    OpenOptions::new().write(true).open(&file).unwrap().set_len(3_000_000).unwrap();
    proxy.release();
    assert!(matches!(putting.await.unwrap(), Err(BlobError::Io(_))));
    assert_eq!(sweep(&direct).await, 0);
    assert!(file.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn objects_have_their_type_and_checksum_and_no_encoding() {
    let weed = shared_weed().await;
    let store = weed.store();
    let scratch = Scratch::new();
    for size in [0, 1000, PART_BYTES + 1] {
        let bytes = sample(size, 1);
        store.put_file(&key("ab/typed"), &scratch.file(&bytes), "image/jpeg").await.unwrap();
        let head = store.client().head_object().bucket(store.bucket()).key(store.name(&key("ab/typed")));
        let head = head.checksum_mode(ChecksumMode::Enabled).send().await.unwrap();
        assert_eq!(head.content_type(), Some("image/jpeg"));
        assert_eq!(head.content_encoding(), None);
        if size > PART_BYTES {
            assert!(head.checksum_crc32_c().is_some_and(|sum| sum.ends_with("-2")), "{head:?}");
        } else {
            assert_eq!(head.checksum_crc32_c(), Some(&*super::crc32c(&bytes)));
        }
        assert_eq!(store.head(&key("ab/typed")).await.unwrap().mime.as_deref(), Some("image/jpeg"));
    }
    // The server does look at checksums: one that is wrong is refused.
    let wrong = store.client().put_object().bucket(store.bucket()).key(store.name(&key("ab/wrong")));
    let wrong = wrong.checksum_crc32_c(super::crc32c(b"other")).body(b"bytes".to_vec().into()).send().await;
    assert!(matches!(super::fault(wrong.unwrap_err()), BlobError::Unavailable(_)));
}

#[test]
fn crc32c_is_castagnolis() {
    // RFC 3720 §B.4: 32 bytes of zeros, and of ones. Catalogue check value: "123456789" gives E3069283.
    assert_eq!(super::crc32c(&[0; 32]), "ipE2qg==");
    assert_eq!(super::crc32c(&[0xff; 32]), "YqirQw==");
    assert_eq!(super::crc32c(b"123456789"), "4waSgw==");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_say_what_is_wrong() {
    let weed = shared_weed().await;
    let config = weed.weed.config(Some("probes"));
    let probe = async |config: S3Config| S3Store::new(config).unwrap().probe().await;
    let text = |answer: Result<(), BlobError>| match answer {
        Err(BlobError::Refused(text)) => text,
        other => panic!("{other:?}"),
    };

    let wrong = text(probe(S3Config { secret_key: "wrong".to_owned(), ..config.clone() }).await);
    assert!(
        wrong.contains("bucket trunkline") && wrong.contains("403") && !wrong.contains("test-key"),
        "{wrong}"
    );
    let bucket = format!("other-{}", uuid::Uuid::new_v4().simple());
    let absent = S3Config { bucket, ..config.clone() };
    let told = text(probe(absent.clone()).await);
    assert!(told.contains(&absent.bucket) && told.contains("does not exist"), "{told}");
    // Nor do calls make a bucket that is absent, and what they say is the bucket's absence where the server tells.
    let store = S3Store::new(absent.clone()).unwrap();
    assert!(matches!(store.list(None, 1).await, Err(BlobError::Refused(_))));
    for _ in 0..2 {
        probe(S3Config { create_bucket: true, ..absent.clone() }).await.unwrap();
    }
    probe(absent).await.unwrap();
    assert_eq!(store.list(None, 1).await.unwrap(), []);

    // Nobody listens on port 1.
    let nobody = S3Config { endpoint: Some("http://127.0.0.1:1".to_owned()), ..config };
    let Err(BlobError::Unavailable(text)) = probe(nobody).await else { panic!("an answer from nobody") };
    assert!(text.contains("http://127.0.0.1:1"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prefixes_do_not_see_each_other() {
    let weed = shared_weed().await;
    let outer = weed.store();
    let prefix = outer.0.config.prefix.clone().unwrap();
    // A prefix that begins with another one's name is still another.
    let other = S3Store::new(weed.weed.config(Some(&format!("{prefix}-too/")))).unwrap();
    put(&outer, "ab/1", b"outer").await;
    put(&other, "ab/1", b"other").await;
    put(&other, "ab/2", b"other").await;
    let upload = other.begin(&key("ab/3"), "text/plain", PartsFrom::Server).await.unwrap();
    let names = async |store: &S3Store| {
        let listed = store.list(None, 10).await.unwrap();
        listed.iter().map(|(key, _)| key.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&outer).await, ["ab/1"]);
    assert_eq!(names(&other).await, ["ab/1", "ab/2"]);
    assert_eq!(contents(&outer, "ab/1", 0..5).await.unwrap(), b"outer");
    assert_eq!(sweep(&outer).await, 0);
    assert_eq!(sweep(&other).await, 1);
    assert!(matches!(other.commit(&upload).await, Err(BlobError::NotFound)));
    outer.delete(&key("ab/1")).await.unwrap();
    assert_eq!(contents(&other, "ab/1", 0..5).await.unwrap(), b"other");
}

/// One HTTP request to a URL as a browser would send it: status, head and body of the answer.
async fn http(method: &str, url: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut connection = TcpStream::connect(host).await.unwrap();
    let length = if method == "PUT" { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    let head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\n{length}Connection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    // A server that has refused the head may close before the body is there.
    let _ = connection.write_all(body).await;
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer).await;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_ascii_lowercase(), answer[end + 4..].to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_send_and_fetch_without_us() {
    let weed = shared_weed().await;
    let store = weed.store();
    let ttl = Duration::from_secs(600);
    let parts = [sample(5 * 1024 * 1024, 1), sample(77, 2)];
    let upload = store.begin(&key("ab/direct"), "image/png", PartsFrom::Client).await.unwrap();
    assert!(store.presigns());
    for (number, bytes) in (1..).zip(&parts) {
        let url = store.presign_part(&upload, number, bytes.len() as u64, ttl).await.unwrap().unwrap();
        // Neither another length nor another part than was granted.
        let (status, ..) = http("PUT", &url, &sample(bytes.len() + 1, 9)).await;
        assert_eq!(status, 403);
        let other = url.replace(&format!("partNumber={number}"), "partNumber=9");
        assert_eq!(http("PUT", &other, bytes).await.0, 403);
        assert_eq!(http("PUT", &url, bytes).await.0, 200);
    }
    let stored: Vec<Part> = store.list_parts(&upload).await.unwrap();
    assert_eq!(stored.iter().map(|part| part.bytes).collect::<Vec<_>>(), [5 * 1024 * 1024, 77]);
    assert_eq!(store.commit(&upload).await.unwrap().bytes, 5 * 1024 * 1024 + 77);
    assert_eq!(store.commit(&upload).await.unwrap().bytes, 5 * 1024 * 1024 + 77);

    let shown = Shown {
        content_type: Some("image/webp".to_owned()),
        content_disposition: Some("attachment; filename*=UTF-8''%D1%84%D0%BE%D1%82%D0%BE.jpg".to_owned()),
        content_encoding: None,
        cache_control: Some("private, max-age=5".to_owned()),
    };
    let url = store.presign_get(&key("ab/direct"), ttl, &shown).await.unwrap().unwrap();
    let (status, head, body) = http("GET", &url, b"").await;
    assert_eq!(status, 200, "{head}");
    assert_eq!(sha256(&body), sha256(&parts.concat()));
    let headers = [
        "content-type: image/webp",
        "content-disposition: attachment; filename*=utf-8''%d1%84%d0%be%d1%82%d0%be.jpg",
        "cache-control: private, max-age=5",
    ];
    for header in headers {
        assert!(head.contains(header), "{header} in {head}");
    }
    assert_eq!(http("GET", &url.replace("webp", "html"), b"").await.0, 403);
    assert!(store.presign_get(&key("ab/direct"), Duration::from_secs(8 * 24 * 3600), &shown).await.is_err());

    let public =
        S3Config { public_endpoint: Some("https://media.example".to_owned()), ..store.0.config.clone() };
    let url =
        S3Store::new(public).unwrap().presign_get(&key("ab/direct"), ttl, &shown).await.unwrap().unwrap();
    assert!(url.starts_with("https://media.example/trunkline/"), "{url}");
}

fn config() -> S3Config {
    S3Config {
        endpoint: Some("https://s3.example".to_owned()),
        public_endpoint: None,
        region: "eu-central-1".to_owned(),
        bucket: "media".to_owned(),
        prefix: None,
        access_key: "AKIDEXAMPLE".to_owned(),
        secret_key: "wJalrXUtnFEMI".to_owned(),
        path_style: true,
        create_bucket: false,
    }
}

#[tokio::test]
async fn debug_shows_no_secret() {
    let store = S3Store::new(config()).unwrap();
    let text = format!("{:?} {:?} {store:#?}", config(), Arc::new(store.clone()));
    assert!(!text.contains("wJalr") && !text.contains("AKID"), "{text}");
    assert!(text.contains("s3.example") && text.contains("media"), "{text}");
}

#[test]
fn configurations_are_checked() {
    let with = |change: fn(&mut S3Config)| {
        let mut config = config();
        change(&mut config);
        config.check()
    };
    assert_eq!(with(|_| ()).unwrap(), "");
    assert_eq!(with(|c| c.prefix = Some(String::new())).unwrap(), "");
    assert_eq!(with(|c| c.prefix = Some("trunkline".to_owned())).unwrap(), "trunkline/");
    assert_eq!(with(|c| c.prefix = Some("a/b/".to_owned())).unwrap(), "a/b/");
    let wrong: [fn(&mut S3Config); 9] = [
        |c| c.endpoint = Some("s3.example".to_owned()),
        |c| c.public_endpoint = Some("ftp://s3.example".to_owned()),
        |c| c.bucket = "ab".to_owned(),
        |c| c.bucket = "Media".to_owned(),
        |c| c.bucket = "a/b".to_owned(),
        |c| c.bucket = "x".repeat(64),
        |c| c.prefix = Some("../up".to_owned()),
        |c| c.access_key = String::new(),
        |c| c.secret_key = String::new(),
    ];
    for (index, change) in wrong.into_iter().enumerate() {
        assert!(matches!(with(change), Err(BlobError::Refused(_))), "case {index}");
    }
}
