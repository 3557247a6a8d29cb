//! Small files that would like to be large. Each in a worker process, which refuses it or dies alone, within a second of
//! CPU time and 256 MB.

use trunkline_media_pipeline::Code;
use trunkline_media_pipeline::worker::Work;

use crate::make::{self, BLUE, RED};
use crate::process::{Run, work};
use crate::{SIZES, with_original};

const CPU_MS: u64 = 1_000;
const PEAK_BYTES: u64 = 256_000_000;

fn throw(input: &[u8]) -> Run {
    let run = work(input, Work::Photo(with_original(&SIZES)));
    if run.status.success() {
        let done = run.done();
        assert!(done.cpu_ms <= CPU_MS && done.peak_bytes <= PEAK_BYTES, "{done:?}");
    }
    run
}

#[track_caller]
fn refused(input: &[u8], code: Code) {
    let run = throw(input);
    assert_eq!(run.refused(), Some(code), "{:?}", run.events);
    assert!(run.made().is_empty());
    run.done();
}

/// A JPEG's frame header, and the scan after it.
fn jpeg_of(marker: u8, width: u16, height: u16, components: u8) -> Vec<u8> {
    let mut out = make::rgb_jpeg(make::scene(16, 16))[..2].to_vec();
    out.extend([0xff, 0xdb, 0, 67, 0]);
    out.extend([1; 64]);
    out.extend([0xff, marker, 0, 8 + 3 * components, 8]);
    out.extend([height.to_be_bytes(), width.to_be_bytes()].concat());
    out.push(components);
    (1..=components).for_each(|id| out.extend([id, 0x11, 0]));
    // One code for each table: the shortest there is.
    for table in [0x00, 0x10] {
        out.extend([0xff, 0xc4, 0, 20, table, 1]);
        out.extend([0; 16]);
    }
    out
}

fn scan(out: &mut Vec<u8>, components: u8, spectrum: [u8; 3]) {
    out.extend([0xff, 0xda, 0, 6 + 2 * components, components]);
    (1..=components).for_each(|id| out.extend([id, 0]));
    out.extend(spectrum);
    out.extend([0; 8]);
}

#[test]
fn jpeg_of_65500_squared() {
    let mut input = jpeg_of(0xc0, 65_500, 65_500, 3);
    scan(&mut input, 3, [0, 63, 0]);
    input.extend([0xff, 0xd9]);
    refused(&input, Code::TooManyPixels);
}

#[test]
fn jpeg_that_needs_all_its_coefficients() {
    let mut input = jpeg_of(0xc2, 8_000, 8_000, 3);
    scan(&mut input, 3, [0, 0, 0]);
    input.extend([0xff, 0xd9]);
    refused(&input, Code::TooMuchMemory);
    // The same without being progressive: a scan for each component.
    let mut input = jpeg_of(0xc0, 8_000, 8_000, 3);
    scan(&mut input, 1, [0, 63, 0]);
    input.extend([0xff, 0xd9]);
    refused(&input, Code::TooMuchMemory);
}

#[test]
fn jpeg_of_20000_scans() {
    let mut input = jpeg_of(0xc2, 1_000, 1_000, 1);
    for i in 0..20_000 {
        scan(&mut input, 1, if i == 0 { [0, 0, 0] } else { [1, 63, 0] });
    }
    input.extend([0xff, 0xd9]);
    refused(&input, Code::TooManyScans);
    // As many as are allowed, over as many pixels as that allows.
    let mut input = jpeg_of(0xc2, 6_000, 6_000, 1);
    for i in 0..99 {
        scan(&mut input, 1, if i == 0 { [0, 0, 0] } else { [1, 63, 0] });
    }
    input.extend([0xff, 0xd9]);
    refused(&input, Code::TooComplex);
}

#[test]
fn jpeg_of_too_many_segments() {
    let mut input = vec![0xff, 0xd8];
    (0..200_000).for_each(|_| input.extend([0xff, 0xfe, 0, 2]));
    refused(&input, Code::TooComplex);
}

fn png_of(width: u32, height: u32, kind: png::ColorType, idat: &[u8]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, kind as u8, 0, 0, 0]);
    let plain = make::png(&make::scene(1, 1).into());
    let mut png = img_parts::png::Png::from_bytes(plain.into()).unwrap();
    png.chunks_mut()[0] = img_parts::png::PngChunk::new(*b"IHDR", header.into());
    let at = png.chunks().iter().position(|chunk| chunk.kind() == *b"IDAT").unwrap();
    png.chunks_mut()[at] = img_parts::png::PngChunk::new(*b"IDAT", idat.to_vec().into());
    png.encoder().bytes().to_vec()
}

#[test]
fn png_of_20000_squared() {
    refused(&png_of(20_000, 20_000, png::ColorType::Rgb, &make::zeros(100_000_000)), Code::TooManyPixels);
    refused(&png_of(u32::MAX, u32::MAX, png::ColorType::Rgb, &[]), Code::TooManyPixels);
    refused(&png_of(8_190, 8_190, png::ColorType::Rgba, &make::zeros(268_000_000)), Code::TooMuchMemory);
}

#[test]
fn png_whose_words_inflate() {
    let bomb = make::zeros(200_000_000);
    assert!(bomb.len() < 2_000_000);
    let mut input = make::png(&make::scene(300, 200).into());
    for (kind, head) in
        [(*b"zTXt", &b"Comment\0\0"[..]), (*b"iTXt", b"Comment\0\x01\0\0\0"), (*b"iCCP", b"profile\0\0")]
    {
        input = make::png_with_chunk(input, kind, &[head, &bomb].concat());
    }
    // The picture is fine, and its words are never read.
    let run = throw(&input);
    assert_eq!(run.refused(), None);
    assert_eq!(run.made(), ["320", "original"]);
}

#[test]
fn png_with_more_than_its_rows() {
    let run = throw(&png_of(100, 100, png::ColorType::Rgb, &make::zeros(400_000_000)));
    assert!(matches!(run.refused(), None | Some(Code::Damaged)), "{:?}", run.events);
}

#[test]
fn gif_of_a_giant_canvas() {
    let mut input = make::gif(8, 8, &[RED]);
    input[6..10].fill(0xff);
    refused(&input, Code::TooManyPixels);
    // A frame that is larger than a modest canvas, which decoders would make room for.
    let mut input = make::gif(8, 8, &[RED]);
    let at = input.windows(9).rposition(|w| w[0] == 0x2c && w[1..5] == [0; 4]).unwrap();
    input[at + 5..at + 9].fill(0xff);
    refused(&input, Code::TooMuchMemory);
}

#[test]
fn animations_of_too_many_frames() {
    let plain = make::gif(8, 8, &[RED, BLUE]);
    let at = plain.windows(2).position(|w| w == [0x21, 0xf9]).unwrap();
    let frame = plain[at..plain.len() - 1].to_vec();
    let mut input = plain[..at].to_vec();
    (0..5_000).for_each(|_| input.extend(&frame));
    input.push(0x3b);
    refused(&input, Code::TooManyFrames);
    // Few, but of a large canvas.
    let mut input = plain[..at].to_vec();
    (0..200).for_each(|_| input.extend(&frame));
    input.push(0x3b);
    input[6..10].copy_from_slice(&[0x00, 0x18, 0x00, 0x18]);
    refused(&input, Code::TooManyFrames);
}

#[test]
fn webp_that_lies_about_its_size() {
    // The header says 50 × 40, the stream 16,384 squared.
    for moving in [false, true] {
        let mut input = if moving {
            make::animated_webp(50, 40, &[RED, BLUE])
        } else {
            let plain = make::webp(&make::scene(50, 40).into());
            let mut webp = img_parts::webp::WebP::from_bytes(plain.into()).unwrap();
            img_parts::ImageEXIF::set_exif(&mut webp, Some(make::exif(1).into()));
            webp.encoder().bytes().to_vec()
        };
        let at = input.windows(4).position(|w| w == b"VP8L").unwrap();
        input[at + 9..at + 13].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
        refused(&input, Code::Damaged);
    }
    let mut input = make::webp(&make::scene(50, 40).into());
    let at = input.windows(4).position(|w| w == b"VP8L").unwrap();
    input[at + 9..at + 13].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
    refused(&input, Code::TooManyPixels);
}

#[test]
fn one_colour_of_64_megapixels() {
    // As much as is allowed, from 300 kB. It is a picture like others, so it may take the time that those take.
    let run = work(
        &png_of(8_190, 8_190, png::ColorType::Rgb, &make::zeros(202_000_000)),
        Work::Photo(crate::request(&SIZES)),
    );
    let done = run.done();
    assert!(done.peak_bytes <= PEAK_BYTES, "{done:?}");
}
