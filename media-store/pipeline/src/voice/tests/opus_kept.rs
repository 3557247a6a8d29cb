//! Opus stays what it is, and loses what is not sound.

use super::support::*;
use crate::Code;

const HEAD: &[u8] = b"OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0";
const NO_TAGS: &[u8] = b"OpusTags\0\0\0\0\0\0\0\0";
const PRE_SKIP: u64 = 312;

/// A second of tone in 51 packets, the last of which has 648 samples too many.
fn second() -> Vec<Vec<u8>> {
    let packets = sound_packets(&made(&wav(Pcm::I16, 48_000, 1, &tone(440.0, 0.5, 48_000, 48_000))).file);
    assert_eq!(packets.len(), 51);
    packets
}

/// Each packet with the granule position that it ends at; the last `trim` samples are not to be played.
fn timed(packets: &[Vec<u8>], begin: u64, trim: u64) -> Vec<(Vec<u8>, u64)> {
    let end = begin + 960 * packets.len() as u64 - trim;
    packets
        .iter()
        .enumerate()
        .map(|(i, data)| (data.clone(), (begin + 960 * (i as u64 + 1)).min(end)))
        .collect()
}

#[test]
fn ogg_keeps_its_packets_and_loses_its_comments() {
    let packets = second();
    // A title, and a picture that takes several pages.
    let mut tags = b"OpusTags\x06\0\0\0SECRET\x02\0\0\0\x0c\0\0\0TITLE=SECRET".to_vec();
    tags.extend(200_023_u32.to_le_bytes());
    tags.extend(b"METADATA_BLOCK_PICTURE=");
    tags.extend(b"SECRET  ".repeat(25_000));
    let input = ogg_file(HEAD, &tags, &timed(&packets, 0, 648));
    let heard = made(&input);
    assert!(heard.note.passed_through);
    assert_eq!(heard.note.duration_ms, 1_000);
    assert_eq!(sound_packets(&heard.file), packets);
    assert!(!heard.file.windows(6).any(|w| w == b"SECRET"));
    assert_eq!(play(&heard.file).len(), 48_000);
    assert_tone(&heard, 1.0, HALF_DB);
}

#[test]
fn what_we_wrote_comes_back_byte_for_byte() {
    let first = made(&wav(Pcm::I16, 44_100, 1, &tone(440.0, 0.5, 44_100, 100_000)));
    let second = made(&first.file);
    assert!(second.note.passed_through);
    assert_eq!(second.file, first.file);
    assert_eq!(second.note.duration_ms, first.note.duration_ms);
}

#[test]
fn webm_and_mp4_are_moved_into_ogg() {
    for (name, seconds, db) in [
        ("chromium.webm", 1.2, HALF_DB),
        ("chromium.mp4", 1.06, HALF_DB),
        ("video.webm", 1.2, HALF_DB),
        ("stereo.webm", 1.2, HALF_DB - 3.01),
        ("opus.mp4", 1.2, HALF_DB),
    ] {
        println!("{name}");
        let input = fixture(name);
        let heard = made(&input);
        assert!(heard.note.passed_through);
        assert_tone(&heard, seconds, db);
        // Every packet stands in the input, one after the other.
        let mut rest = input.as_slice();
        for packet in sound_packets(&heard.file) {
            let at = rest.windows(packet.len()).position(|w| w == packet).expect("a packet of the input");
            rest = &rest[at + packet.len()..];
        }
        // An index at most: 1,000 bytes of `moov`.
        assert!(rest.len() < 1_100, "{} bytes after the last packet", rest.len());
    }
}

#[test]
fn the_header_of_every_container_is_understood() {
    let pre_skip_and_channels = |file: &[u8]| {
        let head = &ogg_packets(file)[0].data;
        (u16::from_le_bytes([head[10], head[11]]), head[9])
    };
    assert_eq!(pre_skip_and_channels(&made(&fixture("opus.mp4")).file), (312, 1));
    assert_eq!(pre_skip_and_channels(&made(&fixture("stereo.webm")).file), (312, 2));
    // Amplification and the original rate are handed on.
    let mut head = HEAD.to_vec();
    head[12..18].copy_from_slice(&[0x44, 0xac, 0, 0, 0, 0xfd]);
    let kept = made(&ogg_file(&head, NO_TAGS, &timed(&second(), 0, 648)));
    assert_eq!(ogg_packets(&kept.file)[0].data, head);
    // Two channels in the words of family 1 are plain stereo; six are not.
    let mut stereo = HEAD.to_vec();
    stereo[9] = 2;
    stereo[18] = 1;
    stereo.extend([1, 1, 0, 1]);
    let plain = made(&ogg_file(&stereo, NO_TAGS, &timed(&second(), 0, 648)));
    assert_eq!(ogg_packets(&plain.file)[0].data[9..], [2, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0]);
    let mut six = HEAD.to_vec();
    six[9] = 6;
    six[18] = 1;
    six.extend([4, 2, 0, 4, 1, 2, 3, 5]);
    assert_eq!(refused(&ogg_file(&six, NO_TAGS, &timed(&second(), 0, 648))), Code::NotAudio);
}

#[test]
fn a_stream_that_was_joined_late_begins_at_its_beginning() {
    let packets = second();
    let heard = made(&ogg_file(HEAD, NO_TAGS, &timed(&packets, 9_000_000, 0)));
    assert_eq!(sound_packets(&heard.file), packets);
    assert_eq!(play(&heard.file).len() as u64, 51 * 960 - PRE_SKIP);
}

#[test]
fn packets_that_were_cut_off_at_the_end_are_gone() {
    let packets = [second(), second()].concat();
    // The last page holds 102 - 100 = 2 packets; the end lies in the last but one.
    let heard = made(&ogg_file(HEAD, NO_TAGS, &timed(&packets, 0, 960 + 100)));
    assert_eq!(sound_packets(&heard.file), packets[..101]);
    assert_eq!(play(&heard.file).len() as u64, 101 * 960 - 100 - PRE_SKIP);
}

#[test]
fn a_few_broken_packets_are_concealed() {
    let good = second();
    let mut bad = good.clone();
    // Code 3 with no frames, and a length that points outside.
    bad[20] = vec![0x03, 0];
    bad[40] = vec![good[40][0] & !3 | 2, 200, 1];
    let heard = made(&ogg_file(HEAD, NO_TAGS, &timed(&bad, 0, 648)));
    assert_eq!(heard.note.duration_ms, 1_000);
    let found = sound_packets(&heard.file);
    for (i, packet) in found.iter().enumerate() {
        let expected = if matches!(i, 20 | 40) { vec![good[i - 1][0] | 3, 1] } else { good[i].clone() };
        assert_eq!(*packet, expected, "packet {i}");
    }
    assert_eq!(play(&heard.file).len(), 48_000);
}

#[test]
fn many_broken_packets_are_refused() {
    let mut packets = second();
    packets.iter_mut().skip(10).step_by(4).for_each(|packet| *packet = vec![0x03, 0]);
    assert_eq!(refused(&ogg_file(HEAD, NO_TAGS, &timed(&packets, 0, 648))), Code::Damaged);
}

#[test]
fn a_file_that_is_cut_off_ends_there() {
    for name in ["chromium.webm", "chromium.mp4", "aac-fragmented.mp4"] {
        println!("{name}");
        let input = fixture(name);
        let whole = made(&input).note.duration_ms;
        let cut = made(&input[..input.len() * 3 / 4]);
        assert!((whole / 2..whole).contains(&cut.note.duration_ms), "{} of {whole}", cut.note.duration_ms);
        assert_eq!(dominant(middle(&play(&cut.file))), 440.0);
    }
    let input = ogg_file(HEAD, NO_TAGS, &timed(&[second(), second()].concat(), 0, 648));
    let cut = made(&input[..input.len() - 1_000]);
    assert!(sound_packets(&cut.file).len() >= 50);
    // Before the first packet there is no note at all.
    assert_eq!(refused(&fixture("chromium.webm")[..150]), Code::Damaged);
}

#[test]
fn a_lost_page_is_a_shorter_note() {
    let packets = [second(), second(), second()].concat();
    let input = ogg_file(HEAD, NO_TAGS, &timed(&packets, 0, 648));
    let pages: Vec<usize> =
        input.windows(5).enumerate().filter(|(_, w)| w == b"OggS\0").map(|(at, _)| at).collect();
    let holed = [&input[..pages[3]], &input[pages[4]..]].concat();
    let heard = made(&holed);
    assert_eq!(sound_packets(&heard.file), [&packets[..50], &packets[100..]].concat());
    play(&heard.file);
}

#[test]
fn chained_recordings_and_empty_ones_are_refused() {
    let one = ogg_file(HEAD, NO_TAGS, &timed(&second(), 0, 648));
    assert_eq!(refused(&[one.clone(), one].concat()), Code::NotAudio);
    // Shorter than what its decoder has to throw away.
    let mut head = HEAD.to_vec();
    head[10..12].copy_from_slice(&60_000_u16.to_le_bytes());
    assert_eq!(refused(&ogg_file(&head, NO_TAGS, &timed(&second(), 0, 648))), Code::Damaged);
}

/// A phone's editor leaves the sound in the file and cuts it in the edit list alone.
#[test]
fn what_an_edit_list_cuts_off_is_not_handed_on() {
    for (name, begin) in [("opus.mp4", 312 + 14_400_u32), ("aac.m4a", 1_024 + 13_230)] {
        println!("{name}");
        let mut input = fixture(name);
        let elst = input.windows(4).position(|w| w == b"elst").unwrap();
        // After the name: version and flags, count; then 500 ms, from 0.3 s on.
        input[elst + 12..elst + 16].copy_from_slice(&500_u32.to_be_bytes());
        input[elst + 16..elst + 20].copy_from_slice(&begin.to_be_bytes());
        let heard = made(&input);
        assert_tone(&heard, 0.5, HALF_DB);
        assert_eq!(play(&heard.file).len(), 24_000);
        if name == "opus.mp4" {
            let whole = sound_packets(&made(&fixture(name)).file);
            assert_eq!(sound_packets(&heard.file), whole[..41], "(14,712 + 24,000) / 960, rounded up");
        }
    }
}
