//! Packets of anything but Opus, decoded and mixed to mono.

use symphonia::core::audio::GenericAudioBufferRef;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::packet::Packet;

use super::Damage;
use super::resample::Resampler;
use crate::{Code, Refusal};

/// A decoder, and what the sound turned out to be.
pub(super) struct Pcm {
    decoder: Box<dyn AudioDecoder>,
    /// Set by the first packet that can be decoded: headers are known to lie about both.
    spec: Option<Spec>,
    damage: Damage,
    interleaved: Vec<f32>,
    mono: Vec<f32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Spec {
    rate: u32,
    channels: usize,
}

impl Pcm {
    /// A decoder for the track.
    pub(super) fn new(sound: &AudioCodecParameters) -> Result<Pcm, Refusal> {
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(sound, &AudioDecoderOptions::default())
            .map_err(|e| match e {
                Error::Unsupported(what) => {
                    Refusal::new(Code::NotAudio, format!("the sound cannot be decoded: {what}"))
                }
                e => Refusal::new(Code::Damaged, format!("the sound's header cannot be read: {e}")),
            })?;
        Ok(Pcm { decoder, spec: None, damage: Damage::default(), interleaved: Vec::new(), mono: Vec::new() })
    }

    /// Samples of the packet, each in -1.0..=1.0, and their rate in Hz. `None` while nothing could be decoded yet. A
    /// bad packet gives as much silence as the last good one gave sound.
    pub(super) fn decode(&mut self, packet: &Packet) -> Result<Option<(&[f32], u32)>, Refusal> {
        let good = match self.decoder.decode(packet) {
            Ok(sound) => {
                let spec = Spec { rate: sound.spec().rate(), channels: sound.spec().channels().count() };
                let expected = match self.spec {
                    Some(expected) => expected,
                    None => check(spec)?,
                };
                self.spec = Some(expected);
                if spec == expected {
                    mix(&sound, &mut self.interleaved, spec.channels, &mut self.mono);
                }
                spec == expected
            }
            Err(_) => false,
        };
        self.damage.note(good)?;
        if !good {
            self.mono.fill(0.0);
        }
        Ok(self.spec.map(|spec| (self.mono.as_slice(), spec.rate)))
    }
}

fn check(spec: Spec) -> Result<Spec, Refusal> {
    if !matches!(spec.channels, 1 | 2) {
        return Err(Refusal::new(Code::NotAudio, format!("{} channels; a note has 1 or 2", spec.channels)));
    }
    if !Resampler::RATES.contains(&spec.rate) {
        return Err(Refusal::new(Code::NotAudio, format!("{} samples a second", spec.rate)));
    }
    Ok(spec)
}

fn mix(sound: &GenericAudioBufferRef<'_>, interleaved: &mut Vec<f32>, channels: usize, mono: &mut Vec<f32>) {
    sound.copy_to_vec_interleaved(interleaved);
    mono.clear();
    match channels {
        1 => mono.extend(interleaved.iter().copied().map(clean)),
        _ => {
            let pairs = interleaved.chunks_exact(2);
            mono.extend(pairs.map(|pair| f32::midpoint(clean(pair[0]), clean(pair[1]))));
        }
    }
}

/// Floating-point files may hold anything: infinities, and numbers that are none.
fn clean(sample: f32) -> f32 {
    if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) }
}
