//! Files: stored as they are; text documents as zstd where that saves something.

use std::path::{Path, PathBuf};

use super::{Failure, Work, discard, object_id, put};
use crate::{
    Kind,
    attachment::{Content, FILE},
    records::NewObject,
};

/// Text between these is tried with zstd. Below, a header costs more than it saves; above, whoever cannot take zstd
/// would wait for us to decompress it.
const ZSTD_BYTES: std::ops::RangeInclusive<u64> = 512..=64 * 1024 * 1024;

/// Level 9: half of level 3's remaining gain at a few times its CPU, once for each document.
const ZSTD_LEVEL: i32 = 9;

/// Types that a browser runs. Whatever a client calls its bytes, they are never served as one of these.
const ACTIVE: [&str; 7] = [
    "text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/xml",
    "application/xml",
    "text/javascript",
    "application/javascript",
];

/// Stores the upload as a file.
pub(super) async fn make(work: &Work<'_>) -> Result<(), Failure> {
    let shared = work.shared;
    let object = object_id();
    let mime = served_as(work.mime, work.upload.mime.as_deref());
    let path = shared.spool.path(&work.upload.id);
    let first = {
        let _turn = shared.files.acquire().await;
        let workshop = shared.spool.workshop(&work.upload.id).await?;
        match compressed(work, &path, &workshop).await? {
            Some(compressed) => {
                let mut variant = put(shared, &object, FILE, &mime, &compressed).await?;
                (variant.zstd, variant.identity_bytes) = (true, work.bytes);
                variant
            }
            None => {
                // Moved, where the store is on the same disk. Should the record not follow, the upload is still
                // needed: a link keeps it.
                let link = workshop.join(FILE);
                tokio::fs::hard_link(&path, &link).await?;
                put(shared, &object, FILE, &mime, &link).await?
            }
        }
    };
    let content = Content {
        kind: Kind::File,
        r#type: mime,
        bytes: work.bytes,
        width: None,
        height: None,
        thumbhash: None,
        animated: false,
        duration_ms: None,
        waveform: None,
        variants: vec![FILE.to_owned()],
    };
    let sha256 = work.sha256.clone();
    let new = NewObject {
        id: object,
        tenant: work.upload.tenant.clone(),
        sha256,
        content,
        whole: true,
        first: first.clone(),
    };
    let (found, ours) = shared.records.add_object(new).await?;
    if !ours {
        discard(shared, &first).await;
    }
    work.attach(&found).await
}

/// What it is served as: what its bytes say; else what its client says, unless a browser would run that.
fn served_as(sniffed: &str, declared: Option<&str>) -> String {
    const UNKNOWN: &str = "application/octet-stream";
    match declared {
        Some(declared) if sniffed == UNKNOWN && !ACTIVE.contains(&declared) => declared.to_owned(),
        // A text may be called more closely what it is: text/csv, text/markdown.
        Some(declared)
            if sniffed == "text/plain" && declared.starts_with("text/") && !ACTIVE.contains(&declared) =>
        {
            declared.to_owned()
        }
        _ => sniffed.to_owned(),
    }
}

/// The text compressed, if that saves a twentieth.
async fn compressed(work: &Work<'_>, path: &Path, workshop: &Path) -> Result<Option<PathBuf>, Failure> {
    if !work.text || !ZSTD_BYTES.contains(&work.bytes) {
        return Ok(None);
    }
    let (from, to) = (path.to_owned(), workshop.join("zstd"));
    let made = to.clone();
    let compress = tokio::task::spawn_blocking(move || -> std::io::Result<u64> {
        let mut encoder = zstd::Encoder::new(std::fs::File::create(&to)?, ZSTD_LEVEL)?;
        encoder.include_checksum(true)?;
        std::io::copy(&mut std::fs::File::open(from)?, &mut encoder)?;
        Ok(encoder.finish()?.metadata()?.len())
    });
    let bytes = compress.await.map_err(|fault| Failure::Later(fault.to_string()))??;
    Ok((bytes < work.bytes - work.bytes / 20).then_some(made))
}

#[cfg(test)]
mod tests {
    use super::served_as;

    #[test]
    fn nothing_is_served_as_something_a_browser_runs() {
        assert_eq!(served_as("application/octet-stream", Some("image/svg+xml")), "application/octet-stream");
        assert_eq!(served_as("text/plain", Some("text/html")), "text/plain");
        assert_eq!(served_as("text/plain", Some("text/csv")), "text/csv");
        assert_eq!(served_as("application/octet-stream", Some("image/heic")), "image/heic");
        assert_eq!(served_as("application/pdf", Some("text/html")), "application/pdf");
        assert_eq!(served_as("application/octet-stream", None), "application/octet-stream");
    }
}
