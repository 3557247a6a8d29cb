//! Opus in Ogg (RFC 7845): the header, read and written, and the file.

use std::io::{self, Write};

use ogg::{PacketWriteEndInfo, PacketWriter};

use super::RATE;
use crate::{Code, Refusal};

/// What an Opus identification header (RFC 7845 §5.1) tells, of one or two channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) channels: u8,
    /// Samples at [`RATE`] that a decoder throws away at the beginning.
    pub(super) pre_skip: u16,
    /// Rate of the sound before it was encoded, in Hz; 0 if unknown. Players ignore it.
    input_rate: u32,
    /// What a player amplifies by, in 1/256 dB.
    gain: i16,
}

const MAGIC: &[u8; 8] = b"OpusHead";

impl Head {
    pub(super) fn new(channels: u8, pre_skip: u16, input_rate: u32) -> Head {
        Head { channels, pre_skip, input_rate, gain: 0 }
    }

    /// Of Ogg and WebM.
    pub(super) fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
        Self::parse_as(bytes, u16::from_le_bytes, u32::from_le_bytes)
    }

    /// Of MP4: the same fields in network byte order. The demuxer has put the magic before them.
    pub(super) fn parse_mp4(bytes: &[u8]) -> Result<Head, Refusal> {
        Self::parse_as(bytes, u16::from_be_bytes, u32::from_be_bytes)
    }

    fn parse_as(bytes: &[u8], b16: fn([u8; 2]) -> u16, b32: fn([u8; 4]) -> u32) -> Result<Head, Refusal> {
        let fields = bytes.strip_prefix(MAGIC).and_then(|fields| fields.split_first_chunk::<11>());
        let Some((&[_version, channels, s0, s1, r0, r1, r2, r3, g0, g1, family], mapping)) = fields else {
            return Err(Refusal::new(Code::Damaged, "the Opus header is cut off"));
        };
        // Family 1 with two channels or fewer is family 0 in other words: one stream, its channels in order.
        let is_plain = matches!(
            (channels, family, mapping),
            (1 | 2, 0, _) | (1, 1, [1, 0, 0, ..]) | (2, 1, [1, 1, 0, 1, ..])
        );
        if !is_plain {
            let text = format!("Opus with {channels} channels (family {family}); a note has 1 or 2");
            return Err(Refusal::new(Code::NotAudio, text));
        }
        let gain = b16([g0, g1]).cast_signed();
        Ok(Head { channels, pre_skip: b16([s0, s1]), input_rate: b32([r0, r1, r2, r3]), gain })
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, self.channels]);
        bytes.extend(self.pre_skip.to_le_bytes());
        bytes.extend(self.input_rate.to_le_bytes());
        bytes.extend(self.gain.to_le_bytes());
        bytes.push(0);
        bytes
    }
}

/// A comment header without a vendor and without a comment.
const TAGS: &[u8] = b"OpusTags\0\0\0\0\0\0\0\0";

/// The serial number of the only stream. Fixed, so that the same sound makes the same bytes, which are then stored once.
const SERIAL: u32 = 1;

/// Samples in a page, about: a second (RFC 7845 §6), so that a player may seek and a file may be cut there.
const PAGE_SAMPLES: u64 = RATE as u64;

/// An Ogg file with one Opus stream, being written.
pub(super) struct Writer<W: Write> {
    out: PacketWriter<'static, W>,
    /// The last packet, held back: whether it ends the stream is not known yet.
    last: Option<Box<[u8]>>,
    /// Samples decoded by the end of `last`, those that are skipped included.
    samples: u64,
    page_began: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the two headers, each on a page of its own.
    pub(super) fn new(out: W, head: Head) -> Result<Writer<W>, Refusal> {
        let mut out = PacketWriter::new(out);
        let end = PacketWriteEndInfo::EndPage;
        out.write_packet(head.to_bytes(), SERIAL, end, 0).map_err(|e| not_written(&e))?;
        out.write_packet(TAGS, SERIAL, end, 0).map_err(|e| not_written(&e))?;
        Ok(Writer { out, last: None, samples: 0, page_began: 0 })
    }

    /// Adds a packet of so many samples.
    pub(super) fn packet(&mut self, data: Box<[u8]>, samples: u64) -> Result<(), Refusal> {
        if let Some(before) = self.last.replace(data) {
            let ends_page = self.samples + samples - self.page_began > PAGE_SAMPLES;
            let end = if ends_page { PacketWriteEndInfo::EndPage } else { PacketWriteEndInfo::NormalPacket };
            if ends_page {
                self.page_began = self.samples;
            }
            self.out
                .write_packet(before.into_vec(), SERIAL, end, self.samples)
                .map_err(|e| not_written(&e))?;
        }
        self.samples += samples;
        Ok(())
    }

    /// Samples decoded by the end of the last packet, those that are skipped included.
    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// Ends the stream, the last `trim` samples not to be played. They all are in the last packet.
    pub(super) fn finish(mut self, trim: u64) -> Result<(), Refusal> {
        if let Some(last) = self.last {
            let granule = self.samples.saturating_sub(trim);
            self.out
                .write_packet(last.into_vec(), SERIAL, PacketWriteEndInfo::EndStream, granule)
                .map_err(|e| not_written(&e))?;
        }
        Ok(())
    }
}

fn not_written(error: &io::Error) -> Refusal {
    Refusal::io("the output cannot be written", error)
}
