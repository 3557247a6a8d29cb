//! What every store does. Each function gets an empty store of its own.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::samples::{Scratch, contents, key, put, sample, sha256};
use crate::{
    Blob, BlobError, BlobStore, CHUNK_BYTES_MAX, Key, Multipart, PART_BYTES, PART_NUMBER_MAX, Part, PartsFrom,
};

/// The least that S3 takes as a part that is not the last.
const LEAST_PART: usize = 5 * 1024 * 1024;
const MIME: &str = "image/jpeg";

pub(super) async fn what_was_put_is_read(store: &dyn BlobStore) {
    let sizes = [
        0,
        1,
        CHUNK_BYTES_MAX - 1,
        CHUNK_BYTES_MAX,
        CHUNK_BYTES_MAX + 1,
        PART_BYTES,
        PART_BYTES + 1,
        2 * PART_BYTES + 12_345,
    ];
    for (seed, size) in (1..).zip(sizes) {
        let bytes = sample(size, seed);
        let name = format!("ab/{size}");
        put(store, &name, &bytes).await;
        let read = contents(store, &name, 0..size as u64).await.unwrap();
        assert_eq!(sha256(&read), sha256(&bytes), "{size}");
        assert_eq!(store.head(&key(&name)).await.unwrap().bytes, size as u64);
    }
}

pub(super) async fn ranges_are_exact(store: &dyn BlobStore) {
    let length = 3 * CHUNK_BYTES_MAX as u64 + 17;
    let bytes = sample(usize::try_from(length).unwrap(), 7);
    put(store, "ab/ranges", &bytes).await;
    let chunk = CHUNK_BYTES_MAX as u64;
    let cases = [
        (0, 0),
        (0, 1),
        (5, 5),
        (length - 1, length),
        (length, length),
        (chunk - 1, chunk + 1),
        (chunk, 2 * chunk),
        (1, length - 1),
        (0, length),
    ];
    for (start, end) in cases {
        let read = contents(store, "ab/ranges", start..end).await.unwrap();
        let (from, to) = (usize::try_from(start).unwrap(), usize::try_from(end).unwrap());
        assert_eq!(sha256(&read), sha256(&bytes[from..to]), "{start}..{end}");
    }
}

pub(super) async fn what_is_not_there_is_said_so(store: &dyn BlobStore) {
    put(store, "ab/ten", b"0123456789").await;
    for range in [0..0, 0..1] {
        assert!(matches!(contents(store, "ab/none", range).await, Err(BlobError::NotFound)));
    }
    assert!(matches!(store.head(&key("ab/none")).await, Err(BlobError::NotFound)));
    assert!(matches!(store.head(&key("cd/ten")).await, Err(BlobError::NotFound)));
    for range in [0..11, 9..11, 10..11, 11..12, 500..1000, 11..11] {
        let read = contents(store, "ab/ten", range.clone()).await;
        let Err(BlobError::Short { asked, held }) = read else { panic!("{range:?} gave {read:?}") };
        assert_eq!(asked, range.end);
        assert!(held.is_none_or(|held| held == 10), "{held:?}");
    }
}

pub(super) async fn heads_tell(store: &dyn BlobStore) {
    let scratch = Scratch::new();
    store.put_file(&key("ab/head"), &scratch.file(b"12345"), MIME).await.unwrap();
    let head = store.head(&key("ab/head")).await.unwrap();
    assert_eq!(head.bytes, 5);
    let age = SystemTime::now().duration_since(head.modified).unwrap_or_default();
    assert!(age < Duration::from_secs(3600), "{age:?}");
    if let Some(mime) = head.mime {
        assert_eq!(mime, MIME);
    }
}

pub(super) async fn later_puts_replace(store: &dyn BlobStore) {
    for (seed, size) in (1..).zip([10, PART_BYTES + 10, 0, 20]) {
        let bytes = sample(size, seed);
        put(store, "ab/same", &bytes).await;
        assert_eq!(store.head(&key("ab/same")).await.unwrap().bytes, size as u64);
        let read = contents(store, "ab/same", 0..size as u64).await.unwrap();
        assert_eq!(sha256(&read), sha256(&bytes));
    }
}

/// Whoever is last, nobody ever reads half of one and half of another.
pub(super) async fn puts_race_whole(store: &dyn BlobStore) {
    let size = 100_000;
    let all: Vec<Bytes> = (0..8).map(|seed| sample(size, seed)).collect();
    put(store, "ab/race", &all[0]).await;
    let racers = all.iter().map(|bytes| put(store, "ab/race", bytes));
    let reader = async {
        for _ in 0..20 {
            let read = contents(store, "ab/race", 0..size as u64).await.unwrap();
            assert!(all.iter().any(|bytes| *bytes == read));
        }
    };
    futures_util::future::join(futures_util::future::join_all(racers), reader).await;
    let read = contents(store, "ab/race", 0..size as u64).await.unwrap();
    assert!(all.iter().any(|bytes| *bytes == read));
}

pub(super) async fn a_failed_put_keeps_the_file(store: &dyn BlobStore) {
    let scratch = Scratch::new();
    let absent = scratch.0.path().join("absent");
    assert!(matches!(store.put_file(&key("ab/x"), &absent, MIME).await, Err(BlobError::Io(_))));
    let folder = scratch.0.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    assert!(matches!(store.put_file(&key("ab/x"), &folder, MIME).await, Err(BlobError::Io(_))));
    assert!(folder.is_dir());
    assert!(matches!(store.head(&key("ab/x")).await, Err(BlobError::NotFound)));
    // A symbolic link is followed, not stored.
    let file = scratch.file(b"the file");
    let link = scratch.0.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    store.put_file(&key("ab/x"), &link, MIME).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"the file");
    std::fs::write(&file, "another").unwrap();
    assert_eq!(contents(store, "ab/x", 0..8).await.unwrap(), b"the file");
}

pub(super) async fn small_puts_are_small(store: &dyn BlobStore) {
    for size in [0, 5, PART_BYTES] {
        let bytes = sample(size, 3);
        store.put_bytes(&key("ab/small"), bytes.clone(), MIME).await.unwrap();
        assert_eq!(sha256(&contents(store, "ab/small", 0..size as u64).await.unwrap()), sha256(&bytes));
    }
    let large = store.put_bytes(&key("ab/large"), sample(PART_BYTES + 1, 3), MIME).await;
    assert!(matches!(large, Err(BlobError::Internal(_))));
    assert!(matches!(store.head(&key("ab/large")).await, Err(BlobError::NotFound)));
}

pub(super) async fn deletes(store: &dyn BlobStore) {
    put(store, "ab/gone", b"1").await;
    put(store, "ab/kept", b"2").await;
    for _ in 0..2 {
        store.delete(&key("ab/gone")).await.unwrap();
        assert!(matches!(store.head(&key("ab/gone")).await, Err(BlobError::NotFound)));
    }
    store.delete(&key("never/was")).await.unwrap();
    assert_eq!(contents(store, "ab/kept", 0..1).await.unwrap(), b"2");
    put(store, "ab/gone", b"3").await;
    assert_eq!(contents(store, "ab/gone", 0..1).await.unwrap(), b"3");
}

async fn all(store: &dyn BlobStore, limit: usize) -> Vec<(Key, Blob)> {
    let mut listed: Vec<(Key, Blob)> = Vec::new();
    loop {
        let page = store.list(listed.last().map(|(key, _)| key), limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return listed;
        }
        listed.extend(page);
    }
}

pub(super) async fn lists_in_pages(store: &dyn BlobStore) {
    assert_eq!(store.list(None, 10).await.unwrap(), []);
    let mut names = ["ab/00", "ab/0a", "ab/A", "ab/z", "b/deep/er/x", "cd/1.jpg", "cd/1_2", "zz/last"];
    for (size, name) in names.iter().rev().enumerate() {
        put(store, name, &sample(size, 1)).await;
    }
    // Neither what is unfinished nor what a probe writes is an object.
    let upload = store.begin(&key("ab/unfinished"), MIME, PartsFrom::Server).await.unwrap();
    store.put_part(&upload, 1, sample(10, 1)).await.unwrap();
    store.probe().await.unwrap();
    names.sort_unstable();
    for limit in [1, 2, 3, 8, 1000] {
        let listed = all(store, limit).await;
        assert_eq!(listed.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), names, "pages of {limit}");
        assert_eq!(listed.iter().map(|(_, blob)| blob.bytes).collect::<Vec<_>>(), [7, 6, 5, 4, 3, 2, 1, 0]);
    }
    assert_eq!(store.list(None, 0).await.unwrap(), []);
    let after = store.list(Some(&key("ab/b")), 2).await.unwrap();
    assert_eq!(after.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["ab/z", "b/deep/er/x"]);
    assert_eq!(store.list(Some(&key("zz/last")), 2).await.unwrap(), []);
    store.abort(&upload).await.unwrap();
}

pub(super) async fn parts_make_an_object(store: &dyn BlobStore) {
    let name = key("ab/parts");
    let (first, second, last) = (sample(LEAST_PART, 1), sample(LEAST_PART + 3, 2), sample(11, 3));
    let upload = store.begin(&name, MIME, PartsFrom::Server).await.unwrap();
    assert_eq!(upload.key(), &name);
    assert_eq!(store.list_parts(&upload).await.unwrap(), []);
    // In any order, at once, with gaps.
    let puts = [(900, &last), (1, &first), (7, &second)].map(|(number, bytes)| {
        let upload = &upload;
        async move { store.put_part(upload, number, bytes.clone()).await.unwrap() }
    });
    futures_util::future::join_all(puts).await;
    let parts = [(1, first.len()), (7, second.len()), (900, last.len())];
    let parts = parts.map(|(number, bytes)| Part { number, bytes: bytes as u64 });
    assert_eq!(store.list_parts(&upload).await.unwrap(), parts);
    assert!(matches!(store.head(&name).await, Err(BlobError::NotFound)));
    let blob = store.commit(&upload).await.unwrap();
    let whole = [&first[..], &second, &last].concat();
    assert_eq!(blob.bytes, whole.len() as u64);
    assert_eq!(sha256(&contents(store, "ab/parts", 0..blob.bytes).await.unwrap()), sha256(&whole));
    for number in [0, PART_NUMBER_MAX + 1, u16::MAX] {
        let put = store.put_part(&upload, number, sample(1, 1)).await;
        assert!(matches!(put, Err(BlobError::Internal(_))), "{number}");
    }
}

pub(super) async fn a_part_is_replaced(store: &dyn BlobStore) {
    let upload = store.begin(&key("ab/again"), MIME, PartsFrom::Server).await.unwrap();
    for (seed, size) in [(1, LEAST_PART + 5), (2, LEAST_PART), (3, LEAST_PART + 1)] {
        store.put_part(&upload, 1, sample(size, seed)).await.unwrap();
    }
    store.put_part(&upload, 2, sample(5, 4)).await.unwrap();
    let blob = store.commit(&upload).await.unwrap();
    let whole = [&sample(LEAST_PART + 1, 3)[..], &sample(5, 4)].concat();
    assert_eq!(sha256(&contents(store, "ab/again", 0..blob.bytes).await.unwrap()), sha256(&whole));
}

pub(super) async fn a_commit_is_harmless_again(store: &dyn BlobStore) {
    let upload = store.begin(&key("ab/twice"), MIME, PartsFrom::Server).await.unwrap();
    store.put_part(&upload, 1, sample(100, 1)).await.unwrap();
    let commits = [0; 4].map(|_| store.commit(&upload));
    for committed in futures_util::future::join_all(commits).await {
        assert_eq!(committed.unwrap().bytes, 100);
    }
    assert_eq!(store.commit(&upload).await.unwrap().bytes, 100);
    // It is over for everything else, and giving it up takes nothing away.
    assert!(matches!(store.put_part(&upload, 2, sample(1, 1)).await, Err(BlobError::NotFound)));
    assert!(matches!(store.list_parts(&upload).await, Err(BlobError::NotFound)));
    store.abort(&upload).await.unwrap();
    assert_eq!(store.commit(&upload).await.unwrap().bytes, 100);
    assert_eq!(contents(store, "ab/twice", 0..100).await.unwrap(), sample(100, 1));
    // Nor does it bring back what has been deleted.
    store.delete(&key("ab/twice")).await.unwrap();
    assert!(matches!(store.commit(&upload).await, Err(BlobError::NotFound)));
}

pub(super) async fn an_abort_leaves_nothing(store: &dyn BlobStore) {
    put(store, "ab/there", b"before").await;
    let upload = store.begin(&key("ab/there"), MIME, PartsFrom::Server).await.unwrap();
    store.put_part(&upload, 1, sample(100, 1)).await.unwrap();
    for _ in 0..2 {
        store.abort(&upload).await.unwrap();
    }
    assert!(matches!(store.put_part(&upload, 2, sample(1, 1)).await, Err(BlobError::NotFound)));
    assert!(matches!(store.list_parts(&upload).await, Err(BlobError::NotFound)));
    // An object of that key, made by somebody else, is not this upload's.
    assert!(matches!(store.commit(&upload).await, Err(BlobError::NotFound)));
    assert_eq!(contents(store, "ab/there", 0..6).await.unwrap(), b"before");
    assert!(store.unfinished(Duration::ZERO).await.unwrap().is_empty());
}

pub(super) async fn no_parts_make_no_object(store: &dyn BlobStore) {
    let upload = store.begin(&key("ab/empty"), MIME, PartsFrom::Server).await.unwrap();
    assert!(matches!(store.commit(&upload).await, Err(BlobError::Internal(_))));
    assert!(matches!(store.head(&key("ab/empty")).await, Err(BlobError::NotFound)));
    // One empty part makes an empty one.
    store.put_part(&upload, 1, Bytes::new()).await.unwrap();
    assert_eq!(store.commit(&upload).await.unwrap().bytes, 0);
}

pub(super) async fn uploads_are_kept_as_json(store: &dyn BlobStore) {
    let keep = |upload: &Multipart| -> Multipart {
        serde_json::from_str(&serde_json::to_string(upload).unwrap()).unwrap()
    };
    let upload = keep(&store.begin(&key("ab/json"), MIME, PartsFrom::Server).await.unwrap());
    store.put_part(&upload, 1, sample(LEAST_PART, 1)).await.unwrap();
    let upload = keep(&upload);
    store.put_part(&upload, 2, sample(9, 2)).await.unwrap();
    let upload = keep(&upload);
    let blob = store.commit(&upload).await.unwrap();
    assert_eq!(store.commit(&keep(&upload)).await.unwrap().bytes, blob.bytes);
    let whole = [&sample(LEAST_PART, 1)[..], &sample(9, 2)].concat();
    assert_eq!(sha256(&contents(store, "ab/json", 0..blob.bytes).await.unwrap()), sha256(&whole));
}

pub(super) async fn orphans_are_found(store: &dyn BlobStore) {
    let mut begun = Vec::new();
    for name in ["ab/1", "ab/1", "cd/2", "ef/3", "ef/4"] {
        let upload = store.begin(&key(name), MIME, PartsFrom::Server).await.unwrap();
        store.put_part(&upload, 1, sample(10, 1)).await.unwrap();
        begun.push(upload);
    }
    store.commit(&begun[3]).await.unwrap();
    store.abort(&begun[4]).await.unwrap();
    let found = store.unfinished(Duration::ZERO).await.unwrap();
    let mut ids: Vec<(&Key, &str)> = found.iter().map(|upload| (upload.key(), upload.id())).collect();
    let mut expected: Vec<(&Key, &str)> =
        begun[..3].iter().map(|upload| (upload.key(), upload.id())).collect();
    ids.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ids, expected);
    assert!(store.unfinished(Duration::from_secs(3600)).await.unwrap().is_empty());
    for upload in &found {
        store.abort(upload).await.unwrap();
    }
    assert!(store.unfinished(Duration::ZERO).await.unwrap().is_empty());
    for upload in &begun[..3] {
        assert!(matches!(store.commit(upload).await, Err(BlobError::NotFound)));
    }
}

/// A description that comes from elsewhere reaches nothing outside.
pub(super) async fn foreign_uploads_do_nothing(store: &dyn BlobStore) {
    put(store, "ab/mine", b"1").await;
    let own = store.begin(&key("ab/own"), MIME, PartsFrom::Server).await.unwrap();
    let unknown = ["", "..", "../ab", ".", "0123456789abcdef0123456789abcdef", "nonsense"];
    let wrong_key = (key("ab/mine"), own.id().to_owned());
    for (name, id) in unknown.iter().map(|id| (key("ab/mine"), (*id).to_owned())).chain([wrong_key]) {
        let upload = Multipart::new(name, id.clone(), PartsFrom::Server, String::new());
        assert!(store.put_part(&upload, 1, sample(1, 1)).await.is_err(), "{id:?}");
        assert!(store.list_parts(&upload).await.is_err(), "{id:?}");
        assert!(store.commit(&upload).await.is_err(), "{id:?}");
    }
    assert_eq!(contents(store, "ab/mine", 0..1).await.unwrap(), b"1");
    store.abort(&own).await.unwrap();
}

pub(super) async fn it_can_be_written_to(store: &dyn BlobStore) {
    store.probe().await.unwrap();
    store.probe().await.unwrap();
    assert_eq!(store.list(None, 10).await.unwrap(), []);
}
