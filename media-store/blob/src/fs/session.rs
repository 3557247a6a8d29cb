//! The folder of temporary files that one open store has to itself. It is locked (flock) as long as the store is open, by
//! the kernel's doing until the process ends, however it does: so another store knows which leftovers are nobody's.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use uuid::Uuid;

use super::disk::Disk;

/// How often a new folder may be swept by somebody else before it is locked.
const ATTEMPTS: u32 = 16;

#[derive(Debug)]
pub(super) struct Session {
    folder: PathBuf,
    _lock: File,
}

impl Session {
    /// A new folder in `tmp`. Nothing in it has to outlive the process, so nobody syncs it.
    pub(super) fn begin(disk: &dyn Disk, tmp: &Path) -> io::Result<Session> {
        for _ in 0..ATTEMPTS {
            let folder = tmp.join(Uuid::new_v4().simple().to_string());
            disk.make_dir(&folder)?;
            // Between the two calls a sweep may have found the folder without a lock.
            let Ok(lock) = File::open(&folder) else { continue };
            if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
                continue;
            }
            let held = lock.metadata()?;
            if fs::metadata(&folder).is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino()))
            {
                return Ok(Session { folder, _lock: lock });
            }
        }
        Err(io::Error::other(format!("no folder in {} lasts until it is locked", tmp.display())))
    }

    /// A path that nobody has used.
    pub(super) fn fresh(&self) -> PathBuf {
        self.folder.join(Uuid::new_v4().simple().to_string())
    }
}

/// Removes the folders of sessions that are gone, and says how many. On a file system that has no locks none is removed.
pub(super) fn sweep(disk: &dyn Disk, tmp: &Path) -> io::Result<u32> {
    let mut swept = 0;
    for entry in fs::read_dir(tmp)? {
        let folder = entry?.path();
        let Ok(lock) = File::open(&folder) else { continue };
        if lock.try_lock().is_ok() {
            match disk.remove_tree(&folder) {
                Ok(()) => swept += 1,
                Err(fault) => tracing::warn!(%fault, "leftovers of an earlier run stay"),
            }
        }
    }
    Ok(swept)
}
