//! `GET /v1/media/{id}/{variant}?k=…`: what a signed link opens.
//!
//! Nothing that is served here can run: the type is what the content is or nothing a browser renders, `nosniff` keeps it
//! that, and the sandbox holds whatever gets through.

mod bytes;
mod lazy;
mod range;

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use trunkline_media_blob::{Key, Shown};
use trunkline_units::UnixMillis;

use crate::{
    Attachment, clock,
    link::{self, BadLink},
    problem::{Code, Problem},
    records::Variant,
    service::Shared,
    tus::upload_id,
};
use range::Wanted;

/// How long a request waits for a variant that is being made.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long the store's own link opens: enough to begin, since a client is sent to it at once.
const REDIRECT_TTL: Duration = Duration::from_secs(300);

const CONTENT_SECURITY_POLICY: &str = "sandbox; default-src 'none'";

/// `attr-char` of RFC 8187 §3.2.1 stays as it is.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The link's token.
#[derive(Debug, Deserialize)]
pub(crate) struct Token {
    #[serde(default)]
    k: String,
}

/// Checks the link, finds the bytes, and sends what was asked for of them.
pub(crate) async fn download(
    State(shared): State<Arc<Shared>>,
    Path((id, variant)): Path<(String, String)>,
    query: Result<Query<Token>, axum::extract::rejection::QueryRejection>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let id = upload_id(&id)?;
    let token = query.map(|Query(token)| token.k).unwrap_or_default();
    let until = link::check(&shared.key, &id, &variant, &token, clock::now()).map_err(refused)?;
    let (attachment, object) = shared.records.attachment(&id).await?.ok_or_else(Problem::not_found)?;
    let variant = find(&shared, &attachment, &object, &variant).await?;
    // The store's own link is signed for GET: a HEAD there is refused, so we answer it.
    if shared.config.redirect
        && method == Method::GET
        && let Some(response) = redirect(&shared, &attachment, &variant).await?
    {
        return Ok(response);
    }
    send(&shared, &attachment, &variant, until, &method, &headers).await
}

fn refused(why: BadLink) -> Problem {
    match why {
        BadLink::Forged => Problem::new(Code::LinkForged, "this link was not made here"),
        BadLink::Expired => Problem::new(Code::LinkExpired, "this link opens no more: ask for a new one"),
        BadLink::WrongVariant => Problem::new(Code::LinkWrongVariant, "this link opens another variant"),
    }
}

/// The variant's place; waits for one that is being made, and makes one that is made on demand.
async fn find(
    shared: &Arc<Shared>,
    attachment: &Attachment,
    object: &str,
    name: &str,
) -> Result<Variant, Problem> {
    let planned = attachment.content.variants.iter().any(|variant| variant == name);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let mut news = shared.news.listen(object);
        if let Some(variant) = shared.records.variant(object, name).await? {
            return Ok(variant);
        }
        let whole = shared.records.is_whole(object).await?;
        if !planned || whole {
            // Not planned, or planned and never made: its worker died after the first one.
            return lazy::make(shared, attachment, object, name).await;
        }
        if tokio::time::timeout_at(deadline, news.changed()).await.is_err() {
            return Err(Problem::unavailable("this size is still being made"));
        }
    }
}

/// Sends the client to the store itself.
async fn redirect(
    shared: &Shared,
    attachment: &Attachment,
    variant: &Variant,
) -> Result<Option<Response>, Problem> {
    // The store would serve what is compressed to clients that cannot read it.
    if variant.zstd {
        return Ok(None);
    }
    let key = Key::new(&variant.key).map_err(|fault| Problem::internal(&fault))?;
    let shown = Shown {
        content_type: Some(with_charset(&variant.mime)),
        content_disposition: Some(disposition(attachment, variant)),
        ..Shown::default()
    };
    let url = shared.store.presign_get(&key, REDIRECT_TTL, &shown).await;
    let url = url.map_err(|fault| bytes::problem(&fault))?;
    let Some(url) = url else { return Ok(None) };
    let location = HeaderValue::from_str(&url).map_err(|fault| Problem::internal(&fault))?;
    let cache = HeaderValue::from_static("private, max-age=240");
    Ok(Some(
        (StatusCode::FOUND, [(header::LOCATION, location), (header::CACHE_CONTROL, cache)]).into_response(),
    ))
}

async fn send(
    shared: &Arc<Shared>,
    attachment: &Attachment,
    variant: &Variant,
    until: UnixMillis,
    method: &Method,
    asked: &HeaderMap,
) -> Result<Response, Problem> {
    // The client can have the stored bytes as they are, or must have them decompressed.
    let coded = variant.zstd && range::accepts_zstd(asked);
    let etag = if coded { format!("\"{}-zstd\"", variant.etag) } else { format!("\"{}\"", variant.etag) };
    let length = if coded { variant.bytes } else { variant.identity_bytes };
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    describe(headers, attachment, variant, until, &etag)?;
    if coded {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"));
    }
    if range::is_known(asked, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    let span = match range::wanted(asked, &etag, length) {
        Wanted::Everything => 0..length,
        Wanted::Nothing => {
            let size = HeaderValue::from_str(&format!("bytes */{length}")).expect("digits are ASCII");
            return Err(
                Problem::new(Code::BadRange, "there is no such range").with(header::CONTENT_RANGE, size)
            );
        }
        Wanted::Span(span) => {
            let content = format!("bytes {}-{}/{length}", span.start, span.end - 1);
            headers.insert(header::CONTENT_RANGE, HeaderValue::from_str(&content).expect("digits are ASCII"));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            span
        }
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(span.end - span.start));
    if *method != Method::HEAD && !span.is_empty() {
        *response.body_mut() = match variant.zstd && !coded {
            true => bytes::decompressed(shared, variant, span).await?,
            false => bytes::stored(shared, variant, span).await?,
        };
    } else {
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

/// What every answer says of the bytes, whether it carries them or not.
fn describe(
    headers: &mut HeaderMap,
    attachment: &Attachment,
    variant: &Variant,
    until: UnixMillis,
    etag: &str,
) -> Result<(), Problem> {
    let text = |value: &str| HeaderValue::from_str(value).map_err(|fault| Problem::internal(&fault));
    let fresh_s = until.since(clock::now()).as_secs();
    headers.insert(header::CONTENT_TYPE, text(&with_charset(&variant.mime))?);
    headers.insert(header::ETAG, text(etag)?);
    headers.insert(header::CACHE_CONTROL, text(&format!("private, max-age={fresh_s}, immutable"))?);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_DISPOSITION, text(&disposition(attachment, variant))?);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let same_site = HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(same_site, HeaderValue::from_static("same-site"));
    if variant.zstd {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    Ok(())
}

fn with_charset(mime: &str) -> String {
    if mime.starts_with("text/") { format!("{mime}; charset=utf-8") } else { mime.to_owned() }
}

/// Whether a browser may show it in place: pictures, sound and film, which cannot run.
fn is_shown(mime: &str) -> bool {
    matches!(mime, "image/jpeg" | "image/png" | "image/gif" | "image/webp")
        || mime.starts_with("audio/")
        || mime.starts_with("video/")
}

/// RFC 6266: the name twice, for old clients in ASCII.
fn disposition(attachment: &Attachment, variant: &Variant) -> String {
    let place = if is_shown(&variant.mime) { "inline" } else { "attachment" };
    let Some(name) = &attachment.name else { return place.to_owned() };
    let name = named_after(name, &variant.mime);
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !"\"\\%;".contains(c) || c == ' ' { c } else { '_' })
        .collect();
    let full = utf8_percent_encode(&name, ATTR_CHAR);
    format!("{place}; filename=\"{plain}\"; filename*=UTF-8''{full}")
}

/// A photo that was made a JPEG is not saved as `.png`.
fn named_after(name: &str, mime: &str) -> String {
    let ending = match mime {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "image/gif" => "gif",
        "audio/ogg" => "ogg",
        _ => return name.to_owned(),
    };
    match name.rsplit_once('.') {
        Some((_, held)) if held.eq_ignore_ascii_case(ending) => name.to_owned(),
        Some((_, held)) if ending == "jpg" && held.eq_ignore_ascii_case("jpeg") => name.to_owned(),
        Some((stem, held)) if !stem.is_empty() && held.len() <= 5 => format!("{stem}.{ending}"),
        _ => format!("{name}.{ending}"),
    }
}

#[cfg(test)]
mod tests {
    use trunkline_units::AttachmentId;

    use super::*;
    use crate::{Kind, attachment::Content};

    fn said(name: &str, mime: &str) -> String {
        let content = Content {
            kind: Kind::File,
            r#type: mime.into(),
            bytes: 1,
            width: None,
            height: None,
            thumbhash: None,
            animated: false,
            duration_ms: None,
            waveform: None,
            variants: vec!["file".into()],
        };
        let id = AttachmentId::new("a").unwrap();
        let attachment = Attachment { id, name: Some(name.into()), content };
        let variant = Variant {
            name: "file".into(),
            key: "k".into(),
            mime: mime.into(),
            bytes: 1,
            zstd: false,
            identity_bytes: 1,
            etag: "e".into(),
        };
        disposition(&attachment, &variant)
    }

    #[test]
    fn names_of_every_script_survive() {
        assert_eq!(
            said("фото.jpg", "image/jpeg"),
            "inline; filename=\"____.jpg\"; filename*=UTF-8''%D1%84%D0%BE%D1%82%D0%BE.jpg"
        );
        assert_eq!(
            said("a \"b\"; c%.pdf", "application/pdf"),
            "attachment; filename=\"a _b__ c_.pdf\"; filename*=UTF-8''a%20%22b%22%3B%20c%25.pdf"
        );
        assert!(said("page.html", "text/plain").starts_with("attachment;"));
    }

    #[test]
    fn names_follow_what_the_bytes_became() {
        assert_eq!(named_after("shot.PNG", "image/jpeg"), "shot.jpg");
        assert_eq!(named_after("a.JPEG", "image/jpeg"), "a.JPEG");
        assert_eq!(named_after("note.webm", "audio/ogg"), "note.ogg");
        assert_eq!(named_after("photo", "image/jpeg"), "photo.jpg");
        assert_eq!(named_after("v1.2 of it", "application/pdf"), "v1.2 of it");
    }
}
