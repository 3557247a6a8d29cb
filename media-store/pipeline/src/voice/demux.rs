//! The container: finds the sound track and hands out its packets, in order and one at a time.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::LazyLock;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::AudioCodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::common::Limit;
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::{Hint, Probe, ProbeOptions};
use symphonia::core::formats::well_known::{FORMAT_ID_ISOMP4, FORMAT_ID_WAVE};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::edits::{self, Edit};
use super::ogg_opus::Head;
use crate::{Code, Limits, Refusal};

/// Bytes that are searched for the beginning of a container (after its tags). Raw MP3 and AAC may begin in the middle
/// of a frame; a megabyte, the library's default, would find an MP3 frame in almost anything.
const SEARCHED_BYTES: u32 = 16 * 1024;

/// Of tags nothing is kept, so none needs to be read: anything longer than this is skipped.
const TAG_BYTES_MAX: usize = 4 * 1024;

static PROBE: LazyLock<Probe> = LazyLock::new(|| {
    let options = ProbeOptions { max_probe_depth: SEARCHED_BYTES, ..ProbeOptions::default() };
    let mut probe = Probe::new_with_options(&options);
    symphonia::default::register_enabled_formats(&mut probe);
    probe
});

/// One sound track of a file.
pub(super) struct Demuxer {
    reader: Box<dyn FormatReader>,
    track: u32,
    /// What a decoder needs to know.
    pub(super) sound: AudioCodecParameters,
    /// The part of the track that plays, if the container says so.
    pub(super) edit: Option<Edit>,
    is_mp4: bool,
    /// Packets of any track that may still be read.
    packets_left: u64,
}

impl Demuxer {
    /// Opens the file and finds its first sound track whose codec has a name.
    pub(super) fn open(path: &Path, limits: &Limits) -> Result<Demuxer, Refusal> {
        let file = File::open(path).map_err(|e| Refusal::io("the input cannot be opened", &e))?;
        let bytes = file.metadata().map_err(|e| Refusal::io("the input cannot be read", &e))?.len();
        if bytes > limits.input_bytes {
            let text = format!("{bytes} bytes are more than {}", limits.input_bytes);
            return Err(Refusal::new(Code::TooLarge, text));
        }
        let stream = MediaSourceStream::new(Box::new(file), MediaSourceStreamOptions::default());
        let tags = MetadataOptions::default()
            .limit_tag_bytes(Limit::Maximum(TAG_BYTES_MAX))
            .limit_visual_bytes(Limit::Maximum(TAG_BYTES_MAX));
        let reader =
            PROBE.probe(&Hint::new(), stream, FormatOptions::default(), tags).map_err(|e| not_opened(&e))?;

        let format = reader.format_info().format;
        let track = reader
            .first_track_known_codec(TrackType::Audio)
            .ok_or_else(|| Refusal::new(Code::NotAudio, "there is no sound track that we know"))?;
        let Some(CodecParameters::Audio(sound)) = track.codec_params.clone() else {
            return Err(Refusal::new(Code::NotAudio, "there is no sound track that we know"));
        };
        // A WAV written to a pipe claims hours that it does not have.
        if format != FORMAT_ID_WAVE {
            refuse_announced_length(track, limits)?;
        }
        let track = track.id;
        let is_mp4 = format == FORMAT_ID_ISOMP4;
        // Opened again: a duplicated handle would share its position with the demuxer's.
        let edit = match is_mp4 {
            true => edits::read(
                &mut File::open(path).map_err(|e| Refusal::io("the input cannot be opened", &e))?,
                track,
            ),
            false => None,
        };
        Ok(Demuxer { reader, track, sound, edit, is_mp4, packets_left: limits.voice_packets })
    }

    pub(super) fn is_opus(&self) -> bool {
        self.sound.codec == CODEC_ID_OPUS
    }

    /// The identification header of an Opus track.
    pub(super) fn opus_head(&self) -> Result<Head, Refusal> {
        match &self.sound.extra_data {
            Some(bytes) if self.is_mp4 => Head::parse_mp4(bytes),
            Some(bytes) => Head::parse(bytes),
            None => Err(Refusal::new(Code::Damaged, "the Opus track has no header")),
        }
    }

    /// The next packet of the track; `None` at its end. A file that is cut off ends where it is cut: a recorder that
    /// died leaves such, and what it heard is worth keeping.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, Refusal> {
        loop {
            let Some(left) = self.packets_left.checked_sub(1) else {
                return Err(Refusal::new(Code::TooComplex, "more packets than the longest note has"));
            };
            self.packets_left = left;
            match self.reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => return Ok(Some(packet)),
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(Error::IoError(e)) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                Err(Error::IoError(e)) if !is_of_the_file(&e) => {
                    return Err(Refusal::io("the input cannot be read", &e));
                }
                Err(Error::ResetRequired) => {
                    return Err(Refusal::new(Code::NotAudio, "it is several recordings in one Ogg file"));
                }
                Err(e) => return Err(Refusal::new(Code::Damaged, format!("the container breaks: {e}"))),
            }
        }
    }
}

fn not_opened(error: &Error) -> Refusal {
    match error {
        Error::Unsupported(_) => Refusal::new(Code::NotAudio, "it is no sound file that we know"),
        Error::IoError(e) if !is_of_the_file(e) => Refusal::io("the input cannot be read", e),
        e => Refusal::new(Code::Damaged, format!("the container cannot be read: {e}")),
    }
}

/// Whether an error of reading comes of what stands in the file (it ends too soon, it points outside itself) rather
/// than of the disk.
fn is_of_the_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::Other
    )
}

/// Refuses before decoding what the header itself calls too long. What it does not tell is counted later.
fn refuse_announced_length(track: &Track, limits: &Limits) -> Result<(), Refusal> {
    let (Some(base), Some(duration)) = (track.time_base, track.duration) else { return Ok(()) };
    // A second more than allowed: priming and padding count here and do not later.
    let announced_ms = base.calc_duration_saturating(duration).as_millis();
    if announced_ms > i128::from(limits.voice_ms) + 1_000 {
        let text = format!("the note says it is longer than {} s", limits.voice_ms / 1_000);
        return Err(Refusal::new(Code::TooLong, text));
    }
    Ok(())
}
