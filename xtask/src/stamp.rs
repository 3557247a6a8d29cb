//! Whether something must be made again: a hash of everything it is made from, kept in `target/xtask/`.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::{root, target};

/// Never a source: what is generated, installed, or only tests.
const IGNORED: [&str; 6] = ["node_modules", "dist", ".test", "test", "trial", "__pycache__"];

/// What a made thing was made from.
pub(crate) struct Stamp {
    file: PathBuf,
    hash: String,
}

impl Stamp {
    /// Reads all `sources` (files, or folders with all below) by content: a checkout's times mean nothing.
    pub(crate) fn of(name: &str, sources: &[PathBuf]) -> Self {
        let mut hasher = DefaultHasher::new();
        for source in sources {
            hash_tree(source, &mut hasher);
        }
        // The place counts too: installed packages do not move with a checkout.
        root().hash(&mut hasher);
        Self { file: target().join("xtask").join(name), hash: format!("{:016x}\n", hasher.finish()) }
    }

    /// Whether the thing was made from exactly this.
    pub(crate) fn is_current(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == self.hash)
    }

    /// Says that the thing has been made.
    pub(crate) fn set(&self) -> anyhow::Result<()> {
        fs::create_dir_all(self.file.parent().expect("a file in target/xtask"))?;
        Ok(fs::write(&self.file, &self.hash)?)
    }
}

fn hash_tree(path: &Path, hasher: &mut DefaultHasher) {
    if path.is_dir() {
        let Ok(entries) = fs::read_dir(path) else { return };
        let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            if !IGNORED.contains(&entry.file_name().to_string_lossy().as_ref()) {
                hash_tree(&entry.path(), hasher);
            }
        }
    } else if let Ok(bytes) = fs::read(path) {
        path.hash(hasher);
        bytes.hash(hasher);
    }
}
