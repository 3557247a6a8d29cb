//! Objects in a bucket of an S3 store.

mod config;
mod fault;
mod parts;
mod put;
mod read;
mod retry;

use std::{
    fmt,
    ops::Range,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    operation::head_object::HeadObjectOutput,
    presigning::PresigningConfig,
    primitives::{ByteStream, DateTime},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use crc_fast::{CrcAlgorithm, checksum};
use tokio::sync::Semaphore;
use uuid::Uuid;

pub use config::S3Config;

use crate::{
    Blob, BlobError, BlobStore, BlobStream, Key, LIST_MAX, Multipart, PART_BYTES, Part, PartsFrom, Shown,
    store::part_number,
};
use fault::fault;
use retry::{READING, WRITING, insist};

/// Bytes of files on their way that are in memory, all puts of a store together.
const BUFFER_BYTES: usize = 4 * PART_BYTES;

/// A bucket, or what is below a prefix in it. Credentials are those of its configuration, never the environment's. Its
/// `Debug` shows no secret.
#[derive(Clone)]
pub struct S3Store(Arc<Inner>);

struct Inner {
    config: S3Config,
    client: Client,
    /// Signs URLs for clients; sends nothing.
    presigner: Client,
    /// Empty, or with a slash at its end.
    prefix: String,
    /// Bytes that may still be taken into memory.
    memory: Semaphore,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("S3Store").field(&self.0.config).finish()
    }
}

impl S3Store {
    /// A store that has not been spoken to yet: [`probe`](BlobStore::probe) does. Made and used within tokio.
    ///
    /// # Errors
    /// [`BlobError::Refused`] with what is wrong in the configuration.
    pub fn new(config: S3Config) -> Result<S3Store, BlobError> {
        let prefix = config.check()?;
        let client = config.client(config.endpoint.as_deref());
        let presigner = match &config.public_endpoint {
            None => client.clone(),
            public => config.client(public.as_deref()),
        };
        let memory = Semaphore::new(BUFFER_BYTES);
        Ok(S3Store(Arc::new(Inner { config, client, presigner, prefix, memory })))
    }

    fn client(&self) -> &Client {
        &self.0.client
    }

    fn bucket(&self) -> &str {
        &self.0.config.bucket
    }

    /// The key as the bucket has it.
    fn name(&self, key: &Key) -> String {
        format!("{}{key}", self.0.prefix)
    }

    /// Our key, if what the bucket has is one of ours.
    fn key(&self, name: &str) -> Option<Key> {
        Key::new(name.strip_prefix(&self.0.prefix)?).ok()
    }

    async fn put_object(&self, name: &str, bytes: Bytes, mime: &str) -> Result<(), BlobError> {
        let sum = crc32c(&bytes);
        insist(WRITING, || async {
            let request = self.client().put_object().bucket(self.bucket()).key(name).content_type(mime);
            let request = request.checksum_crc32_c(&sum).body(ByteStream::from(bytes.clone()));
            request.send().await.map_err(fault).map(drop)
        })
        .await
    }

    async fn head_object(&self, key: &Key) -> Result<HeadObjectOutput, BlobError> {
        let name = self.name(key);
        insist(READING, || async {
            self.client().head_object().bucket(self.bucket()).key(&name).send().await.map_err(fault)
        })
        .await
    }

    async fn delete_object(&self, name: &str) -> Result<(), BlobError> {
        let deleted = insist(WRITING, || async {
            self.client().delete_object().bucket(self.bucket()).key(name).send().await.map_err(fault)
        });
        match deleted.await {
            Ok(_) | Err(BlobError::NotFound) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    /// Whether the bucket is there; makes it if that is wished.
    async fn probe_bucket(&self) -> Result<(), BlobError> {
        let asked = insist(READING, || async {
            self.client().head_bucket().bucket(self.bucket()).send().await.map_err(fault)
        });
        match asked.await {
            Ok(_) => Ok(()),
            Err(BlobError::NotFound) if self.0.config.create_bucket => {
                insist(READING, || async {
                    match self.client().create_bucket().bucket(self.bucket()).send().await {
                        Err(error)
                            if error
                                .as_service_error()
                                .is_some_and(|e| e.is_bucket_already_owned_by_you()) =>
                        {
                            Ok(())
                        }
                        made => made.map_err(fault).map(drop),
                    }
                })
                .await
            }
            Err(BlobError::NotFound) => Err(BlobError::Refused("it does not exist".to_owned())),
            Err(fault) => Err(fault),
        }
    }

    fn presigning(ttl: Duration) -> Result<PresigningConfig, BlobError> {
        PresigningConfig::expires_in(ttl).map_err(|fault| BlobError::Internal(format!("presigning: {fault}")))
    }
}

#[async_trait]
impl BlobStore for S3Store {
    async fn put_file(&self, key: &Key, file: &Path, mime: &str) -> Result<(), BlobError> {
        self.send_file(key, file, mime).await
    }

    async fn put_bytes(&self, key: &Key, bytes: Bytes, mime: &str) -> Result<(), BlobError> {
        if bytes.len() > PART_BYTES {
            return Err(BlobError::Internal(format!("{} bytes go in parts", bytes.len())));
        }
        self.put_object(&self.name(key), bytes, mime).await
    }

    async fn range(&self, key: &Key, range: Range<u64>) -> Result<BlobStream, BlobError> {
        self.read(key, range).await
    }

    async fn head(&self, key: &Key) -> Result<Blob, BlobError> {
        let head = self.head_object(key).await?;
        Ok(Blob {
            bytes: length(head.content_length())?,
            modified: instant(head.last_modified()),
            etag: head.e_tag().map(str::to_owned),
            mime: head.content_type().map(str::to_owned),
        })
    }

    async fn delete(&self, key: &Key) -> Result<(), BlobError> {
        self.delete_object(&self.name(key)).await
    }

    async fn list(&self, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Blob)>, BlobError> {
        self.list_objects(after, limit.min(LIST_MAX)).await
    }

    async fn begin(&self, key: &Key, mime: &str, parts_from: PartsFrom) -> Result<Multipart, BlobError> {
        self.create_upload(key, mime, parts_from).await
    }

    async fn put_part(&self, upload: &Multipart, number: u16, bytes: Bytes) -> Result<(), BlobError> {
        self.send_part(upload, part_number(number)?, bytes).await
    }

    async fn list_parts(&self, upload: &Multipart) -> Result<Vec<Part>, BlobError> {
        Ok(self.stored_parts(upload).await?.iter().map(|stored| stored.part).collect())
    }

    async fn commit(&self, upload: &Multipart) -> Result<Blob, BlobError> {
        self.complete_upload(upload).await
    }

    async fn abort(&self, upload: &Multipart) -> Result<(), BlobError> {
        let name = self.name(&upload.key);
        let aborted = insist(WRITING, || async {
            let request = self.client().abort_multipart_upload().bucket(self.bucket());
            request.key(&name).upload_id(&upload.id).send().await.map_err(fault)
        });
        match aborted.await {
            Ok(_) | Err(BlobError::NotFound) => Ok(()),
            Err(fault) => Err(fault),
        }
    }

    async fn unfinished(&self, older_than: Duration) -> Result<Vec<Multipart>, BlobError> {
        self.list_uploads(older_than).await
    }

    fn presigns(&self) -> bool {
        true
    }

    async fn presign_part(
        &self,
        upload: &Multipart,
        number: u16,
        bytes: u64,
        ttl: Duration,
    ) -> Result<Option<String>, BlobError> {
        let length =
            i64::try_from(bytes).map_err(|_| BlobError::Internal(format!("a part of {bytes} bytes")))?;
        let request = self.0.presigner.upload_part().bucket(self.bucket()).key(self.name(&upload.key));
        let request = request.upload_id(&upload.id).part_number(part_number(number)?.into());
        // The length is signed along: a client cannot send more than it was granted.
        let signed = request.content_length(length).presigned(Self::presigning(ttl)?).await.map_err(fault)?;
        Ok(Some(signed.uri().to_owned()))
    }

    async fn presign_get(
        &self,
        key: &Key,
        ttl: Duration,
        shown: &Shown,
    ) -> Result<Option<String>, BlobError> {
        let request = self.0.presigner.get_object().bucket(self.bucket()).key(self.name(key));
        let request = request
            .set_response_content_type(shown.content_type.clone())
            .set_response_content_disposition(shown.content_disposition.clone())
            .set_response_content_encoding(shown.content_encoding.clone())
            .set_response_cache_control(shown.cache_control.clone());
        let signed = request.presigned(Self::presigning(ttl)?).await.map_err(fault)?;
        Ok(Some(signed.uri().to_owned()))
    }

    async fn probe(&self) -> Result<(), BlobError> {
        // No key of ours begins with a dot: nobody lists it.
        let name = format!("{}.probe-{}", self.0.prefix, Uuid::new_v4().simple());
        let wrote = async {
            self.probe_bucket().await?;
            self.put_object(&name, Bytes::from_static(b"probe"), "application/octet-stream").await?;
            self.delete_object(&name).await
        };
        wrote.await.map_err(|fault| {
            let at = self.0.config.endpoint.as_deref().unwrap_or("Amazon S3");
            let text = |cause: String| format!("bucket {} at {at}: {cause}", self.bucket());
            match fault {
                BlobError::NotFound => BlobError::Refused(text("not found".to_owned())),
                BlobError::Refused(cause) => BlobError::Refused(text(cause)),
                BlobError::Unavailable(cause) => BlobError::Unavailable(text(cause)),
                other => BlobError::Internal(text(other.to_string())),
            }
        })
    }
}

/// As S3 writes it: base64 of the big-endian number.
fn crc32c(bytes: &[u8]) -> String {
    let sum = checksum(CrcAlgorithm::Crc32Iscsi, bytes).to_be_bytes();
    STANDARD.encode(&sum[4..])
}

fn length(told: Option<i64>) -> Result<u64, BlobError> {
    let length = told.and_then(|bytes| u64::try_from(bytes).ok());
    length.ok_or_else(|| BlobError::Internal("an object without a length".to_owned()))
}

fn instant(told: Option<&DateTime>) -> SystemTime {
    told.and_then(|time| SystemTime::try_from(*time).ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
