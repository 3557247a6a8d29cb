//! Sounds, files, and a player to listen with.

use std::f64::consts::TAU;
use std::io::Cursor;
use std::path::PathBuf;

use ogg::{Packet, PacketReader, PacketWriteEndInfo, PacketWriter};
use tempfile::TempDir;

use super::super::{VoiceNote, process};
use crate::{Code, Limits, Refusal};

/// A finished note and its file.
pub(super) struct Heard {
    pub(super) note: VoiceNote,
    pub(super) file: Vec<u8>,
}

pub(super) fn run(input: &[u8], limits: &Limits) -> Result<Heard, Refusal> {
    let dir = TempDir::new().unwrap();
    let (from, to) = (dir.path().join("in"), dir.path().join("out"));
    std::fs::write(&from, input).unwrap();
    match process(&from, &to, limits) {
        Ok(note) => {
            let file = std::fs::read(&to).unwrap();
            assert_eq!(note.bytes, file.len() as u64);
            Ok(Heard { note, file })
        }
        Err(refusal) => {
            assert!(!to.exists(), "a refusal leaves no file");
            Err(refusal)
        }
    }
}

pub(super) fn made(input: &[u8]) -> Heard {
    run(input, &Limits::default()).unwrap()
}

pub(super) fn refused(input: &[u8]) -> Code {
    run(input, &Limits::default()).map(|heard| heard.note).unwrap_err().code
}

pub(super) fn fixture(name: &str) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fixtures/voice", name].iter().collect();
    std::fs::read(path).unwrap()
}

/// A sine of so many Hz.
pub(super) fn tone(hz: f64, amplitude: f64, rate: u32, samples: usize) -> Vec<f32> {
    (0..samples).map(|n| (amplitude * (TAU * hz * n as f64 / f64::from(rate)).sin()) as f32).collect()
}

/// How a WAV stores a sample.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pcm {
    U8,
    I16,
    I24,
    I32,
    F32,
}

/// A WAV of interleaved samples.
pub(super) fn wav(pcm: Pcm, rate: u32, channels: u16, samples: &[f32]) -> Vec<u8> {
    let scaled =
        |sample: f32, bits: u32| (f64::from(sample) * f64::from((1_u32 << (bits - 1)) - 1)).round() as i32;
    let (tag, bits): (u16, u16) = match pcm {
        Pcm::U8 => (1, 8),
        Pcm::I16 => (1, 16),
        Pcm::I24 => (1, 24),
        Pcm::I32 => (1, 32),
        Pcm::F32 => (3, 32),
    };
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|&sample| match pcm {
            Pcm::U8 => vec![(scaled(sample, 8) + 128) as u8],
            Pcm::I16 => (scaled(sample, 16) as i16).to_le_bytes().to_vec(),
            Pcm::I24 => scaled(sample, 24).to_le_bytes()[..3].to_vec(),
            Pcm::I32 => scaled(sample, 32).to_le_bytes().to_vec(),
            Pcm::F32 => sample.to_le_bytes().to_vec(),
        })
        .collect();
    let block = channels * bits / 8;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0");
    wav.extend(tag.to_le_bytes());
    wav.extend(channels.to_le_bytes());
    wav.extend(rate.to_le_bytes());
    wav.extend((rate * u32::from(block)).to_le_bytes());
    wav.extend(block.to_le_bytes());
    wav.extend(bits.to_le_bytes());
    wav.extend(b"data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    wav
}

/// The packets of an Ogg file, its headers among them.
pub(super) fn ogg_packets(file: &[u8]) -> Vec<Packet> {
    let mut reader = PacketReader::new(Cursor::new(file));
    std::iter::from_fn(|| reader.read_packet().unwrap()).collect()
}

/// The sound packets alone.
pub(super) fn sound_packets(file: &[u8]) -> Vec<Vec<u8>> {
    ogg_packets(file).into_iter().skip(2).map(|packet| packet.data).collect()
}

/// An Ogg file of packets as given, with what granule position each ends at; 50 packets a page.
pub(super) fn ogg_file(head: &[u8], tags: &[u8], packets: &[(Vec<u8>, u64)]) -> Vec<u8> {
    let mut writer = PacketWriter::new(Vec::new());
    writer.write_packet(head.to_vec(), 77, PacketWriteEndInfo::EndPage, 0).unwrap();
    writer.write_packet(tags.to_vec(), 77, PacketWriteEndInfo::EndPage, 0).unwrap();
    for (i, (data, granule)) in packets.iter().enumerate() {
        let end = match i + 1 {
            n if n == packets.len() => PacketWriteEndInfo::EndStream,
            n if n % 50 == 0 => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        writer.write_packet(data.clone(), 77, end, *granule).unwrap();
    }
    writer.into_inner()
}

/// Plays an Ogg-Opus file as RFC 7845 says, and checks on the way what it says of the container.
pub(super) fn play(file: &[u8]) -> Vec<f32> {
    let packets = ogg_packets(file);
    let head = &packets[0].data;
    assert_eq!((&head[..8], head[8], head[18]), (&b"OpusHead"[..], 1, 0));
    assert_eq!(packets[1].data, b"OpusTags\0\0\0\0\0\0\0\0");
    assert!(packets[0].first_in_stream() && packets[0].last_in_page() && packets[1].last_in_page());
    assert!(packets.last().unwrap().last_in_stream());
    let pre_skip = usize::from(u16::from_le_bytes([head[10], head[11]]));

    let mut decoder = opus::Decoder::new(48_000, opus::Channels::Mono).unwrap();
    let mut sound = Vec::new();
    let mut page_began = 0;
    for packet in &packets[2..] {
        let mut pcm = [0.0; 5_760];
        let samples = decoder.decode_float(&packet.data, &mut pcm, false).unwrap();
        sound.extend_from_slice(&pcm[..samples]);
        let granule = packet.absgp_page() as usize;
        if packet.last_in_stream() {
            assert!(
                granule <= sound.len() && granule > sound.len() - samples,
                "trimmed within the last packet"
            );
            sound.truncate(granule);
        } else if packet.last_in_page() {
            assert_eq!(granule, sound.len(), "a page's granule position is the samples so far");
            assert!(sound.len() - page_began <= 48_000, "a page holds a second at most");
            page_began = sound.len();
        }
    }
    sound.split_off(pre_skip)
}

/// Power of one frequency (Goertzel).
fn power(sound: &[f32], hz: f64) -> f64 {
    let turn = 2.0 * (TAU * hz / 48_000.0).cos();
    let (mut one, mut two) = (0.0, 0.0);
    for sample in sound {
        (one, two) = (f64::from(*sample) + turn * one - two, one);
    }
    one * one + two * two - turn * one * two
}

/// The strongest frequency among multiples of 20 Hz up to 2 kHz.
pub(super) fn dominant(sound: &[f32]) -> f64 {
    let candidates = (2..=100).map(|n| f64::from(n) * 20.0);
    candidates.max_by(|a, b| power(sound, *a).total_cmp(&power(sound, *b))).unwrap()
}

/// RMS in decibels of full scale.
pub(super) fn level(sound: &[f32]) -> f64 {
    let energy: f64 = sound.iter().map(|s| f64::from(*s).powi(2)).sum();
    10.0 * (energy / sound.len() as f64).log10()
}

/// The sound without 100 ms at either end, where codecs run in and out.
pub(super) fn middle(sound: &[f32]) -> &[f32] {
    &sound[4_800..sound.len() - 4_800]
}

/// Asserts a 440 Hz tone of a level, in dB, and a duration that is that of the file too.
#[track_caller]
pub(super) fn assert_tone(heard: &Heard, seconds: f64, db: f64) {
    let sound = play(&heard.file);
    let told = heard.note.duration_ms as f64;
    assert!((told - seconds * 1_000.0).abs() <= 20.0, "{told} ms, not {seconds} s");
    assert!(
        (told - sound.len() as f64 / 48.0).abs() <= 0.5,
        "told {told} ms, played {} samples",
        sound.len()
    );
    assert_eq!(dominant(middle(&sound)), 440.0);
    let found = level(middle(&sound));
    assert!((found - db).abs() < 1.0, "{found} dB, not {db}");
}

/// The level of a sine of half of full scale.
pub(super) const HALF_DB: f64 = -9.03;
