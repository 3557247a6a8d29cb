//! Conditions and ranges (RFC 9110 §13, §14).

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// What of a representation is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Everything,
    /// One range, never empty.
    Span(Range<u64>),
    /// A range outside of it.
    Nothing,
}

/// Whether the client has it already (`If-None-Match`; weak comparison, RFC 9110 §13.1.2).
pub(super) fn is_known(asked: &HeaderMap, etag: &str) -> bool {
    let tags = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || tag.trim_start_matches("W/") == etag)
}

/// Reads `Range` and `If-Range`. Several ranges at once, and units that are not bytes, are answered with everything
/// (RFC 9110 §14.2 allows it): nobody who plays or resumes asks so.
pub(super) fn wanted(asked: &HeaderMap, etag: &str, length: u64) -> Wanted {
    let Some(text) = asked.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return Wanted::Everything;
    };
    // Strong comparison: a date or another tag means that it may have changed.
    if asked.get(header::IF_RANGE).is_some_and(|value| value.as_bytes() != etag.as_bytes()) {
        return Wanted::Everything;
    }
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::Everything;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Wanted::Everything;
    }
    // More digits than a number holds are beyond every end.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let span = match (first.is_empty(), last.is_empty()) {
        (true, true) => return Wanted::Everything,
        (true, false) => length.saturating_sub(number(last))..length,
        (false, true) => number(first)..length,
        (false, false) if number(first) > number(last) => return Wanted::Everything,
        (false, false) => number(first)..length.min(number(last).saturating_add(1)),
    };
    if span.is_empty() { Wanted::Nothing } else { Wanted::Span(span) }
}

/// Whether `Accept-Encoding` takes zstd (RFC 9110 §12.5.3).
pub(super) fn accepts_zstd(asked: &HeaderMap) -> bool {
    let codings = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|codings| codings.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused =
            weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse::<f32>().unwrap_or(0.0) <= 0.0);
        name.trim().eq_ignore_ascii_case("zstd") && !refused
    })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn with(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn ranges() {
        let of = |range: &str| wanted(&with(&[(header::RANGE, range)]), "\"e\"", 100);
        assert_eq!(of("bytes=0-0"), Wanted::Span(0..1));
        assert_eq!(of("bytes=10-19"), Wanted::Span(10..20));
        assert_eq!(of("bytes=90-"), Wanted::Span(90..100));
        assert_eq!(of("bytes=90-1000"), Wanted::Span(90..100));
        assert_eq!(of("bytes=-10"), Wanted::Span(90..100));
        assert_eq!(of("bytes=-1000"), Wanted::Span(0..100));
        assert_eq!(of("bytes=100-"), Wanted::Nothing);
        assert_eq!(of("bytes=-0"), Wanted::Nothing);
        assert_eq!(of("bytes=99999999999999999999999-"), Wanted::Nothing);
        for odd in ["bytes=5-4", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,5-6", "bytes=+1-2", ""] {
            assert_eq!(of(odd), Wanted::Everything, "{odd}");
        }
        assert_eq!(wanted(&with(&[(header::RANGE, "bytes=0-0")]), "\"e\"", 0), Wanted::Nothing);
    }

    #[test]
    fn a_range_of_something_else_is_everything() {
        let of =
            |tag: &str| wanted(&with(&[(header::RANGE, "bytes=1-2"), (header::IF_RANGE, tag)]), "\"e\"", 100);
        assert_eq!(of("\"e\""), Wanted::Span(1..3));
        for other in ["\"f\"", "W/\"e\"", "Thu, 26 Nov 2026 10:00:00 GMT"] {
            assert_eq!(of(other), Wanted::Everything, "{other}");
        }
    }

    #[test]
    fn what_is_known_is_not_sent_again() {
        let known = |tags: &str| is_known(&with(&[(header::IF_NONE_MATCH, tags)]), "\"e\"");
        assert!(known("\"e\"") && known("\"a\", W/\"e\"") && known("*"));
        assert!(!known("\"a\"") && !known("e") && !is_known(&HeaderMap::new(), "\"e\""));
    }

    #[test]
    fn codings() {
        let takes = |value: &str| accepts_zstd(&with(&[(header::ACCEPT_ENCODING, value)]));
        assert!(takes("gzip, deflate, br, zstd") && takes("ZSTD;q=0.5"));
        assert!(!takes("gzip") && !takes("zstd;q=0") && !accepts_zstd(&HeaderMap::new()));
    }
}
