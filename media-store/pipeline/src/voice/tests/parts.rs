//! The waveform, the resampler and the edit list by themselves.

use std::f64::consts::TAU;
use std::io::Cursor;

use super::super::edits;
use super::super::resample::Resampler;
use super::super::waveform::{POINTS, Waveform};
use super::support::*;

fn waveform(sound: &[f32]) -> [u8; POINTS] {
    let mut waveform = Waveform::new();
    // In uneven pieces, as packets come.
    sound.chunks(1_111).for_each(|piece| waveform.push(piece));
    waveform.finish()
}

#[test]
fn a_ramp_rises() {
    let ramp = |samples: usize| -> Vec<f32> {
        tone(440.0, 0.8, 48_000, samples)
            .iter()
            .enumerate()
            .map(|(n, s)| s * n as f32 / samples as f32)
            .collect()
    };
    for samples in [24_000, 48_000 * 3, 48_000 * 50 + 1_234] {
        let points = waveform(&ramp(samples));
        assert!(points.is_sorted(), "{points:?}");
        assert_eq!(points[63], 255);
        assert!(points[0] < 25);
        // Half as high as the end: 255 × (32.5 / 63.5) ^ 0.6.
        assert!(points[32].abs_diff(171) <= 3, "{}", points[32]);
    }
    // And through the whole pipeline.
    let heard = made(&wav(Pcm::I16, 44_100, 1, &ramp(88_200)));
    assert!(heard.note.waveform.is_sorted(), "{:?}", heard.note.waveform);
}

#[test]
fn the_same_shape_at_any_length() {
    // Loud, silent, half as loud, silent: a quarter each.
    let shape = |samples: usize| -> Vec<f32> {
        let quarter = samples / 4;
        [1.0, 0.0, 0.5, 0.0].iter().flat_map(|gain| tone(500.0, 0.7 * gain, 48_000, quarter)).collect()
    };
    let half = (255.0 * 0.5_f64.powf(0.6)).round() as u8;
    // 64 ms, 1 s, and lengths that merge bins 2, 5 and 8 times.
    for samples in [64 * 48, 48_000, 48_000 * 5, 48_000 * 40, 48_000 * 300] {
        let points = waveform(&shape(samples));
        for (i, point) in points.iter().enumerate() {
            let expected = [255, 0, half, 0][i / 16];
            // Where one begins or ends a bin may hold some of both.
            let at_an_edge = matches!(i % 16, 0 | 15);
            assert!(at_an_edge || point.abs_diff(expected) <= 2, "{samples}: point {i} is {point}");
        }
    }
}

#[test]
fn silence_is_flat_and_so_is_its_noise() {
    assert_eq!(waveform(&[]), [0; POINTS]);
    assert_eq!(waveform(&[0.0; 10_000]), [0; POINTS]);
    assert_eq!(waveform(&tone(440.0, 0.001, 48_000, 48_000)), [0; POINTS]);
    assert_eq!(waveform(&[0.5]), [255; POINTS]);
    // Two minutes of it, as a file.
    let heard = made(&wav(Pcm::U8, 8_000, 1, &vec![0.0; 8_000 * 120]));
    assert_eq!((heard.note.duration_ms, heard.note.waveform), (120_000, [0; POINTS]));
    assert!(heard.note.bytes < 60_000, "{}", heard.note.bytes);
}

/// All at once, or in pieces.
fn resampled(rate: u32, sound: &[f32], piece: usize) -> Vec<f32> {
    let mut resampler = Resampler::new(rate);
    let mut out = Vec::new();
    sound.chunks(piece).for_each(|piece| resampler.push(piece, &mut out));
    resampler.finish(&mut out);
    out
}

#[test]
fn a_tone_is_the_same_tone_at_48_khz() {
    for rate in
        [4_000, 8_000, 11_025, 12_345, 16_000, 32_000, 44_056, 44_100, 88_200, 96_000, 192_000, 384_000]
    {
        let hz = (f64::from(rate) * 0.37).min(17_000.0);
        let out = resampled(rate, &tone(hz, 0.5, rate, rate as usize), 1_024);
        assert_eq!(out.len(), 48_000, "{rate} Hz");
        let worst = out.iter().enumerate().skip(1_000).take(46_000).fold(0.0_f64, |worst, (n, sample)| {
            let ideal = 0.5 * (TAU * hz * n as f64 / 48_000.0).sin();
            worst.max((ideal - f64::from(*sample)).abs())
        });
        // -70 dB of the tone.
        assert!(worst < 0.5 * 3.2e-4, "{rate} Hz: {worst}");
    }
}

#[test]
fn what_48_khz_cannot_hold_is_gone() {
    for (rate, hz) in [(88_200, 24_500.0), (96_000, 30_000.0), (192_000, 90_000.0), (50_000, 24_400.0)] {
        let out = resampled(rate, &tone(hz, 0.5, rate, rate as usize), 1_024);
        let left = level(&out[1_000..47_000]);
        assert!(left < -80.0, "{hz} Hz of {rate} leave {left} dB");
    }
}

#[test]
fn resampling_does_not_depend_on_the_pieces() {
    for rate in [8_000, 44_100, 44_056, 384_000] {
        let sound = tone(440.0, 0.5, rate, 20_011);
        let whole = resampled(rate, &sound, usize::MAX);
        assert_eq!(whole.len() as u64, (20_011 * 48_000_u64).div_ceil(u64::from(rate)));
        assert_eq!(whole, resampled(rate, &sound, 1));
        assert_eq!(whole, resampled(rate, &sound, 977));
    }
}

fn boxed(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    [&(8 + body.len() as u32).to_be_bytes()[..], name, body].concat()
}

/// A movie of 1,000 ticks a second with track 7 of 44,100, and the entries of its edit list (length, start).
fn movie(edits: &[(u32, i32)], extra: &[u8]) -> Vec<u8> {
    let clock = |ticks: u32| [&[0; 12][..], &ticks.to_be_bytes(), &[0; 8]].concat();
    let mut elst = [&[0; 4][..], &(edits.len() as u32).to_be_bytes()].concat();
    for (length, start) in edits {
        elst.extend([length.to_be_bytes(), start.to_be_bytes(), 0x1_0000_u32.to_be_bytes()].concat());
    }
    let track = |id: u32, elst: &[u8]| {
        let mut tkhd = vec![0; 84];
        tkhd[12..16].copy_from_slice(&id.to_be_bytes());
        let mdia = boxed(b"mdia", &boxed(b"mdhd", &clock(44_100)));
        boxed(b"trak", &[boxed(b"tkhd", &tkhd), boxed(b"edts", &boxed(b"elst", elst)), mdia].concat())
    };
    let other = track(1, &[0; 8]);
    let moov = [boxed(b"mvhd", &clock(1_000)), other, track(7, &elst), extra.to_vec()].concat();
    [boxed(b"ftyp", b"M4A "), boxed(b"free", &[0; 100]), boxed(b"moov", &moov)].concat()
}

#[test]
fn an_edit_list_says_what_plays() {
    let read = |file: Vec<u8>, track| {
        edits::read(&mut Cursor::new(file), track).map(|edit| (edit.start(44_100), edit.length(44_100)))
    };
    assert_eq!(read(movie(&[(1_200, 1_024)], &[]), 7), Some((1_024, Some(52_920))));
    assert_eq!(
        read(movie(&[(300, -1), (1_200, 1_024)], &[]), 7),
        Some((1_024, Some(52_920))),
        "a pause before"
    );
    assert_eq!(read(movie(&[(0, 2_112)], &[]), 7), Some((2_112, None)), "to the end");
    let fragmented = boxed(b"mvex", &[]);
    assert_eq!(
        read(movie(&[(90, 2_112)], &fragmented), 7),
        Some((2_112, None)),
        "length of what was not there yet"
    );
    assert_eq!(read(movie(&[(500, 0), (500, 44_100)], &[]), 7), None, "two stretches");
    assert_eq!(read(movie(&[(500, -1)], &[]), 7), None);
    assert_eq!(read(movie(&[(500, 0)], &[]), 1), None, "another track");
    assert_eq!(read(movie(&[(500, 0)], &[]), 9), None, "no such track");
    assert_eq!(read(fixture("aac.m4a"), 1), Some((1_024, Some(52_920))));
    let whole = movie(&[(1_200, 1_024)], &[]);
    for bytes in 0..whole.len() {
        // Cut off anywhere: an answer, and never a wrong one.
        let cut = read(whole[..bytes].to_vec(), 7);
        assert!(cut.is_none() || cut == Some((1_024, Some(52_920))));
    }
}
