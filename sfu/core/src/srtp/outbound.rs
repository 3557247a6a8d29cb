//! Sealing what we send.

use super::cipher::{Cipher, E_FLAG};
use super::{RTCP_CLEAR_LEN, RTP_HEADER_LEN, SrtpMasterKey, SrtpProfile, SrtpSealError};

/// Seals SRTP and SRTCP of one direction at the end of an arena.
///
/// It keeps nothing per SSRC; see the module's *nonce duty*.
pub struct SrtpOutbound {
    rtp: Cipher,
    rtcp: Cipher,
    /// The next SRTCP index. One for all SSRCs: no SSRC can then meet an index twice, whichever are used.
    rtcp_index: u32,
}

impl SrtpOutbound {
    /// Derives session keys from a master `key` and `salt`. `None` if their lengths are not the profile's.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Option<Self> {
        SrtpMasterKey::new(profile, key, salt).map(|master| Self::from_master(&master))
    }

    /// As [`SrtpOutbound::new`], from [`super::SrtpKeys::outbound`].
    pub fn from_master(master: &SrtpMasterKey) -> Self {
        // RFC 3711 §3.4: the index of the first SRTCP packet is one.
        Self::from_ciphers(Cipher::rtp(master), Cipher::rtcp(master), 1)
    }

    pub(super) fn from_ciphers(rtp: Cipher, rtcp: Cipher, rtcp_index: u32) -> Self {
        SrtpOutbound { rtp, rtcp, rtcp_index }
    }

    /// Octets that [`SrtpOutbound::protect_rtp`] appends.
    pub fn tag_len(&self) -> usize {
        self.rtp.tag_len()
    }

    /// Seals the RTP packet `packet[start..]`, whose header, CSRCs and extensions included, is `header_len` octets
    /// long, and appends the tag.
    ///
    /// `roc` is the roll-over counter of this packet's sequence number: the extended sequence number shifted right by
    /// 16, starting at zero for the SSRC's first packet (with the first sequence number below 2^15, lest the receiver
    /// miss a roll-over before it has heard anything: RFC 3711 §3.3.1). A retransmission takes the counter its packet had.
    ///
    /// The same SSRC, `roc` and sequence number may be sealed again only with identical bytes.
    ///
    /// # Errors
    /// `packet` is cut back to `start`, so that nothing unsealed can be sent.
    pub fn protect_rtp(
        &self,
        packet: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        roc: u32,
    ) -> Result<(), SrtpSealError> {
        let len = packet.len().saturating_sub(start);
        if header_len < RTP_HEADER_LEN || len < header_len {
            packet.truncate(start);
            return Err(SrtpSealError::Short);
        }
        let seq = u16::from_be_bytes([packet[start + 2], packet[start + 3]]);
        let index = u64::from(roc) << 16 | u64::from(seq);
        self.rtp.seal_rtp(packet, start, header_len, index).map_err(|_| {
            packet.truncate(start);
            SrtpSealError::Cipher
        })
    }

    /// Seals the compound RTCP packet `packet[start..]` and appends tag and index.
    ///
    /// # Errors
    /// As [`SrtpOutbound::protect_rtp`]; [`SrtpSealError::KeysUsedUp`] after 2^31 packets.
    pub fn protect_rtcp(&mut self, packet: &mut Vec<u8>, start: usize) -> Result<(), SrtpSealError> {
        if packet.len().saturating_sub(start) < RTCP_CLEAR_LEN {
            packet.truncate(start);
            return Err(SrtpSealError::Short);
        }
        let index = self.rtcp_index;
        if index >= E_FLAG {
            packet.truncate(start);
            return Err(SrtpSealError::KeysUsedUp);
        }
        // Counted even if sealing fails: an index half used is an index used.
        self.rtcp_index += 1;
        self.rtcp.seal_rtcp(packet, start, index).map_err(|_| {
            packet.truncate(start);
            SrtpSealError::Cipher
        })
    }
}

#[cfg(test)]
impl SrtpOutbound {
    /// Jumps to where sealing 2^31 packets would lead.
    pub(super) fn set_rtcp_index(&mut self, index: u32) {
        self.rtcp_index = index;
    }
}

impl std::fmt::Debug for SrtpOutbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpOutbound").field("rtcp_index", &self.rtcp_index).finish_non_exhaustive()
    }
}
