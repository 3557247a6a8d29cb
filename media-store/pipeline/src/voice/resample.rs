//! Any sample rate to 48 kHz, by a windowed sinc: exact in time, streaming, with a table of bounded size.
//!
//! Output `n` stands at input time `n × rate / 48000`, kept as a fraction, so nothing drifts. The filter is symmetric and
//! the beginning is padded, so nothing is delayed either. Pass band to 0.82 of the lower of both Nyquist frequencies,
//! stop band (90 dB) from it on.

use std::f64::consts::PI;
use std::ops::RangeInclusive;

use super::RATE;

/// Zero crossings of the sinc on either side.
const CROSSINGS: f64 = 32.0;
/// The middle of the transition band, as a share of the Nyquist frequency.
const CUTOFF: f64 = 0.91;
/// Kaiser's β for 90 dB.
const BETA: f64 = 9.0;
/// Most rows of the table. The usual rates need fewer and get exact ones (44.1 kHz: 160); odd ones are interpolated
/// between two rows. 512 rows × 512 taps of 4 bytes: at most 1 MiB.
const ROWS_MAX: u64 = 512;

/// A stream of samples on its way to [`RATE`].
pub(super) struct Resampler {
    /// One row of `2 × half` taps for each phase 0..=rows: how far the output lies after an input sample.
    taps: Vec<f32>,
    rows: u64,
    half: usize,
    /// Input samples from one output to the next: `step / unit`.
    step: u64,
    unit: u64,
    /// Where the next output lies after `input[half - 1]`, in units below `unit`.
    phase: u64,
    /// The input that still matters; the next output's window is its beginning.
    input: Vec<f32>,
    pushed: u64,
    made: u64,
}

impl Resampler {
    /// Rates that recorders use, and some air around them.
    pub(super) const RATES: RangeInclusive<u32> = 4_000..=384_000;

    /// From `rate` Hz, one of [`Resampler::RATES`].
    pub(super) fn new(rate: u32) -> Resampler {
        debug_assert!(Self::RATES.contains(&rate));
        let common = gcd(u64::from(rate), u64::from(RATE));
        let (step, unit) = (u64::from(rate) / common, u64::from(RATE) / common);
        let rows = unit.min(ROWS_MAX);
        let cutoff = CUTOFF * (f64::from(RATE) / f64::from(rate)).min(1.0);
        let half = (CROSSINGS * CUTOFF / cutoff).ceil() as usize;
        let taps = table(rows, half, cutoff);
        // The first output is the first input: what would be before it is silence.
        let input = vec![0.0; half - 1];
        Resampler { taps, rows, half, step, unit, phase: 0, input, pushed: 0, made: 0 }
    }

    /// Takes samples and appends to `out` what can be told by now.
    pub(super) fn push(&mut self, samples: &[f32], out: &mut Vec<f32>) {
        self.pushed += samples.len() as u64;
        self.input.extend_from_slice(samples);
        let mut at = 0;
        while let Some(window) = self.input.get(at..at + 2 * self.half) {
            out.push(self.output(window));
            self.made += 1;
            self.phase += self.step;
            at += (self.phase / self.unit) as usize;
            self.phase %= self.unit;
        }
        // One step is at most 8 samples and a window 64 or more, so the next one begins within what has come.
        self.input.drain(..at);
    }

    /// Appends the rest: as many samples in all as last as long as what was pushed (rounded up).
    pub(super) fn finish(&mut self, out: &mut Vec<f32>) {
        let wanted = (self.pushed * self.unit).div_ceil(self.step).saturating_sub(self.made) as usize;
        let before = out.len();
        let silence = vec![0.0; 2 * self.half];
        while out.len() - before < wanted {
            self.push(&silence, out);
        }
        out.truncate(before + wanted);
    }

    fn output(&self, window: &[f32]) -> f32 {
        let scaled = self.phase * self.rows;
        let (row, part) = (scaled / self.unit, scaled % self.unit);
        let here = self.dot(row, window);
        if part == 0 {
            return here;
        }
        let part = part as f32 / self.unit as f32;
        here + part * (self.dot(row + 1, window) - here)
    }

    fn dot(&self, row: u64, window: &[f32]) -> f32 {
        let width = 2 * self.half;
        let row = &self.taps[row as usize * width..][..width];
        // Eight sums side by side: the compiler may then use wide registers, which it may not with one.
        let mut sums = [0.0_f32; 8];
        for (taps, samples) in row.chunks_exact(8).zip(window.chunks_exact(8)) {
            for lane in 0..8 {
                sums[lane] += taps[lane] * samples[lane];
            }
        }
        let tail = width - width % 8;
        let rest: f32 = row[tail..].iter().zip(&window[tail..]).map(|(tap, sample)| tap * sample).sum();
        sums.iter().sum::<f32>() + rest
    }
}

fn table(rows: u64, half: usize, cutoff: f64) -> Vec<f32> {
    let mut taps = Vec::with_capacity((rows as usize + 1) * 2 * half);
    for row in 0..=rows {
        let phase = row as f64 / rows as f64;
        let row: Vec<f64> = (0..2 * half)
            .map(|tap| {
                let t = tap as f64 - (half as f64 - 1.0) - phase;
                sinc(cutoff * t) * kaiser(t / half as f64)
            })
            .collect();
        // Each row passes a constant unchanged: no ripple at the rate of the phases.
        let sum: f64 = row.iter().sum();
        taps.extend(row.iter().map(|tap| (tap / sum) as f32));
    }
    taps
}

fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-9 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Kaiser's window over -1.0..=1.0, not scaled.
fn kaiser(x: f64) -> f64 {
    bessel_i0(BETA * (1.0 - x * x).max(0.0).sqrt())
}

/// The modified Bessel function of order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let mut term = 1.0;
    let mut sum = 1.0;
    for k in 1..64 {
        term *= (x / 2.0 / f64::from(k)).powi(2);
        sum += term;
    }
    sum
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
