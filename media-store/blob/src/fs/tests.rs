//! What is particular to the disk: what a power cut leaves, what is swept, who may read it.

mod lossy;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{FsStore, disk::Real, layout};
use crate::{
    BlobError, BlobStore, Multipart, PartsFrom,
    tests::{Scratch, contents, key, put, sample},
};
use lossy::{CUTS, Call, Cut, Forget, Lossy, Unsynced};

/// What may be found after a power cut: for each key the contents that it may have, `None` for no object; and an upload
/// under way with, once it has been put, its part 2.
#[derive(Default)]
struct Promise {
    objects: BTreeMap<&'static str, Vec<Option<Vec<u8>>>>,
    upload: Option<(Multipart, Option<Vec<u8>>)>,
}

impl Promise {
    /// A change of `name` to `next` is under way: both are right until it returns.
    fn maybe(&mut self, name: &'static str, next: Option<Vec<u8>>) {
        self.objects.entry(name).or_insert_with(|| vec![None]).push(next);
    }

    /// It has returned.
    fn surely(&mut self, name: &'static str) {
        let states = self.objects.get_mut(name).unwrap();
        states.drain(..states.len() - 1);
    }
}

/// A life of a store, on a disk that may be cut off at any call. Returns what was promised until then.
async fn life(disk: &Arc<Lossy>, root: &Path, promise: &mut Promise) -> Result<(), BlobError> {
    let scratch = Scratch::new();
    let store = FsStore::open_on(root, Arc::clone(disk) as Arc<_>)?;
    let step = async |name, bytes: &[u8], promise: &mut Promise| {
        promise.maybe(name, Some(bytes.to_vec()));
        store.put_file(&key(name), &scratch.file(bytes), "").await?;
        promise.surely(name);
        Ok::<(), BlobError>(())
    };
    step("ab/cd1", b"first", promise).await?;
    step("ab/cd2", b"a neighbour, in folders that are there", promise).await?;
    step("ab/cd1", b"first, replaced", promise).await?;
    promise.maybe("xy/small", Some(b"small".to_vec()));
    store.put_bytes(&key("xy/small"), bytes::Bytes::from_static(b"small"), "").await?;
    promise.surely("xy/small");

    let upload = store.begin(&key("pa/rts"), "", PartsFrom::Server).await?;
    promise.upload = Some((upload.clone(), None));
    store.put_part(&upload, 2, sample(100, 2)).await?;
    promise.upload = Some((upload.clone(), Some(sample(100, 2).to_vec())));
    store.put_part(&upload, 1, sample(50, 1)).await?;
    let whole = [&sample(50, 1)[..], &sample(100, 2)].concat();
    promise.upload = None;
    promise.maybe("pa/rts", Some(whole.clone()));
    store.commit(&upload).await?;
    promise.surely("pa/rts");
    store.commit(&upload).await?;

    promise.maybe("ab/cd2", None);
    store.delete(&key("ab/cd2")).await?;
    promise.surely("ab/cd2");
    let given_up = store.begin(&key("pa/rts"), "", PartsFrom::Server).await?;
    store.put_part(&given_up, 1, sample(9, 9)).await?;
    store.abort(&given_up).await?;

    // A file beside the store, on its volume: moved, not copied.
    let beside = root.parent().unwrap().join("beside");
    fs::write(&beside, "moved").unwrap();
    promise.maybe("mo/ved", Some(b"moved".to_vec()));
    store.put_file(&key("mo/ved"), &beside, "").await?;
    promise.surely("mo/ved");
    Ok(())
}

/// What a store that is opened on the remains does not keep of the promise.
async fn broken(remains: &Path, promise: &Promise) -> Vec<String> {
    let store = FsStore::open_on(remains, Arc::new(Unsynced)).unwrap();
    let mut broken = Vec::new();
    for (name, states) in &promise.objects {
        let found = match store.head(&key(name)).await {
            Ok(head) => Some(contents(&store, name, 0..head.bytes).await.unwrap()),
            Err(BlobError::NotFound) => None,
            Err(fault) => panic!("{fault}"),
        };
        if !states.contains(&found) {
            broken.push(format!("{name}: {:?}", found.map(|bytes| bytes.len())));
        }
    }
    if let Some((upload, bytes)) = &promise.upload {
        let path = remains.join(".parts").join(upload.id()).join("00002");
        match store.list_parts(upload).await {
            Ok(_) if bytes.as_ref().is_none_or(|bytes| fs::read(path).is_ok_and(|found| found == *bytes)) => {
            }
            other => broken.push(format!("an upload under way: {other:?}")),
        }
    }
    // Whatever the list shows is promised too, so it shows no half of an object.
    for (listed, blob) in store.list(None, 100).await.unwrap() {
        let states =
            promise.objects.iter().find(|(name, _)| **name == listed.as_str()).map(|(_, states)| states);
        let whole = |states: &Vec<Option<Vec<u8>>>| {
            states.iter().flatten().any(|bytes| bytes.len() as u64 == blob.bytes)
        };
        if !states.is_some_and(whole) {
            broken.push(format!("listed {listed}: {} bytes", blob.bytes));
        }
    }
    broken
}

/// Lives and cuts the power before each call in turn, with each way of losing what was not synced, until promises are
/// broken. Returns those, and how many calls there were.
async fn cut_everywhere(forget: Forget) -> (Vec<String>, usize) {
    let mut broken_promises = Vec::new();
    for power in 0.. {
        let folder = tempfile::tempdir().unwrap();
        // Two folders above the root are the store's own to make.
        let root = folder.path().join("srv/store");
        let disk = Arc::new(Lossy::new(folder.path(), power, forget));
        let mut promise = Promise::default();
        let lived = life(&disk, &root, &mut promise).await;
        for cut in CUTS {
            let remains = tempfile::tempdir().unwrap();
            disk.remains(cut, remains.path());
            for text in broken(&remains.path().join("srv/store"), &promise).await {
                broken_promises.push(format!("{cut:?} after {power} calls: {text}"));
            }
        }
        if lived.is_ok() || !broken_promises.is_empty() {
            return (broken_promises, disk.calls());
        }
        assert_eq!(disk.calls(), power);
    }
    unreachable!("one of the lives is long enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_power_cut_at_any_moment_loses_nothing() {
    let (broken, calls) = cut_everywhere(|_, _| false).await;
    assert_eq!(broken, [""; 0]);
    assert!(calls > 60, "only {calls} calls were cut");
}

/// The model catches each fsync that is missing: so the test above says something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_sync_is_caught() {
    let bugs: [(&str, Forget); 8] = [
        ("of files", |call, _| call == Call::SyncFile),
        ("of the folder that a file is renamed into", |call, path| {
            call == Call::SyncDir && path.starts_with("srv/store/ab") && path.iter().count() == 4
        }),
        ("of the folder above a new one", |call, path| {
            call == Call::SyncDir && path == Path::new("srv/store/ab")
        }),
        ("of the root", |call, path| call == Call::SyncDir && path == Path::new("srv/store")),
        ("of the folder above the root", |call, path| call == Call::SyncDir && path == Path::new("srv")),
        ("of the folder of uploads", |call, path| call == Call::SyncDir && path.ends_with(".parts")),
        ("of an upload's folder", |call, path| {
            call == Call::SyncDir && path.parent().is_some_and(|parent| parent.ends_with(".parts"))
        }),
        ("of a new upload's folder", |call, path| call == Call::SyncDir && path.iter().count() == 5),
    ];
    for (bug, forget) in bugs {
        let (broken, _) = cut_everywhere(forget).await;
        assert!(!broken.is_empty(), "nobody misses the fsync {bug}");
    }
}

/// A process that is killed between making a folder and syncing the one above it leaves a folder that is there, and is
/// not durable: the next one must not take it for settled.
#[tokio::test]
async fn a_folder_that_is_there_is_synced_all_the_same() {
    // How many calls it takes to get to the first one that makes one of the object's folders.
    for folders in 1..=2 {
        let measure = tempfile::tempdir().unwrap();
        let disk = Arc::new(Lossy::new(measure.path(), usize::MAX, |_, _| false));
        let store = FsStore::open_on(&measure.path().join("store"), Arc::clone(&disk) as Arc<_>).unwrap();
        // Opening; then create, sync, and per folder making it and syncing the one above.
        let power = disk.calls() + 2 + 2 * folders - 1;
        drop(store);

        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        let cut = Arc::new(Lossy::new(folder.path(), power, |_, _| false));
        let store = FsStore::open_on(&root, Arc::clone(&cut) as Arc<_>).unwrap();
        let bytes = bytes::Bytes::from_static(b"bytes");
        store.put_bytes(&key("ab/cd1"), bytes.clone(), "").await.unwrap_err();
        drop(store);
        let there = if folders == 1 { root.join("ab") } else { root.join("ab/,cd") };
        assert!(there.is_dir(), "the kill was at another moment than this test means");

        cut.give_power();
        let store = FsStore::open_on(&root, Arc::clone(&cut) as Arc<_>).unwrap();
        store.put_bytes(&key("ab/cd1"), bytes, "").await.unwrap();
        let remains = tempfile::tempdir().unwrap();
        cut.remains(Cut::NothingUnsynced, remains.path());
        let store = FsStore::open(remains.path().join("store")).unwrap();
        assert_eq!(contents(&store, "ab/cd1", 0..5).await.unwrap(), b"bytes");
    }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn only_the_owner_reads() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("a/store");
    let store = FsStore::open(&root).unwrap();
    let scratch = Scratch::new();
    let open = scratch.file(b"1");
    fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
    store.put_file(&key("ab/cd1"), &open, "").await.unwrap();
    put(&store, "ab/cd2", b"2").await;
    let upload = store.begin(&key("ab/cd3"), "", PartsFrom::Server).await.unwrap();
    store.put_part(&upload, 1, sample(1, 1)).await.unwrap();
    let parts = root.join(".parts").join(upload.id());
    for path in [&folder.path().join("a"), &root, &root.join("ab"), &root.join("ab/,cd"), &parts] {
        assert_eq!(mode(path), 0o700, "{}", path.display());
    }
    for path in
        [root.join("ab/,cd/ab,cd1"), root.join("ab/,cd/ab,cd2"), parts.join("00001"), parts.join("meta")]
    {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

/// Every regular file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn what_a_crash_left_is_swept_and_what_goes_on_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let running = FsStore::open(folder.path()).unwrap();
    let under_way = running.0.session.fresh();
    File::create(&under_way).unwrap().write_all(b"half").unwrap();
    let killed = FsStore::open(folder.path()).unwrap();
    let leftover = killed.0.session.fresh();
    fs::write(&leftover, "half").unwrap();
    fs::create_dir(killed.0.session.fresh()).unwrap();
    put(&killed, "ab/cd1", b"1").await;
    // As the kernel does for a process that ends: the lock goes, the files stay.
    drop(killed);
    assert!(leftover.exists());
    let next = FsStore::open(folder.path()).unwrap();
    assert!(!leftover.exists());
    assert!(under_way.exists());
    assert_eq!(contents(&next, "ab/cd1", 0..1).await.unwrap(), b"1");
    // And by a store that runs for long.
    drop(next);
    let last = fs::read_dir(folder.path().join(".tmp")).unwrap().count();
    assert_eq!(last, 2);
    running.unfinished(Duration::ZERO).await.unwrap();
    assert_eq!(files(&folder.path().join(".tmp")), [under_way]);
    assert_eq!(fs::read_dir(folder.path().join(".tmp")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_committed_upload_is_remembered_for_a_day() {
    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::open(folder.path()).unwrap();
    let upload = store.begin(&key("ab/cd1"), "", PartsFrom::Server).await.unwrap();
    store.put_part(&upload, 1, sample(10, 1)).await.unwrap();
    store.commit(&upload).await.unwrap();
    let kept = folder.path().join(".parts").join(upload.id());
    let names = |folder: &Path| -> Vec<String> {
        let mut names: Vec<String> =
            files(folder).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&kept), ["done", "meta"]);
    store.unfinished(Duration::ZERO).await.unwrap();
    assert!(kept.exists());
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 3600);
    File::open(kept.join("done")).unwrap().set_modified(long_ago).unwrap();
    store.unfinished(Duration::ZERO).await.unwrap();
    assert!(!kept.exists());
    assert!(matches!(store.commit(&upload).await, Err(BlobError::NotFound)));
    assert_eq!(contents(&store, "ab/cd1", 0..10).await.unwrap(), sample(10, 1));
}

/// rename(2) of one name of a file to another of its names does nothing: a put that was killed after its rename is done
/// again with the same file.
#[tokio::test]
async fn a_file_that_is_stored_already_is_stored_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::open(folder.path().join("store")).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "bytes").unwrap();
    let place = layout::place(&store.0.root, &key("ab/cd1"));
    fs::create_dir_all(&place.inner).unwrap();
    fs::hard_link(&file, &place.file).unwrap();
    store.put_file(&key("ab/cd1"), &file, "").await.unwrap();
    assert!(!file.exists());
    assert_eq!(contents(&store, "ab/cd1", 0..5).await.unwrap(), b"bytes");
    assert_eq!(files(&folder.path().join("store/.tmp")), [""; 0].map(PathBuf::from));
}

#[tokio::test]
async fn a_put_that_fails_late_keeps_the_file_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = FsStore::open(folder.path().join("store")).unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "bytes").unwrap();
    // Where the object's folder should be there is a file.
    fs::write(folder.path().join("store/ab"), "").unwrap();
    assert!(matches!(store.put_file(&key("ab/cd1"), &file, "").await, Err(BlobError::Io(_))));
    assert_eq!(fs::read(&file).unwrap(), b"bytes");
    assert_eq!(files(&folder.path().join("store/.tmp")), [""; 0].map(PathBuf::from));
}

#[test]
fn a_root_that_cannot_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(matches!(FsStore::open(folder.path().join("file/store")), Err(BlobError::Io(_))));
    // The model's folder stands for a durable one; a real one may be open already.
    let (one, other) = (FsStore::open(folder.path()).unwrap(), FsStore::open(folder.path()).unwrap());
    assert_ne!(one.0.session.fresh().parent(), other.0.session.fresh().parent());
    assert!(layout::make_dir(&Real, folder.path()).is_ok());
}
