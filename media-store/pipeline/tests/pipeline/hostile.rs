//! Whatever comes in, what comes out is a picture or a refusal.

use proptest::prelude::*;
use trunkline_media_pipeline::{Code, Limits, sniff};

use crate::make::{self, BLUE, CAMERA, GREEN, Jpg, RED};
use crate::{make_within, with_original};

/// Small pictures of every kind.
fn seeds() -> Vec<Vec<u8>> {
    let scene = image::DynamicImage::ImageRgb8(make::scene(40, 30));
    let clear = image::DynamicImage::ImageRgba8(scene.to_rgba8());
    let baseline = make::jpeg(&scene, CAMERA);
    let progressive = make::jpeg(&scene, Jpg { progressive: true, ..CAMERA });
    let p3 = moxcms::ColorProfile::new_display_p3().encode().unwrap();
    let mut profiled = img_parts::jpeg::Jpeg::from_bytes(baseline.clone().into()).unwrap();
    img_parts::ImageICC::set_icc_profile(&mut profiled, Some(p3.clone().into()));
    vec![
        make::jpeg_with_exif(baseline, 6),
        progressive,
        profiled.encoder().bytes().to_vec(),
        make::jpeg(&image::DynamicImage::ImageLuma8(scene.to_luma8()), CAMERA),
        include_bytes!("../../fixtures/photo/cmyk.jpg").to_vec(),
        make::png_with(&scene, |info| info.icc_profile = Some(p3.into())),
        make::png(&clear),
        make::webp(&clear),
        make::animated_webp(24, 16, &[RED, BLUE]),
        make::gif(24, 16, &[RED, GREEN, BLUE]),
        make::gif(24, 16, &[RED]),
    ]
}

/// `make` checks what comes out. A refusal may blame the file, never ourselves.
fn feed(input: &[u8]) {
    let _ = sniff(&input[..input.len().min(4096)]);
    // Headers that grow cost time alone.
    let limits = Limits { pixels: 1 << 20, ..Limits::default() };
    if let Err(refusal) = make_within(input, &with_original(&[16, 32]), &limits) {
        assert_ne!(refusal.code, Code::Failed, "{refusal}");
    }
}

#[derive(Clone, Debug)]
enum Change {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        4 => (index(), prop::sample::select(vec![0, 1, 0x7f, 0x80, 0xd9, 0xda, 0xfe, 0xff])).prop_map(|(i, v)| Change::Set(i, v)),
        6 => (index(), 0_u8..8).prop_map(|(i, bit)| Change::Flip(i, bit)),
        1 => index().prop_map(Change::Cut),
        1 => (index(), 1_usize..40).prop_map(|(i, n)| Change::Remove(i, n)),
        1 => (index(), 1_usize..40).prop_map(|(i, n)| Change::Repeat(i, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let end = |at: usize, n: usize, bytes: &[u8]| (at + n).min(bytes.len());
    match change {
        Change::Set(i, value) => {
            let at = i.index(bytes.len());
            bytes[at] = *value;
        }
        Change::Flip(i, bit) => {
            let at = i.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Change::Cut(i) => bytes.truncate(i.index(bytes.len())),
        Change::Remove(i, n) => {
            let at = i.index(bytes.len());
            bytes.drain(at..end(at, *n, bytes));
        }
        Change::Repeat(i, n) => {
            let at = i.index(bytes.len());
            let again = bytes[at..end(at, *n, bytes)].to_vec();
            bytes.splice(at..at, again);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn mutated_pictures(seed in any::<prop::sample::Index>(), changes in prop::collection::vec(change(), 1..6)) {
        let seeds = SEEDS.get_or_init(seeds);
        let mut input = seeds[seed.index(seeds.len())].clone();
        changes.iter().for_each(|change| apply(&mut input, change));
        feed(&input);
    }

    #[test]
    fn arbitrary_bytes(head in 0_usize..5, rest in prop::collection::vec(any::<u8>(), 0..600)) {
        let heads: [&[u8]; 5] = [
            b"",
            b"\xff\xd8\xff",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x10\0\0\0\x10",
            b"GIF89a\x10\0\x10\0\x80\0\0",
            b"RIFF\x40\0\0\0WEBPVP8L",
        ];
        feed(&[heads[head], &rest].concat());
    }
}

static SEEDS: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();

#[test]
fn every_beginning_of_every_kind() {
    for seed in SEEDS.get_or_init(seeds) {
        for end in (0..seed.len()).step_by(seed.len() / 60 + 1) {
            feed(&seed[..end]);
        }
    }
}
