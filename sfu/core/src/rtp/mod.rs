//! RTP headers (RFC 3550 §5.1), header extensions (RFC 8285), padding, retransmission payloads (RFC 4588) and
//! sequence arithmetic. Everything here reads bytes that a peer chose: nothing panics, nothing allocates by a
//! count that the packet claims.

mod extension;
mod sequence;

pub use extension::{ExtensionBlock, Extensions};
pub use sequence::{SequenceExtender, sequence_newer, timestamp_delta, timestamp_newer};

/// RTP's fixed header in bytes.
pub const FIXED_HEADER_LEN: usize = 12;

/// Bytes that are not what their place says; the text names the clause that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// An RTP header. It says where things stand in the packet that it was parsed from and borrows nothing, so the
/// payload may be decrypted in place afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0–127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp, in units of the codec's clock.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// Whether the payload's last byte counts padding. In SRTP the count is readable only after decryption:
    /// see [`padding_len`].
    pub has_padding: bool,
    /// Where the payload starts, CSRCs and extension block included.
    pub header_len: usize,
    /// The extension block, where there is one.
    pub extension: Option<ExtensionBlock>,
}

impl Header {
    /// Parses the header of `packet`, encrypted or plain.
    ///
    /// # Errors
    /// Another version than 2, or a fixed header, CSRC list or extension block that passes the packet's end.
    pub fn parse(packet: &[u8]) -> Result<Header, Malformed> {
        let fixed: &[u8; FIXED_HEADER_LEN] =
            packet.first_chunk().ok_or(Malformed("RTP: shorter than 12 bytes"))?;
        if fixed[0] >> 6 != 2 {
            return Err(Malformed("RTP: version is not 2"));
        }
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(fixed[0] & 0x0f);
        let mut extension = None;
        if fixed[0] & 0x10 != 0 {
            let block = ExtensionBlock::parse(packet, header_len)?;
            header_len = block.end();
            extension = Some(block);
        }
        if header_len > packet.len() {
            return Err(Malformed("RTP: CSRC list passes the end"));
        }
        Ok(Header {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            has_padding: fixed[0] & 0x20 != 0,
            header_len,
            extension,
        })
    }

    /// The elements of the extension block as (id, data), in the packet's order. `packet` is the one that this
    /// header was parsed from; another one gives nonsense or nothing, never a panic. An element that passes the
    /// block's end ends the iteration.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        match self.extension {
            Some(block) => block.elements(packet),
            None => Extensions::empty(),
        }
    }

    /// The plain payload of `packet` without its padding; empty for a packet that is nothing but padding.
    ///
    /// # Errors
    /// As [`padding_len`].
    pub fn payload<'a>(&self, packet: &'a [u8]) -> Result<&'a [u8], Malformed> {
        let payload =
            packet.get(self.header_len..).ok_or(Malformed("RTP: packet shorter than its header"))?;
        if !self.has_padding {
            return Ok(payload);
        }
        let kept = payload.len() - padding_len(payload)?;
        Ok(&payload[..kept])
    }
}

/// How many of the plain payload's last bytes are padding, the count itself included. Call it only where the
/// header's padding bit is set.
///
/// # Errors
/// A count of zero, or one longer than the payload (RFC 3550 §5.1).
pub fn padding_len(payload: &[u8]) -> Result<usize, Malformed> {
    match payload.last() {
        None | Some(0) => Err(Malformed("RTP: padding count is zero")),
        Some(&count) if usize::from(count) > payload.len() => {
            Err(Malformed("RTP: padding longer than the payload"))
        }
        Some(&count) => Ok(usize::from(count)),
    }
}

/// What a header that we write says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fields {
    /// Marker bit.
    pub marker: bool,
    /// Payload type, 0–127; the top bit is ignored.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
}

/// Appends a header with no CSRCs and no padding bit, and the extensions `extensions` as (id, data); returns its
/// length in bytes. The extension block has RFC 8285's one-byte form, or its two-byte form if any element needs
/// it (id above 14, or data of 0 or more than 16 bytes), and is padded to 32 bits. What neither form can say, id 0 or
/// more than 255 bytes, is left out.
pub fn write_header(out: &mut Vec<u8>, fields: &Fields, extensions: &[(u8, &[u8])]) -> usize {
    let start = out.len();
    let first = if extensions.is_empty() { 0x80 } else { 0x90 };
    out.extend_from_slice(&[first, u8::from(fields.marker) << 7 | fields.payload_type & 0x7f]);
    out.extend_from_slice(&fields.sequence.to_be_bytes());
    out.extend_from_slice(&fields.timestamp.to_be_bytes());
    out.extend_from_slice(&fields.ssrc.to_be_bytes());
    if !extensions.is_empty() {
        extension::write_block(out, extensions);
    }
    out.len() - start
}

/// Splits the plain payload of an RTX packet into the original sequence number and the original payload
/// (RFC 4588 §4); `None` if it is too short, as in padding sent on the RTX stream.
pub fn split_rtx(payload: &[u8]) -> Option<(u16, &[u8])> {
    let (osn, rest) = payload.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*osn), rest))
}

/// Appends the original sequence number that begins an RTX payload (RFC 4588 §4).
pub fn write_rtx_osn(out: &mut Vec<u8>, original_sequence: u16) {
    out.extend_from_slice(&original_sequence.to_be_bytes());
}

#[cfg(test)]
mod tests;
