//! JPEG (ITU-T T.81): its segments, and decoding.

use image::metadata::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

use super::color::{PROFILE_BYTES, Profile};
use super::pixels::{Layout, Pixels};
use super::source::{Detail, Format, Original, Source, Want, damaged, too_complex};
use crate::{Code, Limits, Refusal};

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP14: u8 = 0xee;

/// Segments of a file. Photographs have a few hundred at most, of 64 KiB of profile or depth map each.
const SEGMENTS: u32 = 10_000;
/// Scans × pixels: ten scans of 64 megapixels, or 100 of 20. Each scan looks at every block again.
const SCANNED_PIXELS: u64 = 2_000_000_000;

/// The frame header, as far as decoding and estimating need it.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    width: u32,
    height: u32,
    progressive: bool,
    /// Horizontal and vertical sampling factors of each component.
    sampling: Vec<(u8, u8)>,
    /// Components of the first scan: fewer than all of them, and the decoder keeps every coefficient.
    first_scan: usize,
    /// Adobe's colour transform (APP14), if the segment is there.
    adobe: Option<u8>,
    /// Whether the file goes on to its end marker.
    complete: bool,
}

/// One segment with its marker; `entropy` follows a scan header.
struct Segment<'a> {
    marker: u8,
    body: &'a [u8],
    entropy: &'a [u8],
}

/// Walks over segments. Bytes between them that belong to none are passed over, as decoders do.
struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = Segment<'a>;

    /// None where the file ends, with or without an end marker.
    fn next(&mut self) -> Option<Segment<'a>> {
        loop {
            let at = self.rest.iter().position(|&b| b == 0xff)?;
            self.rest = &self.rest[at..];
            let fill = self.rest.iter().position(|&b| b != 0xff)?;
            let marker = self.rest[fill];
            self.rest = &self.rest[fill + 1..];
            match marker {
                EOI => {
                    self.rest = &[];
                    return Some(Segment { marker, body: &[], entropy: &[] });
                }
                0x00 | 0x01 | 0xd0..=SOI => {}
                _ => break self.segment(marker),
            }
        }
    }
}

impl<'a> Segments<'a> {
    fn segment(&mut self, marker: u8) -> Option<Segment<'a>> {
        let length = usize::from(u16::from_be_bytes(*self.rest.first_chunk()?)).max(2);
        let (segment, rest) = self.rest.split_at_checked(length)?;
        let entropy = if marker == SOS { entropy_bytes(rest) } else { 0 };
        self.rest = &rest[entropy..];
        Some(Segment { marker, body: &segment[2..], entropy: &rest[..entropy] })
    }
}

/// Bytes up to the next marker that is none of restart (§B.1.1.5).
fn entropy_bytes(data: &[u8]) -> usize {
    let mut at = 0;
    while let Some(next) = data[at..].iter().position(|&b| b == 0xff) {
        at += next;
        match data.get(at + 1) {
            Some(0x00 | 0xd0..=0xd7) => at += 2,
            Some(0xff) => at += 1,
            _ => return at,
        }
    }
    data.len()
}

/// See [`Source::read`].
pub(super) fn read(input: &[u8], want: Want, limits: &Limits) -> Result<Source, Refusal> {
    let mut frame = Frame::default();
    let mut scans = 0;
    let mut orientation = None;
    let mut icc = Icc::default();
    let mut clean = Vec::with_capacity(input.len());
    clean.extend([0xff, SOI]);
    for (i, segment) in (Segments { rest: input }).enumerate() {
        if i as u32 >= SEGMENTS {
            return Err(too_complex("a JPEG of too many segments"));
        }
        match segment.marker {
            APP1 => {
                if let [b'E', b'x', b'i', b'f', 0, _, tiff @ ..] = segment.body {
                    orientation = orientation.or_else(|| Orientation::from_exif_chunk(tiff));
                }
            }
            APP2 => icc.add(segment.body),
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => frame.start(&segment, limits)?,
            SOS => {
                scans += 1;
                frame.scan(&segment, scans, limits)?;
            }
            EOI => frame.complete = true,
            _ => {}
        }
        keep(&segment, &mut frame, &mut clean);
    }
    if scans == 0 {
        return Err(damaged("a JPEG without a picture"));
    }
    let profile = icc.assemble().map_or(Profile::Srgb, Profile::Icc);
    let orientation = orientation.unwrap_or(Orientation::NoTransforms);
    let original = match original(want, orientation, &profile, &clean) {
        Original::Clean | Original::Bytes(_) if !frame.complete => Original::Encode,
        original => original,
    };
    Ok(Source {
        format: Format::Jpeg,
        width: frame.width,
        height: frame.height,
        orientation,
        profile,
        frames: 1,
        lossless: false,
        whole: frame.complete,
        clean,
        original,
        decode_bytes: frame.decode_bytes(),
        bytes_per_pixel: frame.sampling.len() as u64,
        detail: Detail::Jpeg(frame),
    })
}

/// Copies a segment that the picture needs. An application's is needed if it says how to decode: JFIF, without the
/// thumbnail it may hold, and Adobe.
fn keep(segment: &Segment<'_>, frame: &mut Frame, clean: &mut Vec<u8>) {
    let start = clean.len();
    match segment.marker {
        EOI => clean.extend([0xff, EOI]),
        APP0 if start == 2 => {
            if let Some(b"JFIF\0") = segment.body.first_chunk()
                && let Some(head) = segment.body.first_chunk::<12>()
            {
                clean.extend([0xff, APP0, 0, 16]);
                clean.extend(head);
                clean.extend([0, 0]);
            }
        }
        APP14 => {
            if let Some(adobe) = segment.body.first_chunk::<12>()
                && adobe.starts_with(b"Adobe")
                && frame.adobe.is_none()
            {
                frame.adobe = Some(adobe[11]);
                clean.extend([0xff, APP14, 0, 14]);
                clean.extend(adobe);
            }
        }
        // Frame headers, tables, restart interval, scans (§B.1.1.3).
        0xc0..=0xcf | 0xda | 0xdb | 0xdd => {
            clean.extend([0xff, segment.marker]);
            clean.extend((segment.body.len() as u16 + 2).to_be_bytes());
            clean.extend(segment.body);
            clean.extend(segment.entropy);
        }
        _ => {}
    }
}

fn original(want: Want, orientation: Orientation, profile: &Profile, clean: &[u8]) -> Original {
    if !want.wants(1) {
        return Original::Unwanted;
    }
    if orientation != Orientation::NoTransforms {
        return Original::Encode;
    }
    if *profile == Profile::Srgb {
        return Original::Clean;
    }
    match profile.sanitised() {
        Some(icc) => Original::Bytes(with_icc(clean, &icc)),
        None => Original::Encode,
    }
}

/// `clean` with a profile right after JFIF (ICC.1 annex B.4).
fn with_icc(clean: &[u8], icc: &[u8]) -> Vec<u8> {
    const CHUNK: usize = 65_519;
    let at = if clean.get(3) == Some(&APP0) { 2 + 18 } else { 2 };
    let chunks = icc.chunks(CHUNK);
    let count = chunks.len();
    let mut out = clean[..at].to_vec();
    for (i, chunk) in chunks.enumerate() {
        out.extend([0xff, APP2]);
        out.extend((chunk.len() as u16 + 16).to_be_bytes());
        out.extend(b"ICC_PROFILE\0");
        out.extend([i as u8 + 1, count as u8]);
        out.extend(chunk);
    }
    out.extend(&clean[at..]);
    out
}

/// A profile in pieces.
#[derive(Default)]
struct Icc<'a> {
    pieces: Vec<(u8, u8, &'a [u8])>,
    bytes: usize,
}

impl<'a> Icc<'a> {
    fn add(&mut self, body: &'a [u8]) {
        if let Some([number, count, data @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") {
            self.bytes += data.len();
            if self.bytes <= PROFILE_BYTES {
                self.pieces.push((*number, *count, data));
            }
        }
    }

    /// All of it, if every piece is there once and it is not too long.
    fn assemble(mut self) -> Option<Vec<u8>> {
        self.pieces.sort_by_key(|(number, ..)| *number);
        let count = self.pieces.len();
        let whole = self
            .pieces
            .iter()
            .enumerate()
            .all(|(i, (number, of, _))| usize::from(*number) == i + 1 && usize::from(*of) == count);
        (whole && count > 0 && self.bytes <= PROFILE_BYTES)
            .then(|| self.pieces.iter().flat_map(|(.., data)| data.iter().copied()).collect())
    }
}

impl Frame {
    /// Reads a frame header (§B.2.2).
    fn start(&mut self, segment: &Segment<'_>, limits: &Limits) -> Result<(), Refusal> {
        if self.width != 0 {
            return Err(damaged("a JPEG with two frames"));
        }
        let [precision, h1, h2, w1, w2, count, components @ ..] = segment.body else {
            return Err(damaged("a JPEG with a cut frame header"));
        };
        let height = u32::from(u16::from_be_bytes([*h1, *h2]));
        let width = u32::from(u16::from_be_bytes([*w1, *w2]));
        limits.check_size(width, height, 1)?;
        let decodable =
            matches!(segment.marker, 0xc0..=0xc2) && *precision == 8 && matches!(count, 1 | 3 | 4);
        if !decodable {
            return Err(Refusal::new(Code::NotAnImage, "a kind of JPEG that only special software decodes"));
        }
        let (components, _) = components.as_chunks::<3>();
        self.sampling = components.iter().map(|c| (c[1] >> 4, c[1] & 15)).collect();
        let sound = self.sampling.iter().all(|(h, v)| (1..=4).contains(h) && (1..=4).contains(v));
        if components.len() != usize::from(*count) || !sound {
            return Err(damaged("a JPEG with a wrong frame header"));
        }
        self.progressive = segment.marker == 0xc2;
        (self.width, self.height) = (width, height);
        Ok(())
    }

    /// Counts a scan, `scans` with this one.
    fn scan(&mut self, segment: &Segment<'_>, scans: u32, limits: &Limits) -> Result<(), Refusal> {
        if self.width == 0 {
            return Err(damaged("a JPEG with a scan before its frame"));
        }
        if scans == 1 {
            self.first_scan = usize::from(segment.body.first().copied().unwrap_or(0));
        }
        if scans > limits.scans {
            let text = format!("a JPEG with more than {} scans", limits.scans);
            return Err(Refusal::new(Code::TooManyScans, text));
        }
        if u64::from(self.width) * u64::from(self.height) * u64::from(scans) > SCANNED_PIXELS {
            return Err(too_complex("a JPEG with too many scans for its size"));
        }
        Ok(())
    }

    /// See [`Source::decode_bytes`].
    fn decode_bytes(&self) -> u64 {
        let most = |f: fn(&(u8, u8)) -> u8| u64::from(self.sampling.iter().map(f).max().unwrap_or(1));
        let (h_most, v_most) = (most(|s| s.0), most(|s| s.1));
        let units_x = u64::from(self.width).div_ceil(8 * h_most);
        let units_y = u64::from(self.height).div_ceil(8 * v_most);
        let (mut row, mut all) = (0, 0);
        for &(h, v) in &self.sampling {
            let row_of_units = units_x * 64 * u64::from(h) * u64::from(v);
            row += row_of_units * 2;
            all += row_of_units * 2 * units_y;
        }
        let pixels = u64::from(self.width) * u64::from(self.height) * self.sampling.len() as u64;
        let coefficients = if self.progressive || self.first_scan < self.sampling.len() { all } else { 0 };
        // A row of units is held decoded, widened, and once more for the row above it.
        pixels + coefficients + 4 * row * h_most * v_most
    }
}

/// See [`Source::decode`].
pub(super) fn decode(clean: &[u8], frame: &Frame) -> Result<Pixels, Refusal> {
    // A camera that forgot a padding byte still made a photograph, and browsers show it. A file that stops early is
    // refused: its sender has the whole one.
    match decode_with(clean, frame, true) {
        Err(_) if frame.complete => decode_with(clean, frame, false),
        result => result,
    }
}

fn decode_with(clean: &[u8], frame: &Frame, strict: bool) -> Result<Pixels, Refusal> {
    let ycck = frame.adobe == Some(2);
    let (layout, space) = match frame.sampling.len() {
        1 => (Layout::Grey, ColorSpace::Luma),
        3 => (Layout::Rgb, ColorSpace::RGB),
        _ => (Layout::Cmyk, if ycck { ColorSpace::YCCK } else { ColorSpace::CMYK }),
    };
    let options = DecoderOptions::default()
        .set_max_width(frame.width as usize)
        .set_max_height(frame.height as usize)
        .set_strict_mode(strict)
        .jpeg_set_out_colorspace(space);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(clean), options);
    let mut data =
        decoder.decode().map_err(|error| damaged(&format!("a JPEG that cannot be decoded: {error}")))?;
    if layout == Layout::Cmyk {
        to_inks(&mut data, ycck);
    }
    Pixels::new(frame.width, frame.height, layout, data)
}

/// From four stored samples to inks. They are stored inverted: Adobe began it, and browsers and libvips take it so
/// whether or not Adobe's segment is there.
fn to_inks(data: &mut [u8], ycck: bool) {
    for pixel in data.as_chunks_mut::<4>().0 {
        if ycck {
            // YCbCr gives the complement of what is stored, which is ink.
            let (y, cb, cr) = (f32::from(pixel[0]), f32::from(pixel[1]) - 128.0, f32::from(pixel[2]) - 128.0);
            pixel[0] = (y + 1.402 * cr).round() as u8;
            pixel[1] = (y - 0.344_136 * cb - 0.714_136 * cr).round() as u8;
            pixel[2] = (y + 1.772 * cb).round() as u8;
            pixel[3] = 255 - pixel[3];
        } else {
            *pixel = pixel.map(|sample| 255 - sample);
        }
    }
}
