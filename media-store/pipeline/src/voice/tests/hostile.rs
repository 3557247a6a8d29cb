//! Bytes that mean harm. A decoder that panics is caught and the file refused; nothing else may come of it.

use proptest::prelude::*;

use super::support::*;
use crate::{Code, Limits};

const FIXTURES: [&str; 11] = [
    "chromium.webm",
    "chromium.mp4",
    "aac-fragmented.mp4",
    "aac.m4a",
    "tone.aac",
    "tone.mp3",
    "vorbis.ogg",
    "tone.flac",
    "opus.mp4",
    "stereo.webm",
    "video.webm",
];

/// Limits small enough that a file that lies about itself is soon done with.
fn tight() -> Limits {
    Limits { voice_ms: 10_000, voice_packets: 20_000, ..Limits::default() }
}

/// A note, or a refusal that blames the file.
fn check(input: &[u8]) {
    match run(input, &tight()) {
        Ok(heard) => {
            assert!(heard.note.duration_ms <= 10_000);
            play(&heard.file);
        }
        Err(refusal) => assert_ne!(refusal.code, Code::Failed, "{}", refusal.text),
    }
}

/// 40,000 channels of 24 bits overflow a multiplication in the WAV demuxer, which panics where overflow is checked.
#[test]
fn a_decoder_that_panics_has_met_a_broken_file() {
    let mut input = wav(Pcm::I24, 48_000, 1, &tone(440.0, 0.5, 48_000, 4_800));
    input[22..24].copy_from_slice(&40_000_u16.to_le_bytes());
    assert!(matches!(refused(&input), Code::Damaged | Code::NotAudio));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_bytes_after_any_beginning(
        magic in prop::sample::select(vec![
            &b""[..], b"OggS\0\x02", b"\x1aE\xdf\xa3", b"\0\0\0\x18ftypM4A ", b"RIFF\xff\0\0\0WAVEfmt ", b"fLaC\0\0\0\x22",
            b"\xff\xfb\x90\x00", b"\xff\xf1\x50\x80", b"ID3\x04\0\0\0\0\x02\x01",
        ]),
        bytes in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        check(&[magic, &bytes].concat());
    }

    #[test]
    fn a_recording_with_bytes_changed(
        name in prop::sample::select(FIXTURES.to_vec()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24),
        in_header in any::<bool>(),
    ) {
        let mut input = fixture(name);
        let reach = if in_header { 600 } else { input.len() };
        for (at, byte) in changes {
            let at = at.index(reach);
            input[at] = byte;
        }
        check(&input);
    }

    #[test]
    fn a_recording_cut_out_and_repeated(
        name in prop::sample::select(FIXTURES.to_vec()),
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        into in any::<prop::sample::Index>(),
    ) {
        let input = fixture(name);
        let (from, to) = (from.index(input.len()), to.index(input.len()));
        let piece = &input[from.min(to)..from.max(to)];
        let into = into.index(input.len());
        check(&[&input[..into], piece, &input[into..]].concat());
        check(&[&input[..from.min(to)], &input[from.max(to)..]].concat());
    }

    #[test]
    fn opus_packets_of_anything(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..40)) {
        let head = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        let timed: Vec<_> = packets.into_iter().enumerate().map(|(i, data)| (data, 960 * i as u64)).collect();
        check(&ogg_file(head, b"OpusTags\0\0\0\0\0\0\0\0", &timed));
    }
}
