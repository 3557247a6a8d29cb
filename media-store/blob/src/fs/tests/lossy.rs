//! A disk that loses whatever was not synced: it does the real thing below a folder and keeps account of what would be
//! there after a power cut. It can also cut the power itself, before any of its calls.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard},
};

use super::super::disk::{Disk, Real};

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    MakeDir,
    Create,
    Link,
    Rename,
    RemoveFile,
    RemoveTree,
    SyncFile,
    SyncDir,
}

/// A bug to plant: for these calls at these paths (relative to the disk's folder) nothing is made durable.
pub(super) type Forget = fn(Call, &Path) -> bool;

/// What a power cut leaves of what was not synced. A file system may leave anything between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing of it.
    NothingUnsynced,
    /// Every name, but no byte of a file.
    NamesWithoutBytes,
    /// Everything: only the process was killed.
    Everything,
}

pub(super) const CUTS: [Cut; 3] = [Cut::NothingUnsynced, Cut::NamesWithoutBytes, Cut::Everything];

type Entries = BTreeMap<OsString, usize>;

/// An inode. Entries are those that all see now, and those that are durable.
#[derive(Debug)]
enum Node {
    File { durable: Option<Vec<u8>> },
    Folder { now: Entries, durable: Entries },
}

#[derive(Debug)]
struct State {
    nodes: Vec<Node>,
    calls: usize,
    /// After so many calls the power is off.
    power: usize,
}

#[derive(Debug)]
pub(super) struct Lossy {
    folder: PathBuf,
    forget: Forget,
    state: Mutex<State>,
}

impl Lossy {
    /// On an empty folder, which is durable itself.
    pub(super) fn new(folder: &Path, power: usize, forget: Forget) -> Lossy {
        let root = Node::Folder { now: Entries::new(), durable: Entries::new() };
        let state = Mutex::new(State { nodes: vec![root], calls: 0, power });
        Lossy { folder: folder.to_owned(), forget, state }
    }

    /// Calls so far.
    pub(super) fn calls(&self) -> usize {
        self.state().calls
    }

    /// The power is on again, for good; what was not durable is there still.
    pub(super) fn give_power(&self) {
        self.state().power = usize::MAX;
    }

    /// Writes what the power cut leaves to an empty folder.
    pub(super) fn remains(&self, cut: Cut, to: &Path) {
        let state = self.state();
        write_out(&state, 0, cut, &self.folder, to);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn relative<'a>(&self, path: &'a Path) -> Option<&'a Path> {
        path.strip_prefix(&self.folder).ok()
    }

    /// Makes the real call if there is power, then the change to the account.
    fn call<T>(
        &self,
        call: Call,
        path: &Path,
        real: impl FnOnce() -> io::Result<T>,
        account: impl FnOnce(&mut State),
    ) -> io::Result<T> {
        let mut state = self.state();
        if state.calls >= state.power {
            return Err(io::Error::other("the power is off"));
        }
        state.calls += 1;
        let done = real()?;
        let forgotten = self.relative(path).is_some_and(|path| (self.forget)(call, path));
        if !forgotten {
            account(&mut state);
        }
        Ok(done)
    }
}

impl State {
    fn find(&self, path: &Path) -> Option<usize> {
        path.iter().try_fold(0, |at, name| match &self.nodes[at] {
            Node::Folder { now, .. } => now.get(name).copied(),
            Node::File { .. } => None,
        })
    }

    fn entries(&mut self, of: &Path) -> &mut Entries {
        let at = self.find(of.parent().unwrap()).expect("the folder is there: the real call succeeded");
        match &mut self.nodes[at] {
            Node::Folder { now, .. } => now,
            Node::File { .. } => panic!("a file has no entries"),
        }
    }

    fn add(&mut self, path: &Path, node: Node) {
        let number = self.nodes.len();
        self.nodes.push(node);
        self.enter(path, number);
    }

    fn enter(&mut self, path: &Path, number: usize) {
        self.entries(path).insert(path.file_name().unwrap().to_owned(), number);
    }

    fn remove(&mut self, path: &Path) -> Option<usize> {
        self.entries(path).remove(path.file_name().unwrap())
    }
}

fn write_out(state: &State, at: usize, cut: Cut, now: &Path, to: &Path) {
    let Node::Folder { now: names, durable } = &state.nodes[at] else { panic!("not a folder") };
    let entries = if cut == Cut::NothingUnsynced { durable } else { names };
    for (name, number) in entries {
        let (source, target) = (now.join(name), to.join(name));
        match &state.nodes[*number] {
            Node::Folder { .. } => {
                fs::create_dir(&target).unwrap();
                write_out(state, *number, cut, &source, &target);
            }
            Node::File { .. } if cut == Cut::Everything => drop(fs::copy(source, target).unwrap()),
            // A name whose file was never synced is an empty file, as on many real file systems.
            Node::File { durable } => fs::write(target, durable.as_deref().unwrap_or_default()).unwrap(),
        }
    }
}

/// The kernel's disk without waiting for it: what is synced in earnest is no test's concern here, and costs minutes.
#[derive(Debug)]
pub(super) struct Unsynced;

impl Disk for Unsynced {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        Real.make_dir(path)
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        Real.create(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        Real.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Real.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        Real.remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        Real.remove_tree(path)
    }

    fn sync_file(&self, _file: &File, path: &Path) -> io::Result<()> {
        fs::metadata(path).map(drop)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path).map(drop)
    }
}

/// Paths outside of the folder are none of this disk's.
impl Disk for Lossy {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        self.call(
            Call::MakeDir,
            path,
            || Real.make_dir(path),
            |state| {
                if let Some(path) = self.relative(path) {
                    state.add(path, Node::Folder { now: Entries::new(), durable: Entries::new() });
                }
            },
        )
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        self.call(
            Call::Create,
            path,
            || Real.create(path),
            |state| {
                state.add(self.relative(path).unwrap(), Node::File { durable: None });
            },
        )
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(
            Call::Link,
            to,
            || Real.link(from, to),
            |state| {
                let to = self.relative(to).unwrap();
                match self.relative(from).and_then(|from| state.find(from)) {
                    Some(number) => state.enter(to, number),
                    None => state.add(to, Node::File { durable: None }),
                }
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(
            Call::Rename,
            to,
            || Real.rename(from, to),
            |state| {
                let (from, to) = (self.relative(from).unwrap(), self.relative(to).unwrap());
                if state.find(from) != state.find(to) {
                    let number = state.remove(from).unwrap();
                    state.enter(to, number);
                }
            },
        )
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.call(
            Call::RemoveFile,
            path,
            || Real.remove_file(path),
            |state| {
                if let Some(path) = self.relative(path) {
                    state.remove(path);
                }
            },
        )
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.call(
            Call::RemoveTree,
            path,
            || Real.remove_tree(path),
            |state| {
                state.remove(self.relative(path).unwrap());
            },
        )
    }

    fn sync_file(&self, file: &File, path: &Path) -> io::Result<()> {
        self.call(
            Call::SyncFile,
            path,
            || Real.sync_file(file, path),
            |state| {
                let number = state.find(self.relative(path).unwrap()).unwrap();
                let bytes = fs::read(path).unwrap();
                state.nodes[number] = Node::File { durable: Some(bytes) };
            },
        )
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.call(
            Call::SyncDir,
            path,
            || Real.sync_dir(path),
            |state| {
                // The folders above are durable already.
                let Some(number) = self.relative(path).and_then(|path| state.find(path)) else { return };
                if let Node::Folder { now, durable } = &mut state.nodes[number] {
                    durable.clone_from(now);
                }
            },
        )
    }
}
