//! The system calls that crash safety depends on, behind a seam: a test puts a disk here that forgets whatever was not
//! synced.

use std::{
    fmt::Debug,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// What changes the disk. Reading goes past it.
pub(super) trait Disk: Send + Sync + Debug {
    /// A new folder, mode 0700.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// A new empty file to write to, mode 0600.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// A second name for a file.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Another name for a file or folder, instead of what has it; at once for all who look.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Removes a folder with all that is in it.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
    /// Returns when the bytes of the file, which is at `path`, are durable.
    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Returns when the folder's entries are durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// The kernel's.
#[derive(Debug)]
pub(super) struct Real;

impl Disk for Real {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn sync_file(&self, file: &File, _path: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}
