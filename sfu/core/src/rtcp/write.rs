//! Writers. Each appends one or more whole packets to `out`, which may already hold others.

use super::{
    BYE, FORMAT_FIR, FORMAT_NACK, FORMAT_PLI, HEADER_LEN, PAYLOAD_SPECIFIC_FEEDBACK, RECEIVER_REPORT,
    REPORT_BLOCKS_MAX, ReportBlock, SENDER_REPORT, SOURCE_DESCRIPTION, TRANSPORT_LAYER_FEEDBACK,
};

/// PID and BLP pairs in one NACK packet: 1,012 bytes, within any path's MTU.
const NACK_ITEMS_MAX: usize = 250;
/// SDES item type of CNAME (RFC 3550 §6.5.1).
const CNAME: u8 = 1;

/// What a sender says of its own stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderInfo {
    /// The stream.
    pub ssrc: u32,
    /// NTP timestamp, 32.32 fixed point seconds since 1900.
    pub ntp: u64,
    /// RTP timestamp of the same instant.
    pub rtp_timestamp: u32,
    /// Packets sent so far, wrapping.
    pub packets: u32,
    /// Payload octets sent so far, wrapping.
    pub octets: u32,
}

/// Appends a sender report; blocks beyond [`REPORT_BLOCKS_MAX`] are left out.
pub fn write_sender_report(out: &mut Vec<u8>, info: &SenderInfo, blocks: &[ReportBlock]) {
    let blocks = &blocks[..blocks.len().min(REPORT_BLOCKS_MAX)];
    let start = begin(out, SENDER_REPORT, blocks.len() as u8);
    put_u32(out, info.ssrc);
    out.extend_from_slice(&info.ntp.to_be_bytes());
    put_u32(out, info.rtp_timestamp);
    put_u32(out, info.packets);
    put_u32(out, info.octets);
    blocks.iter().for_each(|block| put_block(out, block));
    end(out, start);
}

/// Appends receiver reports from `ssrc`: one packet for every [`REPORT_BLOCKS_MAX`] blocks, and an empty one for
/// none (a compound packet begins with a report, RFC 3550 §6.1).
pub fn write_receiver_report(out: &mut Vec<u8>, ssrc: u32, blocks: &[ReportBlock]) {
    let mut rest = blocks;
    loop {
        let (now, later) = rest.split_at(rest.len().min(REPORT_BLOCKS_MAX));
        let start = begin(out, RECEIVER_REPORT, now.len() as u8);
        put_u32(out, ssrc);
        now.iter().for_each(|block| put_block(out, block));
        end(out, start);
        rest = later;
        if rest.is_empty() {
            return;
        }
    }
}

/// Appends an SDES packet with `ssrc`'s CNAME (RFC 3550 §6.5.1), cut to 255 bytes.
pub fn write_sdes_cname(out: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let cname = &cname.as_bytes()[..cname.len().min(255)];
    let start = begin(out, SOURCE_DESCRIPTION, 1);
    put_u32(out, ssrc);
    out.extend_from_slice(&[CNAME, cname.len() as u8]);
    out.extend_from_slice(cname);
    // The list of items ends with one null byte at least, up to the next 32-bit boundary.
    let items = 2 + cname.len();
    out.resize(out.len() + 4 - items % 4, 0);
    end(out, start);
}

/// Appends generic NACKs for `lost`, which comes in ascending order (across the wrap too); nothing for none.
pub fn write_nack(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, lost: &[u16]) {
    let mut lost = lost.iter().copied().peekable();
    while lost.peek().is_some() {
        let start = begin(out, TRANSPORT_LAYER_FEEDBACK, FORMAT_NACK);
        put_u32(out, sender_ssrc);
        put_u32(out, media_ssrc);
        for _ in 0..NACK_ITEMS_MAX {
            let Some(pid) = lost.next() else { break };
            let mut blp = 0u16;
            while let Some(next) = lost.next_if(|next| (1..=16).contains(&next.wrapping_sub(pid))) {
                blp |= 1 << (next.wrapping_sub(pid) - 1);
            }
            out.extend_from_slice(&pid.to_be_bytes());
            out.extend_from_slice(&blp.to_be_bytes());
        }
        end(out, start);
    }
}

/// Appends a picture loss indication for `media_ssrc`.
pub fn write_pli(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32) {
    let start = begin(out, PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_PLI);
    put_u32(out, sender_ssrc);
    put_u32(out, media_ssrc);
    end(out, start);
}

/// Appends a full intra request for `media_ssrc`. `sequence` grows with each new request and stays for a repetition
/// (RFC 5104 §4.3.1.1).
pub fn write_fir(out: &mut Vec<u8>, sender_ssrc: u32, media_ssrc: u32, sequence: u8) {
    let start = begin(out, PAYLOAD_SPECIFIC_FEEDBACK, FORMAT_FIR);
    put_u32(out, sender_ssrc);
    put_u32(out, 0); // RFC 5104 §4.3.1.2: the media source is in the entry
    put_u32(out, media_ssrc);
    out.extend_from_slice(&[sequence, 0, 0, 0]);
    end(out, start);
}

/// Appends a BYE for up to 31 streams.
pub fn write_bye(out: &mut Vec<u8>, ssrcs: &[u32]) {
    let ssrcs = &ssrcs[..ssrcs.len().min(31)];
    let start = begin(out, BYE, ssrcs.len() as u8);
    ssrcs.iter().for_each(|&ssrc| put_u32(out, ssrc));
    end(out, start);
}

/// Appends a header whose length [`end`] fills in; returns where the packet starts.
pub(super) fn begin(out: &mut Vec<u8>, packet_type: u8, format: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0x80 | format, packet_type, 0, 0]);
    start
}

/// Fills in the length of the packet that starts at `start`, whose body is a multiple of four bytes.
pub(super) fn end(out: &mut [u8], start: usize) {
    let len = out.len() - start - HEADER_LEN;
    debug_assert!(len.is_multiple_of(4), "an RTCP packet is whole words");
    // Every writer bounds what it writes far below 2^16 words.
    let words = (len / 4) as u16;
    out[start + 2..start + 4].copy_from_slice(&words.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn put_block(out: &mut Vec<u8>, block: &ReportBlock) {
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned() & 0xff_ffff;
    put_u32(out, block.ssrc);
    put_u32(out, u32::from(block.fraction_lost) << 24 | lost);
    put_u32(out, block.highest_sequence);
    put_u32(out, block.jitter);
    put_u32(out, block.last_sr);
    put_u32(out, block.delay_since_last_sr);
}
