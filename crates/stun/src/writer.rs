//! Writing STUN messages into a buffer of the caller's.

use std::net::SocketAddr;

use crate::attributes::{encode_address, encode_xor_address};
use crate::message::{join_type, seal_fingerprint};
use crate::{AddressFamily, Class, HEADER_LEN, IntegrityKey, MAGIC_COOKIE, Method, TransactionId, attr};

/// Appends one message to a buffer: attributes in order, then [`integrity`](Self::integrity), then
/// [`fingerprint`](Self::fingerprint). The message is complete, and its length right, after every call.
///
/// What the buffer already holds is left alone, so several messages can share it. Padding is zero (RFC 8489 §14).
#[derive(Debug)]
#[must_use]
pub struct MessageWriter<'b> {
    out: &'b mut Vec<u8>,
    start: usize,
    transaction_id: TransactionId,
}

impl<'b> MessageWriter<'b> {
    /// Appends the header.
    pub fn new(out: &'b mut Vec<u8>, class: Class, method: Method, transaction_id: &TransactionId) -> Self {
        let start = out.len();
        out.extend_from_slice(&join_type(class, method).to_be_bytes());
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&MAGIC_COOKIE.to_be_bytes());
        out.extend_from_slice(&transaction_id.0);
        Self { out, start, transaction_id: *transaction_id }
    }

    /// Appends an attribute whose value is `value`.
    ///
    /// An attribute that would make the message longer than its 16-bit length can say is left out; no message of
    /// ours comes near.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let end = self.out.len() - self.start - HEADER_LEN + 4 + value.len().next_multiple_of(4);
        let (Ok(length), Ok(total)) = (u16::try_from(value.len()), u16::try_from(end)) else { return self };
        self.out.extend_from_slice(&kind.to_be_bytes());
        self.out.extend_from_slice(&length.to_be_bytes());
        self.out.extend_from_slice(value);
        self.out.resize(self.start + HEADER_LEN + end, 0);
        self.set_length(total);
        self
    }

    /// Appends a 32-bit value.
    pub fn attribute_u32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Appends an XOR-…-ADDRESS (RFC 8489 §14.2). An IPv6 zone and flow are lost.
    pub fn xor_address(self, kind: u16, addr: SocketAddr) -> Self {
        let (value, length) = encode_xor_address(addr, &self.transaction_id);
        self.attribute(kind, &value[..length])
    }

    /// Appends ERROR-CODE (RFC 8489 §14.8); `code` is 300–699.
    pub fn error(self, code: u16, reason: &str) -> Self {
        let (value, length) = error_value(code, reason);
        self.attribute(attr::ERROR_CODE, &value[..length])
    }

    /// Appends UNKNOWN-ATTRIBUTES (RFC 8489 §14.9) with the first sixteen of `types`.
    pub fn unknown_attributes(self, types: impl Iterator<Item = u16>) -> Self {
        let mut value = [0; 32];
        let mut length = 0;
        for (slot, kind) in value.chunks_exact_mut(2).zip(types) {
            slot.copy_from_slice(&kind.to_be_bytes());
            length += 2;
        }
        self.attribute(attr::UNKNOWN_ATTRIBUTES, &value[..length])
    }

    /// Appends an address that is not XOR-ed, as ALTERNATE-SERVER's is (RFC 8489 §§14.1, 14.15).
    pub fn address(self, kind: u16, addr: SocketAddr) -> Self {
        let (value, length) = encode_address(addr);
        self.attribute(kind, &value[..length])
    }

    /// Appends ADDRESS-ERROR-CODE (RFC 8656 §18.12): why a dual allocation lacks that family.
    pub fn address_error(self, family: AddressFamily, code: u16, reason: &str) -> Self {
        let (mut value, length) = error_value(code, reason);
        value[0] = family.code();
        self.attribute(attr::ADDRESS_ERROR_CODE, &value[..length])
    }

    /// Appends MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 over everything so far, as the key is made for one or
    /// the other (RFC 8489 §§14.5, 14.6).
    pub fn integrity(self, key: &IntegrityKey) -> Self {
        let offset = self.out.len();
        let kind = key.integrity();
        let this = self.attribute(kind.attribute(), &[0; 32][..kind.length()]);
        let tag = key.sign(&[&this.out[this.start..offset]]);
        if let Some(value) = this.out.get_mut(offset + 4..offset + 4 + kind.length()) {
            value.copy_from_slice(tag.as_ref());
        }
        this
    }

    /// Appends FINGERPRINT over everything so far (RFC 8489 §14.7). Nothing may follow it.
    pub fn fingerprint(self) -> Self {
        let offset = self.out.len();
        let this = self.attribute(attr::FINGERPRINT, &[0; 4]);
        let value = seal_fingerprint(&[&this.out[this.start..offset]]);
        if let Some(slot) = this.out.get_mut(offset + 4..offset + 8) {
            slot.copy_from_slice(&value);
        }
        this
    }

    /// The length of the message so far, in bytes.
    pub fn finish(self) -> usize {
        self.out.len() - self.start
    }

    fn set_length(&mut self, length: u16) {
        self.out[self.start + 2..self.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// The value of ERROR-CODE and how many of its bytes count.
fn error_value(code: u16, reason: &str) -> ([u8; 4 + 64], usize) {
    let mut value = [0; 4 + 64];
    let reason = &reason.as_bytes()[..reason.len().min(64)];
    value[2] = (code / 100) as u8 & 7;
    value[3] = (code % 100) as u8;
    value[4..4 + reason.len()].copy_from_slice(reason);
    (value, 4 + reason.len())
}
