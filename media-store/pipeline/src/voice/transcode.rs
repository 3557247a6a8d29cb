//! Anything but Opus: decoded, cut as the container says, encoded anew.

use std::io::Write;

use super::demux::Demuxer;
use super::encode::Encoder;
use super::pcm::Pcm;
use super::{Made, check_length, no_sound};
use crate::{Limits, Refusal};

/// Writes the note to `out`.
pub(super) fn run(mut demuxer: Demuxer, out: impl Write, limits: &Limits) -> Result<Made, Refusal> {
    let mut pcm = Pcm::new(&demuxer.sound)?;
    let mut note: Option<(Encoder<_>, Cut)> = None;
    let mut out = Some(out);
    let mut samples = 0;
    while let Some(packet) = demuxer.next()? {
        let Some((sound, rate)) = pcm.decode(&packet)? else { continue };
        if let Some(out) = out.take() {
            let edit = demuxer.edit;
            let cut = Cut {
                skip: edit.map_or(0, |edit| edit.start(rate)),
                left: edit.and_then(|edit| edit.length(rate)).unwrap_or(u64::MAX),
            };
            note = Some((Encoder::new(out, rate)?, cut));
        }
        let Some((encoder, cut)) = &mut note else { continue };
        let kept = cut.apply(sound);
        samples += kept.len() as u64;
        check_length(samples, rate, limits)?;
        encoder.push(kept)?;
        if cut.left == 0 {
            break;
        }
    }
    match note {
        Some((encoder, _)) if samples > 0 => encoder.finish(),
        _ => Err(no_sound()),
    }
}

/// The edit, in samples that are still to come.
struct Cut {
    skip: u64,
    left: u64,
}

impl Cut {
    fn apply<'a>(&mut self, sound: &'a [f32]) -> &'a [f32] {
        let skip = usize::try_from(self.skip).map_or(sound.len(), |skip| skip.min(sound.len()));
        let keep = usize::try_from(self.left).map_or(sound.len() - skip, |left| left.min(sound.len() - skip));
        self.skip -= skip as u64;
        self.left -= keep as u64;
        &sound[skip..skip + keep]
    }
}
