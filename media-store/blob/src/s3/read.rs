//! Reading objects, and the list of them.

use std::{ops::Range, time::Duration};

use aws_sdk_s3::{operation::get_object::GetObjectOutput, primitives::ByteStream};
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{READING, S3Store, fault::fault, insist, instant, length};
use crate::{Blob, BlobError, BlobStore, BlobStream, CHUNK_BYTES_MAX, Key};

/// How long the next bytes of a body may take.
const STALL: Duration = Duration::from_secs(30);
/// How often a body that breaks off is asked for again without a byte coming.
const RESUMES: u32 = 3;

/// A download under way.
struct Reading {
    store: S3Store,
    name: String,
    /// What has not arrived yet.
    left: Range<u64>,
    /// Of the first answer: what follows must be of the same object.
    etag: Option<String>,
    body: ByteStream,
    /// What has arrived and has not been handed on.
    held: Bytes,
    resumes: u32,
}

impl S3Store {
    pub(super) async fn read(&self, key: &Key, range: Range<u64>) -> Result<BlobStream, BlobError> {
        if range.is_empty() {
            let held = self.head(key).await?.bytes;
            let short = range.end > held;
            return if short {
                Err(BlobError::Short { asked: range.end, held: Some(held) })
            } else {
                Ok(stream::empty().boxed())
            };
        }
        let name = self.name(key);
        let first = self.get(&name, &range, None).await?;
        let reading = Reading {
            store: self.clone(),
            name,
            left: range,
            etag: first.e_tag().map(str::to_owned),
            body: first.body,
            held: Bytes::new(),
            resumes: RESUMES,
        };
        Ok(stream::try_unfold(reading, Reading::chunk).boxed())
    }

    /// Asks for the bytes of the range, all of them.
    async fn get(
        &self,
        name: &str,
        range: &Range<u64>,
        etag: Option<&str>,
    ) -> Result<GetObjectOutput, BlobError> {
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let answer = insist(READING, || async {
            let request = self.client().get_object().bucket(self.bucket()).key(name).range(&bytes);
            let sent = request.set_if_match(etag.map(str::to_owned)).send().await;
            sent.map_err(|error| match error.raw_response().map(|answer| answer.status().as_u16()) {
                Some(416) => BlobError::Short { asked: range.end, held: None },
                _ => fault(error),
            })
        })
        .await?;
        let given = length(answer.content_length())?;
        let asked = range.end - range.start;
        if given < asked {
            return Err(BlobError::Short { asked: range.end, held: Some(range.start + given) });
        }
        if given > asked {
            return Err(BlobError::Internal(format!(
                "{given} bytes of an object where {asked} were asked for"
            )));
        }
        Ok(answer)
    }

    pub(super) async fn list_objects(
        &self,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Blob)>, BlobError> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        while found.len() < limit {
            let want = i32::try_from(limit - found.len()).unwrap_or(i32::MAX);
            let page = insist(READING, || async {
                let request = self.client().list_objects_v2().bucket(self.bucket()).prefix(&self.0.prefix);
                let request = request.max_keys(want).set_continuation_token(next.clone());
                // Where it goes on is in the token, from the second page on.
                let start = after.filter(|_| next.is_none()).map(|key| self.name(key));
                request.set_start_after(start).send().await.map_err(fault)
            })
            .await?;
            for object in page.contents() {
                if let Some(key) = object.key().and_then(|name| self.key(name)) {
                    let blob = Blob {
                        bytes: length(object.size())?,
                        modified: instant(object.last_modified()),
                        etag: object.e_tag().map(str::to_owned),
                        mime: None,
                    };
                    found.push((key, blob));
                }
            }
            next = page.next_continuation_token().map(str::to_owned);
            if !page.is_truncated().unwrap_or(false) || next.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

impl Reading {
    /// The next chunk, and what is left.
    async fn chunk(mut self) -> Result<Option<(Bytes, Reading)>, BlobError> {
        loop {
            if !self.held.is_empty() {
                let chunk = self.held.split_to(self.held.len().min(CHUNK_BYTES_MAX));
                return Ok(Some((chunk, self)));
            }
            if self.left.is_empty() {
                return Ok(None);
            }
            let broken = match tokio::time::timeout(STALL, self.body.next()).await {
                Ok(Some(Ok(bytes))) => {
                    self.left.start += bytes.len() as u64;
                    if self.left.start > self.left.end {
                        return Err(BlobError::Internal(
                            "more bytes of an object than were asked for".to_owned(),
                        ));
                    }
                    self.held = bytes;
                    self.resumes = RESUMES;
                    continue;
                }
                Ok(Some(Err(broken))) => broken.to_string(),
                Ok(None) => "it ends too early".to_owned(),
                Err(_) => format!("nothing for {} s", STALL.as_secs()),
            };
            let Some(resumes) = self.resumes.checked_sub(1) else {
                return Err(BlobError::Unavailable(format!("a download: {broken}")));
            };
            self.resumes = resumes;
            tracing::debug!(broken, "a download is asked for again where it broke off");
            self.body = self.store.get(&self.name, &self.left, self.etag.as_deref()).await?.body;
        }
    }
}
