//! What a file is, told from its structure alone: nothing is decoded and nothing inflated here.

use image::metadata::Orientation;

use super::color::Profile;
use super::pixels::Pixels;
use super::{gif, jpeg, orient, png, webp};
use crate::{Code, Limits, Refusal};

/// The formats that are read and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Jpeg,
    Png,
    Gif,
    WebP,
}

impl Format {
    /// By the first bytes, as browsers tell them (WHATWG MIME Sniffing §6.1).
    pub(super) fn of(head: &[u8]) -> Option<Format> {
        match head {
            [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::WebP),
            _ => None,
        }
    }

    pub(super) const fn mime(self) -> &'static str {
        match self {
            Format::Jpeg => "image/jpeg",
            Format::Png => "image/png",
            Format::Gif => "image/gif",
            Format::WebP => "image/webp",
        }
    }

    pub(super) const fn extension(self) -> &'static str {
        match self {
            Format::Jpeg => "jpg",
            Format::Png => "png",
            Format::Gif => "gif",
            Format::WebP => "webp",
        }
    }
}

/// A file whose structure has been read, and what is left of it: the picture without a word about it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) format: Format,
    /// As stored, before turning.
    pub(super) width: u32,
    /// As stored, before turning.
    pub(super) height: u32,
    pub(super) orientation: Orientation,
    pub(super) profile: Profile,
    /// Frames; more than one is an animation.
    pub(super) frames: u32,
    /// Whether the format keeps every pixel as it was, as screenshots need.
    pub(super) lossless: bool,
    /// The picture alone, in its own format, without metadata or profile; of an animation, its first frame. This is
    /// what is decoded.
    pub(super) clean: Vec<u8>,
    /// Whether `clean` is the whole file's picture, fit to be handed on.
    pub(super) whole: bool,
    /// The whole picture at full size, if it was asked for.
    pub(super) original: Original,
    /// Memory that decoding takes, beside `clean`, in bytes; never told too low.
    pub(super) decode_bytes: u64,
    /// Bytes of a decoded pixel, at most.
    pub(super) bytes_per_pixel: u64,
    pub(super) detail: Detail,
}

/// What a decoder needs to know beside the bytes.
#[derive(Debug)]
pub(super) enum Detail {
    Jpeg(jpeg::Frame),
    Other,
}

/// What becomes of the picture at full size.
#[derive(Debug, PartialEq)]
pub(super) enum Original {
    Unwanted,
    /// `clean` is all of it.
    Clean,
    /// These bytes: `clean` with its profile, or with all its frames.
    Bytes(Vec<u8>),
    /// Must be encoded anew, since it is not upright or its profile cannot be read.
    Encode,
}

impl Source {
    /// Reads the structure of `input`. `original` asks for the whole picture of a still, `animated` of an animation.
    ///
    /// # Errors
    ///
    /// `not_an_image`, `damaged`, and each limit that a header alone tells.
    pub(super) fn read(
        input: &[u8],
        original: bool,
        animated: bool,
        limits: &Limits,
    ) -> Result<Source, Refusal> {
        let want = Want { original, animated };
        match Format::of(input) {
            Some(Format::Jpeg) => jpeg::read(input, want, limits),
            Some(Format::Png) => png::read(input, want, limits),
            Some(Format::Gif) => gif::read(input, want, limits),
            Some(Format::WebP) => webp::read(input, want, limits),
            None => Err(Refusal::new(Code::NotAnImage, "neither JPEG nor PNG, GIF or WebP")),
        }
    }

    /// Decodes the picture, or the first frame of it.
    ///
    /// # Errors
    ///
    /// `damaged`, `not_an_image` for a kind of its format that is not decoded.
    pub(super) fn decode(&self) -> Result<Pixels, Refusal> {
        let pixels = match (&self.detail, self.format) {
            (Detail::Jpeg(frame), _) => jpeg::decode(&self.clean, frame)?,
            (Detail::Other, Format::Png) => png::decode(&self.clean)?,
            (Detail::Other, Format::Gif) => gif::decode(&self.clean)?,
            (Detail::Other, _) => webp::decode(&self.clean)?,
        };
        // What was counted and bounded is what was decoded.
        if (pixels.width(), pixels.height()) != (self.width, self.height) {
            return Err(damaged("a picture of another size than its header says"));
        }
        Ok(pixels)
    }

    /// Width and height as they should be seen.
    pub(super) fn upright_size(&self) -> (u32, u32) {
        let turned = orient::swaps_sides(self.orientation);
        if turned { (self.height, self.width) } else { (self.width, self.height) }
    }

    /// Whether it moves.
    pub(super) fn is_animated(&self) -> bool {
        self.frames > 1
    }
}

/// Which originals are asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Want {
    original: bool,
    animated: bool,
}

impl Want {
    /// Whether that of a picture with so many frames is.
    pub(super) fn wants(self, frames: u32) -> bool {
        self.original || (self.animated && frames > 1)
    }
}

/// The refusal of a file that breaks its own format.
pub(super) fn damaged(text: &str) -> Refusal {
    Refusal::new(Code::Damaged, text)
}

/// The refusal of a structure that no honest file has.
pub(super) fn too_complex(text: &str) -> Refusal {
    Refusal::new(Code::TooComplex, text)
}

/// Splits `n` bytes off the front of `rest`.
pub(super) fn take<'a>(rest: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(n)?;
    *rest = left;
    Some(taken)
}
