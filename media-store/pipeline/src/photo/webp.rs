//! WebP (RFC 9649): chunks, and decoding the picture or the first frame.

use std::io::Cursor;

use image::ImageDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;

use super::color::{PROFILE_BYTES, Profile};
use super::pixels::{Layout, Pixels};
use super::source::{Detail, Format, Original, Source, Want, damaged, take, too_complex};
use crate::{Limits, Refusal};

/// Chunks of a file; a frame is one.
const CHUNKS: u32 = 100_000;

/// Flags of the extended header (§2.7).
const FLAG_ICC: u8 = 0x20;
const FLAG_ALPHA: u8 = 0x10;
const FLAG_ANIMATION: u8 = 0x02;

/// Chunks of a RIFF list: type and content.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let kind = *self.rest.first_chunk()?;
        let length = u32::from_le_bytes(*self.rest.get(4..)?.first_chunk()?) as usize;
        let body = self.rest.get(8..8_usize.checked_add(length)?)?;
        // Odd lengths are padded; some writers forget the last one.
        self.rest = self.rest.get(8 + length + length % 2..).unwrap_or_default();
        Some((kind, body))
    }
}

/// See [`Source::read`].
pub(super) fn read(input: &[u8], want: Want, limits: &Limits) -> Result<Source, Refusal> {
    let it = gather(input, limits)?;
    let frames = (it.moving.len() as u32).max(1);
    limits.check_size(it.width, it.height, frames)?;
    it.check_streams()?;
    let animated = frames > 1;
    let profile = it.icc.map_or(Profile::Srgb, |icc| Profile::Icc(icc.to_vec()));
    let orientation = if animated { Orientation::NoTransforms } else { it.orientation };
    let icc = if profile == Profile::Srgb { None } else { profile.sanitised() };
    let original = match (want.wants(frames), &profile, &icc) {
        (false, ..) => Original::Unwanted,
        _ if orientation != Orientation::NoTransforms => Original::Encode,
        (true, Profile::Icc(_), None) if !animated => Original::Encode,
        (true, Profile::Srgb, _) if !animated => Original::Clean,
        _ => Original::Bytes(it.assemble(icc.as_deref(), usize::MAX)),
    };
    Ok(Source {
        format: Format::WebP,
        width: it.width,
        height: it.height,
        orientation,
        profile,
        frames,
        lossless: it.still.iter().any(|(kind, _)| kind == b"VP8L"),
        clean: it.assemble(None, 1),
        whole: !animated,
        original,
        decode_bytes: it.decode_bytes(),
        bytes_per_pixel: 4,
        detail: Detail::Other,
    })
}

/// What a walk over the chunks gathers.
struct Gathered<'a> {
    width: u32,
    height: u32,
    orientation: Orientation,
    icc: Option<&'a [u8]>,
    /// The extended header's flags, if it is there.
    flags: Option<u8>,
    /// Background and loops of an animation.
    animation: Option<&'a [u8]>,
    /// Alpha and picture of a still.
    still: Vec<Chunk<'a>>,
    moving: Vec<Frame<'a>>,
}

/// Type and content.
type Chunk<'a> = ([u8; 4], &'a [u8]);

/// One of an animation: its place and time, its alpha and picture.
struct Frame<'a> {
    head: &'a [u8],
    parts: Vec<Chunk<'a>>,
}

fn gather<'a>(input: &'a [u8], limits: &Limits) -> Result<Gathered<'a>, Refusal> {
    let mut rest = input;
    let cut = || damaged("a WebP that is cut off");
    let head = take(&mut rest, 12).ok_or_else(cut)?;
    let size = head[4..].first_chunk().map_or(0, |n| u32::from_le_bytes(*n)) as usize;
    // The size counts from the name on; a last padding byte may be missing.
    if size > rest.len() + 5 {
        return Err(cut());
    }
    rest = &rest[..size.saturating_sub(4).min(rest.len())];
    let mut it = Gathered {
        width: 0,
        height: 0,
        orientation: Orientation::NoTransforms,
        icc: None,
        flags: None,
        animation: None,
        still: Vec::new(),
        moving: Vec::new(),
    };
    for (i, (kind, body)) in (Chunks { rest }).enumerate() {
        if i as u32 >= CHUNKS {
            return Err(too_complex("a WebP of too many chunks"));
        }
        match &kind {
            b"VP8X" if body.len() >= 10 && it.width == 0 => {
                it.flags = Some(body[0]);
                (it.width, it.height) = (u24(&body[4..]) + 1, u24(&body[7..]) + 1);
                limits.check_size(it.width, it.height, 1)?;
            }
            b"ICCP" if body.len() <= PROFILE_BYTES => it.icc = Some(body),
            b"EXIF" => {
                let tiff = body.strip_prefix(b"Exif\0\0").unwrap_or(body);
                it.orientation = Orientation::from_exif_chunk(tiff).unwrap_or(it.orientation);
            }
            b"ANIM" if body.len() >= 6 => it.animation = Some(&body[..6]),
            b"ANMF" if body.len() >= 16 => {
                let parts =
                    Chunks { rest: &body[16..] }.filter(|(kind, _)| is_picture(kind)).take(2).collect();
                it.moving.push(Frame { head: &body[..16], parts });
            }
            kind if is_picture(kind) && it.still.len() < 2 => it.still.push((*kind, body)),
            _ => {}
        }
    }
    if it.flags.is_none_or(|flags| flags & FLAG_ANIMATION == 0) {
        it.moving.clear();
    }
    if it.width == 0 {
        let sides = it.still.last().and_then(|(kind, body)| stream_size(*kind, body));
        (it.width, it.height) = sides.ok_or_else(cut)?;
    }
    Ok(it)
}

fn is_picture(kind: &[u8; 4]) -> bool {
    matches!(kind, b"ALPH" | b"VP8 " | b"VP8L")
}

fn u24(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
}

/// Width and height as the compressed stream has them (RFC 6386 §9.1, RFC 9649 §3.4).
fn stream_size(kind: [u8; 4], body: &[u8]) -> Option<(u32, u32)> {
    match (&kind, body) {
        (b"VP8 ", [_, _, _, 0x9d, 0x01, 0x2a, w1, w2, h1, h2, ..]) => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Some((side(*w1, *w2), side(*h1, *h2)))
        }
        (b"VP8L", [0x2f, a, b, c, d, ..]) => {
            let bits = u32::from_le_bytes([*a, *b, *c, *d]);
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        _ => None,
    }
}

impl Gathered<'_> {
    /// Decoders believe the stream about its size; so the canvas, which was checked, must say the same. That goes for
    /// every frame: those after the first are passed on unseen, and browsers decode them.
    fn check_streams(&self) -> Result<(), Refusal> {
        if self.moving.is_empty() {
            return self.check_stream(&self.still, (self.width, self.height));
        }
        self.moving.iter().try_for_each(|Frame { head, parts }| {
            self.check_stream(parts, (u24(&head[6..]) + 1, u24(&head[9..]) + 1))
        })
    }

    fn check_stream(&self, parts: &[Chunk<'_>], sides: (u32, u32)) -> Result<(), Refusal> {
        let told = parts.last().and_then(|(kind, body)| stream_size(*kind, body));
        if told != Some(sides) || sides.0 > self.width || sides.1 > self.height {
            return Err(damaged("a WebP whose picture has another size than its header says"));
        }
        Ok(())
    }

    /// The file anew, of the first `frames` frames if it moves, with this profile alone.
    fn assemble(&self, icc: Option<&[u8]>, frames: usize) -> Vec<u8> {
        let mut body = b"WEBP".to_vec();
        let moves = !self.moving.is_empty();
        let alpha_apart = self.still.iter().any(|(kind, _)| kind == b"ALPH");
        if moves || alpha_apart || icc.is_some() {
            let mut flags = self.flags.unwrap_or(0) & (FLAG_ALPHA | FLAG_ANIMATION);
            flags |= if icc.is_some() { FLAG_ICC } else { 0 };
            let mut head = vec![flags, 0, 0, 0];
            head.extend(&(self.width - 1).to_le_bytes()[..3]);
            head.extend(&(self.height - 1).to_le_bytes()[..3]);
            put(&mut body, *b"VP8X", &head);
        }
        if let Some(icc) = icc {
            put(&mut body, *b"ICCP", icc);
        }
        if moves {
            put(&mut body, *b"ANIM", self.animation.unwrap_or(&[0; 6]));
        } else {
            self.still.iter().for_each(|(kind, part)| put(&mut body, *kind, part));
        }
        for Frame { head, parts } in self.moving.iter().take(frames) {
            let mut frame = head.to_vec();
            parts.iter().for_each(|(kind, part)| put(&mut frame, *kind, part));
            put(&mut body, *b"ANMF", &frame);
        }
        let mut out = Vec::with_capacity(body.len() + 8);
        put(&mut out, *b"RIFF", &body);
        out
    }

    /// See [`Source::decode_bytes`].
    fn decode_bytes(&self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height);
        let parts = self.moving.first().map_or(&self.still, |frame| &frame.parts);
        let has = |wanted: &[u8; 4]| parts.iter().any(|(kind, _)| kind == wanted);
        // Lossy: planes, colours and, apart, opacity with its own decoder; lossless: colours twice and transforms.
        let mut per_pixel = if has(b"VP8L") || has(b"ALPH") { 12 } else { 6 };
        if !self.moving.is_empty() {
            per_pixel += 8;
        }
        pixels * per_pixel
    }
}

/// Appends a chunk, padded to even length.
fn put(out: &mut Vec<u8>, kind: [u8; 4], body: &[u8]) {
    out.extend(kind);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
    if body.len() % 2 == 1 {
        out.push(0);
    }
}

/// See [`Source::decode`].
pub(super) fn decode(clean: &[u8]) -> Result<Pixels, Refusal> {
    let failed = |error| damaged(&format!("a WebP that cannot be decoded: {error}"));
    let decoder = WebPDecoder::new(Cursor::new(clean)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let layout = if decoder.color_type().has_alpha() { Layout::Rgba } else { Layout::Rgb };
    let mut data = vec![0; width as usize * height as usize * layout.channels()];
    decoder.read_image(&mut data).map_err(failed)?;
    Ok(Pixels::new(width, height, layout, data)?.without_idle_alpha())
}
