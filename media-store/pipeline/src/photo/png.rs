//! PNG (3rd edition) and APNG: chunks, and decoding row by row.

use std::io::Cursor;

use image::metadata::Orientation;
use png::{BitDepth, ColorType, DecodingError, InterlaceInfo, Transformations};

use super::color::{PROFILE_BYTES, Profile};
use super::pixels::{Layout, Pixels};
use super::source::{Detail, Format, Original, Source, Want, damaged, take, too_complex};
use crate::{Limits, Refusal};

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Chunks of a file. Encoders that write 4 KiB at a time reach 15,000 with 64 megapixels.
const CHUNKS: u32 = 200_000;
/// What the decoder may buffer beside rows: a palette, and no text, since it gets none.
const BUFFERS: usize = 64 * 1024 * 1024;

/// The file as chunks: type, content, and the whole of it as it stands, with length and checksum.
struct Chunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Chunks<'a> {
    type Item = ([u8; 4], &'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32::from_be_bytes(*self.rest.first_chunk()?) as usize;
        let whole = take(&mut self.rest, length.checked_add(12)?)?;
        Some((*whole[4..].first_chunk()?, &whole[8..8 + length], whole))
    }
}

/// What a walk over the chunks gathers.
struct Gathered {
    width: u32,
    height: u32,
    bytes_per_pixel: u64,
    orientation: Orientation,
    frames: u32,
    /// Header, palette, transparency, data.
    clean: Vec<u8>,
    /// Header and what is said about colours, for the decoder to understand.
    colours: Vec<u8>,
    ended: bool,
}

/// See [`Source::read`].
pub(super) fn read(input: &[u8], want: Want, limits: &Limits) -> Result<Source, Refusal> {
    let gathered = gather(input, limits)?;
    if !gathered.ended {
        return Err(damaged("a PNG that is cut off"));
    }
    let profile = profile(gathered.colours);
    let animated = gathered.frames > 1;
    let orientation = if animated { Orientation::NoTransforms } else { gathered.orientation };
    let original = if !want.wants(gathered.frames) {
        Original::Unwanted
    } else if orientation != Orientation::NoTransforms {
        Original::Encode
    } else {
        match original(input, &profile) {
            Original::Bytes(bytes) if bytes == gathered.clean => Original::Clean,
            original => original,
        }
    };
    let pixels = u64::from(gathered.width) * u64::from(gathered.height);
    let row = u64::from(gathered.width) * 8;
    Ok(Source {
        format: Format::Png,
        width: gathered.width,
        height: gathered.height,
        orientation,
        profile,
        frames: gathered.frames,
        lossless: true,
        clean: gathered.clean,
        whole: !animated,
        original,
        decode_bytes: pixels * gathered.bytes_per_pixel + 8 * row,
        bytes_per_pixel: gathered.bytes_per_pixel,
        detail: Detail::Other,
    })
}

fn gather(input: &[u8], limits: &Limits) -> Result<Gathered, Refusal> {
    let mut chunks = Chunks { rest: input.strip_prefix(SIGNATURE).unwrap_or_default() };
    let Some((kind, header, whole)) = chunks.next() else { return Err(damaged("a PNG without a header")) };
    let (b"IHDR", &[w1, w2, w3, w4, h1, h2, h3, h4, _, colour, _, _, _]) = (&kind, header) else {
        return Err(damaged("a PNG without a header"));
    };
    let (width, height) = (u32::from_be_bytes([w1, w2, w3, w4]), u32::from_be_bytes([h1, h2, h3, h4]));
    limits.check_size(width, height, 1)?;
    let mut it = Gathered {
        width,
        height,
        // Grey, or colour by sample or palette, opaque; transparency adds one.
        bytes_per_pixel: [1, 0, 3, 3, 2, 0, 4].get(usize::from(colour)).copied().unwrap_or(0),
        orientation: Orientation::NoTransforms,
        frames: 1,
        clean: Vec::with_capacity(input.len()),
        colours: Vec::new(),
        ended: false,
    };
    for target in [&mut it.clean, &mut it.colours] {
        target.extend(SIGNATURE);
        target.extend(whole);
    }
    for (i, (kind, body, whole)) in chunks.enumerate() {
        if i as u32 >= CHUNKS {
            return Err(too_complex("a PNG of too many chunks"));
        }
        match &kind {
            b"eXIf" => it.orientation = Orientation::from_exif_chunk(body).unwrap_or(it.orientation),
            b"acTL" => {
                it.frames = body.first_chunk().map_or(1, |n| u32::from_be_bytes(*n)).max(1);
                limits.check_size(width, height, it.frames)?;
            }
            b"gAMA" | b"cHRM" | b"sRGB" | b"cICP" => it.colours.extend(whole),
            b"iCCP" if body.len() <= PROFILE_BYTES => it.colours.extend(whole),
            b"tRNS" => {
                it.bytes_per_pixel += u64::from(colour != 4 && colour != 6);
                it.clean.extend(whole);
            }
            b"PLTE" | b"IDAT" => it.clean.extend(whole),
            b"IEND" => {
                it.clean.extend(whole);
                it.ended = true;
                break;
            }
            _ => {}
        }
    }
    Ok(it)
}

/// What the chunks about colours come to. A profile that inflates beyond [`PROFILE_BYTES`] is none.
fn profile(mut colours: Vec<u8>) -> Profile {
    // The decoder stops reading headers at the first data.
    colours.extend(chunk(*b"PLTE", &[0; 3]));
    colours.extend(chunk(*b"IDAT", &[]));
    let limits = png::Limits { bytes: 2 * PROFILE_BYTES };
    let Ok(reader) = png::Decoder::new_with_limits(Cursor::new(&colours), limits).read_info() else {
        return Profile::Srgb;
    };
    let info = reader.info();
    if let Some(icc) = &info.icc_profile {
        return Profile::Icc(icc.to_vec());
    }
    let Some(gamma) = info.gama_chunk.map(png::ScaledFloat::into_value) else { return Profile::Srgb };
    let point = |(x, y): (png::ScaledFloat, png::ScaledFloat)| (x.into_value(), y.into_value());
    let primaries = info.chrm_chunk.map(|c| [point(c.white), point(c.red), point(c.green), point(c.blue)]);
    // Within 5 % of sRGB's it is meant to be sRGB, as libpng has it; beyond a factor of ten it means nothing.
    let usual = (gamma * 2.2 - 1.0).abs() < 0.05;
    if info.srgb.is_some() || (usual && primaries.is_none()) || !(0.1..=10.0).contains(&gamma) {
        return Profile::Srgb;
    }
    Profile::Gamma { gamma, primaries }
}

/// The whole picture: as `clean`, with colours and further frames. A profile is written anew, without names.
fn original(input: &[u8], profile: &Profile) -> Original {
    let mut out = SIGNATURE.to_vec();
    for (kind, _, whole) in (Chunks { rest: &input[SIGNATURE.len()..] }) {
        match &kind {
            b"IHDR" | b"PLTE" | b"tRNS" | b"IDAT" | b"acTL" | b"fcTL" | b"fdAT" | b"gAMA" | b"cHRM"
            | b"sRGB" | b"cICP" => out.extend(whole),
            b"iCCP" => {
                if let Profile::Icc(_) = profile {
                    let Some(icc) = profile.sanitised() else { return Original::Encode };
                    out.extend(chunk(kind, &[b"ICC\0\0", &stored(&icc)[..]].concat()));
                }
            }
            b"IEND" => {
                out.extend(whole);
                break;
            }
            _ => {}
        }
    }
    Original::Bytes(out)
}

/// A chunk with its length and checksum.
fn chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_be_bytes().to_vec();
    out.extend(kind);
    out.extend(body);
    let mut crc = u32::MAX;
    for &byte in &out[4..] {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    out.extend((!crc).to_be_bytes());
    out
}

/// A zlib stream (RFC 1950) that stores: a profile is a few kilobytes, a compressor for it would be more.
fn stored(data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let blocks = data.chunks(usize::from(u16::MAX));
    let count = blocks.len();
    for (i, block) in blocks.enumerate() {
        out.push(u8::from(i + 1 == count));
        out.extend((block.len() as u16).to_le_bytes());
        out.extend((!(block.len() as u16)).to_le_bytes());
        out.extend(block);
    }
    let (a, b) = data.iter().fold((1_u32, 0_u32), |(a, b), &byte| {
        let a = (a + u32::from(byte)) % 65_521;
        (a, (a + b) % 65_521)
    });
    out.extend(((b << 16) | a).to_be_bytes());
    out
}

/// See [`Source::decode`].
pub(super) fn decode(clean: &[u8]) -> Result<Pixels, Refusal> {
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(clean), png::Limits { bytes: BUFFERS });
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(|error| failed(&error))?;
    let (width, height) = reader.info().size();
    let (colour, depth) = reader.output_color_type();
    let layout = match colour {
        ColorType::Grayscale => Layout::Grey,
        ColorType::GrayscaleAlpha => Layout::GreyAlpha,
        ColorType::Rgb | ColorType::Indexed => Layout::Rgb,
        ColorType::Rgba => Layout::Rgba,
    };
    let wide = depth == BitDepth::Sixteen;
    let stride = width as usize * layout.channels();
    let mut data = vec![0; stride * height as usize];
    let mut narrow = vec![0; stride];
    let mut next = 0;
    while let Some(row) = reader.next_interlaced_row().map_err(|error| failed(&error))? {
        let samples = row.data().len() >> usize::from(wide);
        let Some(line) = narrow.get_mut(..samples) else { return Err(damaged("a PNG with a row too long")) };
        if wide {
            to_8_bits(row.data(), line);
        } else {
            line.copy_from_slice(row.data());
        }
        match row.interlace() {
            InterlaceInfo::Null(_) => {
                let Some(target) = data.get_mut(next * stride..(next + 1) * stride) else {
                    return Err(damaged("a PNG with too many rows"));
                };
                target.copy_from_slice(line);
                next += 1;
            }
            InterlaceInfo::Adam7(pass) => {
                png::expand_interlaced_row(&mut data, stride, line, pass, layout.channels() as u8 * 8);
            }
        }
    }
    Ok(Pixels::new(width, height, layout, data)?.without_idle_alpha())
}

/// The nearest of 256 levels: 65,535 is 255, and each level has as many of the finer ones.
fn to_8_bits(from: &[u8], to: &mut [u8]) {
    for (sample, narrow) in from.as_chunks::<2>().0.iter().zip(to) {
        *narrow = ((u32::from(u16::from_be_bytes(*sample)) * 255 + 32_767) / 65_535) as u8;
    }
}

fn failed(error: &DecodingError) -> Refusal {
    damaged(&format!("a PNG that cannot be decoded: {error}"))
}
