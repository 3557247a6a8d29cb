//! DTLS 1.2 (RFC 6347) as WebRTC uses it: a handshake that yields SRTP keys (RFC 5764) and nothing more.
//!
//! The shell accepts DTLS only from an address that ICE has proven, so what a stranger can make us hold is nothing.
//! Authentication is by the certificate's SHA-256 from signaling (RFC 8122, RFC 8827 §6.5), on both sides; a peer with
//! another certificate, or none, gets no keys.
//!
//! This is the one part of the core that draws entropy of its own: handshake secrets must not replay from a seed.

mod guard;
mod hello;
mod rtc;
#[cfg(test)]
mod tests;

use std::time::Instant;

use bytes::Bytes;

pub use rtc::{DtlsIdentity, HANDSHAKE_TIMEOUT, RtcDtls};

use crate::srtp::SrtpKeys;

/// One DTLS association with one peer. Feed it, run its timer, drain [`Dtls::output`] after every call.
pub trait Dtls {
    /// Takes one datagram that starts with a DTLS record (RFC 7983: first octet 20–63). What is malformed, forged or too
    /// much is dropped silently (RFC 6347 §4.1.2.7).
    ///
    /// # Errors
    /// When this datagram ended the association: [`Dtls::is_closed`] from now on. Later datagrams are ignored.
    fn input(&mut self, datagram: &[u8], now: Instant) -> Result<(), DtlsError>;

    /// Runs timers that are due and says when to call next; `None` when nothing is left to wait for.
    fn timeout(&mut self, now: Instant) -> Option<Instant>;

    /// The next datagram to send.
    fn output(&mut self) -> Option<Bytes>;

    /// The media keys: given once, when the handshake is complete and the peer's certificate was the promised one.
    fn keys(&mut self) -> Option<SrtpKeys>;

    /// Why the association is over, if it is.
    fn closed(&self) -> Option<DtlsError>;

    /// Whether the association is over.
    fn is_closed(&self) -> bool {
        self.closed().is_some()
    }

    /// Says goodbye (`close_notify`) and ends the association.
    fn close(&mut self, now: Instant);
}

/// Why an association ended, by fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum DtlsError {
    /// We closed it.
    #[error("closed by us")]
    ClosedByUs,
    /// The peer said goodbye.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// The peer sent a fatal alert.
    #[error("the peer sent a fatal alert")]
    PeerAlert,
    /// The peer's certificate is not the one that signaling promised.
    #[error("certificate fingerprint mismatch")]
    FingerprintMismatch,
    /// The peer offers none of our SRTP profiles.
    #[error("no SRTP profile in common")]
    NoSrtpProfile,
    /// The peer broke the protocol, or has no version, cipher suite or extension in common with us.
    #[error("handshake failed")]
    HandshakeFailed,
    /// The handshake did not finish in [`HANDSHAKE_TIMEOUT`].
    #[error("handshake timed out")]
    TimedOut,
    /// Our own fault.
    #[error("internal error")]
    Internal,
}
