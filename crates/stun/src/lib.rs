//! The STUN codec that the SFU's ICE-lite agent and the TURN server share (RFC 8489, RFC 8445 §7, RFC 8656 §§11–12).
//!
//! Everything here borrows from the datagram and appends to a buffer of the caller's: reading a message allocates
//! nothing, and its USERNAME can be looked up before any HMAC is computed. A datagram is sorted with [`classify`],
//! read with [`Message::parse`] or [`BindingRequest::parse`], proven with `verify`, and answered with
//! [`MessageWriter`] or one of the `write_binding_…` functions.
//!
//! The arithmetic of addresses and fingerprints is `stun-types`'. Its message type is not used on the packet path,
//! because it logs a warning for every malformed datagram (so a stranger writes our log) and its keys hold a mutex;
//! it serves as the second opinion in the tests instead.

#![forbid(unsafe_code)]

mod attributes;
mod binding;
mod channel;
mod classify;
mod key;
mod message;
mod stream;
mod writer;

pub use attributes::{AddressFamily, attr, decode_xor_address};
pub use binding::{
    BindingRequest, BindingRequestParams, IceRole, write_binding_error, write_binding_request,
    write_binding_success,
};
pub use channel::{CHANNEL_DATA_HEADER, CHANNEL_MAX, CHANNEL_MIN, ChannelData, DataIndicationHeader};
pub use classify::{PacketKind, classify};
pub use key::{Integrity, IntegrityKey, PasswordAlgorithm};
pub use message::{Attributes, Class, Message, Method, StunError, TransactionId};
pub use stream::{FRAME_MAX, FRAME_PREFIX, frame_len};
pub use writer::MessageWriter;

/// The four bytes at offset 4 of every STUN message (RFC 8489 §5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Bytes before the first attribute: type, length, cookie, transaction id.
pub const HEADER_LEN: usize = 20;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(test)]
mod tests;
