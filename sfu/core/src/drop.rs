//! Why a packet was not used. Each reason is also the label of a metric.

/// A closed set: one counter each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Drop {
    /// Not STUN, DTLS, RTP or RTCP by its first byte (RFC 7983).
    UnknownProtocol,
    /// From an address that has not passed ICE.
    UnknownSource,
    /// STUN that does not parse, or is no Binding request.
    MalformedStun,
    /// STUN for a user name we do not know.
    UnknownUser,
    /// STUN whose MESSAGE-INTEGRITY is wrong.
    BadIntegrity,
    /// DTLS that failed.
    Dtls,
    /// RTP before the handshake is done.
    NoKeys,
    /// RTP or RTCP that does not parse.
    MalformedRtp,
    /// SRTP or SRTCP whose tag is wrong.
    BadTag,
    /// SRTP or SRTCP seen before, or older than the window.
    Replayed,
    /// No section of the offer fits this SSRC and payload type.
    UnknownStream,
    /// The padding count is zero or longer than the payload.
    BadPadding,
    /// Already held: repaired twice.
    Duplicate,
    /// A bound of `Limits` was reached.
    Limit,
}

impl Drop {
    /// Every reason, in the order of its number.
    pub const ALL: [Drop; 14] = [
        Drop::UnknownProtocol,
        Drop::UnknownSource,
        Drop::MalformedStun,
        Drop::UnknownUser,
        Drop::BadIntegrity,
        Drop::Dtls,
        Drop::NoKeys,
        Drop::MalformedRtp,
        Drop::BadTag,
        Drop::Replayed,
        Drop::UnknownStream,
        Drop::BadPadding,
        Drop::Duplicate,
        Drop::Limit,
    ];

    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Drop::UnknownProtocol => "unknown_protocol",
            Drop::UnknownSource => "unknown_source",
            Drop::MalformedStun => "malformed_stun",
            Drop::UnknownUser => "unknown_user",
            Drop::BadIntegrity => "bad_integrity",
            Drop::Dtls => "dtls",
            Drop::NoKeys => "no_keys",
            Drop::MalformedRtp => "malformed_rtp",
            Drop::BadTag => "bad_tag",
            Drop::Replayed => "replayed",
            Drop::UnknownStream => "unknown_stream",
            Drop::BadPadding => "bad_padding",
            Drop::Duplicate => "duplicate",
            Drop::Limit => "limit",
        }
    }
}
