//! Voice notes: whatever a recorder wrote goes in (WebM, Ogg, MP4, WAV, MP3, FLAC, AAC); Opus in an Ogg file, its
//! duration and a waveform of 64 points come out.
//!
//! 1. `demux` finds the first sound track and hands out its packets one by one. Pictures, titles, places, chapters and
//!    video never leave it.
//! 2. Opus is **passed through**: its packets stand in the output byte for byte, in a fresh container without a
//!    comment. They are decoded once, for the waveform and to learn which are broken.
//! 3. Everything else is **transcoded**: `pcm` decodes and mixes to mono, `resample` brings it to 48 kHz, `encode` makes
//!    Opus packets of 20 ms at about 32 kb/s.
//! 4. Both end in `ogg_opus`, which writes the file, and in `waveform`.
//!
//! Memory is that of a few packets, whatever the length. A gap in a recording's time stamps is closed, not filled.

mod demux;
mod edits;
mod encode;
mod ogg_opus;
mod pass_through;
mod pcm;
mod resample;
mod transcode;
mod waveform;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Code, Limits, Refusal};
use demux::Demuxer;

/// The sample rate of all Opus time, and of what we encode, in Hz.
const RATE: u32 = 48_000;

/// What was made of a voice note; the sound itself is in the output file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoiceNote {
    /// How long it plays, in milliseconds, rounded.
    pub duration_ms: u64,
    /// Loudness over the whole note in 64 steps of equal time: 0 is silence, 255 the loudest step, between them by
    /// perceived loudness. Base64 (88 characters) in JSON.
    #[serde(with = "waveform::base64_points")]
    pub waveform: [u8; waveform::POINTS],
    /// Size of the output file in bytes.
    pub bytes: u64,
    /// Whether the sound was Opus already and its packets were kept.
    pub passed_through: bool,
}

/// Makes the voice note in the file `input` into Opus in Ogg in the file `output` (created or overwritten).
///
/// # Errors
///
/// `not_audio`: no sound track, or one that we do not decode (HE-AAC, AMR, more than two channels, chained Ogg).
/// `damaged`: broken beyond a few packets, or without a single sample. `too_long`, `too_large`, `too_complex`: beyond
/// `limits`. `failed`: our own files. On any of them nothing is left at `output`.
pub fn process(input: &Path, output: &Path, limits: &Limits) -> Result<VoiceNote, Refusal> {
    // The demuxers and decoders are other people's and read hostile bytes. One that panics has met a broken file.
    let made = catch_unwind(AssertUnwindSafe(|| make(input, output, limits)))
        .unwrap_or_else(|_| Err(Refusal::new(Code::Damaged, "the sound made a decoder give up")));
    if made.is_err() {
        // Best effort: the caller's folder is temporary anyway.
        let _ = std::fs::remove_file(output);
    }
    made
}

/// What either way hands back beside the file.
struct Made {
    /// Samples that play, at [`RATE`].
    samples: u64,
    waveform: [u8; waveform::POINTS],
}

fn make(input: &Path, output: &Path, limits: &Limits) -> Result<VoiceNote, Refusal> {
    let demuxer = Demuxer::open(input, limits)?;
    let file = File::create(output).map_err(|e| Refusal::io("the output cannot be created", &e))?;
    let mut out = BufWriter::new(file);
    let passed_through = demuxer.is_opus();
    let made = if passed_through {
        pass_through::run(demuxer, &mut out, limits)?
    } else {
        transcode::run(demuxer, &mut out, limits)?
    };
    out.flush().map_err(|e| Refusal::io("the output cannot be written", &e))?;
    let bytes =
        out.get_ref().metadata().map_err(|e| Refusal::io("the output cannot be read back", &e))?.len();
    let duration_ms = (made.samples * 1_000 + u64::from(RATE) / 2) / u64::from(RATE);
    Ok(VoiceNote { duration_ms, waveform: made.waveform, bytes, passed_through })
}

/// Counts packets that could not be decoded. A few are concealed, as over a bad line; many are no recording.
#[derive(Default)]
struct Damage {
    packets: u64,
    bad: u64,
}

impl Damage {
    /// Bad packets that any note may have, and beyond those one in so many.
    const SOME: u64 = 8;
    const ONE_IN: u64 = 50;

    fn note(&mut self, good: bool) -> Result<(), Refusal> {
        self.packets += 1;
        self.bad += u64::from(!good);
        if self.bad > Self::SOME + self.packets / Self::ONE_IN {
            let text = format!("{} of its first {} packets cannot be decoded", self.bad, self.packets);
            return Err(Refusal::new(Code::Damaged, text));
        }
        Ok(())
    }
}

/// Refuses a note that has come to `samples` at `rate` Hz, if that is too long.
fn check_length(samples: u64, rate: u32, limits: &Limits) -> Result<(), Refusal> {
    if u128::from(samples) * 1_000 > u128::from(limits.voice_ms) * u128::from(rate) {
        let text = format!("the note is longer than {} s", limits.voice_ms / 1_000);
        return Err(Refusal::new(Code::TooLong, text));
    }
    Ok(())
}

/// A container that holds a track, and a track that holds nothing: somebody let go of the button at once.
fn no_sound() -> Refusal {
    Refusal::new(Code::Damaged, "the recording is empty")
}

/// An encoder or decoder of ours that does not even start.
fn codec_failed(error: &opus::Error) -> Refusal {
    Refusal::new(Code::Failed, format!("the Opus codec failed: {error}"))
}
