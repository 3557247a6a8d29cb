//! Opening what one peer sends.

use super::cipher::{Cipher, E_FLAG};
use super::replay::Windows;
use super::{RTP_HEADER_LEN, SrtpDrop, SrtpMasterKey, SrtpProfile, word};

/// SSRCs one transport may send with, counted for RTP and for RTCP separately, over its whole life.
///
/// Worst-case memory is some 140 octets for each, twice: 18 kB at the default. Raising it admits clients that change
/// SSRCs more often; lowering it makes them need a new transport sooner. A browser uses two for each sending section
/// and layer (media and RTX) and keeps them across renegotiation.
pub const MAX_SSRCS_DEFAULT: usize = 64;

/// Opens SRTP and SRTCP of one direction, in place.
///
/// State for an SSRC is made only by an authentic packet, and is never evicted: beyond the limit new SSRCs are refused
/// instead. Evicting would be the greater harm, as a forgotten SSRC has lost its roll-over counter, so that its stream
/// never opens again, and its replay window, so that whoever recorded it can play it once more.
pub struct SrtpInbound {
    rtp: Cipher,
    rtcp: Cipher,
    rtp_windows: Windows,
    rtcp_windows: Windows,
}

impl SrtpInbound {
    /// Derives session keys from a master `key` and `salt`. `None` if their lengths are not the profile's.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Option<Self> {
        SrtpMasterKey::new(profile, key, salt).map(|master| Self::from_master(&master))
    }

    /// As [`SrtpInbound::new`], from [`super::SrtpKeys::inbound`].
    pub fn from_master(master: &SrtpMasterKey) -> Self {
        Self::from_ciphers(Cipher::rtp(master), Cipher::rtcp(master))
    }

    pub(super) fn from_ciphers(rtp: Cipher, rtcp: Cipher) -> Self {
        SrtpInbound {
            rtp,
            rtcp,
            rtp_windows: Windows::new(MAX_SSRCS_DEFAULT),
            rtcp_windows: Windows::new(MAX_SSRCS_DEFAULT),
        }
    }

    /// Sets the limit described at [`MAX_SSRCS_DEFAULT`]; for a new value that has opened nothing yet.
    #[must_use]
    pub fn with_max_ssrcs(mut self, limit: usize) -> Self {
        self.rtp_windows = Windows::new(limit);
        self.rtcp_windows = Windows::new(limit);
        self
    }

    /// How many SSRCs have state, as (RTP, RTCP).
    pub fn ssrcs(&self) -> (usize, usize) {
        (self.rtp_windows.len(), self.rtcp_windows.len())
    }

    /// Opens one RTP packet whose header, CSRCs and extensions included, is `header_len` octets long, and gives its
    /// length without the tag. `header_len` may come from a packet not yet authenticated: a wrong one fails.
    ///
    /// The roll-over counter of a new SSRC is taken as zero (RFC 3711 §3.3.1).
    ///
    /// # Errors
    /// The reason to drop it. Nothing has been recorded then, but the payload may be spoilt: do not try twice.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8], header_len: usize) -> Result<usize, SrtpDrop> {
        let plain_len = packet.len().saturating_sub(self.rtp.tag_len());
        if header_len < RTP_HEADER_LEN || plain_len < header_len {
            return Err(SrtpDrop::Short);
        }
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = word(packet, 8);
        let at = self.rtp_windows.find(ssrc);
        let index = match at {
            Some(at) => {
                let window = self.rtp_windows.get(at);
                let index = window.estimate(seq).ok_or(SrtpDrop::TooOld)?;
                window.check(index)?;
                index
            }
            None if self.rtp_windows.is_full() => return Err(SrtpDrop::TooManySsrcs),
            None => u64::from(seq),
        };
        let len = self.rtp.open_rtp(packet, header_len, index).map_err(|_| SrtpDrop::BadTag)?;
        self.rtp_windows.accept(at, ssrc, index);
        Ok(len)
    }

    /// Opens one compound RTCP packet and gives its length without tag and index.
    ///
    /// # Errors
    /// As [`SrtpInbound::unprotect_rtp`], and [`SrtpDrop::Unencrypted`].
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpDrop> {
        if packet.len() < self.rtcp.rtcp_len_min() {
            return Err(SrtpDrop::Short);
        }
        let esrtcp = self.rtcp.esrtcp_word(packet);
        if esrtcp & E_FLAG == 0 {
            return Err(SrtpDrop::Unencrypted);
        }
        let index = esrtcp & !E_FLAG;
        let ssrc = word(packet, 4);
        let at = self.rtcp_windows.find(ssrc);
        match at {
            Some(at) => self.rtcp_windows.get(at).check(u64::from(index))?,
            None if self.rtcp_windows.is_full() => return Err(SrtpDrop::TooManySsrcs),
            None => {}
        }
        let len = self.rtcp.open_rtcp(packet, index).map_err(|_| SrtpDrop::BadTag)?;
        self.rtcp_windows.accept(at, ssrc, u64::from(index));
        Ok(len)
    }
}

impl std::fmt::Debug for SrtpInbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpInbound").field("ssrcs", &self.ssrcs()).finish_non_exhaustive()
    }
}
