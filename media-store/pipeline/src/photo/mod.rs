//! Photos: whatever a camera or a screen wrote goes in (JPEG, PNG, GIF, WebP); pictures that are upright, in sRGB, small
//! and without a word about where, when and by whom come out.
//!
//! 1. `source` reads the structure alone (`jpeg`, `png`, `gif`, `webp`): size, orientation, profile, how many scans and
//!    frames, and how much memory decoding will take. What breaks a limit is refused here, before anything is decoded.
//!    It hands on the picture without its metadata, so no decoder ever sees a comment, a text or a thumbnail.
//! 2. The picture is decoded once. The largest variant is made of it (`resize`), then converted to sRGB (`color`) and
//!    turned upright (`orient`), which is cheap there; the full picture is let go, and each smaller variant is made of
//!    the next larger one.
//! 3. `encode` makes JPEG by jpegli, PNG or lossless WebP. The smallest variant is told first.
//!
//! A picture that is small enough already, upright and in sRGB is not encoded again: its own bytes stay, without the
//! metadata, unless ours are fewer by a margin (see `OWN_BYTES_PER_PIXEL`). No variant is larger than the input of the
//! same size, nor than the next larger variant; but the smallest does not wait for the next.

mod color;
mod encode;
mod gif;
mod jpeg;
mod orient;
mod pixels;
mod plan;
mod png;
mod resize;
mod source;
#[cfg(test)]
mod tests;
mod webp;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use base64::Engine as _;
use image::metadata::Orientation;
use serde::{Deserialize, Serialize};

use crate::{Code, Limits, Refusal};
use color::Conversion;
use encode::Encoded;
use orient::Upright;
use pixels::{Layout, Pixels, Rows as _};
use plan::Size;
use source::{Format, Original, Source};

/// What to make of a photo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Caps of the long edge in pixels, each 16–16,384, at most 16 of them. A picture gets those below its long edge and
    /// the first that is not.
    pub sizes: Vec<u32>,
    /// Whether to make `original` of a still: its full size, upright, without metadata. Its own bytes if it is upright.
    #[serde(default)]
    pub original: bool,
    /// Whether to make `original` of an animation, which is the only variant that moves.
    #[serde(default)]
    pub animated_original: bool,
}

/// What is known of a photo before its first variant is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhotoInfo {
    /// Of the whole picture, upright, in pixels.
    pub width: u32,
    /// Of the whole picture, upright, in pixels.
    pub height: u32,
    /// A placeholder of some 25 bytes (<https://evanw.github.io/thumbhash>), base64 with padding.
    pub thumbhash: String,
    /// Whether it moves.
    pub animated: bool,
    /// All variants that will be made, the smallest first, `original` last.
    pub variants: Vec<Planned>,
}

/// A variant that will be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// The cap of its long edge in decimal, or `original`.
    pub name: String,
    /// In pixels. A variant can turn out to be the next larger one, if that has fewer bytes.
    pub width: u32,
    /// In pixels.
    pub height: u32,
}

/// A variant that has been made and can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// As planned; `audio` for a voice note.
    pub name: String,
    /// The file in the output folder. It is closed, and not synced.
    pub file: String,
    /// Its MIME type.
    pub mime: String,
    /// Its size.
    pub bytes: u64,
    /// In pixels; 0 for sound.
    pub width: u32,
    /// In pixels; 0 for sound.
    pub height: u32,
}

/// What [`process`] tells while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Once, first.
    Photo(PhotoInfo),
    /// Once for each planned variant, the smallest first.
    Made(Made),
}

/// Bytes a pixel, beside [`OWN_BYTES`], up to which a picture of its own size keeps its bytes without ours being
/// tried. Our encodings of photographs have 0.11 (at 2048 pixels) to 0.2 (at 1280): nothing is to be won below that, and
/// each new encoding loses a little. Above it the smaller of the two stays.
const OWN_BYTES_PER_PIXEL: f64 = 0.1;
/// What tables and headers take, and the smallest icons.
const OWN_BYTES: u64 = 4 * 1024;

/// Memory for the process itself and for rows on their way through a filter, in bytes.
const OTHER_BYTES: u64 = 24 * 1024 * 1024;
/// Memory for each pixel of the largest variant while there is the whole picture too: itself, and once more upright.
const TURNING_BYTES_PER_PIXEL: u64 = 8;

/// Pixels of the largest variant up to which all are made before the first is told. Of so small ones, headers and
/// chance decide which is smaller in bytes.
const TINY_PIXELS: u64 = 300_000;

/// Long edge of what the placeholder is made of.
const THUMBHASH_SIDE: u32 = 100;

/// Makes the variants of the photo `input` as files in the folder `output`, and tells each as it is there.
///
/// # Errors
///
/// `not_an_image`: not a picture that we decode. `damaged`: begins like one, and is not. `too_large`, `too_many_pixels`,
/// `too_many_scans`, `too_many_frames`, `too_complex`, `too_much_memory`: beyond `limits`, most of it told from headers.
/// `failed`: our own files, or a request that makes no sense. Files already told are then still there.
pub fn process(
    input: Vec<u8>,
    output: &Path,
    request: &Request,
    limits: &Limits,
    tell: &mut dyn FnMut(Event),
) -> Result<(), Refusal> {
    // Decoders are other people's and read hostile bytes. One that panics has met a broken file.
    catch_unwind(AssertUnwindSafe(|| Job::read(input, output, request, limits)?.run(tell)))
        .unwrap_or_else(|_| Err(Refusal::new(Code::Damaged, "the picture made a decoder give up")))
}

/// One photo on its way.
struct Job<'a> {
    source: Source,
    sizes: Vec<Size>,
    output: &'a Path,
    request: &'a Request,
    input_bytes: usize,
}

impl<'a> Job<'a> {
    fn read(
        input: Vec<u8>,
        output: &'a Path,
        request: &'a Request,
        limits: &Limits,
    ) -> Result<Job<'a>, Refusal> {
        let input_bytes = input.len();
        if input_bytes as u64 > limits.input_bytes {
            let text = format!("{input_bytes} bytes are more than {}", limits.input_bytes);
            return Err(Refusal::new(Code::TooLarge, text));
        }
        let source = Source::read(&input, request.original, request.animated_original, limits)?;
        drop(input);
        let (width, height) = source.upright_size();
        let sizes = plan::sizes(request, width, height)?;
        let job = Job { source, sizes, output, request, input_bytes };
        limits.check_memory(job.memory_bytes())?;
        Ok(job)
    }

    /// Most memory that the job will take at a time, in bytes, as far as headers tell.
    fn memory_bytes(&self) -> u64 {
        let source = &self.source;
        let kept =
            source.clean.len() + if let Original::Bytes(bytes) = &source.original { bytes.len() } else { 0 };
        let (width, height) = source.upright_size();
        let pixels = |(width, height): (u32, u32)| u64::from(width) * u64::from(height);
        let top = pixels(largest(&self.sizes, width, height));
        let decoding = source.decode_bytes + top * TURNING_BYTES_PER_PIXEL;
        let mut encoding = encode::memory_bytes(top);
        if source.original == Original::Encode {
            let whole = pixels((width, height));
            encoding = encoding.max(encode::memory_bytes(whole)) + whole * source.bytes_per_pixel;
        }
        kept as u64 + OTHER_BYTES + decoding.max(encoding)
    }

    fn run(mut self, tell: &mut dyn FnMut(Event)) -> Result<(), Refusal> {
        let full = self.source.decode()?;
        let conversion = Conversion::new(&self.source.profile, full.layout());
        let (width, height) = self.source.upright_size();
        let largest = largest(&self.sizes, width, height);
        let own = self.own(&full, largest, &conversion);
        let (top, whole) = self.top(full, largest, &conversion)?;
        let sizes = std::mem::take(&mut self.sizes);
        let ladder = Ladder::new(top, &sizes, self.source.lossless)?;
        tell(Event::Photo(PhotoInfo {
            width,
            height,
            thumbhash: thumbhash(ladder.smallest())?,
            animated: self.source.is_animated(),
            variants: plan::told(&sizes, self.has_original().then_some((width, height))),
        }));
        ladder.make(own, &mut |size, encoded| self.write(&size.cap.to_string(), size, encoded, tell))?;
        self.make_original(whole.as_ref(), &conversion, (width, height), tell)
    }

    /// The picture at the size of the largest variant, upright and in sRGB; and the whole one, if it will be needed again.
    fn top(
        &self,
        full: Pixels,
        largest: (u32, u32),
        conversion: &Conversion,
    ) -> Result<(Pixels, Option<Pixels>), Refusal> {
        let orientation = self.source.orientation;
        let (width, height) = if orient::swaps_sides(orientation) { (largest.1, largest.0) } else { largest };
        let small = if full.count() > u64::from(width) * u64::from(height) {
            Some(resize::shrink(&full, width, height)?)
        } else {
            None
        };
        let idle = orientation == Orientation::NoTransforms && conversion.is_none();
        if self.source.original == Original::Encode {
            let top = upright(small.as_ref().unwrap_or(&full), orientation, conversion)?;
            return Ok((top, Some(full)));
        }
        // The whole picture goes before the work on its variants begins.
        let pixels = small.unwrap_or(full);
        Ok((if idle { pixels } else { upright(&pixels, orientation, conversion)? }, None))
    }

    /// What the input's own bytes allow for the largest variant, if that has the input's size.
    fn own(&mut self, full: &Pixels, largest: (u32, u32), conversion: &Conversion) -> Option<Own> {
        if u64::from(largest.0) * u64::from(largest.1) != full.count() || self.request.sizes.is_empty() {
            return None;
        }
        let upright = self.source.orientation == Orientation::NoTransforms;
        let fit = upright && conversion.is_none() && full.layout() != Layout::Cmyk && self.source.whole;
        let keep = self.source.original == Original::Clean;
        let bytes = fit
            .then(|| if keep { self.source.clean.clone() } else { std::mem::take(&mut self.source.clean) });
        Some(Own {
            input_bytes: self.input_bytes,
            clean: bytes.map(|bytes| Encoded { format: self.source.format, bytes }),
        })
    }

    fn has_original(&self) -> bool {
        self.source.original != Original::Unwanted
    }

    fn make_original(
        &mut self,
        whole: Option<&Pixels>,
        conversion: &Conversion,
        (width, height): (u32, u32),
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Refusal> {
        let format = self.source.format;
        let encoded = match (std::mem::replace(&mut self.source.original, Original::Unwanted), whole) {
            (Original::Unwanted, _) => return Ok(()),
            (Original::Clean, _) => Encoded { format, bytes: std::mem::take(&mut self.source.clean) },
            (Original::Bytes(bytes), _) => Encoded { format, bytes },
            (Original::Encode, whole) => {
                let pixels = whole.expect("kept for this");
                let upright = Upright { pixels, orientation: self.source.orientation, conversion };
                encode::original(&upright, self.source.lossless)?
            }
        };
        self.write(plan::ORIGINAL, &Size { cap: 0, width, height }, encoded, tell)
    }

    fn write(
        &self,
        name: &str,
        size: &Size,
        encoded: Encoded,
        tell: &mut dyn FnMut(Event),
    ) -> Result<(), Refusal> {
        let Encoded { format, bytes } = encoded;
        let file = format!("{name}.{}", format.extension());
        std::fs::write(self.output.join(&file), &bytes)
            .map_err(|error| Refusal::io("a variant cannot be written", &error))?;
        let (name, mime, bytes) = (name.to_owned(), format.mime().to_owned(), bytes.len() as u64);
        tell(Event::Made(Made { name, file, mime, bytes, width: size.width, height: size.height }));
        Ok(())
    }
}

/// A copy of `pixels` as they should be seen.
fn upright(pixels: &Pixels, orientation: Orientation, conversion: &Conversion) -> Result<Pixels, Refusal> {
    let upright = Upright { pixels, orientation, conversion };
    Pixels::new(upright.width(), upright.height(), upright.layout(), upright.collect())
}

/// The size of the largest variant of a picture; if none is asked for, of what its placeholder is made of.
fn largest(sizes: &[Size], width: u32, height: u32) -> (u32, u32) {
    sizes.last().map_or_else(|| plan::within(THUMBHASH_SIDE, width, height), |it| (it.width, it.height))
}

/// The input, where it has the size of the largest variant.
struct Own {
    /// What no variant may exceed.
    input_bytes: usize,
    /// The input without its metadata, if nothing else must change.
    clean: Option<Encoded>,
}

/// The variants' pixels, each made of the next larger one, the smallest first.
struct Ladder<'a> {
    steps: Vec<(&'a Size, Pixels)>,
    /// What the placeholder is made of, if no variant is asked for.
    spare: Option<Pixels>,
    from_lossless: bool,
}

impl<'a> Ladder<'a> {
    fn new(top: Pixels, sizes: &'a [Size], from_lossless: bool) -> Result<Ladder<'a>, Refusal> {
        let Some((largest, smaller)) = sizes.split_last() else {
            return Ok(Ladder { steps: Vec::new(), spare: Some(top), from_lossless });
        };
        let mut steps = vec![(largest, top)];
        for size in smaller.iter().rev() {
            let (_, larger) = steps.last().expect("there is the largest");
            let pixels = resize::shrink(larger, size.width, size.height)?.without_idle_alpha();
            steps.push((size, pixels));
        }
        steps.reverse();
        Ok(Ladder { steps, spare: None, from_lossless })
    }

    fn smallest(&self) -> &Pixels {
        self.steps
            .first()
            .map_or_else(|| self.spare.as_ref().expect("one or the other"), |(_, pixels)| pixels)
    }

    /// Encodes all and hands them out, the smallest first. That one is handed out before the others are encoded; it is
    /// bound by the input alone.
    fn make(
        self,
        own: Option<Own>,
        hand_out: &mut dyn FnMut(&Size, Encoded) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut waiting = &self.steps[..];
        if let [(size, pixels), larger @ ..] = waiting
            && larger.last().is_some_and(|(_, top)| top.count() > TINY_PIXELS)
        {
            let bound =
                own.as_ref().map(|it| it.clean.as_ref().map_or(it.input_bytes, |clean| clean.bytes.len()));
            let encoded = encode::variant(pixels, self.from_lossless, bound)?;
            let fallback = own.as_ref().and_then(|it| it.clean.as_ref());
            match fallback {
                Some(clean) if clean.bytes.len() < encoded.bytes.len() => {
                    let (top, _) = larger.last().expect("looked at above");
                    hand_out(&Size { cap: size.cap, ..(*top).clone() }, clean.clone())?;
                }
                _ => hand_out(size, encoded)?,
            }
            waiting = larger;
        }
        let Some(((size, top), smaller)) = waiting.split_last() else { return Ok(()) };
        let mut made: Vec<(Size, Encoded)> = vec![((*size).clone(), self.top(top, own)?)];
        for (size, pixels) in smaller.iter().rev() {
            let (larger_size, larger) = made.last().expect("there is the largest");
            let encoded = encode::variant(pixels, self.from_lossless, Some(larger.bytes.len()))?;
            let next = if encoded.bytes.len() <= larger.bytes.len() {
                ((*size).clone(), encoded)
            } else {
                (Size { cap: size.cap, ..larger_size.clone() }, larger.clone())
            };
            made.push(next);
        }
        made.into_iter().rev().try_for_each(|(size, encoded)| hand_out(&size, encoded))
    }

    /// The largest variant: the input's own bytes if they are few, else the fewer of those and ours.
    fn top(&self, pixels: &Pixels, own: Option<Own>) -> Result<Encoded, Refusal> {
        let Some(own) = own else { return encode::variant(pixels, self.from_lossless, None) };
        let budget = (pixels.count() as f64 * OWN_BYTES_PER_PIXEL) as u64 + OWN_BYTES;
        match own.clean {
            Some(clean) if clean.bytes.len() as u64 <= budget => Ok(clean),
            Some(clean) => {
                let ours = encode::variant(pixels, self.from_lossless, None)?;
                Ok(if ours.bytes.len() < clean.bytes.len() { ours } else { clean })
            }
            None => encode::variant(pixels, self.from_lossless, Some(own.input_bytes)),
        }
    }
}

/// The placeholder.
fn thumbhash(pixels: &Pixels) -> Result<String, Refusal> {
    let (width, height) = plan::within(THUMBHASH_SIDE, pixels.width(), pixels.height());
    let small;
    let pixels = if (width, height) == (pixels.width(), pixels.height()) {
        pixels
    } else {
        small = resize::shrink(pixels, width, height)?;
        &small
    };
    let rgba: Vec<u8> = pixels
        .data()
        .chunks_exact(pixels.layout().channels())
        .flat_map(|p| match *p {
            [g] => [g, g, g, 255],
            [g, a] => [g, g, g, a],
            [r, g, b] => [r, g, b, 255],
            _ => [p[0], p[1], p[2], p[3]],
        })
        .collect();
    let hash = ::thumbhash::rgba_to_thumb_hash(width as usize, height as usize, &rgba);
    Ok(base64::engine::general_purpose::STANDARD.encode(hash))
}

/// Whether bytes begin like a picture that [`process`] decodes, and its MIME type.
pub(crate) fn mime_of(head: &[u8]) -> Option<&'static str> {
    Format::of(head).map(Format::mime)
}
