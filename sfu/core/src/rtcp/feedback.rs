//! Feedback messages: NACK, PLI, FIR, REMB.

use super::{
    FORMAT_APPLICATION, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, FORMAT_TRANSPORT_CC, PAYLOAD_SPECIFIC_FEEDBACK,
    Packet, TRANSPORT_LAYER_FEEDBACK, TransportFeedback, u32_at,
};
use crate::rtp::Malformed;

const FIR_ENTRY_LEN: usize = 8;

/// A generic NACK (RFC 4585 §6.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The stream that lost packets.
    pub media_ssrc: u32,
    items: &'a [u8],
}

impl<'a> Nack<'a> {
    /// The sequence numbers asked for, in the order of the message: 17 at most for every four bytes of it.
    pub fn lost(&self) -> LostSequences<'a> {
        LostSequences { items: self.items.as_chunks().0.iter(), pid: 0, pending: 0 }
    }
}

/// Iterates over the sequence numbers of a NACK.
#[derive(Clone, Debug)]
pub struct LostSequences<'a> {
    items: std::slice::Iter<'a, [u8; 4]>,
    pid: u16,
    /// Bit n: `pid + n` is still to be told.
    pending: u32,
}

impl Iterator for LostSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.pending == 0 {
            let [p0, p1, b0, b1] = *self.items.next()?;
            self.pid = u16::from_be_bytes([p0, p1]);
            self.pending = u32::from(u16::from_be_bytes([b0, b1])) << 1 | 1;
        }
        let bit = self.pending.trailing_zeros();
        self.pending &= self.pending - 1;
        Some(self.pid.wrapping_add(bit as u16))
    }
}

/// Picture loss indication (RFC 4585 §6.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pli {
    /// Who asks.
    pub sender_ssrc: u32,
    /// The stream that needs a keyframe.
    pub media_ssrc: u32,
}

/// Full intra request (RFC 5104 §4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: &'a [u8],
}

impl<'a> Fir<'a> {
    /// The streams that need a keyframe.
    pub fn entries(&self) -> impl Iterator<Item = FirEntry> + use<'a> {
        self.entries
            .as_chunks::<FIR_ENTRY_LEN>()
            .0
            .iter()
            .map(|e| FirEntry { ssrc: u32::from_be_bytes([e[0], e[1], e[2], e[3]]), sequence: e[4] })
    }
}

/// One stream in a [`Fir`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirEntry {
    /// The stream that needs a keyframe.
    pub ssrc: u32,
    /// Command sequence number: the same one again is a repetition of the same request.
    pub sequence: u8,
}

/// Receiver estimated maximum bit rate: recognised, not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remb {
    /// Bits a second; what does not fit becomes the highest number.
    pub bit_rate: u64,
}

/// `body` begins with the sender's SSRC and has no padding.
pub(super) fn parse(packet_type: u8, format: u8, body: &[u8]) -> Result<Packet<'_>, Malformed> {
    let (Some(sender_ssrc), Some(media_ssrc), Some(fci)) = (u32_at(body, 0), u32_at(body, 4), body.get(8..))
    else {
        return Err(Malformed("RTCP: feedback shorter than its SSRCs"));
    };
    Ok(match (packet_type, format) {
        (TRANSPORT_LAYER_FEEDBACK, FORMAT_NACK) => Packet::Nack(Nack { sender_ssrc, media_ssrc, items: fci }),
        (TRANSPORT_LAYER_FEEDBACK, FORMAT_TRANSPORT_CC) => {
            Packet::TransportFeedback(TransportFeedback::parse(sender_ssrc, media_ssrc, fci)?)
        }
        (PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_PLI) => Packet::Pli(Pli { sender_ssrc, media_ssrc }),
        (PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_FIR) => Packet::Fir(Fir { sender_ssrc, entries: fci }),
        (PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_APPLICATION) if fci.starts_with(b"REMB") => {
            let word = u32_at(fci, 4).ok_or(Malformed("RTCP: REMB without a bit rate"))?;
            Packet::Remb(Remb { bit_rate: remb_bit_rate(word) })
        }
        _ => Packet::Unknown { packet_type, format },
    })
}

/// Eight bits of SSRC count, six of exponent, eighteen of mantissa.
fn remb_bit_rate(word: u32) -> u64 {
    let exponent = word >> 18 & 0x3f;
    let mantissa = u64::from(word & 0x3_ffff);
    if mantissa == 0 {
        0
    } else if exponent > mantissa.leading_zeros() {
        u64::MAX
    } else {
        mantissa << exponent
    }
}
