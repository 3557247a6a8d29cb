//! What earlier runs of a copy have verified: a text file that is only appended to, one line an object,
//! `<SHA-256> <bytes> <key>`.
//!
//! Every run goes through the keys in order and appends what it copies, so the file is one sorted run of lines for each
//! run of the copy. Looking keys up in order takes one cursor into each, and no memory for the keys: a journal of
//! millions costs as little as one of ten.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use crate::Key;

/// Most sorted runs that are looked into, at up to 8 KiB of memory each. Objects of later ones are copied again.
const RUNS_MAX: usize = 1024;
/// What one cursor reads at a time.
const READ_BYTES: usize = 8 * 1024;
/// Longer lines are none of ours.
const LINE_BYTES_MAX: u64 = 512;

/// One verified object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: Key,
    pub(super) bytes: u64,
    /// Hex.
    pub(super) sha256: String,
}

impl Entry {
    /// `None`: a line that a crash tore or somebody else wrote. Only whole lines, with their end, count.
    fn parse(line: &[u8]) -> Option<Entry> {
        let line = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
        let mut words = line.split(' ');
        let (sha256, bytes, key) = (words.next()?, words.next()?, words.next()?);
        let is_hash = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
        if !is_hash || words.next().is_some() {
            return None;
        }
        Some(Entry { key: Key::new(key).ok()?, bytes: bytes.parse().ok()?, sha256: sha256.to_owned() })
    }
}

/// The journal, open for one run.
pub(super) struct Journal {
    file: Arc<File>,
    runs: Vec<Cursor>,
}

impl Journal {
    /// Opens the file, or makes it (mode 0600).
    pub(super) async fn open(path: &Path) -> io::Result<Journal> {
        let path = std::path::absolute(path)?;
        blocking(move || {
            let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
            end_torn_line(&file)?;
            let file = Arc::new(file);
            let runs = runs(&file)?;
            Ok(Journal { file, runs })
        })
        .await
    }

    /// What earlier runs have noted of each of the keys. They are asked for in order, in this call and from call to call;
    /// one that comes out of order may not be found.
    pub(super) async fn find(&mut self, keys: Vec<Key>) -> io::Result<Vec<Option<Entry>>> {
        let mut runs = std::mem::take(&mut self.runs);
        let found = blocking(move || {
            let found = keys.iter().map(|key| find(&mut runs, key)).collect::<io::Result<Vec<_>>>()?;
            Ok((runs, found))
        });
        let (runs, found) = found.await?;
        self.runs = runs;
        Ok(found)
    }

    /// Notes a verified object.
    pub(super) async fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let line = format!("{} {} {}\n", entry.sha256, entry.bytes, entry.key);
        let file = Arc::clone(&self.file);
        blocking(move || (&*file).write_all(line.as_bytes())).await
    }

    /// Returns when all that was added is durable.
    pub(super) async fn sync(&mut self) -> io::Result<()> {
        let file = Arc::clone(&self.file);
        blocking(move || file.sync_all()).await
    }
}

fn find(runs: &mut [Cursor], key: &Key) -> io::Result<Option<Entry>> {
    let mut found = None;
    for run in runs {
        while let Some(entry) = run.peek()?
            && entry.key <= *key
        {
            // The latest run's is what the destination was sent last.
            if entry.key == *key {
                found = Some(entry.clone());
            }
            run.take();
        }
    }
    Ok(found)
}

/// One sorted run of lines.
struct Cursor {
    lines: BufReader<Window>,
    next: Option<Entry>,
}

impl Cursor {
    fn peek(&mut self) -> io::Result<Option<&Entry>> {
        while self.next.is_none() {
            let Some(line) = line(&mut self.lines)? else { break };
            self.next = Entry::parse(&line);
        }
        Ok(self.next.as_ref())
    }

    fn take(&mut self) {
        self.next = None;
    }
}

/// A part of the file, read without moving anybody else's place in it.
struct Window {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Window {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = into.len().min(left);
        let read = self.file.read_at(&mut into[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The next line with its end, cut to its bound; `None` at the end of the file.
fn line(lines: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if lines.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(line))
}

/// Finds where each sorted run begins and ends.
fn runs(file: &Arc<File>) -> io::Result<Vec<Cursor>> {
    let length = file.metadata()?.len();
    let window = |at, end| BufReader::with_capacity(READ_BYTES, Window { file: Arc::clone(file), at, end });
    let mut lines = window(0, length);
    let (mut starts, mut at) = (Vec::new(), 0);
    let mut last: Option<Key> = None;
    while let Some(line) = line(&mut lines)? {
        if let Some(entry) = Entry::parse(&line) {
            if last.is_none_or(|last| entry.key < last) {
                starts.push(at);
                if starts.len() > RUNS_MAX {
                    break;
                }
            }
            last = Some(entry.key);
        }
        at += line.len() as u64;
    }
    let ends = starts.iter().skip(1).copied().chain([length]);
    let runs = starts.iter().zip(ends).take(RUNS_MAX);
    Ok(runs.map(|(start, end)| Cursor { lines: window(*start, end), next: None }).collect())
}

/// Gives a last line that a crash has torn an end, so that the next one begins its own.
fn end_torn_line(mut file: &File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last != *b"\n" {
        // Too many words for a line, whatever was torn: it is never taken for whole.
        file.write_all(b" torn torn\n")?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Write};

    use super::{Entry, Journal};
    use crate::Key;

    fn entry(key: &str, bytes: u64) -> Entry {
        Entry { key: Key::new(key).unwrap(), bytes, sha256: "ab".repeat(32) }
    }

    #[tokio::test]
    async fn runs_are_found_together_and_the_latest_counts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        // Three runs of the copy, each in key order.
        let runs = [
            vec![entry("a/1", 1), entry("a/3", 3), entry("c/1", 1)],
            vec![entry("a/2", 2), entry("a/3", 33)],
            vec![entry("a/0", 0), entry("b/1", 1), entry("d/1", 1)],
        ];
        let mut expected = BTreeMap::new();
        for run in &runs {
            let mut journal = Journal::open(&path).await.unwrap();
            for entry in run {
                journal.add(entry).await.unwrap();
                expected.insert(entry.key.clone(), entry.clone());
            }
            journal.sync().await.unwrap();
        }
        let mut journal = Journal::open(&path).await.unwrap();
        for keys in
            [vec!["a/0", "a/1", "a/11", "a/2", "a/3"], vec![], vec!["b/1", "b/2", "c/1", "d/1", "e/1"]]
        {
            let keys: Vec<Key> = keys.into_iter().map(|key| Key::new(key).unwrap()).collect();
            let wanted: Vec<Option<Entry>> = keys.iter().map(|key| expected.get(key).cloned()).collect();
            assert_eq!(journal.find(keys).await.unwrap(), wanted);
        }
    }

    #[tokio::test]
    async fn torn_lines_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let whole = format!("{} 5 ab/whole\n", "0f".repeat(32));
        let torn = format!("{} 5 ab/wholesome", "0f".repeat(32));
        for cut in 0..=torn.len() {
            let path = folder.path().join(format!("{cut}"));
            let mut file = std::fs::File::create(&path).unwrap();
            file.write_all(whole.as_bytes()).unwrap();
            file.write_all(b"\0\0\0 rubbish of a crash\n\xff\n").unwrap();
            file.write_all(&torn.as_bytes()[..cut]).unwrap();
            let mut journal = Journal::open(&path).await.unwrap();
            journal.add(&entry("ab/z", 7)).await.unwrap();
            let mut journal = Journal::open(&path).await.unwrap();
            let keys = ["ab/w", "ab/wh", "ab/who", "ab/whol", "ab/whole", "ab/wholesome", "ab/z", "torn"];
            let found = journal.find(keys.map(|key| Key::new(key).unwrap()).to_vec()).await.unwrap();
            let held = found.iter().flatten().map(|entry| (entry.key.as_str(), entry.bytes));
            assert_eq!(held.collect::<Vec<_>>(), [("ab/whole", 5), ("ab/z", 7)], "cut at {cut}");
        }
    }
}
