//! The bytes of uploads in progress: one file each on a local disk, whichever blob store they go to at the end. What has
//! been acknowledged is below the offset in the records; whatever a crash left above it is cut off before anything is
//! added.

use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    fs::{self, File, OpenOptions},
    io::AsyncSeekExt,
};
use trunkline_units::AttachmentId;

/// The folder of the spool.
#[derive(Clone, Debug)]
pub(crate) struct Spool(PathBuf);

impl Spool {
    /// Makes the folder, durably; the one above must be there.
    pub(crate) fn open(folder: &Path) -> std::io::Result<Spool> {
        use std::os::unix::fs::DirBuilderExt;
        // Workers are told of it, and start elsewhere.
        let folder = std::path::absolute(folder)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        // What is acknowledged in it lasts no longer than its own entry. Also if it was there: an earlier start may have
        // made it and been killed here.
        if let Some(above) = folder.parent() {
            std::fs::File::open(above)?.sync_all()?;
        }
        Ok(Spool(folder))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    /// The upload's file.
    pub(crate) fn path(&self, id: &AttachmentId) -> PathBuf {
        self.0.join(id.as_str())
    }

    /// A folder for what is made of the upload, emptied of what an earlier attempt left.
    pub(crate) async fn workshop(&self, id: &AttachmentId) -> std::io::Result<PathBuf> {
        let folder = self.workshop_path(id);
        ignore_absent(fs::remove_dir_all(&folder).await)?;
        fs::create_dir(&folder).await?;
        Ok(folder)
    }

    fn workshop_path(&self, id: &AttachmentId) -> PathBuf {
        self.0.join(format!("{}.made", id.as_str()))
    }

    /// Makes an empty file, durably.
    pub(crate) async fn create(&self, id: &AttachmentId) -> std::io::Result<()> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path(id)).await?;
        File::open(&self.0).await?.sync_all().await
    }

    /// Opens the file to go on at `offset`, without what came after it.
    pub(crate) async fn open_at(&self, id: &AttachmentId, offset: u64) -> std::io::Result<File> {
        let mut file = OpenOptions::new().write(true).open(self.path(id)).await?;
        let held = file.metadata().await?.len();
        if held < offset {
            let text = format!("the spool holds {held} bytes of an upload, and {offset} were acknowledged");
            return Err(std::io::Error::other(text));
        }
        if held > offset {
            file.set_len(offset).await?;
        }
        file.seek(SeekFrom::Start(offset)).await?;
        Ok(file)
    }

    /// Removes the upload's file and workshop; absent ones do not matter.
    pub(crate) async fn remove(&self, id: &AttachmentId) -> std::io::Result<()> {
        ignore_absent(fs::remove_file(self.path(id)).await)?;
        ignore_absent(fs::remove_dir_all(self.workshop_path(id)).await)
    }

    /// Everything here: whose it is, and for how long it has not been touched.
    pub(crate) async fn list(&self) -> std::io::Result<Vec<(AttachmentId, Duration)>> {
        let mut entries = fs::read_dir(&self.0).await?;
        let mut found = Vec::new();
        while let Some(entry) = entries.next_entry().await? {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let Ok(id) = AttachmentId::new(name.strip_suffix(".made").unwrap_or(&name)) else { continue };
            // Gone since it was listed, or from the future: not old.
            let touched = entry.metadata().await.and_then(|metadata| metadata.modified()).ok();
            let age = touched.and_then(|touched| touched.elapsed().ok()).unwrap_or_default();
            found.push((id, age));
        }
        Ok(found)
    }
}

fn ignore_absent(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}
