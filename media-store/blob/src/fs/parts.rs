//! Uploads in parts on the disk: a folder each, which appears and goes as a whole.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Folder;
use crate::{Blob, BlobError, Key, LIST_MAX, Multipart, Part, PartsFrom, store};

/// How long a committed upload is remembered, so that a second commit is known for what it is.
const DONE_KEPT: Duration = Duration::from_secs(24 * 3600);

/// What stands in `meta`.
#[derive(Serialize, Deserialize)]
struct Meta {
    key: Key,
    /// Milliseconds since the Unix epoch.
    begun: u64,
}

impl Meta {
    fn read(folder: &Path) -> Result<Meta, BlobError> {
        let text = fs::read(folder.join("meta")).map_err(super::absent)?;
        serde_json::from_slice(&text)
            .map_err(|fault| BlobError::Internal(format!("an upload's meta: {fault}")))
    }
}

impl Folder {
    pub(super) fn begin(&self, key: &Key, parts_from: PartsFrom) -> Result<Multipart, BlobError> {
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let meta = Meta { key: key.clone(), begun: u64::try_from(begun).unwrap_or(u64::MAX) };
        let meta = serde_json::to_vec(&meta).map_err(|fault| BlobError::Internal(fault.to_string()))?;
        let id = Uuid::new_v4().simple().to_string();
        let making = self.session.fresh();
        self.disk.make_dir(&making)?;
        let path = making.join("meta");
        let file = self.write(&path, &meta)?;
        self.disk.sync_file(&file, &path)?;
        self.disk.sync_dir(&making)?;
        self.disk.rename(&making, &self.parts.join(&id))?;
        self.disk.sync_dir(&self.parts)?;
        Ok(Multipart::new(key.clone(), id, parts_from, String::new()))
    }

    pub(super) fn put_part(&self, upload: &Multipart, number: u16, bytes: &[u8]) -> Result<(), BlobError> {
        let number = store::part_number(number)?;
        let folder = self.going_on(upload)?;
        let tmp = self.session.fresh();
        let file = self.write(&tmp, bytes)?;
        let stored = self.disk.sync_file(&file, &tmp).map_err(BlobError::from).and_then(|()| {
            // Aborted meanwhile, the folder is gone.
            self.disk.rename(&tmp, &folder.join(format!("{number:05}"))).map_err(super::absent)?;
            self.disk.sync_dir(&folder).map_err(super::absent)
        });
        if stored.is_err() {
            let _ = self.disk.remove_file(&tmp);
        }
        stored
    }

    pub(super) fn list_parts(&self, upload: &Multipart) -> Result<Vec<Part>, BlobError> {
        let folder = self.going_on(upload)?;
        let mut parts = Vec::new();
        for entry in fs::read_dir(&folder).map_err(super::absent)? {
            let entry = entry?;
            let number = entry.file_name().to_str().and_then(|name| name.parse::<u16>().ok());
            if let Some(number) = number {
                parts.push(Part { number, bytes: entry.metadata().map_err(super::absent)?.len() });
            }
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    pub(super) fn commit(&self, upload: &Multipart) -> Result<Blob, BlobError> {
        let folder = self.folder_of(upload)?;
        if !is_done(&folder) {
            match self.join(upload, &folder) {
                // Another commit of the same upload was quicker and has removed the parts.
                Err(BlobError::NotFound) if is_done(&folder) => {}
                joined => joined?,
            }
        }
        self.head(&upload.key)
    }

    /// Makes the object of the parts, then notes it, then removes the parts: at each moment of this a crash leaves
    /// either the parts or the note.
    fn join(&self, upload: &Multipart, folder: &Path) -> Result<(), BlobError> {
        let parts = self.list_parts(upload)?;
        if parts.is_empty() {
            return Err(BlobError::Internal("an upload without parts makes no object".to_owned()));
        }
        let tmp = self.session.fresh();
        let file = self.disk.create(&tmp)?;
        if let Err(fault) = concatenate(&parts, folder, &file) {
            let _ = self.disk.remove_file(&tmp);
            return Err(fault);
        }
        self.land(&tmp, &file, &upload.key)?;
        let note = folder.join("done");
        let file = match self.disk.create(&note) {
            Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists => File::open(&note),
            created => created,
        };
        self.disk.sync_file(&file.map_err(super::absent)?, &note)?;
        self.disk.sync_dir(folder)?;
        for part in parts {
            let _ = self.disk.remove_file(&part_path(folder, part));
        }
        Ok(())
    }

    pub(super) fn abort(&self, upload: &Multipart) -> Result<(), BlobError> {
        let Ok(folder) = self.folder_of(upload) else { return Ok(()) };
        if is_done(&folder) {
            return Ok(());
        }
        let going = self.session.fresh();
        match self.disk.rename(&folder, &going) {
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        self.disk.sync_dir(&self.parts)?;
        // What is left of it goes with the session's folder.
        let _ = self.disk.remove_tree(&going);
        Ok(())
    }

    pub(super) fn unfinished(
        &self,
        now: SystemTime,
        older_than: Duration,
    ) -> Result<Vec<Multipart>, BlobError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.parts)? {
            if found.len() >= LIST_MAX {
                break;
            }
            let folder = entry?.path();
            let Some(id) = folder.file_name().and_then(|name| name.to_str()) else { continue };
            if is_done(&folder) {
                continue;
            }
            let meta = match Meta::read(&folder) {
                Ok(meta) => meta,
                Err(BlobError::NotFound) => continue,
                Err(fault) => {
                    tracing::warn!(%fault, id, "an upload in parts that cannot be read");
                    continue;
                }
            };
            let age = now.duration_since(UNIX_EPOCH + Duration::from_millis(meta.begun)).unwrap_or_default();
            if age >= older_than {
                found.push(Multipart::new(meta.key, id.to_owned(), PartsFrom::Server, String::new()));
            }
        }
        Ok(found)
    }

    /// Forgets uploads that have been committed long ago, and says how many.
    pub(super) fn sweep_committed(&self) -> io::Result<u32> {
        let mut swept = 0;
        for entry in fs::read_dir(&self.parts)? {
            let folder = entry?.path();
            let Ok(done) = fs::metadata(folder.join("done")).and_then(|done| done.modified()) else {
                continue;
            };
            if done.elapsed().is_ok_and(|age| age > DONE_KEPT) && self.disk.remove_tree(&folder).is_ok() {
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// The upload's folder, by an id that is one: a [`Multipart`] may come from anywhere.
    fn folder_of(&self, upload: &Multipart) -> Result<PathBuf, BlobError> {
        let id = Uuid::try_parse(&upload.id).map_err(|_| BlobError::NotFound)?;
        Ok(self.parts.join(id.simple().to_string()))
    }

    /// The folder of an upload that is neither committed nor aborted.
    fn going_on(&self, upload: &Multipart) -> Result<PathBuf, BlobError> {
        let folder = self.folder_of(upload)?;
        if is_done(&folder) || Meta::read(&folder)?.key != upload.key {
            return Err(BlobError::NotFound);
        }
        Ok(folder)
    }
}

fn concatenate(parts: &[Part], folder: &Path, mut into: &File) -> Result<(), BlobError> {
    for part in parts {
        let mut source = File::open(part_path(folder, *part)).map_err(super::absent)?;
        let copied = io::copy(&mut source, &mut into)?;
        if copied != part.bytes {
            return Err(BlobError::Internal(format!("part {} changed under a commit", part.number)));
        }
    }
    Ok(())
}

fn part_path(folder: &Path, part: Part) -> PathBuf {
    folder.join(format!("{:05}", part.number))
}

fn is_done(folder: &Path) -> bool {
    folder.join("done").exists()
}
