//! Lanczos3, from the next larger picture, in bands.

use trunkline_media_resample::{Image, ImageRef, PixelType, ResizeOptions, Resizer, resample};

use super::pixels::{Layout, Pixels};
use crate::{Code, Refusal};

/// Bytes of intermediate rows at a time. The whole picture at once would cost as much memory again as the result of a
/// wide picture; bands of less cost time, since each computes its weights anew.
const BAND_BYTES: usize = 16 * 1024 * 1024;

/// Reach of the filter in pixels of the larger scale; one more for rounding.
const REACH: f64 = 4.0;

/// A smaller `pixels` of exactly `width × height`. Colours of transparent pixels do not bleed: what is averaged is
/// colour times opacity.
pub(super) fn shrink(pixels: &Pixels, width: u32, height: u32) -> Result<Pixels, Refusal> {
    shrink_in_bands(pixels, width, height, BAND_BYTES)
}

/// See [`shrink`].
pub(super) fn shrink_in_bands(
    pixels: &Pixels,
    width: u32,
    height: u32,
    band_bytes: usize,
) -> Result<Pixels, Refusal> {
    let channels = pixels.layout().channels();
    let kind = match pixels.layout() {
        Layout::Grey => PixelType::U8,
        Layout::GreyAlpha => PixelType::U8x2,
        Layout::Rgb => PixelType::U8x3,
        Layout::Rgba | Layout::Cmyk => PixelType::U8x4,
    };
    let scale = f64::from(pixels.height()) / f64::from(height);
    let mut out = vec![0; width as usize * height as usize * channels];
    let mut resizer = Resizer::new();
    let options = ResizeOptions::new().use_alpha(pixels.layout().has_alpha());
    let band = band_rows(pixels, scale, band_bytes).min(height);
    let row_bytes = width as usize * channels;
    for (i, rows) in out.chunks_mut(band as usize * row_bytes).enumerate() {
        let first = i as u32 * band;
        let count = (rows.len() / row_bytes) as u32;
        let (top, bottom) = (f64::from(first) * scale, f64::from(first + count) * scale);
        let reach = REACH * scale.max(1.0);
        let from = (top - reach).max(0.0) as u32;
        let to = ((bottom + reach).ceil() as u32).min(pixels.height());
        let bytes = from as usize * pixels.stride()..to as usize * pixels.stride();
        let window = ImageRef::new(pixels.width(), to - from, &pixels.data()[bytes], kind).map_err(failed)?;
        let top = top - f64::from(from);
        // The sum may exceed the window by a rounding error.
        let tall = (f64::from(count) * scale).min(f64::from(to - from) - top);
        let mut target = Image::from_slice_u8(width, count, rows, kind).map_err(failed)?;
        let options = options.crop(0.0, top, f64::from(pixels.width()), tall);
        resample(&mut resizer, &window, &mut target, &options).map_err(failed)?;
    }
    Pixels::new(width, height, pixels.layout(), out)
}

/// Rows of the result to make at a time.
fn band_rows(pixels: &Pixels, scale: f64, band_bytes: usize) -> u32 {
    // Intermediate rows are as wide as the source. With opacity, the rows of the source are copied as well.
    let per_row =
        pixels.stride() as f64 * if pixels.layout().has_alpha() { 1.0 + scale.max(1.0) } else { 1.0 };
    (band_bytes as f64 / per_row).max(16.0) as u32
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Failed, format!("the picture cannot be made smaller: {error}"))
}
