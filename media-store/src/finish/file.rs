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

const OCTETS: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

/// What a text may be called. Browsers run many types of text, some under names of the nineties: those that they do not
/// run are listed instead.
const TEXTS: [&str; 8] = [
    TEXT,
    "text/calendar",
    "text/csv",
    "text/markdown",
    "text/rtf",
    "text/tab-separated-values",
    "text/vcard",
    "text/vtt",
];

/// Stores the upload as a file.
pub(super) async fn make(work: &Work<'_>) -> Result<(), Failure> {
    let shared = work.shared;
    let object = object_id();
    let mime = served_as(work.mime, work.upload.mime.as_deref());
    let path = shared.spool.path(&work.upload.id);
    let first = {
        let _turn = shared.storing.acquire().await;
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

/// What it is served as: what its bytes say; where they leave it open, what its client says, unless a browser would run
/// that. `nosniff` would not help: a page that lets scripts of its own server run would run this one.
fn served_as(sniffed: &str, declared: Option<&str>) -> String {
    let closer = match sniffed {
        OCTETS => declared.filter(|declared| is_inert(declared)),
        TEXT => declared.filter(|declared| TEXTS.contains(declared)),
        _ => None,
    };
    closer.unwrap_or(sniffed).to_owned()
}

/// Whether no browser runs what is called so. `declared` is in lower case and without parameters.
fn is_inert(declared: &str) -> bool {
    match declared.split_once('/') {
        Some(("text", _)) => TEXTS.contains(&declared),
        Some((_, subtype)) => {
            let xml = subtype == "xml" || subtype.starts_with("xml-") || subtype.ends_with("+xml");
            !xml && !subtype.contains("javascript") && !subtype.contains("ecmascript")
        }
        None => false,
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
        // All that WHATWG's "JavaScript MIME type" names, and what else may run or dress a page.
        let active = [
            "application/ecmascript",
            "application/javascript",
            "application/x-ecmascript",
            "application/x-javascript",
            "text/ecmascript",
            "text/javascript",
            "text/javascript1.0",
            "text/javascript1.1",
            "text/javascript1.2",
            "text/javascript1.3",
            "text/javascript1.4",
            "text/javascript1.5",
            "text/jscript",
            "text/livescript",
            "text/x-ecmascript",
            "text/x-javascript",
            "application/atom+xml",
            "application/xhtml+xml",
            "application/xml",
            "application/xml-dtd",
            "image/svg+xml",
            "text/cache-manifest",
            "text/css",
            "text/html",
            "text/xml",
            "text/xsl",
        ];
        for declared in active {
            for sniffed in ["text/plain", "application/octet-stream", "application/pdf"] {
                assert_eq!(served_as(sniffed, Some(declared)), sniffed, "{declared}");
            }
        }
    }

    #[test]
    fn what_the_bytes_leave_open_the_client_says() {
        let docx = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
        let cases = [
            ("text/plain", Some("text/csv"), "text/csv"),
            ("text/plain", Some("text/markdown"), "text/markdown"),
            ("text/plain", Some("text/x-rust"), "text/plain"),
            ("text/plain", Some("image/png"), "text/plain"),
            ("text/plain", None, "text/plain"),
            ("application/octet-stream", Some("text/csv"), "text/csv"),
            ("application/octet-stream", Some("text/x-rust"), "application/octet-stream"),
            ("application/octet-stream", Some("image/heic"), "image/heic"),
            ("application/octet-stream", Some(docx), docx),
            ("application/octet-stream", None, "application/octet-stream"),
            ("application/pdf", Some("text/csv"), "application/pdf"),
        ];
        for (sniffed, declared, served) in cases {
            assert_eq!(served_as(sniffed, declared), served, "{sniffed}, {declared:?}");
        }
    }
}
