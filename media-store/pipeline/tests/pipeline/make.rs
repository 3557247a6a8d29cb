//! Pictures to feed in, made here: nothing of anybody's.

use image::{DynamicImage, ExtendedColorType, ImageEncoder as _, Rgb, RgbImage, Rgba, RgbaImage};
use img_parts::jpeg::{Jpeg, JpegSegment};
use img_parts::riff::{RiffChunk, RiffContent};
use img_parts::webp::WebP;
use img_parts::{Bytes, ImageEXIF as _};
use jpegli::{ColorSpace, Compress};

pub(crate) const RED: [u8; 3] = [200, 30, 30];
pub(crate) const GREEN: [u8; 3] = [30, 160, 40];
pub(crate) const BLUE: [u8; 3] = [30, 40, 190];
pub(crate) const YELLOW: [u8; 3] = [210, 200, 40];
pub(crate) const CORNERS: [[u8; 3]; 4] = [RED, GREEN, BLUE, YELLOW];

/// Four fields: red, green, blue, yellow, as one reads.
pub(crate) fn four_fields(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        Rgb(CORNERS[usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)])
    })
}

/// Like a photograph: smooth shapes, some texture, no two rows alike.
pub(crate) fn scene(width: u32, height: u32) -> RgbImage {
    let mut noise = 12_345_u32;
    RgbImage::from_fn(width, height, |x, y| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let grain = (noise >> 28) as f32 - 7.5;
        let (fx, fy) = (x as f32 / width as f32, y as f32 / height as f32);
        let wave = ((fx * 9.0).sin() + (fy * 7.0 + fx * 3.0).cos()) * 45.0;
        let edge = if (fx - 0.5).hypot(fy - 0.5) < 0.2 { 60.0 } else { 0.0 };
        let level = |base: f32| (base + wave + edge + grain).clamp(0.0, 255.0) as u8;
        Rgb([level(110.0), level(90.0 + 60.0 * fx), level(140.0 - 70.0 * fy)])
    })
}

/// Like a screen: flat fields with something like letters.
pub(crate) fn screenshot(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        if y < 40 {
            Rgb([50, 60, 90])
        } else if y % 24 < 12 && x > 30 && x % 400 < 300 && (x * 7 + y / 24 * 5 + (y % 12) * (x % 5)) % 11 < 3
        {
            Rgb([20, 20, 20])
        } else {
            Rgb([250, 250, 250])
        }
    })
}

/// How a JPEG is written.
#[derive(Clone, Copy)]
pub(crate) struct Jpg {
    pub(crate) quality: f32,
    pub(crate) progressive: bool,
    /// Half the colour resolution each way, as cameras have it.
    pub(crate) halved: bool,
}

pub(crate) const CAMERA: Jpg = Jpg { quality: 92.0, progressive: false, halved: true };

pub(crate) fn jpeg(image: &DynamicImage, how: Jpg) -> Vec<u8> {
    let grey = matches!(image, DynamicImage::ImageLuma8(_));
    let mut compress = Compress::new(if grey { ColorSpace::JCS_GRAYSCALE } else { ColorSpace::JCS_RGB });
    compress.set_size(image.width() as usize, image.height() as usize);
    compress.set_quality(how.quality);
    if !grey {
        let size = if how.halved { (2, 2) } else { (1, 1) };
        compress.set_chroma_sampling_pixel_sizes(size, size);
    }
    if how.progressive {
        compress.set_optimize_coding(true);
        compress.set_progressive_mode();
    }
    let mut started = compress.start_compress(Vec::new()).unwrap();
    started.write_scanlines(image.as_bytes()).unwrap();
    started.finish().unwrap()
}

pub(crate) fn rgb_jpeg(image: RgbImage) -> Vec<u8> {
    jpeg(&DynamicImage::ImageRgb8(image), CAMERA)
}

pub(crate) fn png(image: &DynamicImage) -> Vec<u8> {
    png_with(image, |_| {})
}

/// A PNG with more in its header.
pub(crate) fn png_with(image: &DynamicImage, change: impl FnOnce(&mut png::Info<'_>)) -> Vec<u8> {
    let mut info = png::Info::with_size(image.width(), image.height());
    info.bit_depth = png::BitDepth::Eight;
    info.color_type = match image {
        DynamicImage::ImageLuma8(_) => png::ColorType::Grayscale,
        DynamicImage::ImageLumaA8(_) => png::ColorType::GrayscaleAlpha,
        DynamicImage::ImageRgb8(_) => png::ColorType::Rgb,
        DynamicImage::ImageRgba8(_) => png::ColorType::Rgba,
        _ => panic!("not used here"),
    };
    change(&mut info);
    let mut out = Vec::new();
    let encoder = png::Encoder::with_info(&mut out, info).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(image.as_bytes()).unwrap();
    writer.finish().unwrap();
    out
}

/// Lossless.
pub(crate) fn webp(image: &DynamicImage) -> Vec<u8> {
    let colour = match image {
        DynamicImage::ImageRgb8(_) => ExtendedColorType::Rgb8,
        DynamicImage::ImageRgba8(_) => ExtendedColorType::Rgba8,
        _ => panic!("not used here"),
    };
    let mut out = Vec::new();
    image::codecs::webp::WebPEncoder::new_lossless(&mut out)
        .write_image(image.as_bytes(), image.width(), image.height(), colour)
        .unwrap();
    out
}

/// An animation of as many frames as colours, each with a transparent edge.
pub(crate) fn gif(width: u32, height: u32, colours: &[[u8; 3]]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = image::codecs::gif::GifEncoder::new(&mut out);
    encoder.set_repeat(image::codecs::gif::Repeat::Infinite).unwrap();
    for [r, g, b] in colours {
        let frame = RgbaImage::from_fn(width, height, |x, _| Rgba([*r, *g, *b, if x < 4 { 0 } else { 255 }]));
        let delay = image::Delay::from_numer_denom_ms(100, 1);
        encoder.encode_frame(image::Frame::from_parts(frame, 0, 0, delay)).unwrap();
    }
    drop(encoder);
    out
}

/// An animated WebP of as many frames as colours.
pub(crate) fn animated_webp(width: u32, height: u32, colours: &[[u8; 3]]) -> Vec<u8> {
    let u24 = |n: u32| n.to_le_bytes()[..3].to_vec();
    let mut head = vec![0x02, 0, 0, 0];
    head.extend([u24(width - 1), u24(height - 1)].concat());
    let mut chunks = vec![data(*b"VP8X", head), data(*b"ANIM", vec![0; 6])];
    for colour in colours {
        let still = webp(&RgbImage::from_pixel(width, height, Rgb(*colour)).into());
        let still = WebP::from_bytes(still.into()).unwrap();
        let mut frame = [u24(0), u24(0), u24(width - 1), u24(height - 1), u24(100), vec![0]].concat();
        let picture = still.chunk_by_id(*b"VP8L").unwrap().clone();
        frame.extend(picture.encoder().bytes());
        chunks.push(data(*b"ANMF", frame));
    }
    WebP::new(RiffChunk::new(*b"RIFF", RiffContent::List { kind: Some(*b"WEBP"), subchunks: chunks }))
        .unwrap()
        .encoder()
        .bytes()
        .to_vec()
}

pub(crate) fn data(kind: [u8; 4], body: Vec<u8>) -> RiffChunk {
    RiffChunk::new(kind, RiffContent::Data(body.into()))
}

/// A TIFF block with an orientation, and a camera's name that must not get out.
pub(crate) fn exif(orientation: u16) -> Vec<u8> {
    let mut out = b"II*\0\x08\0\0\0\x02\0".to_vec();
    out.extend([0x0f, 0x01, 2, 0, 8, 0, 0, 0, 38, 0, 0, 0]);
    out.extend([0x12, 0x01, 3, 0, 1, 0, 0, 0]);
    out.extend(orientation.to_le_bytes());
    out.extend([0; 6]);
    out.extend(b"PLANTED\0");
    out
}

pub(crate) fn jpeg_with_exif(jpeg: Vec<u8>, orientation: u16) -> Vec<u8> {
    let mut jpeg = Jpeg::from_bytes(jpeg.into()).unwrap();
    jpeg.set_exif(Some(exif(orientation).into()));
    jpeg.encoder().bytes().to_vec()
}

/// `jpeg` with segments after its first one.
pub(crate) fn jpeg_with(jpeg: Vec<u8>, segments: &[(u8, &[u8])]) -> Vec<u8> {
    let mut jpeg = Jpeg::from_bytes(jpeg.into()).unwrap();
    for (marker, body) in segments {
        let segment = JpegSegment::new_with_contents(*marker, Bytes::copy_from_slice(body));
        jpeg.segments_mut().insert(1, segment);
    }
    jpeg.encoder().bytes().to_vec()
}

/// `png` with a chunk before its first data.
pub(crate) fn png_with_chunk(png: Vec<u8>, kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let mut png = img_parts::png::Png::from_bytes(png.into()).unwrap();
    let at = png.chunks().iter().position(|chunk| chunk.kind() == *b"IDAT").unwrap();
    png.chunks_mut().insert(at, img_parts::png::PngChunk::new(kind, Bytes::copy_from_slice(body)));
    png.encoder().bytes().to_vec()
}

/// A zlib stream of some kilobytes that inflates to about `bytes` zeros: one literal, then repeats of it (RFC 1951, fixed
/// codes). Its checksum is wrong, which a decoder learns at the end.
pub(crate) fn zeros(bytes: usize) -> Vec<u8> {
    let mut out = vec![0x78, 0x01];
    let (mut held, mut count) = (0_u32, 0);
    let mut put = |bits: u32, n: u32, out: &mut Vec<u8>| {
        held |= bits << count;
        count += n;
        while count >= 8 {
            out.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    };
    put(0b011, 3, &mut out); // last block, fixed codes
    put(0b0000_1100, 8, &mut out); // literal 0: 00110000, the first bit first
    for _ in 0..bytes / 258 {
        put(0b1010_0011, 8, &mut out); // length 258: 11000101
        put(0, 5, &mut out); // distance 1
    }
    put(0, 7 + 7, &mut out); // end of block, padding
    out.extend([0; 4]);
    out
}
