//! Nothing of where, when and by whom is in any variant.

use img_parts::jpeg::Jpeg;
use img_parts::png::Png;
use img_parts::webp::WebP;

use crate::make::{self, BLUE, RED};
use crate::{SIZES, make as process, with_original};

/// What stands in all that must not get out.
const PLANTED: &[u8] = b"PLANTED";

fn check(input: &[u8]) {
    assert!(holds(input, PLANTED), "the test plants nothing");
    let made = process(input, &with_original(&SIZES)).unwrap();
    for (name, bytes) in &made.files {
        assert!(!holds(bytes, PLANTED), "{name}");
        assert!(!holds(bytes, b"Exif"), "{name}");
        assert!(!holds(bytes, b"http://ns.adobe.com"), "{name}");
        match &made.made(name).mime[..] {
            "image/jpeg" => check_jpeg(bytes),
            "image/png" => check_png(bytes),
            "image/webp" => check_webp(bytes),
            _ => {}
        }
    }
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// JFIF, tables, frame, scans: nothing else, and nothing after the end.
fn check_jpeg(bytes: &[u8]) {
    let jpeg = Jpeg::from_bytes(bytes.to_vec().into()).unwrap();
    for segment in jpeg.segments() {
        match segment.marker() {
            0xe0 => assert_eq!(segment.contents().len(), 14, "no thumbnail"),
            0xee => assert!(segment.contents().starts_with(b"Adobe")),
            marker => assert!(matches!(marker, 0xc0..=0xc4 | 0xda | 0xdb | 0xdd), "{marker:x}"),
        }
    }
    assert!(bytes.ends_with(&[0xff, 0xd9]));
    assert_eq!(jpeg.encoder().bytes().len(), bytes.len());
}

fn check_png(bytes: &[u8]) {
    let png = Png::from_bytes(bytes.to_vec().into()).unwrap();
    for chunk in png.chunks() {
        let kind = chunk.kind();
        assert!(
            [*b"IHDR", *b"PLTE", *b"tRNS", *b"IDAT", *b"IEND"].contains(&kind),
            "{}",
            kind.escape_ascii()
        );
    }
    assert_eq!(png.len(), bytes.len());
}

fn check_webp(bytes: &[u8]) {
    let webp = WebP::from_bytes(bytes.to_vec().into()).unwrap();
    for chunk in webp.chunks() {
        let known = [*b"VP8X", *b"ANIM", *b"ANMF", *b"ALPH", *b"VP8 ", *b"VP8L"];
        assert!(known.contains(&chunk.id()), "{}", chunk.id().escape_ascii());
        if let (b"VP8X", Some(data)) = (&chunk.id(), chunk.content().data()) {
            assert_eq!(data[0] & 0x2c, 0, "it says it has a profile or metadata");
        }
    }
    assert_eq!(webp.len() as usize, bytes.len());
}

#[test]
fn jpeg() {
    // What phones, editors and agencies write, and what hides behind the end.
    let mut xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>PLANTED</x:xmpmeta>".to_vec();
    let gps = [&b"Exif\0\0"[..], &make::exif(1)[..]].concat();
    let segments: &[(u8, &[u8])] = &[
        (0xe1, &gps),
        (0xe1, &xmp),
        (0xe1, b"http://ns.adobe.com/xmp/extension/\0PLANTED"),
        (0xe2, b"MPF\0PLANTED"),
        (0xe2, b"urn:iso:std:iso:ts:21496:-1\0PLANTED"),
        (0xe3, b"Meta\0PLANTED"),
        (0xed, b"Photoshop 3.0\08BIM\x04\x04\0\0\0\0\0\x0fPLANTED"),
        (0xe0, b"JFXX\0\x13\x01\x01PLANTED"),
        (0xfe, b"PLANTED"),
        (0xf7, b"PLANTED"),
    ];
    let small = make::rgb_jpeg(make::scene(700, 500));
    for picture in [small.clone(), make::rgb_jpeg(make::scene(2600, 1500))] {
        let mut input = make::jpeg_with(picture, segments);
        input.extend(&small);
        input.extend(b"PLANTED");
        check(&input);
    }
    // A thumbnail inside JFIF itself, and one segment at a time, so that none hides behind another.
    let mut thumbnail = b"JFIF\0\x01\x01\0\0\x01\0\x01\x03\x01".to_vec();
    thumbnail.extend(b"PLANTED\0\0");
    for (marker, body) in segments.iter().chain([&(0xe0, &thumbnail[..])]) {
        check(&make::jpeg_with(small.clone(), &[(*marker, body)]));
    }
    // On its side, so that its own bytes cannot stay.
    xmp.truncate(60);
    check(&make::jpeg_with_exif(make::jpeg_with(small, &[(0xe1, &xmp[..]), (0xfe, b"PLANTED")]), 6));
}

#[test]
fn png() {
    let chunks: &[([u8; 4], &[u8])] = &[
        (*b"tEXt", b"Author\0PLANTED"),
        (*b"zTXt", b"Comment\0\0\x78\x01\x01\x07\0\xf8\xffPLANTED\x09\x6d\x02\x0f"),
        (*b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0http://ns.adobe.com/xap/1.0/ PLANTED"),
        (*b"eXIf", &make::exif(1)),
        (*b"tIME", b"\x07\xe8\x01\x01\0\0\0"),
        (*b"prVt", b"PLANTED"),
        (*b"dSIG", b"PLANTED"),
    ];
    let mut all = make::png(&make::screenshot(800, 500).into());
    for (kind, body) in chunks {
        all = make::png_with_chunk(all, *kind, body);
    }
    all.extend(b"PLANTED");
    check(&all);
    check(&make::png_with_chunk(make::png(&make::scene(2200, 300).into()), *b"tEXt", b"Author\0PLANTED"));
}

#[test]
fn webp() {
    let still = make::webp(&make::screenshot(500, 400).into());
    let moving = make::animated_webp(50, 40, &[RED, BLUE]);
    for picture in [still, moving] {
        let mut webp = WebP::from_bytes(picture.into()).unwrap();
        img_parts::ImageEXIF::set_exif(&mut webp, Some(make::exif(1).into()));
        for (kind, body) in [(*b"XMP ", &b"<x:xmpmeta>PLANTED"[..]), (*b"NOTE", b"PLANTED")] {
            webp.chunks_mut().push(make::data(kind, body.to_vec()));
        }
        if let Some(img_parts::riff::RiffContent::Data(head)) =
            webp.chunks_mut().iter_mut().find(|it| it.id() == *b"VP8X").map(|it| it.content_mut())
        {
            *head = [&[head[0] | 0x04], &head[1..]].concat().into();
        }
        // A chunk inside a frame.
        for chunk in webp.chunks_mut().iter_mut().filter(|it| it.id() == *b"ANMF") {
            let Some(body) = chunk.content().data() else { continue };
            let hidden = make::data(*b"EXIF", make::exif(1)).encoder().bytes();
            *chunk = make::data(*b"ANMF", [&body[..], &hidden[..]].concat());
        }
        let mut input = webp.encoder().bytes().to_vec();
        input.extend(b"PLANTED");
        check(&input);
    }
}

#[test]
fn gif() {
    for colours in [&[RED][..], &[RED, BLUE]] {
        let plain = make::gif(60, 40, colours);
        let table = plain[10];
        let at = 13 + if table & 0x80 == 0 { 0 } else { 3 << ((table & 7) + 1) };
        let mut input = plain[..at].to_vec();
        input.extend(b"\x21\xfe\x07PLANTED\0");
        input.extend(b"\x21\xff\x0bXMP DataXMP\x07PLANTED\0");
        input.extend(b"\x21\xff\x0bNETSCAPE2.0\x07PLANTED\0");
        input.extend(b"\x21\x01\x0c\0\0\0\0\0\0\0\0\0\0\0\0\x07PLANTED\0");
        input.extend(&plain[at..plain.len() - 1]);
        input.extend(b"\x21\xfe\x07PLANTED\0\x3bPLANTED");
        check(&input);
    }
}
