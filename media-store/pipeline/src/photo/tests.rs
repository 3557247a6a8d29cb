//! What can only be seen from inside: pixels before they are encoded. Files in, files out: `tests/pipeline`.

use image::metadata::Orientation;
use moxcms::{ColorProfile, LocalizableString, ProfileText};

use super::color::{Conversion, Profile};
use super::orient::Upright;
use super::pixels::{Layout, Pixels, Rows as _};
use super::source::{Original, Source};
use super::{Request, plan, png, resize};
use crate::Limits;

const CMYK_JPEG: &[u8] = include_bytes!("../../fixtures/photo/cmyk.jpg");
const CMYK_REFERENCE: &[u8] = include_bytes!("../../fixtures/photo/cmyk.png");

fn read(bytes: &[u8]) -> Source {
    Source::read(bytes, true, true, &Limits::default()).unwrap()
}

/// As `process` makes it before it encodes.
fn seen(source: &Source) -> Pixels {
    let pixels = source.decode().unwrap();
    let conversion = Conversion::new(&source.profile, pixels.layout());
    super::upright(&pixels, source.orientation, &conversion).unwrap()
}

fn mean_difference(a: &Pixels, b: &Pixels) -> f64 {
    assert_eq!((a.width(), a.height(), a.layout()), (b.width(), b.height(), b.layout()));
    let sum: u64 = a.data().iter().zip(b.data()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.data().len() as f64
}

/// Pixels that differ from each other in every direction.
fn pattern(width: u32, height: u32, layout: Layout) -> Pixels {
    let channels = layout.channels() as u32;
    let data = (0..width * height * channels)
        .map(|i| {
            let (x, y, c) = (i / channels % width, i / channels / width, i % channels);
            (x * 7 + y * 13 + x * y % 31 + c * 50) as u8
        })
        .collect();
    Pixels::new(width, height, layout, data).unwrap()
}

#[test]
fn inks_become_the_colours_that_libvips_makes() {
    let ours = seen(&read(CMYK_JPEG));
    let theirs = png::decode(CMYK_REFERENCE).unwrap();
    let mean = mean_difference(&ours, &theirs);
    assert!(mean <= 2.0, "{mean} levels on average");
    let most = ours.data().iter().zip(theirs.data()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    for (i, (a, b)) in ours.data().chunks(3).zip(theirs.data().chunks(3)).enumerate() {
        let d = a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        if d > 6 {
            eprintln!("{} {} {:?} {:?}", i % 96, i / 96, a, b);
        }
    }
    assert!(most <= 12, "{most} levels at most");
}

#[test]
fn inks_that_adobe_turned_into_luminance_are_the_same_inks() {
    let plain = read(CMYK_JPEG).decode().unwrap();
    assert_eq!(plain.layout(), Layout::Cmyk);
    // Paper at the left of each ramp, full cyan at the right of the first.
    assert_eq!(plain.data()[..4], [0, 0, 0, 0]);
    assert!(plain.data()[95 * 4] > 250);
    let stored: Vec<u8> = plain.data().iter().map(|ink| 255 - ink).collect();
    let mut compress = jpegli::Compress::new(jpegli::ColorSpace::JCS_CMYK);
    compress.set_size(96, 72);
    compress.set_color_space(jpegli::ColorSpace::JCS_YCCK);
    compress.set_quality(98.0);
    let mut started = compress.start_compress(Vec::new()).unwrap();
    started.write_scanlines(&stored).unwrap();
    let ycck = read(&started.finish().unwrap());
    assert!(mean_difference(&ycck.decode().unwrap(), &plain) < 2.0);
}

#[test]
fn inks_without_a_profile_are_multiplied() {
    let mut rgb = [0; 9];
    Conversion::new(&Profile::Srgb, Layout::Cmyk)
        .convert(&[0, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 127], &mut rgb);
    assert_eq!(rgb, [255, 255, 255, 0, 255, 255, 128, 128, 128]);
}

#[test]
fn all_orientations() {
    let image = |pixels: &Pixels| {
        image::RgbImage::from_raw(pixels.width(), pixels.height(), pixels.data().to_vec()).unwrap()
    };
    // Wider and higher than a band.
    let pixels = pattern(37, 21, Layout::Rgb);
    for exif in 1..=8 {
        let orientation = Orientation::from_exif(exif).unwrap();
        let upright = Upright { pixels: &pixels, orientation, conversion: &Conversion::None };
        let mut expected = image::DynamicImage::ImageRgb8(image(&pixels));
        expected.apply_orientation(orientation);
        assert_eq!((upright.width(), upright.height()), (expected.width(), expected.height()), "{exif}");
        assert_eq!(upright.collect(), expected.into_rgb8().into_raw(), "{exif}");
    }
}

#[test]
fn bands_leave_no_seams() {
    for layout in [Layout::Grey, Layout::GreyAlpha, Layout::Rgb, Layout::Rgba] {
        for (width, height) in [(100, 67), (31, 21), (300, 11)] {
            let pixels = pattern(300, 200, layout);
            let whole = resize::shrink(&pixels, width, height).unwrap();
            let bands = resize::shrink_in_bands(&pixels, width, height, 1).unwrap();
            let most = whole.data().iter().zip(bands.data()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // Weights differ in their last bit. Where nearly nothing is opaque, that is seen in the colour.
            assert!(most <= if layout.has_alpha() { 4 } else { 1 }, "{layout:?} {width} × {height}: {most}");
        }
    }
}

#[test]
fn sixteen_bits_become_the_nearest_of_eight() {
    let samples: Vec<u16> = (0..=u16::MAX).collect();
    let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_be_bytes()).collect();
    let file = encode_png(256, 256, ::png::ColorType::Grayscale, ::png::BitDepth::Sixteen, &bytes);
    let pixels = png::decode(&file).unwrap();
    assert_eq!(pixels.layout(), Layout::Grey);
    for (sample, level) in samples.iter().zip(pixels.data()) {
        let exact = f64::from(*sample) / 257.0;
        assert!((exact - f64::from(*level)).abs() <= 0.5, "{sample} became {level}");
    }
}

fn encode_png(
    width: u32,
    height: u32,
    colour: ::png::ColorType,
    depth: ::png::BitDepth,
    data: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut out, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    out
}

#[test]
fn profiles_that_are_srgb_change_nothing() {
    let srgb = Profile::Icc(ColorProfile::new_srgb().encode().unwrap());
    assert!(Conversion::new(&srgb, Layout::Rgb).is_none());
    assert!(Conversion::new(&srgb, Layout::Rgba).is_none());
    // One for other pixels, and one that is none.
    assert!(Conversion::new(&srgb, Layout::Grey).is_none());
    assert!(Conversion::new(&Profile::Icc(vec![0; 200]), Layout::Rgb).is_none());
    let p3 = Profile::Icc(ColorProfile::new_display_p3().encode().unwrap());
    assert!(!Conversion::new(&p3, Layout::Rgb).is_none());
}

#[test]
fn display_p3_by_its_definition() {
    let p3 = Profile::Icc(ColorProfile::new_display_p3().encode().unwrap());
    let conversion = Conversion::new(&p3, Layout::Rgba);
    let linear = |v: u8| {
        let v = f64::from(v) / 255.0;
        if v <= 0.040_45 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
    };
    let level = |v: f64| {
        let v = if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        v * 255.0
    };
    for [r, g, b] in [[180, 120, 90], [90, 130, 90], [128, 128, 128], [200, 190, 220]] {
        let mut got = [0; 4];
        conversion.convert(&[r, g, b, 77], &mut got);
        let [r, g, b] = [r, g, b].map(linear);
        // CSS Color 4: Display P3 to linear sRGB.
        let expected = [
            1.224_940 * r - 0.224_940 * g,
            -0.042_057 * r + 1.042_057 * g,
            -0.019_638 * r - 0.078_636 * g + 1.098_274 * b,
        ];
        for (got, expected) in got.iter().zip(expected.map(level)) {
            assert!((f64::from(*got) - expected).abs() <= 1.5, "{got} for {expected}");
        }
        assert_eq!(got[3], 77, "opacity is no colour");
    }
}

#[test]
fn grey_profiles_and_png_gamma() {
    // Linear light: the middle grey of sRGB is 188.
    let linear = Profile::Gamma { gamma: 1.0, primaries: None };
    for layout in [Layout::Grey, Layout::Rgb] {
        let mut got = vec![0; layout.channels()];
        Conversion::new(&linear, layout).convert(&vec![128; layout.channels()], &mut got);
        assert!(got.iter().all(|v| v.abs_diff(188) <= 1), "{got:?}");
    }
    let grey = Profile::Icc(ColorProfile::new_gray_with_gamma(1.0).encode().unwrap());
    let mut got = [0; 2];
    Conversion::new(&grey, Layout::GreyAlpha).convert(&[128, 9], &mut got);
    assert!(got[0].abs_diff(188) <= 1 && got[1] == 9, "{got:?}");
}

#[test]
fn a_profile_keeps_its_colours_and_loses_its_names() {
    let named = |text: &str| {
        Some(ProfileText::Localizable(vec![LocalizableString::new("en".into(), "US".into(), text.into())]))
    };
    let mut profile = ColorProfile::new_display_p3();
    profile.description = named("PLANTED");
    profile.device_model = named("PLANTED");
    profile.copyright = named("PLANTED");
    let planted: Vec<u8> = "PLANTED".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let holds = |bytes: &[u8]| bytes.windows(planted.len()).any(|window| window == planted);
    let before = Profile::Icc(profile.encode().unwrap());
    let Profile::Icc(bytes) = &before else { unreachable!() };
    assert!(holds(bytes));
    let clean = before.sanitised().unwrap();
    assert!(!holds(&clean));
    let colours = pattern(16, 16, Layout::Rgb);
    let convert = |profile: &Profile| {
        let mut out = vec![0; colours.data().len()];
        Conversion::new(profile, Layout::Rgb).convert(colours.data(), &mut out);
        out
    };
    assert_eq!(convert(&before), convert(&Profile::Icc(clean)));
}

#[test]
fn an_original_keeps_its_profile() {
    let p3 = ColorProfile::new_display_p3().encode().unwrap();
    let expected = Profile::Icc(p3.clone()).sanitised().unwrap();
    let pixels = pattern(20, 10, Layout::Rgb);
    let jpeg = super::encode::jpeg(&pixels, 90).unwrap();
    let mut jpeg = img_parts::jpeg::Jpeg::from_bytes(jpeg.into()).unwrap();
    img_parts::ImageICC::set_icc_profile(&mut jpeg, Some(p3.clone().into()));
    let mut png_info = ::png::Info::with_size(20, 10);
    png_info.color_type = ::png::ColorType::Rgb;
    png_info.bit_depth = ::png::BitDepth::Eight;
    png_info.icc_profile = Some(p3.into());
    let mut file = Vec::new();
    let encoder = ::png::Encoder::with_info(&mut file, png_info).unwrap();
    encoder.write_header().unwrap().write_image_data(pixels.data()).unwrap();
    for input in [jpeg.encoder().bytes().to_vec(), file] {
        let Original::Bytes(original) = read(&input).original else { panic!("it has a profile") };
        assert_eq!(read(&original).profile, Profile::Icc(expected.clone()));
        assert_eq!(read(&original).decode().unwrap().data(), read(&input).decode().unwrap().data());
    }
}

#[expect(clippy::type_complexity, reason = "a table of cases says it better than names")]
#[test]
fn sizes_of_a_picture() {
    let request =
        |sizes: &[u32]| Request { sizes: sizes.to_vec(), original: false, animated_original: false };
    let cases: &[(&[u32], u32, u32, &[(u32, u32, u32)])] = &[
        (&[320, 1280, 2048], 4000, 3000, &[(320, 320, 240), (1280, 1280, 960), (2048, 2048, 1536)]),
        (&[2048, 320, 1280, 320], 3000, 4000, &[(320, 240, 320), (1280, 960, 1280), (2048, 1536, 2048)]),
        (&[320, 1280, 2048], 1000, 500, &[(320, 320, 160), (1280, 1000, 500)]),
        (&[320, 1280, 2048], 1280, 1280, &[(320, 320, 320), (1280, 1280, 1280)]),
        (&[320, 1280, 2048], 1281, 2, &[(320, 320, 1), (1280, 1280, 2), (2048, 1281, 2)]),
        (&[320, 1280, 2048], 100, 320, &[(320, 100, 320)]),
        (&[320, 1280, 2048], 1, 65_000, &[(320, 1, 320), (1280, 1, 1280), (2048, 1, 2048)]),
        (&[640], 1, 1, &[(640, 1, 1)]),
    ];
    for (caps, width, height, expected) in cases {
        let sizes = plan::sizes(&request(caps), *width, *height).unwrap();
        let sizes: Vec<_> = sizes.iter().map(|it| (it.cap, it.width, it.height)).collect();
        assert_eq!(sizes, *expected, "{caps:?} of {width} × {height}");
    }
    for wrong in [&[][..], &[15], &[16_385], &[17; 1], &(20..60).collect::<Vec<u32>>()[..]] {
        let made = plan::sizes(&request(wrong), 100, 100);
        assert_eq!(made.is_ok(), wrong == [17], "{wrong:?}");
    }
}

#[test]
fn transparency_that_nobody_sees_goes() {
    let opaque =
        Pixels::new(2, 1, Layout::Rgba, vec![1, 2, 3, 255, 4, 5, 6, 255]).unwrap().without_idle_alpha();
    assert_eq!((opaque.layout(), opaque.data()), (Layout::Rgb, &[1, 2, 3, 4, 5, 6][..]));
    let seen = Pixels::new(2, 1, Layout::GreyAlpha, vec![1, 255, 2, 254]).unwrap().without_idle_alpha();
    assert_eq!((seen.layout(), seen.data()), (Layout::GreyAlpha, &[1, 255, 2, 254][..]));
}

#[test]
fn estimates_of_memory_follow_the_header() {
    // 4:4:4, so that the numbers are plain: 3 bytes a pixel, and 6 more where coefficients are kept.
    let pixels = pattern(1024, 512, Layout::Rgb);
    let progressive = read(&super::encode::jpeg(&pixels, 50).unwrap());
    let count = 1024 * 512;
    assert!(progressive.decode_bytes >= count * 9, "{}", progressive.decode_bytes);
    assert!(progressive.decode_bytes <= count * 10, "{}", progressive.decode_bytes);
    assert_eq!(progressive.bytes_per_pixel, 3);
    assert_eq!(progressive.original, Original::Clean);
}
