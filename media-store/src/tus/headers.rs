//! What tus says in headers, parsed once.

use axum::http::{HeaderMap, HeaderName};
use base64::{Engine, engine::general_purpose::STANDARD};

use crate::problem::{Code, Problem};

pub(super) const RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
pub(super) const VERSION: HeaderName = HeaderName::from_static("tus-version");
pub(super) const EXTENSION: HeaderName = HeaderName::from_static("tus-extension");
pub(super) const MAX_SIZE: HeaderName = HeaderName::from_static("tus-max-size");
pub(super) const CHECKSUM_ALGORITHM: HeaderName = HeaderName::from_static("tus-checksum-algorithm");
pub(super) const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
pub(super) const LENGTH: HeaderName = HeaderName::from_static("upload-length");
pub(super) const DEFER_LENGTH: HeaderName = HeaderName::from_static("upload-defer-length");
pub(super) const METADATA: HeaderName = HeaderName::from_static("upload-metadata");
pub(super) const CONCAT: HeaderName = HeaderName::from_static("upload-concat");
pub(super) const CHECKSUM: HeaderName = HeaderName::from_static("upload-checksum");
pub(super) const EXPIRES: HeaderName = HeaderName::from_static("upload-expires");
pub(super) const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

/// Longest name, in characters.
pub(crate) const NAME_CHARS_MAX: usize = 255;
/// Longest MIME type, in bytes.
pub(crate) const MIME_BYTES_MAX: usize = 127;
/// Parts of one concatenation.
const PARTS_MAX: usize = 64;

fn bad(detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    match headers.get(name) {
        None => Ok(None),
        Some(value) => value.to_str().map(Some).map_err(|_| bad("a header is not ASCII text")),
    }
}

/// A count of bytes: digits alone, so that `+5`, `-0` and ` 5` are nothing.
pub(super) fn number(headers: &HeaderMap, name: &HeaderName) -> Result<Option<u64>, Problem> {
    let Some(text) = text(headers, name)? else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u64>().ok().filter(|number| digits && *number <= i64::MAX as u64);
    number.map(Some).ok_or_else(|| bad("a length or offset is not a number of bytes"))
}

/// How long an upload will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    Known(u64),
    Deferred,
}

pub(super) fn length(headers: &HeaderMap) -> Result<Option<Length>, Problem> {
    match (number(headers, &LENGTH)?, text(headers, &DEFER_LENGTH)?) {
        (Some(bytes), None) => Ok(Some(Length::Known(bytes))),
        (None, Some("1")) => Ok(Some(Length::Deferred)),
        (None, None) => Ok(None),
        (None, Some(_)) => Err(bad("Upload-Defer-Length is 1 or absent")),
        (Some(_), Some(_)) => Err(bad("Upload-Length and Upload-Defer-Length do not go together")),
    }
}

/// `Upload-Concat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Concat {
    Partial,
    /// The last path segments of the parts' addresses, in order.
    Final(Vec<String>),
}

pub(super) fn concat(headers: &HeaderMap) -> Result<Option<Concat>, Problem> {
    let Some(text) = text(headers, &CONCAT)? else { return Ok(None) };
    if text == "partial" {
        return Ok(Some(Concat::Partial));
    }
    let parts =
        text.strip_prefix("final;").ok_or_else(|| bad("Upload-Concat is partial, or final;URL URL"))?;
    let ids: Vec<String> = parts
        .split_ascii_whitespace()
        .map(|url| url.rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    if ids.is_empty() || ids.len() > PARTS_MAX {
        return Err(bad("a final upload has 1 to 64 parts"));
    }
    Ok(Some(Concat::Final(ids)))
}

/// `Upload-Metadata` and `Upload-Concat` as they were given: `HEAD` gives them back.
#[derive(Clone, Debug, Default)]
pub(super) struct Given {
    pub(super) metadata: Option<String>,
    pub(super) concat: Option<String>,
}

pub(super) fn given(headers: &HeaderMap) -> Result<Given, Problem> {
    let owned = |name| text(headers, name).map(|given| given.map(str::to_owned));
    Ok(Given { metadata: owned(&METADATA)?, concat: owned(&CONCAT)? })
}

/// What `Upload-Metadata` says that we keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) name: Option<String>,
    pub(crate) mime: Option<String>,
}

pub(super) fn metadata(headers: &HeaderMap) -> Result<Metadata, Problem> {
    let mut kept = Metadata::default();
    let Some(pairs) = text(headers, &METADATA)? else { return Ok(kept) };
    for pair in pairs.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(' ').unwrap_or((pair, ""));
        let value = STANDARD
            .decode(value.trim())
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| bad("a value of Upload-Metadata is not the base64 of UTF-8"))?;
        match key {
            "filename" | "name" => kept.name = clean_name(&value),
            "filetype" | "type" => kept.mime = clean_mime(&value),
            _ => {}
        }
    }
    Ok(kept)
}

/// A name as people may see it: the last segment of a path, without control characters or what turns text around.
pub(crate) fn clean_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let kept: String = last.chars().filter(|c| !harmful(*c)).take(NAME_CHARS_MAX).collect();
    let kept = kept.trim();
    (!kept.is_empty() && kept != "." && kept != "..").then(|| kept.to_owned())
}

/// A MIME type that can stand in a header, in lower case; nothing if it is none.
pub(crate) fn clean_mime(mime: &str) -> Option<String> {
    let essence = mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/')?;
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    (essence.len() <= MIME_BYTES_MAX && token(kind) && token(subtype)).then_some(essence)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number(&with(&[]), &OFFSET).unwrap(), None);
        assert_eq!(number(&with(&[(OFFSET, "0")]), &OFFSET).unwrap(), Some(0));
        assert_eq!(
            number(&with(&[(OFFSET, "9223372036854775807")]), &OFFSET).unwrap(),
            Some(i64::MAX as u64)
        );
        for text in ["", "-1", "+1", "1 ", "0x1", "9223372036854775808", "99999999999999999999"] {
            assert!(number(&with(&[(OFFSET, text)]), &OFFSET).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_are_known_or_deferred_but_not_both() {
        assert_eq!(length(&with(&[(LENGTH, "7")])).unwrap(), Some(Length::Known(7)));
        assert_eq!(length(&with(&[(DEFER_LENGTH, "1")])).unwrap(), Some(Length::Deferred));
        assert!(length(&with(&[(DEFER_LENGTH, "0")])).is_err());
        assert!(length(&with(&[(LENGTH, "7"), (DEFER_LENGTH, "1")])).is_err());
    }

    #[test]
    fn concatenations_name_their_parts() {
        assert_eq!(concat(&with(&[(CONCAT, "partial")])).unwrap(), Some(Concat::Partial));
        let parts = concat(&with(&[(CONCAT, "final;/v1/uploads/a https://x/v1/uploads/b")])).unwrap();
        assert_eq!(parts, Some(Concat::Final(vec!["a".into(), "b".into()])));
        assert!(concat(&with(&[(CONCAT, "final;")])).is_err());
        assert!(concat(&with(&[(CONCAT, "both")])).is_err());
        let many = format!("final;{}", "/a ".repeat(65));
        assert!(concat(&with(&[(CONCAT, &many)])).is_err());
    }

    #[test]
    fn metadata_keeps_names_of_every_script() {
        let line = format!(
            "filename {},filetype {},is_confidential",
            STANDARD.encode("фото.jpg"),
            STANDARD.encode("image/JPEG; q=1")
        );
        let kept = metadata(&with(&[(METADATA, &line)])).unwrap();
        assert_eq!(kept, Metadata { name: Some("фото.jpg".into()), mime: Some("image/jpeg".into()) });
        assert!(metadata(&with(&[(METADATA, "filename %%")])).is_err());
    }

    #[test]
    fn names_lose_paths_and_tricks() {
        assert_eq!(clean_name("../../etc/passwd").as_deref(), Some("passwd"));
        assert_eq!(clean_name("C:\\a\\b.txt").as_deref(), Some("b.txt"));
        assert_eq!(clean_name("gpj.\u{202e}exe\r\nSet-Cookie: a").as_deref(), Some("gpj.exeSet-Cookie: a"));
        assert_eq!(clean_name(" "), None);
        assert_eq!(clean_name(".."), None);
        assert_eq!(clean_name(&"я".repeat(300)).unwrap().chars().count(), NAME_CHARS_MAX);
        assert_eq!(clean_mime("text/html\r\nx: y"), None);
        assert_eq!(clean_mime("nonsense"), None);
    }
}
