//! What bytes are, whatever their name says.

use crate::photo;

/// How a file is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A picture that we decode: JPEG, PNG, GIF, WebP.
    Photo,
    /// Sound.
    Audio,
    /// Film, perhaps with sound; also a container that does not tell which of the two.
    Video,
    /// Text that somebody can read, source and markup among it.
    Text,
    /// Everything else, pictures that we do not decode among it.
    Other,
}

/// What [`sniff`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sniffed {
    /// A MIME type that is safe to serve: never one that a browser runs script of.
    pub mime: &'static str,
    /// How to treat it.
    pub class: Class,
}

const OCTETS: &str = "application/octet-stream";

/// Tells a file by its first bytes; 4 KiB are plenty, fewer do for most.
///
/// HTML, XML and scripts are `text/plain`, SVG is `application/octet-stream`: a browser that opens them shows letters or
/// offers to save. What is a picture by its first bytes and a script by others is a picture, and served as such.
#[must_use]
pub fn sniff(head: &[u8]) -> Sniffed {
    if let Some(mime) = photo::mime_of(head) {
        return Sniffed { mime, class: Class::Photo };
    }
    if let Some(found) = container(head) {
        return found;
    }
    if is_text(head) {
        let svg = contains(&head.to_ascii_lowercase(), b"<svg");
        return if svg {
            Sniffed { mime: OCTETS, class: Class::Other }
        } else {
            Sniffed { mime: "text/plain", class: Class::Text }
        };
    }
    by_signature(head)
}

/// Containers whose first bytes leave open whether there is a picture beside the sound.
fn container(head: &[u8]) -> Option<Sniffed> {
    let audio = |mime| Some(Sniffed { mime, class: Class::Audio });
    let video = |mime| Some(Sniffed { mime, class: Class::Video });
    match head {
        // Matroska: codec ids begin with V_ or A_. Recorders write the tracks into the first kilobyte.
        [0x1a, 0x45, 0xdf, 0xa3, ..] => {
            let film = contains(head, b"V_") || !contains(head, b"A_");
            match (contains(head, b"webm"), film) {
                (true, false) => audio("audio/webm"),
                (true, true) => video("video/webm"),
                (false, false) => audio("audio/x-matroska"),
                (false, true) => video("video/x-matroska"),
            }
        }
        [b'O', b'g', b'g', b'S', ..] => {
            if contains(head, b"theora") {
                video("video/ogg")
            } else {
                audio("audio/ogg")
            }
        }
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => audio("audio/wav"),
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => iso_media(head, brand.first_chunk()?),
        _ => None,
    }
}

/// ISO base media by its major brand (ISO 14496-12 §4.3).
fn iso_media(head: &[u8], brand: &[u8; 4]) -> Option<Sniffed> {
    let (mime, class) = match brand {
        b"M4A " | b"M4B " | b"F4A " => ("audio/mp4", Class::Audio),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => {
            ("image/heic", Class::Other)
        }
        b"avif" | b"avis" => ("image/avif", Class::Other),
        b"qt  " => ("video/quicktime", Class::Video),
        b"crx " => (OCTETS, Class::Other),
        // Recorders of browsers put the track's kind into the first kilobyte; cameras put it at the end.
        _ if contains(head, b"soun") && !contains(head, b"vide") => ("audio/mp4", Class::Audio),
        _ => ("video/mp4", Class::Video),
    };
    Some(Sniffed { mime, class })
}

/// The rest, by the signatures that the crate `infer` knows. It says only what browsers do not run.
fn by_signature(head: &[u8]) -> Sniffed {
    let Some(found) = infer::get(head) else { return Sniffed { mime: OCTETS, class: Class::Other } };
    let mime = found.mime_type();
    let class = match found.matcher_type() {
        infer::MatcherType::Audio => Class::Audio,
        infer::MatcherType::Video => Class::Video,
        _ => Class::Other,
    };
    let (mime, class) = match mime {
        "audio/m4a" => ("audio/mp4", class),
        "audio/x-flac" => ("audio/flac", class),
        "audio/opus" => ("audio/ogg", class),
        // Text was told apart before; what is left of it has bytes that no text has. Programs are nobody's to run.
        _ if mime.starts_with("text/")
            || ["xml", "shockwave", "wasm"].iter().any(|word| mime.contains(word)) =>
        {
            (OCTETS, Class::Other)
        }
        _ => (mime, class),
    };
    Sniffed { mime, class }
}

/// UTF-8 without bytes that only terminals and machines read. The last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or("")
        }
        Err(_) => return false,
    };
    let machine = |c: char| c.is_ascii_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b');
    !text.is_empty() && !text.contains(machine) && !text.starts_with("%PDF-") && !text.starts_with("{\\rtf")
}

fn contains(head: &[u8], needle: &[u8]) -> bool {
    head.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::{Class, Sniffed, sniff};

    #[test]
    fn by_content() {
        let photo = |mime| Sniffed { mime, class: Class::Photo };
        let audio = |mime| Sniffed { mime, class: Class::Audio };
        let video = |mime| Sniffed { mime, class: Class::Video };
        let other = |mime| Sniffed { mime, class: Class::Other };
        let text = Sniffed { mime: "text/plain", class: Class::Text };
        let cases: &[(&[u8], Sniffed)] = &[
            (b"\xff\xd8\xff\xe0\0\x10JFIF\0", photo("image/jpeg")),
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", photo("image/png")),
            (b"GIF89a/*\x01\0*/=1;alert(1)", photo("image/gif")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", photo("image/webp")),
            (b"RIFF\x10\0\0\0WAVEfmt ", audio("audio/wav")),
            (b"OggS\0\x02\0\0OpusHead", audio("audio/ogg")),
            (b"OggS\0\x02\0\0\x80theora", video("video/ogg")),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm\x86\x86A_OPUS", audio("audio/webm")),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm\x86\x85V_VP8 A_OPUS", video("video/webm")),
            (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", video("video/webm")),
            (b"\0\0\0\x18ftypM4A \0\0\0\0", audio("audio/mp4")),
            (b"\0\0\0\x18ftypisom\0\0\0\0 hdlr soun", audio("audio/mp4")),
            (b"\0\0\0\x18ftypisom\0\0\0\0 hdlr soun vide", video("video/mp4")),
            (b"\0\0\0\x18ftypmp42\0\0\0\0", video("video/mp4")),
            (b"\0\0\0\x14ftypqt  \0\0\0\0", video("video/quicktime")),
            (b"ID3\x04\0\0\0\0\0\0", audio("audio/mpeg")),
            (b"fLaC\0\0\0\x22", audio("audio/flac")),
            (b"\0\0\0\x18ftypheic\0\0\0\0", other("image/heic")),
            (b"\0\0\0\x18ftypavif\0\0\0\0", other("image/avif")),
            (b"II*\0\x08\0\0\0\x0f\0", other("image/tiff")),
            (b"%PDF-1.7\n%\xe2\xe3", other("application/pdf")),
            (b"%PDF-1.7\nall of it ASCII", other("application/pdf")),
            (b"PK\x03\x04\x14\0\0\0\x08\0", other("application/zip")),
            (
                b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
                other("application/octet-stream"),
            ),
            (b"<?xml version='1.0'?>\n<!DOCTYPE x>\n<SVG>", other("application/octet-stream")),
            (b"<!DOCTYPE html><script>alert(1)</script>", text),
            (b"\xef\xbb\xbf<html>", text),
            (b"<?xml version='1.0'?><a xmlns:x='http://www.w3.org/1999/xhtml'/>", text),
            (b"#!/bin/sh\nexit", text),
            (b"{\"a\": [1, 2]}", text),
            (b"a,b\r\n1,2\r\n", text),
            ("Grüße, Фото".as_bytes(), text),
            (&"Grüße, Фото".as_bytes()[.."Grüße, Фото".len() - 1], text),
            (b"<html>\0<script>", other("application/octet-stream")),
            (b"\xfe\xff\0<\0s\0v\0g", other("application/octet-stream")),
            (b"nearly text \x01", other("application/octet-stream")),
            (b"", other("application/octet-stream")),
        ];
        for (head, expected) in cases {
            assert_eq!(sniff(head), *expected, "{}", head.escape_ascii());
        }
    }
}
