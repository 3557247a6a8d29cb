//! Each container and codec, by its own tone.

use super::support::*;
use crate::{Code, Limits};

#[test]
fn wav_of_every_sample_format_and_rate() {
    for pcm in [Pcm::U8, Pcm::I16, Pcm::I24, Pcm::I32, Pcm::F32] {
        for rate in [8_000, 16_000, 22_050, 44_100, 48_000, 96_000] {
            let sound = tone(440.0, 0.5, rate, rate as usize / 2);
            let heard = made(&wav(pcm, rate, 1, &sound));
            println!("{pcm:?} at {rate} Hz");
            assert_tone(&heard, 0.5, HALF_DB);
            assert_eq!(heard.note.duration_ms, 500);
            assert!(!heard.note.passed_through);
        }
    }
}

#[test]
fn a_note_is_as_long_as_its_input_to_the_sample() {
    for samples in [1, 2, 311, 312, 313, 647, 648, 649, 959, 960, 961, 47_999, 48_000, 48_001, 100_000] {
        let heard = made(&wav(Pcm::I16, 48_000, 1, &tone(440.0, 0.5, 48_000, samples)));
        assert_eq!(play(&heard.file).len(), samples);
    }
    for samples in [1, 2, 147, 44_099, 44_100, 44_101] {
        let heard = made(&wav(Pcm::I16, 44_100, 1, &tone(440.0, 0.5, 44_100, samples)));
        assert_eq!(play(&heard.file).len(), (samples * 160).div_ceil(147), "{samples} at 44.1 kHz");
    }
}

#[test]
fn the_first_sample_is_in_its_place() {
    // A click 10 ms in, at any rate, is heard 10 ms in.
    for rate in [8_000_u32, 44_100, 48_000, 96_000] {
        let mut sound = vec![0.0; rate as usize / 4];
        // 2 ms of a tone: what a voice codec keeps of a click.
        let burst = tone(1_000.0, 0.9, rate, rate as usize / 500);
        sound[rate as usize / 10..][..burst.len()].copy_from_slice(&burst);
        let heard = play(&made(&wav(Pcm::I16, rate, 1, &sound)).file);
        let energy = |s: &[f32]| s.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        let whole = energy(&heard);
        let around = energy(&heard[4_800 - 48..4_800 + 96 + 96]);
        assert!(around > 0.8 * whole, "{rate} Hz: {around} of {whole}");
    }
}

#[test]
fn stereo_is_mixed() {
    let left = tone(440.0, 0.5, 48_000, 24_000);
    let both: Vec<f32> = left.iter().flat_map(|s| [*s, *s]).collect();
    assert_tone(&made(&wav(Pcm::I16, 48_000, 2, &both)), 0.5, HALF_DB);
    let one_side: Vec<f32> = left.iter().flat_map(|s| [*s, 0.0]).collect();
    assert_tone(&made(&wav(Pcm::I16, 48_000, 2, &one_side)), 0.5, HALF_DB - 6.02);
}

#[test]
fn more_than_two_channels_are_refused() {
    let six: Vec<f32> = tone(440.0, 0.5, 48_000, 24_000).iter().flat_map(|s| [*s; 6]).collect();
    assert_eq!(refused(&wav(Pcm::I16, 48_000, 6, &six)), Code::NotAudio);
}

#[test]
fn other_encoders_files() {
    for (name, seconds) in [
        ("aac.m4a", 1.2),
        ("aac-fragmented.mp4", 1.23),
        ("tone.aac", 1.23),
        ("tone.mp3", 1.2),
        ("vorbis.ogg", 1.2),
        ("tone.flac", 0.6),
    ] {
        println!("{name}");
        let heard = made(&fixture(name));
        assert_tone(&heard, seconds, HALF_DB);
        assert!(!heard.note.passed_through);
    }
}

#[test]
fn a_float_file_of_nonsense_numbers_is_silence_and_full_scale() {
    let mut sound = vec![f32::NAN; 4_800];
    sound.extend([f32::INFINITY; 4_800]);
    sound.extend([f32::NEG_INFINITY; 4_800]);
    sound.extend([1.0e30; 4_800]);
    let heard = made(&wav(Pcm::F32, 48_000, 1, &sound));
    assert!(play(&heard.file).iter().all(|s| s.is_finite()));
    assert_eq!(heard.note.duration_ms, 400);
}

#[test]
fn a_wav_from_a_pipe_claims_hours_and_is_as_long_as_it_is() {
    let mut piped = wav(Pcm::I16, 16_000, 1, &tone(440.0, 0.5, 16_000, 8_000));
    piped[4..8].fill(0xff);
    piped[40..44].fill(0xff);
    assert_tone(&made(&piped), 0.5, HALF_DB);
}

#[test]
fn what_is_no_sound_is_refused() {
    let mut noise = vec![0_u8; 100_000];
    let mut state = 1_u32;
    noise.iter_mut().for_each(|byte| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = (state >> 24) as u8;
    });
    assert_eq!(refused(&noise), Code::NotAudio);
    assert_eq!(refused(b""), Code::NotAudio);
    assert_eq!(refused(b"<!doctype html><script>alert(1)</script>"), Code::NotAudio);
    assert_eq!(refused(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x02\0\0\0"), Code::NotAudio);
    assert_eq!(refused(&fixture("silent-film.webm")), Code::NotAudio);
    // A header and not one sample.
    assert_eq!(refused(&wav(Pcm::I16, 48_000, 1, &[])), Code::Damaged);
}

#[test]
fn limits_refuse_by_name() {
    let sound = wav(Pcm::I16, 48_000, 1, &tone(440.0, 0.5, 48_000, 48_000));
    let opus = made(&sound).file;
    let code = |input: &[u8], limits| run(input, &limits).map(|heard| heard.note).unwrap_err().code;
    let short = Limits { voice_ms: 999, ..Limits::default() };
    let enough = Limits { voice_ms: 1_000, ..Limits::default() };
    for input in [&sound, &opus] {
        assert_eq!(code(input, short.clone()), Code::TooLong);
        assert_eq!(run(input, &enough).unwrap().note.duration_ms, 1_000);
        assert_eq!(code(input, Limits { voice_packets: 5, ..Limits::default() }), Code::TooComplex);
        assert_eq!(code(input, Limits { input_bytes: 1_000, ..Limits::default() }), Code::TooLarge);
    }
    // Told by the header: refused although the sound itself is not there to be counted.
    let mut flac = fixture("tone.flac");
    let samples = flac.windows(4).position(|w| w == 4_800_u32.to_be_bytes()).unwrap();
    flac[samples..samples + 4].copy_from_slice(&100_000_000_u32.to_be_bytes());
    assert_eq!(refused(&flac), Code::TooLong);
}

#[test]
fn tags_and_pictures_do_not_survive() {
    for name in ["aac.m4a", "tone.mp3", "video.webm"] {
        let input = fixture(name);
        let heard = made(&input);
        let has = |file: &[u8], word: &[u8]| file.windows(word.len()).any(|w| w == word);
        assert!(has(&input, b"SECRET-TITLE"), "{name} has a title to lose");
        assert!(!has(&heard.file, b"SECRET"), "{name}");
        assert!(!has(&heard.file, b"Lavf") && !has(&heard.file, b"libopus"), "{name} names no encoder");
        play(&heard.file);
    }
}

#[test]
fn a_note_in_json() {
    let heard = made(&wav(Pcm::I16, 48_000, 1, &tone(440.0, 0.5, 48_000, 48_000)));
    let json = serde_json::to_value(&heard.note).unwrap();
    assert_eq!(json["duration_ms"], 1_000);
    assert_eq!(json["waveform"].as_str().unwrap().len(), 88);
    assert_eq!(json["passed_through"], false);
    assert_eq!(serde_json::from_value::<crate::voice::VoiceNote>(json.clone()).unwrap(), heard.note);
    let mut short = json;
    short["waveform"] = "AAAA".into();
    assert!(serde_json::from_value::<crate::voice::VoiceNote>(short).is_err());
}
