//! Animations, whose original alone moves.

use image::AnimationDecoder as _;
use image::codecs::gif::GifDecoder;
use image::codecs::webp::WebPDecoder;
use trunkline_media_pipeline::photo::Request;

use crate::make::{self, BLUE, GREEN, RED};
use crate::{SIZES, is_animated_webp, make as process, near, request};

#[test]
fn a_gif_gets_a_poster_and_keeps_moving() {
    let plain = make::gif(600, 400, &[RED, GREEN, BLUE]);
    let made = process(&plain, &request(&SIZES)).unwrap();
    assert!(made.info.animated);
    let names: Vec<_> = made.info.variants.iter().map(|it| &it.name[..]).collect();
    assert_eq!(names, ["320", "1280", "original"]);
    for name in ["320", "1280"] {
        let poster = made.image(name).to_rgba8();
        assert_ne!(made.made(name).mime, "image/gif");
        let (width, height) = poster.dimensions();
        let [r, g, b, a] = poster.get_pixel(width / 2, height / 2).0;
        assert!(near([r, g, b], RED, 6) && a == 255, "{name}");
        assert!(poster.get_pixel(0, 0)[3] <= 2, "{name}");
    }
    assert_eq!(made.made("original").mime, "image/gif");
    assert_eq!(frames_of_gif(&made.files["original"]), frames_of_gif(&plain));
    assert!(made.files["original"].windows(11).any(|w| w == b"NETSCAPE2.0"), "it loops");
}

fn frames_of_gif(bytes: &[u8]) -> Vec<Vec<u8>> {
    let decoder = GifDecoder::new(std::io::Cursor::new(bytes)).unwrap();
    decoder.into_frames().map(|frame| frame.unwrap().into_buffer().into_raw()).collect()
}

#[test]
fn a_webp_too() {
    let input = make::animated_webp(500, 300, &[GREEN, RED]);
    let made = process(&input, &request(&SIZES)).unwrap();
    assert!(made.info.animated);
    for name in ["320", "1280"] {
        assert!(!is_animated_webp(&made.files[name]));
        assert!(near(crate::corners(&made.image(name))[3], GREEN, 6), "{name}");
    }
    let original = &made.files["original"];
    assert!(is_animated_webp(original));
    let frames = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let decoder = WebPDecoder::new(std::io::Cursor::new(bytes.to_vec())).unwrap();
        decoder.into_frames().map(|frame| frame.unwrap().into_buffer().into_raw()).collect()
    };
    assert_eq!(frames(original).len(), 2);
    assert_eq!(frames(original), frames(&input));
}

#[test]
fn an_animated_png_too() {
    let mut input = Vec::new();
    let mut encoder = png::Encoder::new(&mut input, 400, 200);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for colour in [BLUE, GREEN] {
        writer.write_image_data(&colour.repeat(400 * 200)).unwrap();
    }
    writer.finish().unwrap();
    let made = process(&input, &request(&SIZES)).unwrap();
    assert!(made.info.animated);
    assert!(near(crate::corners(&made.image("1280"))[0], BLUE, 6));
    let count = |bytes: &[u8], kind: &[u8]| bytes.windows(4).filter(|w| *w == kind).count();
    for name in ["320", "1280"] {
        assert_eq!(count(&made.files[name], b"acTL"), 0, "{name}");
    }
    assert_eq!(made.files["original"], input);
}

#[test]
fn only_where_it_is_asked_for() {
    let quiet = Request { sizes: SIZES.to_vec(), original: false, animated_original: false };
    let made = process(&make::gif(60, 40, &[RED, GREEN]), &quiet).unwrap();
    assert!(made.info.animated && !made.files.contains_key("original"));
    let still = make::gif(60, 40, &[RED]);
    let made = process(&still, &request(&SIZES)).unwrap();
    assert!(!made.info.animated && !made.files.contains_key("original"));
    let bare = Request { sizes: Vec::new(), original: true, animated_original: false };
    let made = process(&make::rgb_jpeg(make::scene(500, 300)), &bare).unwrap();
    assert_eq!(made.files.keys().collect::<Vec<_>>(), ["original"]);
}
