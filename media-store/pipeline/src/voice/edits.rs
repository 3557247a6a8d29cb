//! The edit list of an MP4 track (ISO/IEC 14496-12 §8.6.6), which the demuxer does not apply.
//!
//! It hides the encoder's run-in (1,024 or 2,112 samples of AAC), and what somebody cut off with a phone's editor before
//! sending: that must not be heard by the others either. Only the ordinary kind is understood, one stretch of the
//! track; anything else plays whole.

use std::io::{Read, Seek, SeekFrom};

/// The stretch of a track that plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    /// Where it begins, in ticks, and ticks a second (not 0).
    start: (u64, u32),
    /// How long it is, if it is told.
    length: Option<(u64, u32)>,
}

impl Edit {
    /// Samples at `rate` Hz that do not play at the beginning.
    pub(super) fn start(&self, rate: u32) -> u64 {
        scale(self.start, rate)
    }

    /// Samples at `rate` Hz that play; `None`: to the end.
    pub(super) fn length(&self, rate: u32) -> Option<u64> {
        self.length.map(|length| scale(length, rate))
    }
}

fn scale((ticks, a_second): (u64, u32), rate: u32) -> u64 {
    let samples = u128::from(ticks) * u128::from(rate) / u128::from(a_second);
    u64::try_from(samples).unwrap_or(u64::MAX)
}

/// Bytes of the largest `moov` that is searched: the tables of an hour are below 2 MB.
const MOOV_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Boxes on the top level of a file, or of one box, that are walked.
const BOXES_MAX: usize = 4_096;

/// The edit of the track whose id is `track`. `None` if there is none, or none that we understand.
pub(super) fn read(file: &mut (impl Read + Seek), track: u32) -> Option<Edit> {
    let moov = read_moov(file)?;
    let movie_rate = timescale(find(&moov, b"mvhd")?)?;
    // In a fragmented file the length was written before there was one.
    let is_fragmented = find(&moov, b"mvex").is_some();
    let trak = boxes(&moov).filter(|(name, _)| *name == b"trak").map(|(_, trak)| trak).find(|trak| {
        let id_at = |tkhd: &[u8]| if tkhd.first() == Some(&1) { 20 } else { 12 };
        find(trak, b"tkhd").and_then(|tkhd| be32(tkhd, id_at(tkhd))) == Some(track)
    })?;
    let media_rate = timescale(find(find(trak, b"mdia")?, b"mdhd")?)?;
    let (length, start) = the_one_edit(find(find(trak, b"edts")?, b"elst")?)?;
    let length = (length > 0 && !is_fragmented).then_some((length, movie_rate));
    Some(Edit { start: (start, media_rate), length })
}

/// Length (movie ticks) and start (media ticks) of the only edit that plays something; empty ones before it are pauses.
fn the_one_edit(elst: &[u8]) -> Option<(u64, u64)> {
    let is_long = *elst.first()? == 1;
    let count = be32(elst, 4)?;
    let entry_bytes = if is_long { 20 } else { 12 };
    let mut entries = elst.get(8..)?.chunks_exact(entry_bytes).take(count as usize).map(|entry| {
        if is_long {
            Some((be64(entry, 0)?, be64(entry, 8)?.cast_signed()))
        } else {
            Some((u64::from(be32(entry, 0)?), i64::from(be32(entry, 4)?.cast_signed())))
        }
    });
    let (length, start) = entries.by_ref().flatten().find(|(_, start)| *start >= 0)?;
    if entries.next().is_some() {
        return None;
    }
    Some((length, u64::try_from(start).ok()?))
}

/// Ticks a second of an `mvhd` or `mdhd`.
fn timescale(body: &[u8]) -> Option<u32> {
    be32(body, if *body.first()? == 1 { 20 } else { 12 }).filter(|ticks| *ticks > 0)
}

/// The body of the file's `moov`.
fn read_moov(file: &mut (impl Read + Seek)) -> Option<Vec<u8>> {
    let mut at = 0_u64;
    for _ in 0..BOXES_MAX {
        let mut head = [0; 16];
        file.seek(SeekFrom::Start(at)).ok()?;
        file.read_exact(&mut head[..8]).ok()?;
        let (head_bytes, bytes) = match be32(&head, 0)? {
            1 => {
                file.read_exact(&mut head[8..]).ok()?;
                (16, be64(&head, 8)?)
            }
            bytes => (8, u64::from(bytes)),
        };
        // 0, "to the end of the file", is for the last box, which is not the one we look for unless it is damaged.
        let body_bytes = bytes.checked_sub(head_bytes)?;
        if &head[4..8] == b"moov" {
            if body_bytes > MOOV_BYTES_MAX {
                return None;
            }
            let mut moov = Vec::new();
            file.take(body_bytes).read_to_end(&mut moov).ok()?;
            return Some(moov);
        }
        at = at.checked_add(bytes)?;
    }
    None
}

fn find<'a>(parent: &'a [u8], name: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(parent).find(|(found, _)| *found == name).map(|(_, body)| body)
}

/// The boxes in a box's body, as name and body; ends at the first that does not fit.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, body_at, bytes) = match be32(rest, 0)? {
            0 => (4, 8, rest.len()),
            1 => (4, 16, usize::try_from(be64(rest, 8)?).ok()?),
            bytes => (4, 8, bytes as usize),
        };
        let name = rest.get(name..)?.first_chunk()?;
        let body = rest.get(body_at..bytes)?;
        rest = rest.get(bytes..)?;
        Some((name, body))
    })
    .take(BOXES_MAX)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_be_bytes(*b))
}
