//! SRTP and SRTCP (RFC 3711, RFC 7714), keyed by DTLS (RFC 5764), in place and without an allocation a packet.
//!
//! [`SrtpInbound`] opens what one peer sends: it estimates roll-over counters, keeps replay windows and creates state
//! for an SSRC only once a packet of it has been authenticated. [`SrtpOutbound`] seals what we send and keeps nothing
//! per SSRC, because the router owns extended sequence numbers on egress.
//!
//! **Nonce duty.** Both ciphers are stream ciphers under a nonce made of (SSRC, roll-over counter, sequence number). Two
//! different packets sealed under one nonce give away the XOR of their plain texts, and with GCM the authentication
//! key besides (RFC 7714 §14.2). So a caller may seal the same (ssrc, roc, seq) again only with identical bytes, header
//! included, and an SSRC must never start over under the same keys.

mod cipher;
#[cfg(test)]
mod differential;
mod inbound;
mod kdf;
mod outbound;
mod replay;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use inbound::{MAX_SSRCS_DEFAULT, SrtpInbound};
pub use outbound::SrtpOutbound;

/// Octets of the longest tag that [`SrtpOutbound::protect_rtp`] appends.
pub const RTP_OVERHEAD_MAX: usize = 16;
/// Octets that [`SrtpOutbound::protect_rtcp`] appends at most: a tag and the word of E flag and index.
pub const RTCP_OVERHEAD_MAX: usize = 16 + ESRTCP_WORD_LEN;

/// The E flag and the 31-bit index (RFC 3711 §3.4).
const ESRTCP_WORD_LEN: usize = 4;
/// The fixed header and sender SSRC that stay in the clear (RFC 3711 §3.4, RFC 7714 §9.2).
const RTCP_CLEAR_LEN: usize = 8;
/// The fixed RTP header (RFC 3550 §5.1).
const RTP_HEADER_LEN: usize = 12;

/// How packets are sealed, as negotiated by the DTLS extension `use_srtp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SrtpProfile {
    /// RFC 7714, 16-octet tags. Preferred: a quarter of the cost of [`SrtpProfile::Aes128CmHmacSha1_80`].
    AeadAes128Gcm,
    /// RFC 7714 with a 256-bit key, 16-octet tags.
    AeadAes256Gcm,
    /// RFC 3711, 10-octet tags. Every WebRTC end point has it (RFC 8827 §6.5).
    Aes128CmHmacSha1_80,
}

impl SrtpProfile {
    /// Octets of a master key.
    pub const fn key_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::Aes128CmHmacSha1_80 => 16,
            SrtpProfile::AeadAes256Gcm => 32,
        }
    }

    /// Octets of a master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 12,
            SrtpProfile::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Octets that sealing adds to an RTP packet.
    pub const fn tag_len(self) -> usize {
        match self {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => 16,
            SrtpProfile::Aes128CmHmacSha1_80 => 10,
        }
    }

    /// Octets of DTLS exporter output that key both directions (RFC 5764 §4.2).
    pub const fn exporter_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// A master key and salt of one direction. It has no way of being printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpMasterKey {
    key: [u8; 32],
    salt: [u8; 14],
    profile: SrtpProfile,
}

impl SrtpMasterKey {
    /// Copies a key and a salt of exactly [`SrtpProfile::key_len`] and [`SrtpProfile::salt_len`] octets; `None` for
    /// any other lengths.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return None;
        }
        let mut master = SrtpMasterKey { key: [0; 32], salt: [0; 14], profile };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        Some(master)
    }

    /// Which profile the key is for.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// The master key.
    pub fn key(&self) -> &[u8] {
        &self.key[..self.profile.key_len()]
    }

    /// The master salt.
    pub fn salt(&self) -> &[u8] {
        &self.salt[..self.profile.salt_len()]
    }
}

impl std::fmt::Debug for SrtpMasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SrtpMasterKey(redacted)")
    }
}

/// What one DTLS association agreed on for media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The profile both directions use.
    pub profile: SrtpProfile,
    /// What the peer seals with.
    pub inbound: SrtpMasterKey,
    /// What we seal with.
    pub outbound: SrtpMasterKey,
}

impl SrtpKeys {
    /// Cuts exporter output (label `EXTRACTOR-dtls_srtp`) into keys, in the order of RFC 5764 §4.2: client key, server
    /// key, client salt, server salt. `None` unless it has exactly [`SrtpProfile::exporter_len`] octets.
    pub fn from_exporter(profile: SrtpProfile, material: &[u8], we_are_client: bool) -> Option<Self> {
        if material.len() != profile.exporter_len() {
            return None;
        }
        let (client_key, rest) = material.split_at(profile.key_len());
        let (server_key, rest) = rest.split_at(profile.key_len());
        let (client_salt, server_salt) = rest.split_at(profile.salt_len());
        let client = SrtpMasterKey::new(profile, client_key, client_salt)?;
        let server = SrtpMasterKey::new(profile, server_key, server_salt)?;
        let (inbound, outbound) = if we_are_client { (server, client) } else { (client, server) };
        Some(SrtpKeys { profile, inbound, outbound })
    }
}

/// Why an inbound packet was dropped; the name of the metric's label too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpDrop {
    /// Shorter than its header, tag and index.
    #[error("packet too short")]
    Short,
    /// Not authentic: forged, damaged, sealed under other keys, or its roll-over counter cannot be guessed.
    #[error("authentication failed")]
    BadTag,
    /// This index was accepted before.
    #[error("replayed")]
    Replayed,
    /// Behind the replay window.
    #[error("too old")]
    TooOld,
    /// A new SSRC beyond the limit of this transport.
    #[error("too many SSRCs")]
    TooManySsrcs,
    /// SRTCP with the E flag clear; WebRTC forbids media that is not encrypted (RFC 8827 §6.5).
    #[error("not encrypted")]
    Unencrypted,
}

/// Why an outbound packet was not sealed. Nothing of it is left in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SrtpSealError {
    /// Shorter than the header length given, or that is below the fixed header: our own fault.
    #[error("packet shorter than its header")]
    Short,
    /// 2^31 SRTCP packets were sealed under these keys (RFC 3711 §9.2): the transport needs new ones.
    #[error("keys used up")]
    KeysUsedUp,
    /// The cipher refused: our own fault.
    #[error("cipher failure")]
    Cipher,
}

/// Big-endian word at `at`, which the caller has checked to be there.
fn word(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]])
}
