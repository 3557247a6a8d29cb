//! What a datagram is, told from its first byte (RFC 7983 §7, as updated by RFC 9443 §3).

use crate::MAGIC_COOKIE;

/// The protocol that a datagram on a shared port belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PacketKind {
    /// STUN with the right magic cookie.
    Stun,
    /// ZRTP (16–19).
    Zrtp,
    /// A DTLS record (20–63).
    Dtls,
    /// TURN ChannelData (64–79).
    TurnChannel,
    /// RTP or RTCP (128–191); which of the two is told by the payload type (RFC 5761 §4).
    RtpOrRtcp,
    /// Empty, a range that nobody here speaks (QUIC among them), or STUN without its cookie.
    Unknown,
}

/// Sorts `datagram` by its first byte, and for STUN by the magic cookie as well. Costs two comparisons.
#[must_use]
pub fn classify(datagram: &[u8]) -> PacketKind {
    match datagram.first() {
        Some(0..=3) => match datagram.get(4..8) {
            Some(cookie) if cookie == MAGIC_COOKIE.to_be_bytes() => PacketKind::Stun,
            _ => PacketKind::Unknown,
        },
        Some(16..=19) => PacketKind::Zrtp,
        Some(20..=63) => PacketKind::Dtls,
        Some(64..=79) => PacketKind::TurnChannel,
        Some(128..=191) => PacketKind::RtpOrRtcp,
        _ => PacketKind::Unknown,
    }
}
