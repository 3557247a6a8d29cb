//! Opus that is Opus already: its packets go into a new Ogg file as they are.

use std::io::Write;

use super::demux::Demuxer;
use super::ogg_opus::Writer;
use super::waveform::Waveform;
use super::{Damage, Made, RATE, check_length, codec_failed, no_sound};
use crate::{Code, Limits, Refusal};

/// Samples of the longest packet: 120 ms (RFC 6716 §3.2.5).
const PACKET_SAMPLES_MAX: usize = RATE as usize * 120 / 1_000;
/// Packets at the end that do not play at all, as yet: they are dropped if nothing that plays follows. An Ogg page holds
/// 255 of them.
const BEYOND_MAX: usize = 1_024;

/// Writes the note to `out`.
pub(super) fn run(mut demuxer: Demuxer, out: impl Write, limits: &Limits) -> Result<Made, Refusal> {
    let mut head = demuxer.opus_head()?;
    let mut end = u64::MAX;
    if let Some(edit) = demuxer.edit {
        let Ok(start) = u16::try_from(edit.start(RATE)) else {
            return Err(Refusal::new(
                Code::NotAudio,
                "the beginning was cut off in a way that Ogg cannot say",
            ));
        };
        head.pre_skip = head.pre_skip.max(start);
        end = edit.length(RATE).map_or(end, |length| length.saturating_add(u64::from(head.pre_skip)));
    }
    let mut note = Note {
        decoder: opus::Decoder::new(RATE, opus::Channels::Mono).map_err(|e| codec_failed(&e))?,
        writer: Writer::new(out, head)?,
        waveform: Waveform::new(),
        damage: Damage::default(),
        model: None,
        skip: u64::from(head.pre_skip),
        pcm: vec![0.0; PACKET_SAMPLES_MAX],
    };
    let mut beyond = Vec::new();
    let mut trim = 0;
    while note.writer.samples() < end
        && let Some(packet) = demuxer.next()?
    {
        if packet.trim_end.get() > 0 && packet.dur.get() == 0 && beyond.len() < BEYOND_MAX {
            beyond.push(packet.data);
            continue;
        }
        // Something plays after what should have been the end: those samples were no trimming but a hole.
        for data in beyond.drain(..) {
            note.add(data, 0)?;
        }
        trim = note.add(packet.data, packet.trim_end.get())?;
        check_length(
            note.writer.samples().min(end).saturating_sub(u64::from(head.pre_skip) + trim),
            RATE,
            limits,
        )?;
    }
    trim = trim.max(note.writer.samples().saturating_sub(end));
    let samples = note.writer.samples().saturating_sub(trim).saturating_sub(u64::from(head.pre_skip));
    if samples == 0 {
        return Err(no_sound());
    }
    note.writer.finish(trim)?;
    Ok(Made { samples, waveform: note.waveform.finish() })
}

struct Note<W: Write> {
    decoder: opus::Decoder,
    writer: Writer<W>,
    waveform: Waveform,
    damage: Damage,
    /// What a bad packet is replaced by: see [`lost`].
    model: Option<(Box<[u8]>, usize)>,
    /// Samples that are still to be thrown away at the beginning.
    skip: u64,
    pcm: Vec<f32>,
}

impl<W: Write> Note<W> {
    /// Decodes and writes a packet whose last `trim` samples do not play; returns how many of them there really are.
    fn add(&mut self, data: Box<[u8]>, trim: u64) -> Result<u64, Refusal> {
        let decoded =
            if data.is_empty() { None } else { self.decoder.decode_float(&data, &mut self.pcm, false).ok() };
        self.damage.note(decoded.is_some())?;
        let (data, samples) = match (decoded, &self.model) {
            (Some(samples), _) => {
                self.model = Some((lost(&data), samples));
                (data, samples)
            }
            (None, Some((model, samples))) => {
                // The decoder conceals it as a player will. Should even that fail, it is silence.
                if self.decoder.decode_float(model, &mut self.pcm, false).ok() != Some(*samples) {
                    self.pcm[..*samples].fill(0.0);
                }
                (model.clone(), *samples)
            }
            // Nothing to conceal it with: it is left out.
            (None, None) => return Ok(0),
        };
        // Some of the last packet plays, or it would not have come here (a replaced one may be shorter).
        let trim = trim.min(samples.saturating_sub(1) as u64);
        let from = usize::try_from(self.skip).map_or(samples, |skip| skip.min(samples));
        self.skip -= from as u64;
        let to = samples - trim as usize;
        self.waveform.push(self.pcm.get(from..to).unwrap_or_default());
        self.writer.packet(data, samples as u64)?;
        Ok(trim)
    }
}

/// A packet as long as `good` whose frames are all lost: same configuration, as many frames, each of 0 bytes
/// (RFC 6716 §3.2.1). Every decoder conceals those.
fn lost(good: &[u8]) -> Box<[u8]> {
    let toc = good.first().copied().unwrap_or_default();
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => good.get(1).map_or(1, |count| count & 0x3f),
    };
    Box::new([toc | 3, frames])
}
