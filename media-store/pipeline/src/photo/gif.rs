//! GIF89a: blocks, and decoding the first frame.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::gif::GifDecoder;
use image::metadata::Orientation;

use super::color::Profile;
use super::pixels::{Layout, Pixels};
use super::source::{Detail, Format, Original, Source, Want, damaged, take, too_complex};
use crate::{Limits, Refusal};

/// Blocks of a file beside the sub-blocks of 255 bytes.
const BLOCKS: u32 = 100_000;

const IMAGE: u8 = 0x2c;
const EXTENSION: u8 = 0x21;
const TRAILER: u8 = 0x3b;
const GRAPHIC_CONTROL: u8 = 0xf9;
const APPLICATION: u8 = 0xff;

/// The applications whose extension says how to play: how often. Everything else is about people or programs.
const LOOPS: [&[u8]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];

/// See [`Source::read`].
pub(super) fn read(input: &[u8], want: Want, limits: &Limits) -> Result<Source, Refusal> {
    let walked = walk(input, limits)?;
    let animated = walked.frames > 1;
    let original = match (want.wants(walked.frames), animated) {
        (false, _) => Original::Unwanted,
        (true, false) => Original::Clean,
        (true, true) => Original::Bytes(walked.kept.clone()),
    };
    let mut clean = walked.kept;
    if animated {
        clean.truncate(walked.first_end);
        clean.push(TRAILER);
    }
    let canvas = u64::from(walked.width) * u64::from(walked.height);
    Ok(Source {
        format: Format::Gif,
        width: walked.width,
        height: walked.height,
        orientation: Orientation::NoTransforms,
        profile: Profile::Srgb,
        frames: walked.frames,
        lossless: true,
        clean,
        whole: !animated,
        original,
        // Four bytes for the canvas, four for the frame, one for its indices.
        decode_bytes: canvas * 4 + walked.first_pixels * 5,
        bytes_per_pixel: 4,
        detail: Detail::Other,
    })
}

/// What a walk over the blocks gathers.
struct Walked {
    width: u32,
    height: u32,
    frames: u32,
    /// Pixels of the first frame.
    first_pixels: u64,
    /// Where the first frame ends in `kept`.
    first_end: usize,
    /// The file without comments, texts and foreign applications.
    kept: Vec<u8>,
}

fn walk(input: &[u8], limits: &Limits) -> Result<Walked, Refusal> {
    let mut rest = input;
    let cut = || damaged("a GIF that is cut off");
    let Some(&[.., w1, w2, h1, h2, flags, _, _]) =
        take(&mut rest, 13).and_then(|head| head.first_chunk::<13>())
    else {
        return Err(cut());
    };
    let width = u32::from(u16::from_le_bytes([w1, w2]));
    let height = u32::from(u16::from_le_bytes([h1, h2]));
    limits.check_size(width, height, 1)?;
    let mut it = Walked {
        width,
        height,
        frames: 0,
        first_pixels: 0,
        first_end: 0,
        kept: Vec::with_capacity(input.len()),
    };
    take(&mut rest, table_bytes(flags)).ok_or_else(cut)?;
    it.kept.extend(&input[..input.len() - rest.len()]);
    for _ in 0..BLOCKS {
        let start = rest;
        match take(&mut rest, 1) {
            Some(&[IMAGE]) => {
                let head = take(&mut rest, 9).ok_or_else(cut)?;
                let side = |i: usize| u64::from(u16::from_le_bytes([head[i], head[i + 1]]));
                take(&mut rest, table_bytes(head[8])).ok_or_else(cut)?;
                take(&mut rest, 1).ok_or_else(cut)?;
                skip_sub_blocks(&mut rest).ok_or_else(cut)?;
                it.frames += 1;
                limits.check_size(width, height, it.frames)?;
                it.kept.extend(&start[..start.len() - rest.len()]);
                if it.frames == 1 {
                    it.first_pixels = side(4) * side(6);
                    it.first_end = it.kept.len();
                }
            }
            Some(&[EXTENSION]) => {
                let label = take(&mut rest, 1).ok_or_else(cut)?[0];
                let body = rest;
                skip_sub_blocks(&mut rest).ok_or_else(cut)?;
                it.keep_extension(label, &body[..body.len() - rest.len()]);
            }
            // Browsers play a file whose trailer is missing.
            Some(&[TRAILER]) | None => return it.finish(),
            // Padding between blocks happens, and decoders pass over it.
            Some(&[0]) => {}
            Some(_) => return Err(damaged("a GIF with an unknown block")),
        }
    }
    Err(too_complex("a GIF of too many blocks"))
}

/// Bytes of the colour table that `flags` announces.
fn table_bytes(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Passes over sub-blocks and the empty one that ends them.
fn skip_sub_blocks(rest: &mut &[u8]) -> Option<()> {
    loop {
        let length = take(rest, 1)?[0];
        take(rest, usize::from(length))?;
        if length == 0 {
            return Some(());
        }
    }
}

impl Walked {
    fn keep_extension(&mut self, label: u8, body: &[u8]) {
        match (label, body) {
            (GRAPHIC_CONTROL, [4, flags, d1, d2, transparent, ..]) => {
                self.kept.extend([EXTENSION, label, 4, *flags, *d1, *d2, *transparent, 0]);
            }
            (APPLICATION, [11, rest @ ..]) => {
                if let Some((name, [3, 1, low, high, ..])) = rest.split_at_checked(11)
                    && LOOPS.contains(&name)
                {
                    self.kept.extend([EXTENSION, label, 11]);
                    self.kept.extend(name);
                    self.kept.extend([3, 1, *low, *high, 0]);
                }
            }
            _ => {}
        }
    }

    fn finish(mut self) -> Result<Walked, Refusal> {
        if self.frames == 0 {
            return Err(damaged("a GIF without a picture"));
        }
        self.kept.push(TRAILER);
        Ok(self)
    }
}

/// See [`Source::decode`].
pub(super) fn decode(clean: &[u8]) -> Result<Pixels, Refusal> {
    let failed = |error| damaged(&format!("a GIF that cannot be decoded: {error}"));
    let decoder = GifDecoder::new(Cursor::new(clean)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let mut data = vec![0; width as usize * height as usize * 4];
    decoder.read_image(&mut data).map_err(failed)?;
    Ok(Pixels::new(width, height, Layout::Rgba, data)?.without_idle_alpha())
}
