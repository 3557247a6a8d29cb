//! The writer thread with group commit, and the reading threads.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Instant,
};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::{
    meters,
    store::{Reply, StoreError},
};

/// Transactions that wait for one of the threads. Beyond it callers are told `Unavailable` at once: better than to
/// queue seconds of work. Worst case some 20 KB each.
const WAITING_MAX: usize = 4_096;

/// Transactions that share one commit. More: more throughput; fewer: the first of a batch waits less.
const BATCH_MAX: usize = 256;

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable(why.into())
}

/// A transaction that waits for the writer: run in a savepoint, answered when the commit is through.
trait Work: Send {
    fn run(&mut self, db: &Connection);
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Task<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Work for Task<T, F>
where
    T: Send,
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, db: &Connection) {
        if let Some(work) = self.work.take() {
            self.result = Some(in_savepoint(db, work));
        }
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (self.result, committed) {
            (Some(Ok(value)), Ok(())) => Ok(value),
            (Some(Err(fault)), _) | (_, Err(fault)) => Err(fault),
            (None, Ok(())) => Err(unavailable("the transaction was not run")),
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(result);
    }
}

/// Runs `work` so that it happens wholly or not at all, and a fault in it stays its own.
fn in_savepoint<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    db.execute_batch("SAVEPOINT work")?;
    let result = catch_unwind(AssertUnwindSafe(|| work(db)))
        .unwrap_or_else(|_| Err(StoreError::Internal("a transaction panicked".into())));
    match result {
        Ok(value) => {
            db.execute_batch("RELEASE work")?;
            Ok(value)
        }
        Err(fault) => {
            // Fails when SQLite has rolled back everything already (a full disk); the batch notices that.
            let _ = db.execute_batch("ROLLBACK TO work; RELEASE work");
            Err(fault)
        }
    }
}

async fn await_reply<T>(reply: oneshot::Receiver<Result<T, StoreError>>) -> Result<T, StoreError> {
    reply.await.unwrap_or_else(|_| Err(unavailable("the store is closed")))
}

/// The one thread that writes.
pub(super) struct Writer {
    sender: Option<mpsc::SyncSender<Box<dyn Work>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Writer, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(WAITING_MAX);
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || write_all(&connection, &receiver))
            .map_err(|fault| StoreError::Unavailable(fault.to_string()))?;
        Ok(Writer { sender: Some(sender), thread: Some(thread) })
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<T> {
        let (reply, answer) = oneshot::channel();
        let task = Box::new(Task { work: Some(work), result: None, reply });
        let sent = self.sender.as_ref().is_some_and(|sender| sender.try_send(task).is_ok());
        Box::pin(async move {
            if sent { await_reply(answer).await } else { Err(unavailable("too many transactions wait")) }
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // The thread catches what its transactions do; there is nobody left to tell of more.
            let _ = thread.join();
        }
    }
}

fn write_all(db: &Connection, receiver: &mpsc::Receiver<Box<dyn Work>>) {
    while let Ok(first) = receiver.recv() {
        let mut batch = vec![first];
        let started = Instant::now();
        let committed = write_batch(db, receiver, &mut batch);
        meters::store_commit(started.elapsed(), batch.len(), committed.is_ok());
        if let Err(fault) = &committed {
            tracing::error!(%fault, transactions = batch.len(), "a commit failed");
        }
        for work in batch {
            work.answer(committed.clone());
        }
    }
    // Leaves a small file and no log behind; what is in the log is safe without it.
    let _ = db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)");
}

/// Runs what waits, including what comes while it runs, and commits once.
fn write_batch(
    db: &Connection,
    receiver: &mpsc::Receiver<Box<dyn Work>>,
    batch: &mut Vec<Box<dyn Work>>,
) -> Result<(), StoreError> {
    db.execute_batch("BEGIN IMMEDIATE")?;
    let mut next = 0;
    while let Some(work) = batch.get_mut(next) {
        work.run(db);
        next += 1;
        if db.is_autocommit() {
            // SQLite rolled back the whole transaction, and with it what others of this batch had done.
            return Err(unavailable("the transaction was rolled back"));
        }
        if batch.len() < BATCH_MAX
            && let Ok(more) = receiver.try_recv()
        {
            batch.push(more);
        }
    }
    db.execute_batch("COMMIT").map_err(|fault| {
        if !db.is_autocommit() {
            let _ = db.execute_batch("ROLLBACK");
        }
        StoreError::from(fault)
    })
}

type ReadWork = Box<dyn FnOnce(&Connection) + Send>;

/// One reading thread; both are taken when it is to end.
struct Reader {
    sender: Option<mpsc::SyncSender<ReadWork>>,
    thread: Option<JoinHandle<()>>,
}

/// The threads that only read.
pub(super) struct Readers {
    threads: Vec<Reader>,
    next: AtomicUsize,
}

impl Readers {
    pub(super) fn start(connections: Vec<Connection>) -> Result<Readers, StoreError> {
        let mut threads = Vec::new();
        for connection in connections {
            let (sender, receiver) = mpsc::sync_channel::<ReadWork>(WAITING_MAX);
            let thread = std::thread::Builder::new()
                .name("store-reader".into())
                .spawn(move || {
                    while let Ok(work) = receiver.recv() {
                        work(&connection);
                    }
                })
                .map_err(|fault| StoreError::Unavailable(fault.to_string()))?;
            threads.push(Reader { sender: Some(sender), thread: Some(thread) });
        }
        Ok(Readers { threads, next: AtomicUsize::new(0) })
    }

    pub(super) fn submit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<T> {
        let (reply, answer) = oneshot::channel();
        let work: ReadWork = Box::new(move |db| {
            let result = catch_unwind(AssertUnwindSafe(|| in_snapshot(db, work)))
                .unwrap_or_else(|_| Err(StoreError::Internal("a query panicked".into())));
            let _ = reply.send(result);
        });
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1);
        let sender = self.threads.get(turn).and_then(|reader| reader.sender.as_ref());
        let sent = sender.is_some_and(|sender| sender.try_send(work).is_ok());
        Box::pin(async move {
            if sent { await_reply(answer).await } else { Err(unavailable("too many queries wait")) }
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for reader in &mut self.threads {
            drop(reader.sender.take());
        }
        for reader in &mut self.threads {
            if let Some(thread) = reader.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

/// All statements of `work` see one state of the database.
fn in_snapshot<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = db.unchecked_transaction()?;
    let result = work(&transaction);
    transaction.finish()?;
    result
}
