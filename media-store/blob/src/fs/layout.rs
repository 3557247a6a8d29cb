//! Where an object's file is, and how all of them are listed in key order: the folders are prefixes of the key, so that
//! going through them in order is going through the keys in order.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{blob, disk::Disk};
use crate::{Blob, Key};

/// Characters of a key that name the outer folder; there are at most some 4,000 of them.
const OUTER_CHARS: usize = 2;
/// Characters of a key that, after the first, name the inner folder.
const INNER_CHARS: usize = 3;
/// The inner folder of keys that end before it. No key has this character.
const NONE: &str = "=";
/// Stands for `/` in names. No key has this character.
const SLASH: char = ',';

/// The paths of one object.
pub(super) struct Place {
    pub(super) outer: PathBuf,
    pub(super) inner: PathBuf,
    pub(super) file: PathBuf,
}

/// Where the object is.
pub(super) fn place(root: &Path, key: &Key) -> Place {
    let name = key.as_str().replace('/', &SLASH.to_string());
    let (first, rest) = name.split_at(name.len().min(OUTER_CHARS));
    let second = &rest[..rest.len().min(INNER_CHARS)];
    let outer = root.join(first);
    let inner = outer.join(if second.is_empty() { NONE } else { second });
    let file = inner.join(&name);
    Place { outer, inner, file }
}

/// The first `limit` objects after `after`. Names that are nobody's key are passed over.
pub(super) fn list(root: &Path, after: Option<&Key>, limit: usize) -> io::Result<Vec<(Key, Blob)>> {
    let after = after.map_or("", Key::as_str);
    let mut found = Vec::new();
    for (first, outer) in folders(root, "", after)? {
        for (second, inner) in folders(&outer, &first, after)? {
            for (name, path) in entries(&inner)? {
                if found.len() >= limit {
                    return Ok(found);
                }
                let Ok(key) = Key::new(name) else { continue };
                if key.as_str() <= after || !key.as_str().starts_with(&second) {
                    continue;
                }
                match fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => found.push((key, blob(&metadata)?)),
                    Ok(_) => {}
                    Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
                    Err(fault) => return Err(fault),
                }
            }
        }
    }
    Ok(found)
}

/// The folders of a folder that may have keys after `after`: prefix of their keys, and path, in order.
fn folders(of: &Path, prefix: &str, after: &str) -> io::Result<Vec<(String, PathBuf)>> {
    let mut folders = entries(of)?;
    folders.retain(|(name, _)| !name.starts_with('.') || !prefix.is_empty());
    for (name, _) in &mut folders {
        *name = format!("{prefix}{}", name.strip_prefix(NONE).unwrap_or(name));
    }
    folders.retain(|(keys, _)| after.starts_with(keys) || keys.as_str() > after);
    folders.sort_unstable();
    Ok(folders)
}

/// What is in a folder, in order of the names with their slashes back. A folder that has just gone has nothing.
fn entries(of: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let listed = match fs::read_dir(of) {
        Ok(listed) => listed,
        Err(fault) if matches!(fault.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(fault) => return Err(fault),
    };
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry?;
        if let Some(name) = entry.file_name().to_str() {
            entries.push((name.replace(SLASH, "/"), entry.path()));
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Makes the folder unless it is there.
pub(super) fn make_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.make_dir(path) {
        Err(fault) if fault.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    }
}

/// Makes the root and the folders above it, durably.
pub(super) fn make_root(disk: &dyn Disk, root: &Path) -> io::Result<()> {
    let mut ancestors: Vec<&Path> = root.ancestors().collect();
    ancestors.reverse();
    for pair in ancestors.windows(2) {
        let [parent, folder] = pair else { continue };
        let present = folder.is_dir();
        if !present {
            make_dir(disk, folder)?;
        }
        match disk.sync_dir(parent) {
            // A folder that was there may be anybody's; but perhaps an earlier start made it and was killed here.
            Err(_) if present => {}
            synced => synced?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{ProptestConfig, any, prop, proptest};

    use super::{list, place};
    use crate::Key;

    #[test]
    fn places() {
        let cases = [
            ("ab/cdef", "ab/,cd/ab,cdef"),
            ("abcdefg", "ab/cde/abcdefg"),
            ("a", "a/=/a"),
            ("a/b", "a,/b/a,b"),
            ("ab", "ab/=/ab"),
            ("abc.jpg", "ab/c.j/abc.jpg"),
        ];
        for (key, path) in cases {
            let key = Key::new(key).unwrap();
            assert_eq!(place("/r".as_ref(), &key).file, std::path::Path::new("/r").join(path));
        }
    }

    fn fill(root: &std::path::Path, keys: &BTreeSet<Key>) {
        for key in keys {
            let place = place(root, key);
            std::fs::create_dir_all(&place.inner).unwrap();
            std::fs::write(place.file, key.as_str()).unwrap();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Pages of any size give every key once and in order, whatever the keys, a key beside a key below it too.
        #[test]
        fn pages_are_in_key_order(
            texts in prop::collection::vec("[ab./-]{1,9}|[a-c]/[0-9]{1,5}", 1..60),
            limit in 1..7_usize,
            after in any::<prop::sample::Index>(),
        ) {
            let keys: BTreeSet<Key> = texts.iter().filter_map(|text| Key::new(text.as_str()).ok()).collect();
            let root = tempfile::tempdir().unwrap();
            fill(root.path(), &keys);
            let mut listed: Vec<Key> = Vec::new();
            loop {
                let page = list(root.path(), listed.last(), limit).unwrap();
                assert!(page.iter().all(|(key, blob)| blob.bytes == key.as_str().len() as u64));
                if page.is_empty() {
                    break;
                }
                listed.extend(page.into_iter().map(|(key, _)| key));
            }
            assert_eq!(listed, keys.iter().cloned().collect::<Vec<_>>());
            // After a key that is not there, too.
            if let Ok(key) = Key::new(after.get(&texts).repeat(2)) {
                let page = list(root.path(), Some(&key), usize::MAX).unwrap();
                let expected: Vec<&Key> = keys.iter().filter(|other| **other > key).collect();
                assert_eq!(page.iter().map(|(key, _)| key).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn what_is_no_object_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        fill(root.path(), &BTreeSet::from([Key::new("ab/cdef").unwrap()]));
        std::fs::create_dir_all(root.path().join(".parts/x")).unwrap();
        std::fs::write(root.path().join("README"), "").unwrap();
        std::fs::write(root.path().join("ab/,cd/not,of,here"), "").unwrap();
        std::fs::write(root.path().join("ab/,cd/.hidden"), "").unwrap();
        std::fs::create_dir(root.path().join("ab/,cd/ab,cdeg")).unwrap();
        let page = list(root.path(), None, 10).unwrap();
        assert_eq!(page.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["ab/cdef"]);
    }
}
