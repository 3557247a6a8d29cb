//! RFC 8285: the extension block and its elements, in both forms.

use super::Malformed;

/// Profile of the one-byte form (RFC 8285 §4.2).
const ONE_BYTE: u16 = 0xbede;
/// Profile of the two-byte form; its low four bits are the application's (RFC 8285 §4.3).
const TWO_BYTE: u16 = 0x1000;
/// Length of the profile and the length field.
const BLOCK_HEADER_LEN: usize = 4;

/// Where a header's extension block stands in its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock {
    /// "Defined by profile": `0xbede` for the one-byte form, `0x100x` for the two-byte form.
    pub profile: u16,
    start: usize,
    end: usize,
}

impl ExtensionBlock {
    /// Parses the block whose profile field stands at `at`.
    pub(super) fn parse(packet: &[u8], at: usize) -> Result<Self, Malformed> {
        let start = at + BLOCK_HEADER_LEN;
        let Some(&[p0, p1, l0, l1]) = packet.get(at..start) else {
            return Err(Malformed("RTP: extension header passes the end"));
        };
        let end = start + 4 * usize::from(u16::from_be_bytes([l0, l1]));
        if end > packet.len() {
            return Err(Malformed("RTP: extension block passes the end"));
        }
        Ok(Self { profile: u16::from_be_bytes([p0, p1]), start, end })
    }

    /// Byte range of the elements in the packet.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.start..self.end
    }

    pub(super) fn end(&self) -> usize {
        self.end
    }

    pub(super) fn elements<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let two_byte = self.profile & 0xfff0 == TWO_BYTE;
        if self.profile != ONE_BYTE && !two_byte {
            return Extensions::empty();
        }
        Extensions { rest: packet.get(self.range()).unwrap_or_default(), two_byte }
    }
}

/// Iterates over a block's elements as (id, data).
#[derive(Clone, Debug)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl Extensions<'_> {
    pub(super) fn empty() -> Self {
        Extensions { rest: &[], two_byte: false }
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let padding = self.rest.iter().take_while(|&&b| b == 0).count();
        let rest = std::mem::take(&mut self.rest).get(padding..)?;
        let (&first, rest) = rest.split_first()?;
        let (id, len, rest) = if self.two_byte {
            let (&len, rest) = rest.split_first()?;
            (first, usize::from(len), rest)
        } else {
            let id = first >> 4;
            // RFC 8285 §4.2: id 15 ends processing, and so does id 0 with a length.
            if id == 0 || id == 15 {
                return None;
            }
            (id, usize::from(first & 0x0f) + 1, rest)
        };
        let (data, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some((id, data))
    }
}

/// Appends a whole block: profile, length, elements, padding.
pub(super) fn write_block(out: &mut Vec<u8>, elements: &[(u8, &[u8])]) {
    let one_byte = elements.iter().all(|(id, data)| (1..=14).contains(id) && (1..=16).contains(&data.len()));
    let profile = if one_byte { ONE_BYTE } else { TWO_BYTE };
    out.extend_from_slice(&profile.to_be_bytes());
    let length_at = out.len();
    out.extend_from_slice(&[0, 0]);
    for &(id, data) in elements {
        let Ok(len) = u8::try_from(data.len()) else { continue };
        if one_byte {
            out.push(id << 4 | (len - 1));
        } else if id == 0 {
            continue;
        } else {
            out.extend_from_slice(&[id, len]);
        }
        out.extend_from_slice(data);
    }
    let len = out.len() - length_at - 2;
    out.resize(out.len() + len.wrapping_neg() % 4, 0);
    // At most 255 ids of 257 bytes each, which is within 2^16 words.
    let words = u16::try_from(len.div_ceil(4)).unwrap_or(u16::MAX);
    out[length_at..length_at + 2].copy_from_slice(&words.to_be_bytes());
}
