//! Mono samples of any rate in, Opus in Ogg out.

use std::io::Write;

use super::ogg_opus::{Head, Writer};
use super::resample::Resampler;
use super::waveform::Waveform;
use super::{Made, RATE, codec_failed};
use crate::{Code, Refusal};

/// Samples in a packet: 20 ms, which Opus is best at.
const FRAME: usize = RATE as usize / 50;
/// On average, of speech. Silence is 1 kb/s (DTX).
const BITS_A_SECOND: i32 = 32_000;
/// Of 0..=10. Measured on recorded speech at this rate, with the application "VoIP" (hybrid coding): PESQ 4.40 at 5 and
/// 4.43 from 8 on, for half as much CPU time again. The application "audio" is as good from 8 on, and 3.8 below.
const COMPLEXITY: i32 = 5;
/// Bytes that any packet of one frame fits into (RFC 6716 §3.2).
const PACKET_BYTES_MAX: usize = 1_276;

/// An Opus file in the making.
pub(super) struct Encoder<W: Write> {
    /// `None`: it is 48 kHz already.
    resampler: Option<Resampler>,
    opus: opus::Encoder,
    writer: Writer<W>,
    waveform: Waveform,
    /// Samples at [`RATE`] that do not fill a frame yet.
    pending: Vec<f32>,
    /// Samples at [`RATE`] that came in.
    samples: u64,
    /// What the encoder runs behind: a decoder's first samples are not ours.
    lookahead: u16,
}

impl<W: Write> Encoder<W> {
    /// For samples at `rate` Hz, one of [`Resampler::RATES`].
    pub(super) fn new(out: W, rate: u32) -> Result<Encoder<W>, Refusal> {
        let mut opus = opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip)
            .map_err(|e| codec_failed(&e))?;
        opus.set_bitrate(opus::Bitrate::Bits(BITS_A_SECOND)).map_err(|e| codec_failed(&e))?;
        opus.set_vbr(true).map_err(|e| codec_failed(&e))?;
        opus.set_dtx(true).map_err(|e| codec_failed(&e))?;
        opus.set_complexity(COMPLEXITY).map_err(|e| codec_failed(&e))?;
        let lookahead = opus.get_lookahead().map_err(|e| codec_failed(&e))?;
        let lookahead = u16::try_from(lookahead)
            .map_err(|_| Refusal::new(Code::Failed, format!("the Opus encoder looks {lookahead} ahead")))?;
        Ok(Encoder {
            resampler: (rate != RATE).then(|| Resampler::new(rate)),
            opus,
            writer: Writer::new(out, Head::new(1, lookahead, rate))?,
            waveform: Waveform::new(),
            pending: Vec::new(),
            samples: 0,
            lookahead,
        })
    }

    /// Takes the next samples.
    pub(super) fn push(&mut self, samples: &[f32]) -> Result<(), Refusal> {
        let before = self.pending.len();
        match &mut self.resampler {
            Some(resampler) => resampler.push(samples, &mut self.pending),
            None => self.pending.extend_from_slice(samples),
        }
        self.account(before);
        self.encode_full_frames()
    }

    /// Encodes the rest and ends the file.
    pub(super) fn finish(mut self) -> Result<Made, Refusal> {
        let before = self.pending.len();
        if let Some(resampler) = &mut self.resampler {
            resampler.finish(&mut self.pending);
        }
        self.account(before);
        self.encode_full_frames()?;
        // The last sample comes out of the decoder this late; silence pushes it through.
        let end = self.samples + u64::from(self.lookahead);
        let missing = end.saturating_sub(self.writer.samples()) as usize;
        self.pending.resize(missing.next_multiple_of(FRAME), 0.0);
        self.encode_full_frames()?;
        let trim = self.writer.samples() - end;
        self.writer.finish(trim)?;
        Ok(Made { samples: self.samples, waveform: self.waveform.finish() })
    }

    fn account(&mut self, before: usize) {
        let new = &self.pending[before..];
        self.samples += new.len() as u64;
        self.waveform.push(new);
    }

    fn encode_full_frames(&mut self) -> Result<(), Refusal> {
        let mut packet = [0; PACKET_BYTES_MAX];
        let mut frames = self.pending.chunks_exact(FRAME);
        for frame in &mut frames {
            let bytes = self.opus.encode_float(frame, &mut packet).map_err(|e| codec_failed(&e))?;
            self.writer.packet(packet[..bytes].into(), FRAME as u64)?;
        }
        let rest = frames.remainder().len();
        self.pending.drain(..self.pending.len() - rest);
        Ok(())
    }
}
