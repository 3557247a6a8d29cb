//! RTCP: compound packets read by a borrowing iterator, and writers that append to a buffer.
//!
//! Read: SR, RR, SDES, BYE (RFC 3550 §6), generic NACK and PLI (RFC 4585 §6), FIR (RFC 5104 §4.3.1), transport-wide
//! feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01) and REMB's bit rate. Anything else is told as
//! unknown and skipped. A datagram may begin with any of them (reduced size, RFC 5506). Whatever the bytes, nothing
//! panics, nothing is allocated, and no loop runs longer than the datagram.

mod feedback;
mod transport_cc;
mod write;

pub use feedback::{Fir, FirEntry, LostSequences, Nack, Pli, Remb};
pub use transport_cc::{Status, Statuses, TransportFeedback, write_transport_feedback};
pub use write::{
    SenderInfo, write_bye, write_fir, write_nack, write_pli, write_receiver_report, write_sdes_cname,
    write_sender_report,
};

use crate::rtp::Malformed;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const BYE: u8 = 203;
const TRANSPORT_LAYER_FEEDBACK: u8 = 205;
const PAYLOAD_SPECIFIC_FEEDBACK: u8 = 206;

const FORMAT_NACK: u8 = 1;
const FORMAT_TRANSPORT_CC: u8 = 15;
const FORMAT_PLI: u8 = 1;
const FORMAT_FIR: u8 = 4;
const FORMAT_APPLICATION: u8 = 15;

/// Header of every RTCP packet: version, padding, count or format; packet type; length.
const HEADER_LEN: usize = 4;
/// NTP, RTP timestamp, packet count, octet count.
const SENDER_INFO_LEN: usize = 20;
const REPORT_BLOCK_LEN: usize = 24;
/// Report blocks in one SR or RR: its count has five bits.
pub const REPORT_BLOCKS_MAX: usize = 31;

/// Whether a datagram whose first byte says RTP or RTCP (RFC 7983) is RTCP, encrypted or not: payload types
/// 192–223 (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.len() >= 8 && datagram[0] >> 6 == 2 && (192..=223).contains(&datagram[1])
}

/// Iterates over the packets of a plain RTCP datagram. After an error it ends.
#[derive(Clone, Debug)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Reads `datagram` from its first byte; it must be decrypted.
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        Some(split(rest).and_then(|(packet, rest)| {
            let packet = parse(packet, rest.is_empty())?;
            self.rest = rest;
            Ok(packet)
        }))
    }
}

/// Cuts one packet off by its length field.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Malformed("RTCP: shorter than its header"))?;
    if header[0] >> 6 != 2 {
        return Err(Malformed("RTCP: version is not 2"));
    }
    let len = HEADER_LEN + 4 * usize::from(u16::from_be_bytes([header[2], header[3]]));
    bytes.split_at_checked(len).ok_or(Malformed("RTCP: length passes the end"))
}

/// One RTCP packet.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Packet<'a> {
    /// SR (RFC 3550 §6.4.1).
    SenderReport(SenderReport<'a>),
    /// RR (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// SDES, whose content we do not use.
    SourceDescription,
    /// BYE (RFC 3550 §6.6).
    Bye(Bye<'a>),
    /// Generic NACK (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// Picture loss indication (RFC 4585 §6.3.1).
    Pli(Pli),
    /// Full intra request (RFC 5104 §4.3.1).
    Fir(Fir<'a>),
    /// Transport-wide congestion control feedback.
    TransportFeedback(TransportFeedback<'a>),
    /// Receiver estimated maximum bit rate (draft-alvestrand-rmcat-remb-03).
    Remb(Remb),
    /// Something else, skipped.
    Unknown {
        /// RTCP packet type.
        packet_type: u8,
        /// Count or feedback message type.
        format: u8,
    },
}

/// A sender report.
#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    /// The stream reported on.
    pub ssrc: u32,
    /// NTP timestamp, 32.32 fixed point seconds since 1900.
    pub ntp: u64,
    /// RTP timestamp of the same instant.
    pub rtp_timestamp: u32,
    /// Packets sent so far, wrapping.
    pub packets: u32,
    /// Payload octets sent so far, wrapping.
    pub octets: u32,
    blocks: &'a [u8],
}

impl<'a> SenderReport<'a> {
    /// What the sender receives.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        report_blocks(self.blocks)
    }
}

/// A receiver report.
#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    /// One for each stream received.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + use<'a> {
        report_blocks(self.blocks)
    }
}

/// Streams that have ended.
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
}

impl<'a> Bye<'a> {
    /// The streams' SSRCs.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.ssrcs.as_chunks::<4>().0.iter().map(|b| u32::from_be_bytes(*b))
    }
}

/// How one stream arrives (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream reported on.
    pub ssrc: u32,
    /// Share lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits; negative when duplicates outnumber losses.
    pub cumulative_lost: i32,
    /// Highest sequence number received, with the count of its cycles in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle 32 bits of the NTP timestamp of the last sender report; 0 if none came.
    pub last_sr: u32,
    /// Delay since that report in 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8; REPORT_BLOCK_LEN]) -> Self {
        let word = |at: usize| u32_at(bytes, at).unwrap_or_default();
        Self {
            ssrc: word(0),
            fraction_lost: bytes[4],
            // Shifting left first carries the sign of the 24-bit number.
            cumulative_lost: (word(4) << 8).cast_signed() >> 8,
            highest_sequence: word(8),
            jitter: word(12),
            last_sr: word(16),
            delay_since_last_sr: word(20),
        }
    }
}

fn report_blocks<'a>(bytes: &'a [u8]) -> impl Iterator<Item = ReportBlock> + use<'a> {
    bytes.as_chunks::<REPORT_BLOCK_LEN>().0.iter().map(ReportBlock::parse)
}

/// `packet` is as long as its length field says.
fn parse(packet: &[u8], last: bool) -> Result<Packet<'_>, Malformed> {
    let (header, mut body) =
        packet.split_first_chunk::<HEADER_LEN>().ok_or(Malformed("RTCP: shorter than its header"))?;
    if header[0] & 0x20 != 0 {
        // RFC 3550 §6.4.1: only the last packet is padded, in multiples of four.
        let count = usize::from(body.last().copied().unwrap_or(0));
        if !last || count == 0 || count > body.len() {
            return Err(Malformed("RTCP: padding"));
        }
        body = &body[..body.len() - count];
    }
    let format = header[0] & 0x1f;
    match (header[1], format) {
        (SENDER_REPORT, count) => sender_report(body, count),
        (RECEIVER_REPORT, count) => {
            let ssrc = u32_at(body, 0).ok_or(Malformed("RTCP: RR shorter than its SSRC"))?;
            let blocks = blocks_of(&body[4..], count)?;
            Ok(Packet::ReceiverReport(ReceiverReport { ssrc, blocks }))
        }
        (SOURCE_DESCRIPTION, _) => Ok(Packet::SourceDescription),
        (BYE, count) => {
            let ssrcs =
                body.get(..4 * usize::from(count)).ok_or(Malformed("RTCP: BYE shorter than its SSRCs"))?;
            Ok(Packet::Bye(Bye { ssrcs }))
        }
        (TRANSPORT_LAYER_FEEDBACK | PAYLOAD_SPECIFIC_FEEDBACK, _) => feedback::parse(header[1], format, body),
        (packet_type, format) => Ok(Packet::Unknown { packet_type, format }),
    }
}

fn sender_report(body: &[u8], count: u8) -> Result<Packet<'_>, Malformed> {
    let Some((fixed, rest)) = body.split_at_checked(4 + SENDER_INFO_LEN) else {
        return Err(Malformed("RTCP: SR shorter than its sender info"));
    };
    let word = |at: usize| u32_at(fixed, at).unwrap_or_default();
    Ok(Packet::SenderReport(SenderReport {
        ssrc: word(0),
        ntp: u64::from(word(4)) << 32 | u64::from(word(8)),
        rtp_timestamp: word(12),
        packets: word(16),
        octets: word(20),
        blocks: blocks_of(rest, count)?,
    }))
}

/// The report blocks at the start of `bytes`; a profile's extension may follow them.
fn blocks_of(bytes: &[u8], count: u8) -> Result<&[u8], Malformed> {
    bytes
        .get(..REPORT_BLOCK_LEN * usize::from(count))
        .ok_or(Malformed("RTCP: fewer report blocks than counted"))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_be_bytes(four))
}

#[cfg(test)]
mod tests;
