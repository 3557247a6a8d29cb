//! A note's loudness in 64 points, gathered while it streams by.
//!
//! The energy goes into bins of 1 ms; when 2,048 are full, neighbours are merged and a bin is twice as long. So there
//! are always 1,024–2,048 of them (fewer in a note of a second), whatever the length, and 64 points cut from them are
//! right to a sixteenth of a point. A point is the root mean square (RMS) of its stretch, divided by that of the loudest
//! one, to the power of 0.6: what sounds twice as loud (Stevens: +10 dB) stands twice as high.

use super::RATE;

/// Points of a waveform.
pub(super) const POINTS: usize = 64;

const BINS_MAX: usize = 2_048;
/// Samples at [`RATE`] in a bin, at first: 1 ms.
const BIN_SAMPLES: u64 = RATE as u64 / 1_000;
/// If the loudest point is below this RMS (−60 dB of full scale), the note is silent: noise is not drawn as speech.
const SILENCE: f64 = 0.001;
const LOUDNESS_EXPONENT: f64 = 0.6;

#[derive(Clone, Copy, Default)]
struct Bin {
    energy: f64,
    samples: u64,
}

impl Bin {
    fn add(&mut self, other: Bin) {
        self.energy += other.energy;
        self.samples += other.samples;
    }
}

/// The waveform of what has been pushed so far.
pub(super) struct Waveform {
    full: Vec<Bin>,
    filling: Bin,
    bin_samples: u64,
}

impl Waveform {
    pub(super) fn new() -> Waveform {
        Waveform { full: Vec::with_capacity(BINS_MAX), filling: Bin::default(), bin_samples: BIN_SAMPLES }
    }

    /// Takes the next samples, at [`RATE`], full scale being 1.0.
    pub(super) fn push(&mut self, mut samples: &[f32]) {
        while !samples.is_empty() {
            let room = (self.bin_samples - self.filling.samples) as usize;
            let (now, later) = samples.split_at(room.min(samples.len()));
            let energy = now.iter().map(|s| f64::from(*s) * f64::from(*s)).sum();
            self.filling.add(Bin { energy, samples: now.len() as u64 });
            samples = later;
            if self.filling.samples == self.bin_samples {
                self.full.push(std::mem::take(&mut self.filling));
                if self.full.len() == BINS_MAX {
                    self.merge();
                }
            }
        }
    }

    fn merge(&mut self) {
        for i in 0..BINS_MAX / 2 {
            let mut both = self.full[2 * i];
            both.add(self.full[2 * i + 1]);
            self.full[i] = both;
        }
        self.full.truncate(BINS_MAX / 2);
        self.bin_samples *= 2;
    }

    /// The points: 0 for silence, 255 for the loudest.
    pub(super) fn finish(mut self) -> [u8; POINTS] {
        if self.filling.samples > 0 {
            self.full.push(self.filling);
        }
        let bins = self.full.len();
        let rms: [f64; POINTS] = std::array::from_fn(|point| {
            let from = point * bins / POINTS;
            // A note of fewer bins than points shows each of them more than once.
            let to = ((point + 1) * bins / POINTS).max(from + 1).min(bins);
            let mut stretch = Bin::default();
            self.full[from..to].iter().for_each(|bin| stretch.add(*bin));
            (stretch.energy / stretch.samples.max(1) as f64).sqrt()
        });
        let loudest = rms.iter().copied().fold(0.0, f64::max);
        if loudest < SILENCE {
            return [0; POINTS];
        }
        rms.map(|rms| (255.0 * (rms / loudest).powf(LOUDNESS_EXPONENT)).round() as u8)
    }
}

/// Serde for the points: standard base64.
pub(super) mod base64_points {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::POINTS;

    pub(in crate::voice) fn serialize<S: Serializer>(points: &[u8; POINTS], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(points))
    }

    pub(in crate::voice) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; POINTS], D::Error> {
        let points = STANDARD.decode(String::deserialize(d)?).map_err(D::Error::custom)?;
        points.try_into().map_err(|_| D::Error::custom("a waveform has 64 points"))
    }
}
