//! Encoding, and choosing what is smallest.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use jpegli::{ColorSpace, Compress};

use super::pixels::{Layout, Pixels, Rows};
use super::source::Format;
use crate::{Code, Refusal};

/// Quality of variants. At 2048 pixels it is SSIMULACRA2 79–80, where artefacts are not seen at arm's length.
pub(super) const QUALITY: u8 = 80;
/// Quality of an original that must be encoded anew because it lay on its side.
pub(super) const QUALITY_ORIGINAL: u8 = 92;
/// What is tried where a variant must not exceed a number of bytes, downwards.
const LADDER: [u8; 7] = [QUALITY, 70, 60, 50, 40, 30, 20];

/// Rows handed to an encoder at a time.
const BAND: u32 = 16;
/// Pixels up to which a JPEG is progressive, which is 3–5 % smaller: its encoder then holds every coefficient.
const PROGRESSIVE_PIXELS: u64 = 6 * 1024 * 1024;
/// Pixels up to which its codes are made for it, another 6 %: its encoder then holds every token.
const OPTIMISED_PIXELS: u64 = 16 * 1024 * 1024;

/// An encoded picture.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    pub(super) format: Format,
    pub(super) bytes: Vec<u8>,
}

/// Memory that encoding so many pixels takes at most, beside the pixels, in bytes. Measured with noise; photographs take
/// half of it.
pub(super) const fn memory_bytes(pixels: u64) -> u64 {
    match pixels {
        0..=PROGRESSIVE_PIXELS => 14 * pixels,
        _ if pixels <= OPTIMISED_PIXELS => 8 * pixels,
        // Rows, and the result.
        _ => pixels / 4,
    }
}

/// Encodes a variant: what is transparent losslessly, everything else as JPEG or, where that is smaller and the source
/// had every pixel, losslessly too. With `bound`, JPEG's quality goes down until that many bytes suffice; the result
/// may still be larger, if nothing does.
pub(super) fn variant(
    pixels: &Pixels,
    from_lossless: bool,
    bound: Option<usize>,
) -> Result<Encoded, Refusal> {
    let bound = bound.unwrap_or(usize::MAX);
    let transparent = pixels.layout().has_alpha();
    let mut best = None;
    if transparent || (from_lossless && pixels.is_flat()) {
        smaller(&mut best, Encoded { format: Format::Png, bytes: png(pixels)? });
        smaller(&mut best, Encoded { format: Format::WebP, bytes: webp(pixels)? });
    }
    if !transparent {
        for quality in LADDER {
            smaller(&mut best, Encoded { format: Format::Jpeg, bytes: jpeg(pixels, quality)? });
            if best.as_ref().is_some_and(|it| it.bytes.len() <= bound) {
                break;
            }
        }
    }
    best.ok_or_else(|| failed("nothing was tried"))
}

/// Keeps the smaller one; of two equals, the one there is.
fn smaller(best: &mut Option<Encoded>, new: Encoded) {
    if best.as_ref().is_none_or(|it| new.bytes.len() < it.bytes.len()) {
        *best = Some(new);
    }
}

/// Encodes an original that could not stay as it is.
pub(super) fn original(rows: &dyn Rows, lossless: bool) -> Result<Encoded, Refusal> {
    if lossless || rows.layout().has_alpha() {
        return Ok(Encoded { format: Format::Png, bytes: png(rows)? });
    }
    Ok(Encoded { format: Format::Jpeg, bytes: jpeg(rows, QUALITY_ORIGINAL)? })
}

/// JPEG with full colour resolution; grey stays one component.
pub(super) fn jpeg(rows: &dyn Rows, quality: u8) -> Result<Vec<u8>, Refusal> {
    let space = match rows.layout() {
        Layout::Grey => ColorSpace::JCS_GRAYSCALE,
        Layout::Rgb => ColorSpace::JCS_RGB,
        Layout::GreyAlpha | Layout::Rgba | Layout::Cmyk => return Err(failed("not a layout of JPEG")),
    };
    // Errors of the C library arrive by unwinding. They are ours: a full disk of memory, never the pixels.
    catch_unwind(AssertUnwindSafe(|| {
        let mut compress = Compress::new(space);
        compress.set_size(rows.width() as usize, rows.height() as usize);
        compress.set_quality(f32::from(quality));
        compress.set_chroma_sampling_pixel_sizes((1, 1), (1, 1));
        let pixels = u64::from(rows.width()) * u64::from(rows.height());
        compress.set_optimize_coding(pixels <= OPTIMISED_PIXELS);
        if pixels <= PROGRESSIVE_PIXELS {
            compress.set_progressive_mode();
        }
        let mut started = compress.start_compress(Vec::new())?;
        let mut band = Vec::new();
        for first in (0..rows.height()).step_by(BAND as usize) {
            rows.read(first, BAND, &mut band);
            started.write_scanlines(&band)?;
        }
        started.finish()
    }))
    .map_err(|_| failed("the JPEG encoder gave up"))?
    .map_err(|error| failed(&error.to_string()))
}

fn png(rows: &dyn Rows) -> Result<Vec<u8>, Refusal> {
    let error = |error: png::EncodingError| failed(&error.to_string());
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, rows.width(), rows.height());
    encoder.set_color(match rows.layout() {
        Layout::Grey => png::ColorType::Grayscale,
        Layout::GreyAlpha => png::ColorType::GrayscaleAlpha,
        Layout::Rgb => png::ColorType::Rgb,
        Layout::Rgba => png::ColorType::Rgba,
        Layout::Cmyk => return Err(failed("not a layout of PNG")),
    });
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    let mut writer = encoder.write_header().map_err(error)?;
    let mut stream = writer.stream_writer().map_err(error)?;
    let mut band = Vec::new();
    for first in (0..rows.height()).step_by(BAND as usize) {
        rows.read(first, BAND, &mut band);
        std::io::Write::write_all(&mut stream, &band).map_err(|e| failed(&e.to_string()))?;
    }
    stream.finish().map_err(error)?;
    writer.finish().map_err(error)?;
    Ok(out)
}

fn webp(pixels: &Pixels) -> Result<Vec<u8>, Refusal> {
    let colour = match pixels.layout() {
        Layout::Grey => ExtendedColorType::L8,
        Layout::GreyAlpha => ExtendedColorType::La8,
        Layout::Rgb => ExtendedColorType::Rgb8,
        Layout::Rgba => ExtendedColorType::Rgba8,
        Layout::Cmyk => return Err(failed("not a layout of WebP")),
    };
    let mut out = Vec::new();
    WebPEncoder::new_lossless(&mut out)
        .write_image(pixels.data(), pixels.width(), pixels.height(), colour)
        .map_err(|error| failed(&error.to_string()))?;
    Ok(out)
}

fn failed(text: &str) -> Refusal {
    Refusal::new(Code::Failed, format!("the picture cannot be encoded: {text}"))
}
