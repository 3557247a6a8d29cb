//! The pipeline from outside: files in, files and events out; and the worker as the process it is meant to be.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests too")]

mod bombs;
mod hostile;
mod make;
mod originals;
mod photos;
mod process;
mod stripped;
mod wire;

use std::collections::BTreeMap;

use image::DynamicImage;
use trunkline_media_pipeline::photo::{Event, Made, PhotoInfo, Request, process};
use trunkline_media_pipeline::{Limits, Refusal};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;

/// What the store asks for.
pub(crate) const SIZES: [u32; 3] = [320, 1280, 2048];

pub(crate) fn request(sizes: &[u32]) -> Request {
    Request { sizes: sizes.to_vec(), original: false, animated_original: true }
}

pub(crate) fn with_original(sizes: &[u32]) -> Request {
    Request { original: true, ..request(sizes) }
}

/// What came of one photo.
pub(crate) struct Outcome {
    pub(crate) info: PhotoInfo,
    /// In the order they were told.
    pub(crate) made: Vec<Made>,
    /// By variant.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Outcome {
    pub(crate) fn made(&self, name: &str) -> &Made {
        self.made.iter().find(|made| made.name == name).unwrap()
    }

    pub(crate) fn image(&self, name: &str) -> DynamicImage {
        decode(&self.files[name])
    }
}

/// Makes what `request` asks for, and checks what must hold whatever the photo: that it is told first, that what is made
/// is what was planned, in order, and that no variant has more bytes than the next larger one. The first alone, which does
/// not wait for the others, may have more than the second, but not more than the input.
pub(crate) fn make(input: &[u8], request: &Request) -> Result<Outcome, Refusal> {
    make_within(input, request, &Limits::default())
}

/// See [`make`].
pub(crate) fn make_within(input: &[u8], request: &Request, limits: &Limits) -> Result<Outcome, Refusal> {
    let folder = tempfile::tempdir().unwrap();
    let mut events = Vec::new();
    process(input.to_vec(), folder.path(), request, limits, &mut |event| events.push(event))?;
    let mut events = events.into_iter();
    let Some(Event::Photo(info)) = events.next() else { panic!("the photo is told first") };
    let made: Vec<Made> = events
        .map(|event| match event {
            Event::Made(made) => made,
            Event::Photo(_) => panic!("the photo is told once"),
        })
        .collect();
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    let planned = names(info.variants.iter().map(|it| &it.name).collect());
    assert_eq!(names(made.iter().map(|it| &it.name).collect()), planned);
    let mut files = BTreeMap::new();
    for made in &made {
        let bytes = std::fs::read(folder.path().join(&made.file)).unwrap();
        assert_eq!(bytes.len() as u64, made.bytes);
        assert_eq!(trunkline_media_pipeline::sniff(&bytes).mime, made.mime);
        let image = decode(&bytes);
        assert_eq!((image.width(), image.height()), (made.width, made.height), "{}", made.name);
        files.insert(made.name.clone(), bytes);
    }
    for (i, pair) in made.windows(2).enumerate().filter(|(_, pair)| pair[1].name != "original") {
        let bound = if i == 0 { pair[1].bytes.max(input.len() as u64) } else { pair[1].bytes };
        assert!(pair[0].bytes <= bound, "{pair:?}");
    }
    Ok(Outcome { info, made, files })
}

/// Decodes a variant, as somebody who knows nothing of metadata: what is not upright stays so.
pub(crate) fn decode(bytes: &[u8]) -> DynamicImage {
    if !bytes.starts_with(b"\xff\xd8") {
        let reader = image::ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format().unwrap();
        return DynamicImage::from_decoder(reader.into_decoder().unwrap()).unwrap();
    }
    let options = DecoderOptions::default().set_max_width(65_535).set_max_height(65_535);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().unwrap();
    let grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let space = if grey { ColorSpace::Luma } else { ColorSpace::RGB };
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    let data = decoder.decode().unwrap();
    let (width, height) = decoder.dimensions().unwrap();
    let (width, height) = (width as u32, height as u32);
    if grey {
        DynamicImage::ImageLuma8(image::GrayImage::from_raw(width, height, data).unwrap())
    } else {
        DynamicImage::ImageRgb8(image::RgbImage::from_raw(width, height, data).unwrap())
    }
}

/// The colours near the four corners: top left, top right, bottom left, bottom right.
pub(crate) fn corners(image: &DynamicImage) -> [[u8; 3]; 4] {
    let image = image.to_rgb8();
    let (right, bottom) = (image.width() - 1 - image.width() / 8, image.height() - 1 - image.height() / 8);
    let (left, top) = (image.width() / 8, image.height() / 8);
    [(left, top), (right, top), (left, bottom), (right, bottom)].map(|(x, y)| image.get_pixel(x, y).0)
}

pub(crate) fn near(a: [u8; 3], b: [u8; 3], levels: u8) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs_diff(b) <= levels)
}

pub(crate) fn is_animated_webp(bytes: &[u8]) -> bool {
    image::codecs::webp::WebPDecoder::new(std::io::Cursor::new(bytes))
        .is_ok_and(|decoder| decoder.has_animation())
}
