//! What becomes of honest photos.

use image::{DynamicImage, GrayAlphaImage, GrayImage, Luma, LumaA, Rgb, RgbImage, Rgba, RgbaImage};
use trunkline_media_pipeline::Code;

use crate::make::{self, CAMERA, CORNERS, Jpg, YELLOW};
use crate::{SIZES, corners, make as process, near, request, with_original};

/// `upright` as it must be stored for EXIF's `orientation` to make it so again.
fn stored(upright: &RgbImage, orientation: u8) -> DynamicImage {
    let back = match orientation {
        6 => 8,
        8 => 6,
        other => other,
    };
    let mut image = DynamicImage::ImageRgb8(upright.clone());
    image.apply_orientation(image::metadata::Orientation::from_exif(back).unwrap());
    image
}

#[test]
fn eight_of_eight_orientations_are_upright() {
    let upright = make::four_fields(600, 360);
    for orientation in 1..=8 {
        let picture = stored(&upright, orientation);
        let exif = u16::from(orientation);
        let mut webp = img_parts::webp::WebP::from_bytes(make::webp(&picture).into()).unwrap();
        img_parts::ImageEXIF::set_exif(&mut webp, Some(make::exif(exif).into()));
        let inputs = [
            make::jpeg_with_exif(make::jpeg(&picture, CAMERA), exif),
            make::png_with_chunk(make::png(&picture), *b"eXIf", &make::exif(exif)),
            webp.encoder().bytes().to_vec(),
        ];
        for input in inputs {
            let made = process(&input, &with_original(&SIZES)).unwrap();
            assert_eq!((made.info.width, made.info.height), (600, 360), "{orientation}");
            for name in ["320", "1280", "original"] {
                let image = made.image(name);
                // Where all of it has fewer bytes, it stands for the thumbnail too.
                let size = if name == "320" && image.width() < 600 { (320, 192) } else { (600, 360) };
                assert_eq!((image.width(), image.height()), size, "{orientation} {name}");
                for (found, expected) in corners(&image).into_iter().zip(CORNERS) {
                    assert!(near(found, expected, 12), "{orientation} {name}: {found:?} for {expected:?}");
                }
            }
        }
    }
}

#[test]
fn the_smallest_is_told_first_and_all_are_planned() {
    let made = process(&make::rgb_jpeg(make::scene(2400, 1600)), &request(&SIZES)).unwrap();
    let planned: Vec<_> = made.info.variants.iter().map(|it| (&it.name[..], it.width, it.height)).collect();
    assert_eq!(planned, [("320", 320, 213), ("1280", 1280, 853), ("2048", 2048, 1365)]);
    assert_eq!((made.info.width, made.info.height, made.info.animated), (2400, 1600, false));
    assert!(made.made.iter().all(|it| it.mime == "image/jpeg"));
    // Progressive, in full colour, without anything but a picture.
    for bytes in made.files.values() {
        let jpeg = img_parts::jpeg::Jpeg::from_bytes(bytes.clone().into()).unwrap();
        let frame = jpeg.segment_by_marker(0xc2).unwrap();
        let sampling: Vec<u8> = frame.contents()[6..].chunks(3).map(|component| component[1]).collect();
        assert_eq!(sampling, [0x11; 3]);
    }
}

#[test]
fn the_placeholder_looks_like_the_photo() {
    use base64::Engine as _;
    let made = process(&make::rgb_jpeg(make::four_fields(1600, 800)), &request(&SIZES)).unwrap();
    let hash = base64::engine::general_purpose::STANDARD.decode(&made.info.thumbhash).unwrap();
    assert!(hash.len() <= 30, "{} bytes", hash.len());
    let (width, height, rgba) = thumbhash::thumb_hash_to_rgba(&hash).unwrap();
    let small = RgbaImage::from_raw(width as u32, height as u32, rgba).unwrap();
    for (found, expected) in corners(&DynamicImage::ImageRgba8(small)).into_iter().zip(CORNERS) {
        assert!(near(found, expected, 60), "{found:?} for {expected:?}");
    }
}

#[test]
fn small_enough_already_keeps_its_pixels() {
    let how = Jpg { quality: 40.0, ..CAMERA };
    let input = make::jpeg_with_exif(make::jpeg(&make::scene(1000, 700).into(), how), 1);
    let made = process(&input, &request(&SIZES)).unwrap();
    let kept = &made.files["1280"];
    assert!(kept.len() < input.len());
    assert_eq!(crate::decode(kept), crate::decode(&input));
    let entropy = |bytes: &[u8]| bytes[bytes.windows(2).position(|w| w == [0xff, 0xda]).unwrap()..].to_vec();
    assert_eq!(entropy(kept), entropy(&input));
    // A PNG of a screen, and a WebP of one.
    let screen = DynamicImage::ImageRgb8(make::screenshot(1100, 700));
    for input in [make::png(&screen), make::webp(&screen)] {
        let made = process(&input, &request(&SIZES)).unwrap();
        assert_ne!(made.made("1280").mime, "image/jpeg");
        assert_eq!(made.image("1280").to_rgb8(), screen.to_rgb8());
    }
}

#[test]
fn never_larger_than_the_input_of_that_size() {
    let noisy = make::scene(1500, 1000);
    let poor = Jpg { quality: 8.0, ..CAMERA };
    let rich = Jpg { quality: 100.0, progressive: true, halved: false };
    let turned = make::jpeg_with_exif(make::jpeg(&noisy.clone().into(), poor), 6);
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let mut wide = img_parts::jpeg::Jpeg::from_bytes(make::jpeg(&noisy.clone().into(), poor).into()).unwrap();
    img_parts::ImageICC::set_icc_profile(&mut wide, Some(p3.into()));
    let stripes =
        RgbImage::from_fn(1200, 800, |x, y| if (x * x + y) % 3 == 0 { Rgb([255; 3]) } else { Rgb([0; 3]) });
    let inputs = [
        turned,
        wide.encoder().bytes().to_vec(),
        make::jpeg(&noisy.clone().into(), poor),
        make::jpeg(&noisy.clone().into(), rich),
        make::png(&noisy.into()),
        make::png(&stripes.clone().into()),
        make::webp(&stripes.into()),
        make::png(&RgbImage::from_pixel(1300, 900, Rgb(YELLOW)).into()),
        make::rgb_jpeg(make::four_fields(30, 20)),
        make::rgb_jpeg(RgbImage::from_pixel(1300, 1, Rgb(YELLOW))),
    ];
    for (i, input) in inputs.iter().enumerate() {
        // `make` checks that the variants' bytes ascend.
        let made = process(input, &request(&SIZES)).unwrap();
        let top = made.made.last().unwrap();
        assert!(top.bytes <= input.len() as u64, "{i}: {} of {}", top.bytes, input.len());
    }
}

#[test]
fn transparent_stays_transparent_and_colours_do_not_bleed() {
    // What cannot be seen is green: a mean that forgets opacity turns the edge of the disc green.
    let disc = |width, height| {
        RgbaImage::from_fn(width, height, |x, y| {
            let inside =
                (x as f32 - width as f32 / 2.0).hypot(y as f32 - height as f32 / 2.0) < height as f32 / 3.0;
            if inside { Rgba([200, 10, 10, 255]) } else { Rgba([0, 255, 0, 0]) }
        })
    };
    for input in [make::png(&disc(1500, 900).into()), make::webp(&disc(1500, 900).into())] {
        let made = process(&input, &request(&SIZES)).unwrap();
        for name in ["320", "1280"] {
            assert!(["image/png", "image/webp"].contains(&&made.made(name).mime[..]));
            let image = made.image(name).to_rgba8();
            assert_eq!(image.get_pixel(2, 2)[3], 0);
            assert_eq!(image.get_pixel(image.width() / 2, image.height() / 2).0, [200, 10, 10, 255]);
            let greenest = image.pixels().filter(|p| p[3] > 40).map(|p| p[1]).max().unwrap();
            assert!(greenest < 40, "{name}: {greenest}");
        }
    }
    // Opacity of which nobody sees anything is none.
    let opaque = DynamicImage::ImageRgb8(make::scene(1500, 900)).to_rgba8();
    let made = process(&make::png(&opaque.into()), &request(&SIZES)).unwrap();
    assert!(made.made.iter().all(|it| it.mime == "image/jpeg"));
    let grey = GrayAlphaImage::from_fn(700, 400, |x, y| LumaA([(x / 3) as u8, (y / 2) as u8]));
    let made = process(&make::png(&grey.into()), &request(&SIZES)).unwrap();
    assert!(made.image("320").color().has_alpha());
}

#[test]
fn grey_stays_grey() {
    let grey = GrayImage::from_fn(1600, 1000, |x, y| Luma([(x / 8 + y / 16) as u8]));
    let inputs = [
        make::jpeg(&grey.clone().into(), CAMERA),
        make::jpeg(&grey.clone().into(), Jpg { progressive: true, ..CAMERA }),
        make::png(&grey.clone().into()),
    ];
    for input in inputs {
        let made = process(&input, &request(&[320, 1280])).unwrap();
        for name in ["320", "1280"] {
            let image = made.image(name);
            match &made.made(name).mime[..] {
                // WebP knows no other.
                "image/webp" => assert!(image.to_rgb8().pixels().all(|p| p[0] == p[1] && p[1] == p[2])),
                _ => assert!(matches!(image, DynamicImage::ImageLuma8(_)), "{name}"),
            }
            let image = image.to_luma8();
            let (x, y) = (image.width() / 2, image.height() / 2);
            assert!(image.get_pixel(x, y)[0].abs_diff(grey.get_pixel(800, 500)[0]) <= 3);
        }
    }
}

#[test]
fn progressive_is_as_good_as_baseline() {
    let scene = DynamicImage::ImageRgb8(make::scene(1601, 907));
    for halved in [false, true] {
        let [a, b] = [false, true].map(|progressive| {
            let input = make::jpeg(&scene, Jpg { quality: 92.0, progressive, halved });
            process(&input, &request(&[320])).unwrap().files["320"].clone()
        });
        assert_eq!(a, b);
    }
}

#[test]
fn sixteen_bits_and_profiles_of_png_and_webp() {
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    // Display P3's 180 120 90 is 191 117 83 in sRGB.
    let picture = DynamicImage::ImageRgb8(RgbImage::from_pixel(500, 300, Rgb([180, 120, 90])));
    let mut webp = img_parts::webp::WebP::from_bytes(make::webp(&picture).into()).unwrap();
    img_parts::ImageICC::set_icc_profile(&mut webp, Some(p3.clone().into()));
    let mut jpeg = img_parts::jpeg::Jpeg::from_bytes(make::jpeg(&picture, CAMERA).into()).unwrap();
    img_parts::ImageICC::set_icc_profile(&mut jpeg, Some(p3.clone().into()));
    let inputs = [
        make::png_with(&picture, |info| info.icc_profile = Some(p3.into())),
        webp.encoder().bytes().to_vec(),
        jpeg.encoder().bytes().to_vec(),
    ];
    for input in inputs {
        let made = process(&input, &request(&SIZES)).unwrap();
        for name in ["320", "1280"] {
            let found = corners(&made.image(name))[0];
            assert!(near(found, [191, 117, 83], 4), "{name}: {found:?}");
        }
    }
    let deep = image::ImageBuffer::<Luma<u16>, _>::from_fn(1024, 64, |x, _| Luma([x as u16 * 64]));
    let bytes: Vec<u8> = deep.as_raw().iter().flat_map(|v| v.to_be_bytes()).collect();
    let mut input = Vec::new();
    let mut encoder = png::Encoder::new(&mut input, 1024, 64);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
    let made = process(&input, &request(&[512, 1024])).unwrap();
    let image = made.image("512").to_luma8();
    let scale = 1024.0 / f64::from(image.width());
    for x in 8..image.width() - 8 {
        let exact = (f64::from(x) * scale + (scale - 1.0) / 2.0) * 64.0 / 257.0;
        let found = f64::from(image.get_pixel(x, 16)[0]);
        // JPEG's own errors; a byte that was lost or swapped would be tens of levels.
        assert!((exact - found).abs() <= 6.0, "{x}: {found} for {exact}");
    }
}

#[test]
fn screens_stay_sharp_while_that_costs_nothing() {
    let made = process(&make::png(&make::screenshot(2500, 1400).into()), &with_original(&SIZES)).unwrap();
    let original = make::screenshot(2500, 1400);
    assert_eq!(made.image("original").to_rgb8(), original);
    // Twice as large and nearly flat: lossless is smaller there, whatever its format.
    let mut plain = RgbImage::from_pixel(2500, 1400, Rgb([250; 3]));
    for x in 300..2200 {
        plain.put_pixel(x, 700, Rgb([0; 3]));
    }
    let made = process(&make::png(&plain.into()), &request(&SIZES)).unwrap();
    assert_ne!(made.made("2048").mime, "image/jpeg");
}

#[test]
fn the_same_in_the_same_out() {
    let input = make::jpeg_with_exif(make::rgb_jpeg(make::scene(900, 1300)), 8);
    let [a, b] = [(), ()].map(|()| process(&input, &with_original(&SIZES)).unwrap());
    assert_eq!((a.info, a.made, a.files), (b.info, b.made, b.files));
}

#[test]
fn what_is_no_picture_of_ours_is_told_apart_from_what_is_broken() {
    let jpeg = make::rgb_jpeg(make::scene(320, 200));
    let png = make::png(&make::scene(320, 200).into());
    let webp = make::webp(&make::scene(320, 200).into());
    let gif = make::gif(64, 64, &CORNERS);
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0".to_vec();
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg'/>".to_vec();
    for (input, code) in [(heic, Code::NotAnImage), (svg, Code::NotAnImage), (Vec::new(), Code::NotAnImage)] {
        assert_eq!(process(&input, &request(&SIZES)).err().unwrap().code, code);
    }
    for whole in [jpeg, png, webp, gif] {
        for part in [whole.len() / 3, whole.len() / 2, whole.len() * 9 / 10] {
            let refused = process(&whole[..part], &request(&SIZES)).err();
            assert_eq!(refused.map(|it| it.code), Some(Code::Damaged), "{part} of {}", whole.len());
        }
    }
    // An end marker that somebody lost harms nobody.
    let jpeg = make::rgb_jpeg(make::scene(320, 200));
    let made = process(&jpeg[..jpeg.len() - 2], &request(&SIZES)).unwrap();
    assert!(made.files["320"].ends_with(&[0xff, 0xd9]));
}
