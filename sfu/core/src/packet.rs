//! A decrypted packet as the router sees it: parsed once, shared by every subscriber, the ring and the neighbours.

use std::time::Instant;

use bytes::Bytes;

use crate::codec::vp8;
use crate::ids::ParticipantId;
use crate::session::Codec;

/// One plain RTP packet of one layer of one track. Cloning shares the payload.
#[derive(Clone, Debug)]
pub struct PlainPacket {
    /// Extended sequence number of the ingress stream.
    pub sequence: u64,
    /// RTP timestamp as received.
    pub timestamp: u32,
    /// RTP marker bit.
    pub marker: bool,
    /// What the payload is.
    pub codec: Codec,
    /// Without RTP padding; empty for a packet that was nothing but padding.
    pub payload: Bytes,
    /// The RFC 6464 byte (voice flag and level), as received.
    pub audio_level: Option<u8>,
    /// The video orientation byte (3GPP TS 26.114 §7.4.5), as received.
    pub orientation: Option<u8>,
    /// First packet of a frame that decodes without any other.
    pub keyframe: bool,
    /// VP8's descriptor, where the codec is VP8 and it parsed.
    pub vp8: Option<vp8::Descriptor>,
}

/// One ingress stream, whoever owns it: a new SSRC for the same layer is a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamKey {
    pub publisher: ParticipantId,
    pub track: u8,
    pub layer: u8,
    pub generation: u32,
}

/// A publisher's clock: its last sender report, and when it came.
#[derive(Clone, Copy, Debug)]
pub struct ClockReport {
    /// NTP timestamp, 32.32 fixed point seconds.
    pub ntp: u64,
    /// RTP timestamp of the same instant.
    pub rtp: u32,
    /// Arrival at this node.
    pub at: Instant,
}
