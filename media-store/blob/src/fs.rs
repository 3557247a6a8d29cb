//! Objects as files on a local disk.
//!
//! ```text
//! <root>/ab/,cd/ab,cdef       the object `ab/cdef`: folders by its first two and next three characters, `/` as `,`
//! <root>/.parts/<id>/         an upload in parts: `meta`, `00001` …, and `done` once it is committed
//! <root>/.tmp/<session>/      what one open store is just writing; locked by it, swept by any other once it is gone
//! ```
//!
//! Whatever is there under its name is whole: bytes are written under a temporary name and synced, then renamed, then
//! the folder is synced, and the folder above if it is new, up to the root. Only then does a call return. Several
//! processes may have one root open.

mod disk;
mod layout;
mod parts;
mod session;

use std::{
    collections::HashSet,
    fs::{self, File, Permissions},
    io::{self, Write},
    ops::Range,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use crate::{
    Blob, BlobError, BlobStore, BlobStream, CHUNK_BYTES_MAX, Key, LIST_MAX, Multipart, PART_BYTES, Part,
    PartsFrom,
};
use disk::{Disk, Real};
use session::Session;

/// Folders known to be durable that are remembered, so that they are not synced again: some 100 bytes each. Beyond it
/// they are forgotten, and synced once more.
const SETTLED_MAX: usize = 100_000;

/// A folder on a local disk. Files have mode 0600, folders 0700. All blocking work runs on tokio's blocking threads.
#[derive(Clone, Debug)]
pub struct FsStore(Arc<Folder>);

/// The blocking half of the store.
#[derive(Debug)]
struct Folder {
    root: PathBuf,
    parts: PathBuf,
    tmp: PathBuf,
    session: Session,
    disk: Arc<dyn Disk>,
    /// Folders whose own entry in the folder above is known to be durable.
    settled: Mutex<HashSet<PathBuf>>,
}

impl FsStore {
    /// Opens the store at `root`, which is made if it is absent, and sweeps what stores that are gone left half-written.
    /// Blocks for some milliseconds.
    ///
    /// # Errors
    /// The folder cannot be made or written to.
    pub fn open(root: impl AsRef<Path>) -> Result<FsStore, BlobError> {
        Self::open_on(root.as_ref(), Arc::new(Real))
    }

    fn open_on(root: &Path, disk: Arc<dyn Disk>) -> Result<FsStore, BlobError> {
        let root = std::path::absolute(root)?;
        layout::make_root(&*disk, &root)?;
        let (parts, tmp) = (root.join(".parts"), root.join(".tmp"));
        for folder in [&parts, &tmp] {
            layout::make_dir(&*disk, folder)?;
        }
        disk.sync_dir(&root)?;
        let session = Session::begin(&*disk, &tmp)?;
        let folder = Folder { root, parts, tmp, session, disk, settled: Mutex::default() };
        folder.sweep()?;
        Ok(FsStore(Arc::new(folder)))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Folder) -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, BlobError> {
        let folder = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&folder)).await;
        done.map_err(|fault| BlobError::Internal(format!("a task of the disk: {fault}")))?
    }
}

impl Folder {
    /// Takes the file under a temporary name and gives it `key`.
    fn put_file(&self, key: &Key, file: &Path) -> Result<(), BlobError> {
        let tmp = self.session.fresh();
        if let Some(linked) = self.link_in(file, &tmp) {
            self.land(&tmp, &linked, key)?;
            // rename(2) between two names of one file does nothing: the file was under `key` already.
            let _ = self.disk.remove_file(&tmp);
            if let Err(fault) = self.disk.remove_file(file) {
                tracing::debug!(%fault, "a stored file keeps its first name");
            }
            return Ok(());
        }
        let mut source = File::open(file)?;
        if !source.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no regular file").into());
        }
        let mut copy = self.disk.create(&tmp)?;
        if let Err(fault) = io::copy(&mut source, &mut copy) {
            let _ = self.disk.remove_file(&tmp);
            return Err(fault.into());
        }
        Ok(self.land(&tmp, &copy, key)?)
    }

    /// A second name for the caller's file, which keeps its first until all is durable. `None`: not on this volume.
    fn link_in(&self, file: &Path, tmp: &Path) -> Option<File> {
        // A symbolic link would be linked itself.
        if !fs::symlink_metadata(file).ok()?.is_file() {
            return None;
        }
        self.disk.link(file, tmp).ok()?;
        let linked = File::open(tmp).and_then(|linked| {
            linked.set_permissions(Permissions::from_mode(0o600))?;
            // It is as old as its being stored: the sweep looks at that.
            linked.set_modified(SystemTime::now())?;
            Ok(linked)
        });
        if linked.is_err() {
            let _ = self.disk.remove_file(tmp);
        }
        linked.ok()
    }

    fn put_bytes(&self, key: &Key, bytes: &[u8]) -> Result<(), BlobError> {
        if bytes.len() > PART_BYTES {
            return Err(BlobError::Internal(format!("{} bytes go in parts", bytes.len())));
        }
        let tmp = self.session.fresh();
        let file = self.write(&tmp, bytes)?;
        Ok(self.land(&tmp, &file, key)?)
    }

    /// A new file with these bytes, not synced yet.
    fn write(&self, tmp: &Path, bytes: &[u8]) -> io::Result<File> {
        let mut file = self.disk.create(tmp)?;
        if let Err(fault) = file.write_all(bytes) {
            let _ = self.disk.remove_file(tmp);
            return Err(fault);
        }
        Ok(file)
    }

    /// Makes the complete temporary file the object, durably; removes it if that fails.
    fn land(&self, tmp: &Path, file: &File, key: &Key) -> io::Result<()> {
        let place = layout::place(&self.root, key);
        let landed = self.disk.sync_file(file, tmp).and_then(|()| {
            self.settle(&place.outer)?;
            self.settle(&place.inner)?;
            self.disk.rename(tmp, &place.file)?;
            self.disk.sync_dir(&place.inner)
        });
        if landed.is_err() {
            let _ = self.disk.remove_file(tmp);
        }
        landed
    }

    /// Makes sure that the folder is there and stays there. One that exists may have been made a moment ago by somebody
    /// who has not synced yet.
    fn settle(&self, folder: &Path) -> io::Result<()> {
        if self.settled().contains(folder) {
            return Ok(());
        }
        layout::make_dir(&*self.disk, folder)?;
        self.disk.sync_dir(folder.parent().expect("every folder of a store is below its root"))?;
        let mut settled = self.settled();
        if settled.len() >= SETTLED_MAX {
            settled.clear();
        }
        settled.insert(folder.to_owned());
        Ok(())
    }

    fn settled(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object's file, if it has one.
    fn open(&self, key: &Key) -> Result<(File, fs::Metadata), BlobError> {
        let file = File::open(layout::place(&self.root, key).file).map_err(absent)?;
        let metadata = file.metadata()?;
        Ok((file, metadata))
    }

    fn head(&self, key: &Key) -> Result<Blob, BlobError> {
        Ok(blob(&fs::metadata(layout::place(&self.root, key).file).map_err(absent)?)?)
    }

    fn delete(&self, key: &Key) -> Result<(), BlobError> {
        let place = layout::place(&self.root, key);
        match self.disk.remove_file(&place.file) {
            Ok(()) => Ok(self.disk.sync_dir(&place.inner)?),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Removes what stores that are gone have left.
    fn sweep(&self) -> io::Result<()> {
        let temporary = session::sweep(&*self.disk, &self.tmp)?;
        let over = self.sweep_committed()?;
        if temporary + over > 0 {
            tracing::info!(temporary, over, "swept leftovers of earlier runs");
        }
        Ok(())
    }

    fn probe(&self) -> Result<(), BlobError> {
        let tmp = self.session.fresh();
        let wrote = self.write(&tmp, b"probe").and_then(|file| {
            self.disk.sync_file(&file, &tmp)?;
            self.disk.remove_file(&tmp)?;
            self.disk.sync_dir(&self.root)
        });
        wrote.map_err(|fault| BlobError::Refused(format!("cannot write to {}: {fault}", self.root.display())))
    }
}

#[async_trait]
impl BlobStore for FsStore {
    async fn put_file(&self, key: &Key, file: &Path, _mime: &str) -> Result<(), BlobError> {
        let (key, file) = (key.clone(), file.to_owned());
        self.blocking(move |folder| folder.put_file(&key, &file)).await
    }

    async fn put_bytes(&self, key: &Key, bytes: Bytes, _mime: &str) -> Result<(), BlobError> {
        let key = key.clone();
        self.blocking(move |folder| folder.put_bytes(&key, &bytes)).await
    }

    async fn range(&self, key: &Key, range: Range<u64>) -> Result<BlobStream, BlobError> {
        let key = key.clone();
        let (file, metadata) = self.blocking(move |folder| folder.open(&key)).await?;
        if range.end > metadata.len() {
            return Err(BlobError::Short { asked: range.end, held: Some(metadata.len()) });
        }
        Ok(chunks(Arc::new(file), range).boxed())
    }

    async fn head(&self, key: &Key) -> Result<Blob, BlobError> {
        let key = key.clone();
        self.blocking(move |folder| folder.head(&key)).await
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        let key = key.clone();
        self.blocking(move |folder| folder.delete(&key)).await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Blob)>, BlobError> {
        let after = after.cloned();
        let limit = limit.min(LIST_MAX);
        self.blocking(move |folder| Ok(layout::list(&folder.root, after.as_ref(), limit)?)).await
    }

    async fn begin(&self, key: &Key, _mime: &str, parts_from: PartsFrom) -> Result<Multipart, BlobError> {
        let key = key.clone();
        self.blocking(move |folder| folder.begin(&key, parts_from)).await
    }

    async fn put_part(&self, upload: &Multipart, number: u16, bytes: Bytes) -> Result<(), BlobError> {
        let upload = upload.clone();
        self.blocking(move |folder| folder.put_part(&upload, number, &bytes)).await
    }

    async fn list_parts(&self, upload: &Multipart) -> Result<Vec<Part>, BlobError> {
        let upload = upload.clone();
        self.blocking(move |folder| folder.list_parts(&upload)).await
    }

    async fn commit(&self, upload: &Multipart) -> Result<Blob, BlobError> {
        let upload = upload.clone();
        self.blocking(move |folder| folder.commit(&upload)).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<(), BlobError> {
        let upload = upload.clone();
        self.blocking(move |folder| folder.abort(&upload)).await
    }

    async fn unfinished(&self, older_than: Duration) -> Result<Vec<Multipart>, BlobError> {
        self.blocking(move |folder| {
            folder.sweep()?;
            folder.unfinished(SystemTime::now(), older_than)
        })
        .await
    }

    async fn probe(&self) -> Result<(), BlobError> {
        self.blocking(Folder::probe).await
    }
}

/// The bytes of the range, a chunk a blocking read.
fn chunks(file: Arc<File>, range: Range<u64>) -> impl stream::Stream<Item = Result<Bytes, BlobError>> + Send {
    stream::try_unfold(range.start, move |at| {
        let (file, end) = (Arc::clone(&file), range.end);
        async move {
            if at >= end {
                return Ok(None);
            }
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX);
            let read = tokio::task::spawn_blocking(move || {
                let mut chunk = vec![0; length];
                file.read_exact_at(&mut chunk, at).map(|()| Bytes::from(chunk))
            });
            let chunk =
                read.await.map_err(|fault| BlobError::Internal(format!("a task of the disk: {fault}")))??;
            Ok(Some((chunk, at + length as u64)))
        }
    })
}

fn absent(fault: io::Error) -> BlobError {
    match fault.kind() {
        io::ErrorKind::NotFound => BlobError::NotFound,
        _ => fault.into(),
    }
}

fn blob(metadata: &fs::Metadata) -> io::Result<Blob> {
    Ok(Blob { bytes: metadata.len(), modified: metadata.modified()?, etag: None, mime: None })
}

#[cfg(test)]
mod tests;
