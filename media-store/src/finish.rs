//! From the last byte to an attachment: what it is, whether it is there already, what is made of it, and where it goes.
//!
//! An upload is [`State::Received`] until its attachment is known to the messages' store, [`State::Ready`] until its
//! last variant is stored, and then [`State::Done`]. Every step may be repeated: a process that died goes on from the
//! record.

mod file;
mod photo;
mod voice;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest;
use tokio::time::Instant;
use trunkline_media_blob::{BlobError, Key};
use trunkline_media_pipeline::{Class, sniff};
use trunkline_units::AttachmentId;

use crate::{
    Kind, clock, direct, meters,
    ports::ReferencesError,
    problem::{Document, Problem},
    records::{Found, RecordsError, Role, State, Upload, Variant},
    service::Shared,
};

/// Between two tries when a store does not answer: doubled each time, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Tries of an upload whose workers fail. Then it is the file, whatever they say.
const WORKER_TRIES: u32 = 3;

/// How long an upload that is done or has failed can still be asked about.
const REMEMBERED: Duration = Duration::from_secs(24 * 3_600);

/// What the head of a file tells its type from.
const HEAD_BYTES: usize = 8_192;

/// Why an upload is not finished now.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It never will be: what its client is told.
    Refused(Document),
    /// Something of ours does not answer. Later.
    Later(String),
    /// A worker failed, and does not say that the file is to blame. A few times more.
    Worker(String),
}

impl From<RecordsError> for Failure {
    fn from(fault: RecordsError) -> Self {
        Failure::Later(fault.to_string())
    }
}

impl From<ReferencesError> for Failure {
    fn from(fault: ReferencesError) -> Self {
        Failure::Later(fault.to_string())
    }
}

impl From<BlobError> for Failure {
    fn from(fault: BlobError) -> Self {
        Failure::Later(format!("the blob store: {fault}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(fault: std::io::Error) -> Self {
        Failure::Later(format!("the spool: {fault}"))
    }
}

/// Begins to finish an upload whose last byte has come.
pub(crate) async fn if_received(shared: &Arc<Shared>, id: &AttachmentId) -> Result<(), Problem> {
    if let Some(upload) = shared.records.upload(id).await?
        && upload.state == State::Received
    {
        begin(shared, upload.id);
    }
    Ok(())
}

/// Finishes an upload in the background, unless that is going on already.
pub(crate) fn begin(shared: &Arc<Shared>, id: AttachmentId) {
    if !working(shared).insert(id.clone()) {
        return;
    }
    let shared = shared.clone();
    shared.tasks.clone().spawn(async move {
        until_done(&shared, &id).await;
        working(&shared).remove(&id);
        shared.news.tell(id.as_str());
    });
}

fn working(shared: &Shared) -> std::sync::MutexGuard<'_, std::collections::HashSet<AttachmentId>> {
    shared.working.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn until_done(shared: &Arc<Shared>, id: &AttachmentId) {
    let mut wait = RETRY.0;
    let mut worker_tries = 0;
    loop {
        let tried = tokio::select! {
            tried = attempt(shared, id, &mut worker_tries) => tried,
            // What is half made is made again at the next start.
            () = shared.stop.cancelled() => return,
        };
        match tried {
            Ok(()) => return,
            Err(why) => tracing::warn!(why, "an upload could not be finished; it will be tried again"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY.1),
            () = shared.stop.cancelled() => return,
        }
    }
}

/// One try. An error is something to be tried again.
async fn attempt(shared: &Arc<Shared>, id: &AttachmentId, worker_tries: &mut u32) -> Result<(), String> {
    let Some(upload) = shared.records.upload(id).await.map_err(|fault| fault.to_string())? else {
        return Ok(());
    };
    let until = clock::now().after(REMEMBERED);
    let refused = match make(shared, &upload).await {
        Ok(()) => None,
        Err(Failure::Later(why)) => return Err(why),
        Err(Failure::Worker(why)) => {
            *worker_tries += 1;
            if *worker_tries < WORKER_TRIES {
                return Err(why);
            }
            tracing::error!(why, "a worker failed again and again");
            let_be(shared, id).await.map_err(|fault| fault.to_string())?;
            Some(Document::refused("failed", "it could not be processed".into()))
        }
        Err(Failure::Refused(problem)) => Some(problem),
    };
    // It may have become an attachment meanwhile.
    let now = shared.records.upload(id).await.map_err(|fault| fault.to_string())?;
    let ended = match refused {
        Some(problem) if now.is_some_and(|now| now.state == State::Received) => {
            meters::refused(upload.kind);
            shared.records.fail(id, &problem, until).await
        }
        // If it was refused although it is an attachment already, a larger variant could not be made: what is there
        // serves.
        _ => shared.records.set_state(id, State::Done, until).await,
    };
    ended.map_err(|fault| fault.to_string())?;
    shared.spool.remove(id).await.map_err(|fault| fault.to_string())
}

/// No more variants come of what this upload has become: what is not there is made of what is.
async fn let_be(shared: &Shared, id: &AttachmentId) -> Result<(), RecordsError> {
    if let Some((attachment, object)) = shared.records.attachment(id).await? {
        shared.records.complete(&object, &attachment.content).await?;
        shared.news.tell(&object);
    }
    Ok(())
}

/// What is known of an upload before anything is made of it.
pub(crate) struct Work<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) upload: &'a Upload,
    pub(crate) mime: &'static str,
    pub(crate) text: bool,
    pub(crate) sha256: String,
    pub(crate) bytes: u64,
    pub(crate) since: Instant,
}

async fn make(shared: &Arc<Shared>, upload: &Upload) -> Result<(), Failure> {
    if upload.role == Role::Partial || upload.state < State::Received || upload.state > State::Ready {
        return Ok(());
    }
    let since = Instant::now();
    direct::fetch(shared, upload).await?;
    let path = shared.spool.path(&upload.id);
    let (sha256, head) = {
        let _turn = shared.hashing.acquire().await;
        digest_of(&path).await?
    };
    let sniffed = sniff(&head);
    // What is no picture that we decode is a file, whatever its client calls it.
    let kind = match (upload.kind, sniffed.class) {
        (Kind::Photo, class) if class != Class::Photo => Kind::File,
        (declared, _) => declared,
    };
    let text = sniffed.class == Class::Text;
    let bytes = upload.bytes.unwrap_or(upload.offset);
    let work = Work { shared, upload, mime: sniffed.mime, text, sha256, bytes, since };
    let found = shared.records.find(&upload.tenant, kind, &work.sha256).await?;
    if let Some(found) = &found {
        meters::deduplicated();
        work.attach(found).await?;
        if found.whole {
            return Ok(());
        }
    }
    match kind {
        Kind::Photo => photo::make(&work, found).await,
        Kind::Voice => voice::make(&work).await,
        Kind::File => file::make(&work).await,
    }
}

impl Work<'_> {
    /// Tells the messages' store what the attachment is, as far as it is known.
    async fn offer(&self, found: &Found) -> Result<(), Failure> {
        let Upload { id, user, conv, tenant, name, .. } = self.upload;
        let attached = self.shared.records.attach(id, &found.object, user, tenant, name.clone()).await?;
        // Doomed since it was found: the next try makes a new one.
        let attachment = attached.ok_or_else(|| Failure::Later("the object is being removed".into()))?;
        let references = self.shared.references.get();
        let references = references.ok_or_else(|| Failure::Later("not started".into()))?;
        Ok(references.offer(conv, user, &attachment).await?)
    }

    /// Makes the upload an attachment of an object, and lets it be sent.
    pub(crate) async fn attach(&self, found: &Found) -> Result<(), Failure> {
        self.offer(found).await?;
        if self.upload.state == State::Received {
            let id = &self.upload.id;
            let until = clock::now().after(REMEMBERED);
            self.shared.records.set_state(id, State::Ready, until).await?;
            meters::attached(found.content.kind, self.since.elapsed());
            self.shared.news.tell(id.as_str());
        }
        Ok(())
    }
}

/// Puts a file into the store as a variant of `object`; the file is gone afterwards.
pub(crate) async fn put(
    shared: &Shared,
    object: &str,
    name: &str,
    mime: &str,
    path: &Path,
) -> Result<Variant, Failure> {
    let (sha256, _) = digest_of(path).await?;
    let bytes = tokio::fs::metadata(path).await?.len();
    let key = key(object, name);
    shared.store.put_file(&key, path, mime).await?;
    Ok(Variant {
        name: name.to_owned(),
        key: key.as_str().to_owned(),
        mime: mime.to_owned(),
        bytes,
        zstd: false,
        identity_bytes: bytes,
        etag: sha256[..32].to_owned(),
    })
}

/// Never the same twice, so that what loses a race can be removed without a look at who won.
fn key(object: &str, name: &str) -> Key {
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    Key::new(format!("{}/{object}/{name}-{}", &object[..2], &nonce[..8]))
        .expect("ids and variants keep the rules for keys")
}

/// A file that a worker made. A name of its own choice must not lead out of its folder.
pub(crate) fn made_in(workshop: &Path, file: &str) -> PathBuf {
    workshop.join(Path::new(file).file_name().unwrap_or_default())
}

pub(crate) fn object_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Removes bytes that belong to nobody. If that fails, the sweep does it.
pub(crate) async fn discard(shared: &Shared, variant: &Variant) {
    if let Ok(key) = Key::new(&variant.key)
        && let Err(fault) = shared.store.delete(&key).await
    {
        tracing::debug!(%fault, "bytes that nobody needs were left for the sweep");
    }
}

/// SHA-256 as hex, and the first bytes.
pub(crate) async fn digest_of(path: &Path) -> std::io::Result<(String, Vec<u8>)> {
    use std::io::Read;
    let path = path.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::open(path)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let (mut buffer, mut head) = (vec![0; 256 * 1024], Vec::new());
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                return Ok((hex::encode(context.finish()), head));
            }
            head.extend(buffer[..read].iter().take(HEAD_BYTES.saturating_sub(head.len())));
            context.update(&buffer[..read]);
        }
    });
    hashed.await.unwrap_or_else(|fault| Err(std::io::Error::other(fault)))
}
