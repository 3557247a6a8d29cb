//! Reading STUN messages without copying them (RFC 8489 §§5, 6.3, 14).

use std::net::SocketAddr;

use stun_types::attribute::Fingerprint;

use crate::{HEADER_LEN, Integrity, IntegrityKey, MAGIC_COOKIE, attr, decode_xor_address};

/// Why a datagram is not a STUN message that we accept. All of them are the sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StunError {
    /// Too short, wrong leading bits, wrong cookie, or a length that is not a multiple of four.
    #[error("not a STUN message")]
    NotStun,
    /// The header's length is not the datagram's.
    #[error("length in the header differs from the datagram's")]
    LengthMismatch,
    /// An attribute runs past the end of the message.
    #[error("attribute runs past the end of the message")]
    AttributeOverrun,
    /// FINGERPRINT is present and wrong, or not the last attribute (RFC 8489 §14.7).
    #[error("FINGERPRINT is wrong or not last")]
    Fingerprint,
    /// A message of another class or method than was asked for.
    #[error("unexpected class or method")]
    UnexpectedType,
    /// A connectivity check without USERNAME (RFC 8445 §7.2.2).
    #[error("no USERNAME")]
    MissingUsername,
    /// USERNAME is not UTF-8, is longer than 512 bytes, or is not two halves around a colon.
    #[error("USERNAME is malformed")]
    InvalidUsername,
    /// Another attribute's value has the wrong length or contents.
    #[error("attribute 0x{0:04x} is malformed")]
    InvalidAttribute(u16),
}

/// The 96 bits that join a response to its request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 12]);

impl std::fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The class of a message (RFC 8489 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// Success response.
    Success,
    /// Error response.
    Error,
}

/// The method of a message, 12 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method(pub u16);

#[allow(missing_docs, reason = "each constant is the method of that name in the RFC")]
impl Method {
    pub const BINDING: Self = Self(0x001);
    pub const ALLOCATE: Self = Self(0x003);
    pub const REFRESH: Self = Self(0x004);
    pub const SEND: Self = Self(0x006);
    pub const DATA: Self = Self(0x007);
    pub const CREATE_PERMISSION: Self = Self(0x008);
    pub const CHANNEL_BIND: Self = Self(0x009);
}

/// Class and method from the first two bytes (RFC 8489 §5, figure 3: the class bits lie inside the method's).
fn split_type(raw: u16) -> (Class, Method) {
    let class = match (raw & 0x0100 != 0, raw & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    (class, Method((raw & 0x000F) | ((raw & 0x00E0) >> 1) | ((raw & 0x3E00) >> 2)))
}

/// The inverse of [`split_type`]; bits of the method above the twelfth are lost.
pub(crate) fn join_type(class: Class, Method(method): Method) -> u16 {
    let class = match class {
        Class::Request => 0,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    class | (method & 0x000F) | ((method & 0x0070) << 1) | ((method & 0x0F80) << 2)
}

/// A well-formed STUN message, borrowed from its datagram.
///
/// *Well-formed* means framing and FINGERPRINT; nothing is known of the sender until [`Message::verify`].
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    data: &'a [u8],
    class: Class,
    method: Method,
    /// Where the attributes end that count: at the first integrity attribute or FINGERPRINT (RFC 8489 §14.5).
    attributes_end: usize,
    /// Where MESSAGE-INTEGRITY starts, and its value.
    integrity: Option<(usize, &'a [u8])>,
    /// The same of MESSAGE-INTEGRITY-SHA256.
    integrity_sha256: Option<(usize, &'a [u8])>,
    has_fingerprint: bool,
}

impl<'a> Message<'a> {
    /// Reads one message that fills `datagram`.
    ///
    /// # Errors
    /// [`StunError`] for bad framing or a wrong FINGERPRINT. A MESSAGE-INTEGRITY of the wrong length is not an
    /// error here: it fails [`Message::verify`], so that it is answered like any other wrong one. The same goes for
    /// MESSAGE-INTEGRITY-SHA256.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, StunError> {
        let header = datagram.first_chunk::<HEADER_LEN>().ok_or(StunError::NotStun)?;
        if header[0] & 0xC0 != 0 || header[4..8] != MAGIC_COOKIE.to_be_bytes() || header[3] & 3 != 0 {
            return Err(StunError::NotStun);
        }
        if HEADER_LEN + usize::from(u16::from_be_bytes([header[2], header[3]])) != datagram.len() {
            return Err(StunError::LengthMismatch);
        }
        let (class, method) = split_type(u16::from_be_bytes([header[0], header[1]]));
        let mut message = Self {
            data: datagram,
            class,
            method,
            attributes_end: datagram.len(),
            integrity: None,
            integrity_sha256: None,
            has_fingerprint: false,
        };
        let mut sealed = false;
        let mut offset = HEADER_LEN;
        while let Some((kind, value, next)) = attribute_at(datagram, offset)? {
            match kind {
                attr::MESSAGE_INTEGRITY if !sealed => message.integrity = Some((offset, value)),
                // The one attribute that counts behind MESSAGE-INTEGRITY too (RFC 8489 §14.5).
                attr::MESSAGE_INTEGRITY_SHA256 if message.integrity_sha256.is_none() => {
                    message.integrity_sha256 = Some((offset, value));
                }
                attr::FINGERPRINT => {
                    if next != datagram.len() || value != fingerprint(datagram, offset) {
                        return Err(StunError::Fingerprint);
                    }
                    message.has_fingerprint = true;
                }
                _ => {}
            }
            if matches!(kind, attr::MESSAGE_INTEGRITY | attr::MESSAGE_INTEGRITY_SHA256 | attr::FINGERPRINT)
                && !sealed
            {
                sealed = true;
                message.attributes_end = offset;
            }
            offset = next;
        }
        Ok(message)
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The transaction id.
    #[must_use]
    pub fn transaction_id(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.data[8..HEADER_LEN]);
        TransactionId(id)
    }

    /// The bytes of the whole message.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.data
    }

    /// The attributes before the first integrity attribute, in order: those behind it are ignored.
    #[must_use]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes { data: &self.data[..self.attributes_end], offset: HEADER_LEN }
    }

    /// The value of the first attribute of that type: later ones of the same type are ignored (RFC 8489 §14).
    #[must_use]
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find_map(|(k, value)| (k == kind).then_some(value))
    }

    /// The 32-bit value of an attribute; `None` when it is absent or has another length.
    #[must_use]
    pub fn attribute_u32(&self, kind: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(kind)?.try_into().ok()?))
    }

    /// The address in an XOR-…-ADDRESS attribute; `None` when it is absent or malformed.
    #[must_use]
    pub fn xor_address(&self, kind: u16) -> Option<SocketAddr> {
        decode_xor_address(self.attribute(kind)?, &self.transaction_id())
    }

    /// Code and reason of an error response (RFC 8489 §14.8).
    #[must_use]
    pub fn error_code(&self) -> Option<(u16, &'a str)> {
        let value = self.attribute(attr::ERROR_CODE)?;
        let (class, number) = (u16::from(value.get(2)? & 7), u16::from(*value.get(3)?));
        Some((class * 100 + number, std::str::from_utf8(&value[4..]).unwrap_or_default()))
    }

    /// Types that must be understood (below 0x8000) and are not among `known`, in order, for a 420 response.
    pub fn unknown_required<'k>(&self, known: &'k [u16]) -> impl Iterator<Item = u16> + use<'a, 'k> {
        self.attributes().map(|(kind, _)| kind).filter(move |kind| *kind < 0x8000 && !known.contains(kind))
    }

    /// Which integrity attribute is to be verified, right or wrong: MESSAGE-INTEGRITY-SHA256 if it is present, else
    /// MESSAGE-INTEGRITY (RFC 8489 §9.2.4).
    #[must_use]
    pub fn integrity(&self) -> Option<Integrity> {
        match (self.integrity_sha256, self.integrity) {
            (Some(_), _) => Some(Integrity::Sha256),
            (None, Some(_)) => Some(Integrity::Sha1),
            (None, None) => None,
        }
    }

    /// Whether there is a MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256, right or wrong.
    #[must_use]
    pub fn has_integrity(&self) -> bool {
        self.integrity().is_some()
    }

    /// Whether there is a FINGERPRINT; if so it was right, or the message would not have parsed.
    #[must_use]
    pub fn has_fingerprint(&self) -> bool {
        self.has_fingerprint
    }

    /// Whether the integrity attribute of `key`'s kind is present and made with it (RFC 8489 §§14.5, 14.6). Constant
    /// time.
    #[must_use]
    pub fn verify(&self, key: &IntegrityKey) -> bool {
        let found = match key.integrity() {
            Integrity::Sha1 => self.integrity,
            Integrity::Sha256 => self.integrity_sha256,
        };
        let Some((offset, tag)) = found else { return false };
        // The HMAC covers a header whose length ends with that attribute, whatever follows it.
        let Ok(length) = u16::try_from(offset + 4 + key.integrity().length() - HEADER_LEN) else {
            return false;
        };
        let [high, low] = length.to_be_bytes();
        key.verify(&[&[self.data[0], self.data[1], high, low], &self.data[4..offset]], tag)
    }
}

/// Iterates over `(type, value)`; see [`Message::attributes`].
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    data: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, value, next) = attribute_at(self.data, self.offset).ok()??;
        self.offset = next;
        Some((kind, value))
    }
}

/// Type, value and the offset of what follows.
type RawAttribute<'a> = (u16, &'a [u8], usize);

/// The attribute at `offset`; `None` at the end of the message.
fn attribute_at(data: &[u8], offset: usize) -> Result<Option<RawAttribute<'_>>, StunError> {
    let Some(rest) = data.get(offset..).filter(|rest| !rest.is_empty()) else { return Ok(None) };
    let (header, rest) = rest.split_first_chunk::<4>().ok_or(StunError::AttributeOverrun)?;
    let kind = u16::from_be_bytes([header[0], header[1]]);
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let value = rest.get(..length).ok_or(StunError::AttributeOverrun)?;
    let next = offset + 4 + length.next_multiple_of(4);
    if next > data.len() {
        return Err(StunError::AttributeOverrun);
    }
    Ok(Some((kind, value, next)))
}

/// The value that FINGERPRINT at `offset` must have (RFC 8489 §14.7).
fn fingerprint(message: &[u8], offset: usize) -> [u8; 4] {
    seal_fingerprint(&[&message[..offset]])
}

/// CRC-32 over `parts`, XOR-ed with "STUN". The header's length already includes FINGERPRINT, the last attribute.
pub(crate) fn seal_fingerprint(parts: &[&[u8]]) -> [u8; 4] {
    (u32::from_be_bytes(Fingerprint::compute(parts)) ^ 0x5354_554E).to_be_bytes()
}
