//! Copies that are broken off, lied to, and run again.

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tempfile::TempDir;
use tokio::sync::Notify;

use super::{CopyError, Summary, copy};
use crate::{
    Blob, BlobError, BlobStore, BlobStream, FsStore, Key, Multipart, PART_BYTES, Part, PartsFrom,
    tests::{contents, key, put, sample, sha256, shared_weed},
};

/// A disk store that does what it is told to do wrong.
#[derive(Debug)]
struct Odd {
    inner: FsStore,
    /// Reads of these give one wrong byte.
    lies: Mutex<BTreeSet<Key>>,
    /// Reads of these fail.
    broken: Mutex<BTreeSet<Key>>,
    /// So many more calls find the store unavailable.
    unavailable: AtomicU64,
    /// Reads of the key here first delete it.
    vanishes: Mutex<Option<Key>>,
    /// Objects that were put, in whichever way.
    puts: AtomicU64,
    _folder: TempDir,
}

impl Odd {
    fn new() -> Odd {
        let folder = tempfile::tempdir().unwrap();
        Odd {
            inner: FsStore::open(folder.path()).unwrap(),
            lies: Mutex::default(),
            broken: Mutex::default(),
            unavailable: AtomicU64::new(0),
            vanishes: Mutex::default(),
            puts: AtomicU64::new(0),
            _folder: folder,
        }
    }

    fn answer(&self) -> Result<(), BlobError> {
        let took =
            self.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if took.is_ok() { Err(BlobError::Unavailable("for a while".to_owned())) } else { Ok(()) }
    }

    fn has(set: &Mutex<BTreeSet<Key>>, key: &Key) -> bool {
        set.lock().unwrap().contains(key)
    }
}

#[async_trait]
impl BlobStore for Odd {
    async fn put_file(&self, key: &Key, file: &Path, mime: &str) -> Result<(), BlobError> {
        self.inner.put_file(key, file, mime).await
    }

    async fn put_bytes(&self, key: &Key, bytes: Bytes, mime: &str) -> Result<(), BlobError> {
        self.answer()?;
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.inner.put_bytes(key, bytes, mime).await
    }

    async fn range(&self, key: &Key, range: Range<u64>) -> Result<BlobStream, BlobError> {
        self.answer()?;
        if Odd::has(&self.broken, key) {
            return Err(BlobError::Internal("broken".to_owned()));
        }
        let vanishing = self.vanishes.lock().unwrap().take_if(|vanishing| vanishing == key);
        if vanishing.is_some() {
            self.inner.delete(key).await?;
        }
        let chunks = self.inner.range(key, range).await?;
        if !Odd::has(&self.lies, key) {
            return Ok(chunks);
        }
        let lie = |(index, chunk): (usize, Result<Bytes, BlobError>)| {
            let mut chunk = chunk?.to_vec();
            chunk[0] ^= u8::from(index == 0);
            Ok(Bytes::from(chunk))
        };
        Ok(chunks.enumerate().map(lie).boxed())
    }

    async fn head(&self, key: &Key) -> Result<Blob, BlobError> {
        self.inner.head(key).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.inner.delete(key).await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Blob)>, BlobError> {
        self.answer()?;
        // Small pages, so that a copy has several.
        self.inner.list(after, limit.min(7)).await
    }

    async fn begin(&self, key: &Key, mime: &str, parts_from: PartsFrom) -> Result<Multipart, BlobError> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        self.inner.begin(key, mime, parts_from).await
    }

    async fn put_part(&self, upload: &Multipart, number: u16, bytes: Bytes) -> Result<(), BlobError> {
        assert!(bytes.len() <= PART_BYTES);
        self.answer()?;
        self.inner.put_part(upload, number, bytes).await
    }

    async fn list_parts(&self, upload: &Multipart) -> Result<Vec<Part>, BlobError> {
        self.inner.list_parts(upload).await
    }

    async fn commit(&self, upload: &Multipart) -> Result<Blob, BlobError> {
        self.inner.commit(upload).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<(), BlobError> {
        self.inner.abort(upload).await
    }

    async fn unfinished(&self, older_than: Duration) -> Result<Vec<Multipart>, BlobError> {
        self.inner.unfinished(older_than).await
    }

    async fn probe(&self) -> Result<(), BlobError> {
        self.inner.probe().await
    }
}

/// A source of some objects, a destination, and where the journal is.
async fn stores(objects: usize) -> (Odd, Odd, TempDir, PathBuf) {
    let (from, to, folder) = (Odd::new(), Odd::new(), tempfile::tempdir().unwrap());
    for index in 0..objects {
        put(&from.inner, &name(index), &sample(1000 + index, index as u64)).await;
    }
    let journal = folder.path().join("journal");
    (from, to, folder, journal)
}

fn name(index: usize) -> String {
    format!("{:02x}/{index:05}", index.wrapping_mul(37) % 256)
}

async fn assert_same(from: &dyn BlobStore, to: &dyn BlobStore) {
    let listed = from.list(None, 1000).await.unwrap();
    for (name, blob) in &listed {
        let (one, other) = (
            contents(from, name.as_str(), 0..blob.bytes).await.unwrap(),
            contents(to, name.as_str(), 0..blob.bytes).await.unwrap(),
        );
        assert_eq!(sha256(&one), sha256(&other), "{name}");
    }
    let there = to.list(None, 1000).await.unwrap();
    assert_eq!(there.len(), listed.len());
}

fn lines(journal: &Path) -> u64 {
    std::fs::read_to_string(journal).unwrap().lines().count() as u64
}

#[tokio::test]
async fn a_copy_is_whole_and_a_second_one_has_nothing_to_do() {
    let (from, to, _folder, journal) = stores(30).await;
    let mut told = Vec::new();
    let summary = copy(&from, &to, &journal, |so_far| told.push(so_far)).await.unwrap();
    let bytes = (0..30).map(|index| 1000 + index).sum();
    assert_eq!(summary, Summary { copied: 30, bytes, ..Summary::default() });
    assert_eq!(told.len(), 30);
    assert_eq!(told.last(), Some(&summary));
    assert_same(&from.inner, &to.inner).await;
    let again = copy(&from, &to, &journal, |_| ()).await.unwrap();
    assert_eq!(again, Summary { skipped: 30, ..Summary::default() });
    assert_eq!(to.puts.load(Ordering::SeqCst), 30);
    // What the destination has lost, or holds at another length, is copied again, and what is new.
    to.inner.delete(&key(&name(3))).await.unwrap();
    put(&to.inner, &name(4), b"short").await;
    put(&from.inner, "ff/new", b"new").await;
    put(&from.inner, "00/new", b"new").await;
    let third = copy(&from, &to, &journal, |_| ()).await.unwrap();
    assert_eq!(third, Summary { skipped: 28, copied: 4, bytes: 1003 + 1004 + 6, ..Summary::default() });
    assert_same(&from.inner, &to.inner).await;
}

#[tokio::test]
async fn a_copy_that_was_broken_off_goes_on() {
    let (from, to, _folder, journal) = stores(40).await;
    let tenth = Notify::new();
    tokio::select! {
        done = copy(&from, &to, &journal, |so_far| if so_far.copied == 10 { tenth.notify_one() }) => {
            panic!("{done:?}")
        }
        () = tenth.notified() => {}
    }
    to.puts.store(0, Ordering::SeqCst);
    let summary = copy(&from, &to, &journal, |_| ()).await.unwrap();
    assert!((10..40).contains(&summary.skipped), "{summary:?}");
    assert_eq!((summary.skipped + summary.copied, summary.failed), (40, 0));
    assert_eq!(to.puts.load(Ordering::SeqCst), summary.copied);
    assert_same(&from.inner, &to.inner).await;
    assert_eq!(copy(&from, &to, &journal, |_| ()).await.unwrap().skipped, 40);
}

#[tokio::test]
async fn bad_objects_stop_nothing_and_are_counted() {
    let (from, to, _folder, journal) = stores(20).await;
    put(&from.inner, "aa/large", &sample(PART_BYTES + 9, 1)).await;
    // The destination gives back other bytes than it was sent, small and large; the source does not read one.
    to.lies.lock().unwrap().extend([key(&name(2)), key("aa/large")]);
    from.broken.lock().unwrap().insert(key(&name(5)));
    let result = copy(&from, &to, &journal, |_| ()).await;
    let Err(CopyError::Incomplete { summary, failures }) = result else { panic!("{result:?}") };
    assert_eq!((summary.copied, summary.failed, summary.mismatches), (18, 3, 2));
    let failed: BTreeSet<Key> = failures.into_iter().map(|(key, _)| key).collect();
    assert_eq!(failed, BTreeSet::from([key(&name(2)), key("aa/large"), key(&name(5))]));
    assert_eq!(lines(&journal), 18);
    // Once that is put right, the next run has only them to do.
    to.lies.lock().unwrap().clear();
    from.broken.lock().unwrap().clear();
    let summary = copy(&from, &to, &journal, |_| ()).await.unwrap();
    assert_eq!((summary.copied, summary.skipped, summary.failed), (3, 18, 0));
    assert_same(&from.inner, &to.inner).await;
    assert!(to.inner.unfinished(Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn objects_that_go_meanwhile_are_no_failure() {
    let (from, to, _folder, journal) = stores(5).await;
    *from.vanishes.lock().unwrap() = Some(key(&name(3)));
    let summary = copy(&from, &to, &journal, |_| ()).await.unwrap();
    assert_eq!((summary.copied, summary.gone, summary.failed), (4, 1, 0));
    assert!(matches!(to.inner.head(&key(&name(3))).await, Err(BlobError::NotFound)));
}

#[tokio::test]
async fn stores_that_are_away_for_a_moment_are_waited_for() {
    let (from, to, _folder, journal) = stores(3).await;
    from.unavailable.store(1, Ordering::SeqCst);
    to.unavailable.store(2, Ordering::SeqCst);
    let summary = copy(&from, &to, &journal, |_| ()).await.unwrap();
    assert_eq!((summary.copied, summary.failed), (3, 0));
    assert_same(&from.inner, &to.inner).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_disk_to_s3_and_back() {
    let weed = shared_weed().await;
    let (from, s3, back) = (Odd::new(), weed.store(), Odd::new());
    let sizes = [0, 1, 300_000, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 77];
    for (index, size) in sizes.into_iter().enumerate() {
        put(&from.inner, &name(index), &sample(size, index as u64)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let (there, home) = (folder.path().join("there"), folder.path().join("home"));
    for expected in [(6, 0), (0, 6)] {
        let summary = copy(&from, &s3, &there, |_| ()).await.unwrap();
        assert_eq!((summary.copied, summary.skipped), expected);
        let summary = copy(&s3, &back, &home, |_| ()).await.unwrap();
        assert_eq!((summary.copied, summary.skipped), expected);
    }
    assert_same(&from.inner, &s3).await;
    assert_same(&from.inner, &back.inner).await;
    assert!(s3.unfinished(Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_cannot_be_begun_is_told() {
    let (from, to, folder, journal) = stores(1).await;
    let nowhere = folder.path().join("absent/journal");
    assert!(matches!(copy(&from, &to, &nowhere, |_| ()).await, Err(CopyError::Journal(_))));
    assert_eq!(to.puts.load(Ordering::SeqCst), 0);
    // The journal of a run that found nothing is empty, and there.
    from.inner.delete(&key(&name(0))).await.unwrap();
    assert_eq!(copy(&from, &to, &journal, |_| ()).await.unwrap(), Summary::default());
    assert_eq!(lines(&journal), 0);
}
