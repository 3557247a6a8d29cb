//! The media store as a whole: what it is made of, how it starts and how it stops.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, header},
    middleware::{map_request, map_response},
    routing::{get, options, post},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use trunkline_media_blob::{BlobError, BlobStore};
use trunkline_units::AttachmentId;

use crate::{
    Grant, MediaConfig, MediaKey, direct, download, finish,
    limits::Limits,
    linger::linger,
    meters,
    ports::References,
    problem::{Code, Problem},
    records::{Quota, Records, RecordsError, Upload},
    spool::Spool,
    status, sweep,
    turns::Turns,
    tus,
    workers::Workers,
};

/// Free bytes that the spool's disk keeps, so that the records beside it can always be written.
const DISK_RESERVE_BYTES: u64 = 256 * 1024 * 1024;

/// Uploads that are hashed at a time, and files that are compressed and stored: bounded by the disk, not by the cores.
/// Apart, so that no photo waits for large files on their way to S3.
const FILES_AT_A_TIME: usize = 4;

/// How long a stop waits for what is being finished; what is not goes on at the next start.
const STOP_TIME: Duration = Duration::from_secs(5);

/// What every request and task shares.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn BlobStore>,
    pub(crate) key: MediaKey,
    pub(crate) limits: Limits,
    pub(crate) config: MediaConfig,
    pub(crate) records: Records,
    pub(crate) spool: Spool,
    pub(crate) turns: Arc<Turns>,
    pub(crate) workers: Workers,
    pub(crate) news: News,
    /// Uploads that are being finished.
    pub(crate) working: Mutex<HashSet<AttachmentId>>,
    pub(crate) hashing: Semaphore,
    pub(crate) storing: Semaphore,
    /// Requests for sizes that are not made yet.
    pub(crate) lazy: Arc<Semaphore>,
    pub(crate) references: OnceLock<Arc<dyn References>>,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    seats: Arc<Semaphore>,
}

/// Tells those who wait that something about an upload or object has changed. A few channels shared by all: whoever waits
/// looks again, and nothing has to be cleaned up.
pub(crate) struct News([watch::Sender<()>; 64]);

impl News {
    fn new() -> News {
        News(std::array::from_fn(|_| watch::channel(()).0))
    }

    fn of(&self, id: &str) -> &watch::Sender<()> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        &self.0[usize::try_from(hasher.finish() % self.0.len() as u64).expect("below 64")]
    }

    pub(crate) fn tell(&self, id: &str) {
        self.of(id).send_replace(());
    }

    /// Subscribe first, then look, then wait.
    pub(crate) fn listen(&self, id: &str) -> watch::Receiver<()> {
        self.of(id).subscribe()
    }
}

impl Shared {
    /// The grant of `Authorization: Bearer` (RFC 6750 §2.1).
    pub(crate) fn grant(&self, headers: &HeaderMap) -> Result<Grant, Problem> {
        let bad = || Problem::new(Code::BadGrant, "a grant is wanted: Authorization: Bearer …");
        let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let (scheme, token) = value.and_then(|value| value.split_once(' ')).ok_or_else(bad)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(bad());
        }
        Grant::check(token.trim(), &self.key)
            .map_err(|_| Problem::new(Code::BadGrant, "this is no grant for uploads"))
    }

    /// One of the places for requests that receive bytes.
    pub(crate) fn seat(&self) -> Result<OwnedSemaphorePermit, Problem> {
        if self.stop.is_cancelled() {
            return Err(Problem::unavailable("the server is stopping"));
        }
        self.seats.clone().try_acquire_owned().map_err(|_| Problem::unavailable("too many uploads at once"))
    }

    pub(crate) fn quota(&self) -> Quota {
        Quota {
            user_uploads: self.limits.user_uploads,
            user_files: self.limits.user_files,
            user_bytes: self.limits.user_bytes,
            tenant_bytes: self.limits.tenant_bytes,
        }
    }

    /// Refuses what would fill the spool's disk.
    pub(crate) fn check_disk(&self, bytes: u64) -> Result<(), Problem> {
        let free = free_bytes(self.spool.folder())?;
        if free < bytes.saturating_add(DISK_RESERVE_BYTES) {
            return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
        }
        Ok(())
    }

    /// Ends an upload that became nothing: its record, its bytes, and what a direct one has in the store.
    pub(crate) async fn end(&self, upload: &Upload) -> Result<(), Problem> {
        direct::abandon(self, upload).await?;
        self.records.remove(vec![upload.id.clone()]).await?;
        self.spool.remove(&upload.id).await?;
        self.news.tell(upload.id.as_str());
        Ok(())
    }
}

/// What is free for us on the disk of `folder`.
fn free_bytes(folder: &Path) -> std::io::Result<u64> {
    let status = nix::sys::statvfs::statvfs(folder)?;
    Ok(status.blocks_available().saturating_mul(status.fragment_size()))
}

/// Why the media store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The records cannot be opened.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The spool's folder cannot be made.
    #[error("the spool: {0}")]
    Spool(#[from] std::io::Error),
    /// The blob store takes nothing.
    #[error("the blob store: {0}")]
    Store(#[from] BlobError),
}

/// A running media store.
#[derive(Clone)]
pub struct MediaStore {
    pub(crate) shared: Arc<Shared>,
}

impl MediaStore {
    /// Opens the records, the spool and the blob store. Nothing moves before [`Self::start`].
    ///
    /// # Errors
    /// One of them cannot be used.
    pub async fn open(config: MediaConfig) -> Result<MediaStore, OpenError> {
        meters::describe();
        config.store.probe().await?;
        let limits = config.limits.clone();
        let shared = Shared {
            store: config.store.clone(),
            key: config.key.clone(),
            records: Records::open(&config.folder.join("media.db"))?,
            spool: Spool::open(&config.folder.join("spool"))?,
            turns: Arc::default(),
            workers: Workers::new(config.worker.clone(), &limits),
            news: News::new(),
            working: Mutex::default(),
            hashing: Semaphore::new(FILES_AT_A_TIME),
            storing: Semaphore::new(FILES_AT_A_TIME),
            lazy: Arc::new(Semaphore::new(limits.lazy_waiting)),
            references: OnceLock::new(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            seats: Arc::new(Semaphore::new(limits.receiving)),
            limits,
            config,
        };
        Ok(MediaStore { shared: Arc::new(shared) })
    }

    /// Goes on with what the last process left, and begins to sweep. Once.
    ///
    /// # Errors
    /// The records cannot be read.
    pub async fn start(&self, references: Arc<dyn References>) -> Result<(), OpenError> {
        let shared = &self.shared;
        // A second one would find the first one's in place.
        let _ = shared.references.set(references);
        for id in shared.records.working().await? {
            finish::begin(shared, id);
        }
        shared.tasks.spawn(sweep::run(shared.clone()));
        Ok(())
    }

    /// Uploads and downloads. A request lasts as long as its bytes take: put no deadline before these routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/v1/uploads", post(tus::create).options(tus::options))
            .route("/v1/uploads/direct", post(direct::create))
            .route("/v1/uploads/{id}/finish", post(direct::finish))
            .route(
                "/v1/uploads/{id}",
                get(status::status)
                    .head(tus::head)
                    .patch(tus::patch)
                    .delete(tus::delete)
                    .post(tus::overridden)
                    .merge(options(tus::options)),
            )
            .layer(map_request(linger))
            .layer(map_response(tus::resumable))
            .route("/v1/media/{id}/{variant}", get(download::download))
            .with_state(self.shared.clone())
    }

    /// Stops what runs: writing requests keep what they received, and what is not finished goes on at the next start.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.shared.turns.stop_all();
        self.shared.tasks.close();
        if tokio::time::timeout(STOP_TIME, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("some media were not finished; they are at the next start");
        }
    }
}

impl std::fmt::Debug for MediaStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MediaStore")
    }
}
