//! What an offer and its answer agreed on: the immutable value that negotiation hands to a shard.

use std::net::SocketAddr;

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MediaKind {
    /// Opus.
    Audio,
    /// VP8 or H.264.
    Video,
}

/// A codec that the SFU forwards; it decodes none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// RFC 7587, 48 kHz clock.
    Opus,
    /// RFC 7741, 90 kHz clock.
    Vp8,
    /// RFC 6184 with packetization mode 1, 90 kHz clock, passed through; the profile is the two bytes
    /// `profile_idc` and `profile-iop` of `profile-level-id`, which must match at both ends.
    H264 {
        /// `profile_idc << 8 | profile-iop`, for instance `0x42e0`.
        profile: u16,
    },
}

impl Codec {
    /// RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::Vp8 | Codec::H264 { .. } => 90_000,
        }
    }
}

/// One codec under the payload numbers of one section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecMapping {
    /// What it is.
    pub codec: Codec,
    /// Its RTP payload type, 0–127.
    pub payload_type: u8,
    /// The payload type of its RFC 4588 retransmissions, if agreed.
    pub rtx_payload_type: Option<u8>,
}

/// RFC 8285 header extension ids agreed for the whole bundle; `None` where not agreed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 9143).
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852).
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852).
    pub repaired_rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub audio_level: Option<u8>,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    pub transport_cc: Option<u8>,
    /// `urn:3gpp:video-orientation`.
    pub video_orientation: Option<u8>,
}

/// ICE credentials of one side (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// User name fragment, 4–256 characters.
    pub ufrag: String,
    /// Password, 22–256 characters. Never logged.
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IceCredentials(redacted)")
    }
}

/// A track the client sends: one sending section of its offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTrack {
    /// The section's mid.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// Accepted codecs; empty never.
    pub codecs: Vec<CodecMapping>,
    /// Accepted simulcast rids in the offer's order (lowest layer first); empty without simulcast.
    pub rids: Vec<String>,
    /// SSRCs the offer declares for this section, as (media, its RTX): hints that let packets without
    /// a mid extension find their track. Empty under simulcast by rid.
    pub ssrcs: Vec<(u32, Option<u32>)>,
}

/// One receiving section of the client, whose streams the SFU owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveSection {
    /// The section's mid.
    pub mid: String,
    /// SSRC the SFU sends with, declared in the answer.
    pub ssrc: u32,
    /// SSRC of its retransmissions, where RTX was agreed (video only).
    pub rtx_ssrc: Option<u32>,
    /// Codecs the client takes here, its preference first; empty never.
    pub codecs: Vec<CodecMapping>,
}

/// A place on the client's screen: the n-th receiving audio section with the n-th receiving video section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The audio half.
    pub audio: Option<ReceiveSection>,
    /// The video half.
    pub video: Option<ReceiveSection>,
}

/// What was agreed for one transport. Immutable: a new offer makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegotiatedSession {
    /// Ours: STUN requests to us are authenticated with `local.pwd`.
    pub local: IceCredentials,
    /// The client's ufrag and password, from its offer.
    pub remote: IceCredentials,
    /// SHA-256 of the client's certificate, from `a=fingerprint`.
    pub remote_fingerprint: [u8; 32],
    /// Whether the client will be the DTLS client (`a=setup:active` or `actpass`: we answer `passive`).
    /// An offer of `passive` is answered `active`.
    pub client_is_dtls_client: bool,
    /// What the client sends.
    pub tracks: Vec<PublishedTrack>,
    /// Where it receives.
    pub slots: Vec<Slot>,
    /// The bundle's header extensions.
    pub extensions: ExtensionIds,
}

/// What the SFU brings to a negotiation. `candidates` become host candidates, in order of preference.
#[derive(Clone, Debug)]
pub struct LocalParameters {
    /// Fresh ICE credentials for this transport.
    pub ice: IceCredentials,
    /// SHA-256 of our certificate.
    pub fingerprint: [u8; 32],
    /// Advertised addresses of the media port.
    pub candidates: Vec<SocketAddr>,
    /// Base for the SSRCs of receive sections: section n takes `ssrc_base + 2n` and its RTX `+ 1`.
    pub ssrc_base: u32,
    /// The `o=` line's session id.
    pub session_id: u64,
}
