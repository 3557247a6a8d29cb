//! Uploads in parts.

use std::{
    cmp::Reverse,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart},
};
use bytes::Bytes;
use uuid::Uuid;

use super::{READING, S3Store, WRITING, crc32c, fault::fault, insist, instant, length};
use crate::{
    Blob, BlobError, BlobStore, Key, LIST_MAX, Multipart, PART_NUMBER_MAX, Part, PartsFrom, store::Sent,
};

/// The object's metadata that names the upload it was made by.
const TOKEN: &str = "trunkline-upload";

/// A part as the server has it.
pub(super) struct StoredPart {
    pub(super) part: Part,
    sent: Sent,
    stored: SystemTime,
}

impl S3Store {
    pub(super) async fn create_upload(
        &self,
        key: &Key,
        mime: &str,
        parts_from: PartsFrom,
    ) -> Result<Multipart, BlobError> {
        let name = self.name(key);
        let token = Uuid::new_v4().simple().to_string();
        let (algorithm, kind) = match parts_from {
            PartsFrom::Server => (Some(ChecksumAlgorithm::Crc32C), Some(ChecksumType::Composite)),
            PartsFrom::Client => (None, None),
        };
        let created = insist(WRITING, || async {
            let request = self.client().create_multipart_upload().bucket(self.bucket()).key(&name);
            let request = request.content_type(mime).metadata(TOKEN, &token);
            let request = request.set_checksum_algorithm(algorithm.clone()).set_checksum_type(kind.clone());
            request.send().await.map_err(fault)
        })
        .await?;
        let id = created.upload_id.filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| BlobError::Internal("an upload in parts without an id".to_owned()))?;
        Ok(Multipart::new(key.clone(), id, parts_from, token))
    }

    pub(super) async fn send_part(
        &self,
        upload: &Multipart,
        number: u16,
        bytes: Bytes,
    ) -> Result<(), BlobError> {
        let name = self.name(&upload.key);
        let sum = (upload.parts_from == PartsFrom::Server).then(|| crc32c(&bytes));
        let stored = insist(WRITING, || async {
            let request = self.client().upload_part().bucket(self.bucket()).key(&name).upload_id(&upload.id);
            let request = request.part_number(number.into()).set_checksum_crc32_c(sum.clone());
            request.body(ByteStream::from(bytes.clone())).send().await.map_err(fault)
        })
        .await?;
        upload.note(number, Sent { etag: stored.e_tag, sum });
        Ok(())
    }

    pub(super) async fn stored_parts(&self, upload: &Multipart) -> Result<Vec<StoredPart>, BlobError> {
        let name = self.name(&upload.key);
        let mut parts = Vec::new();
        let mut marker: Option<String> = None;
        while parts.len() < usize::from(PART_NUMBER_MAX) {
            let page = insist(READING, || async {
                let request = self.client().list_parts().bucket(self.bucket()).key(&name);
                let request = request.upload_id(&upload.id).set_part_number_marker(marker.clone());
                request.send().await.map_err(fault)
            })
            .await?;
            for stored in page.parts() {
                let number = stored.part_number().and_then(|number| u16::try_from(number).ok());
                let number =
                    number.ok_or_else(|| BlobError::Internal("a part without a number".to_owned()))?;
                parts.push(StoredPart {
                    part: Part { number, bytes: length(stored.size())? },
                    sent: Sent {
                        etag: stored.e_tag().map(str::to_owned),
                        sum: stored.checksum_crc32_c().map(str::to_owned),
                    },
                    stored: instant(stored.last_modified()),
                });
            }
            marker = page.next_part_number_marker().map(str::to_owned);
            if !page.is_truncated().unwrap_or(false) || marker.is_none() {
                break;
            }
        }
        // SeaweedFS lists a part that was replaced (or sent again, since the answer got lost) beside the one that replaced
        // it. What we had an answer for is the one; else the latest.
        let ours =
            |part: &StoredPart| upload.sent(part.part.number).is_some_and(|sent| sent.etag == part.sent.etag);
        parts.sort_by_key(|part| (part.part.number, !ours(part), Reverse(part.stored)));
        parts.dedup_by_key(|part| part.part.number);
        Ok(parts)
    }

    pub(super) async fn complete_upload(&self, upload: &Multipart) -> Result<Blob, BlobError> {
        let stored = match self.stored_parts(upload).await {
            Err(BlobError::NotFound) => return self.committed(upload).await,
            stored => stored?,
        };
        if stored.is_empty() {
            return Err(BlobError::Internal("an upload without parts makes no object".to_owned()));
        }
        let bytes: u64 = stored.iter().map(|stored| stored.part.bytes).sum();
        match self.complete(upload, stored).await {
            Err(BlobError::NotFound) => {}
            completed => completed?,
        }
        let blob = self.committed(upload).await?;
        if blob.bytes != bytes {
            return Err(BlobError::Internal(format!(
                "{bytes} bytes of parts made an object of {}",
                blob.bytes
            )));
        }
        Ok(blob)
    }

    async fn complete(&self, upload: &Multipart, stored: Vec<StoredPart>) -> Result<(), BlobError> {
        let name = self.name(&upload.key);
        let parts = stored.into_iter().map(|stored| {
            let number = stored.part.number;
            let sum = match upload.parts_from {
                PartsFrom::Server => upload.sent(number).map_or(stored.sent.sum, |sent| sent.sum),
                PartsFrom::Client => None,
            };
            let part = CompletedPart::builder().part_number(number.into()).set_e_tag(stored.sent.etag);
            part.set_checksum_crc32_c(sum).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        insist(WRITING, || async {
            let request = self.client().complete_multipart_upload().bucket(self.bucket()).key(&name);
            let request = request.upload_id(&upload.id).multipart_upload(parts.clone());
            request.send().await.map_err(fault).map(drop)
        })
        .await
    }

    /// The object, if it was made by this upload: the answer to a commit may get lost, and then the upload is over.
    async fn committed(&self, upload: &Multipart) -> Result<Blob, BlobError> {
        let head = self.head_object(&upload.key).await?;
        let token = head.metadata().and_then(|metadata| metadata.get(TOKEN));
        if upload.token.is_empty() || token != Some(&upload.token) {
            return Err(BlobError::NotFound);
        }
        self.head(&upload.key).await
    }

    pub(super) async fn list_uploads(&self, older_than: Duration) -> Result<Vec<Multipart>, BlobError> {
        let now = SystemTime::now();
        let mut found = Vec::new();
        let (mut key_marker, mut id_marker): (Option<String>, Option<String>) = (None, None);
        while found.len() < LIST_MAX {
            let page = insist(READING, || async {
                let request = self.client().list_multipart_uploads().bucket(self.bucket());
                let request = request.prefix(&self.0.prefix).max_uploads(1000);
                let request =
                    request.set_key_marker(key_marker.clone()).set_upload_id_marker(id_marker.clone());
                request.send().await.map_err(fault)
            })
            .await?;
            for upload in page.uploads() {
                let age = now.duration_since(instant(upload.initiated())).unwrap_or_default();
                let key = upload.key().and_then(|name| self.key(name));
                if let (Some(key), Some(id)) = (key, upload.upload_id())
                    && age >= older_than
                {
                    found.push(Multipart::new(key, id.to_owned(), PartsFrom::Server, String::new()));
                }
            }
            key_marker = page.next_key_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            id_marker = page.next_upload_id_marker().filter(|marker| !marker.is_empty()).map(str::to_owned);
            let more = page.is_truncated().unwrap_or(false);
            if !more || (key_marker.is_none() && id_marker.is_none()) {
                break;
            }
        }
        found.truncate(LIST_MAX);
        Ok(found)
    }
}
