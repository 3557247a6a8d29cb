//! The two transforms under already derived session keys. Schedules and HMAC states are made once.

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{EncryptingKey, EncryptionContext};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::kdf::{Label, ctr_key, derive};
use super::{ESRTCP_WORD_LEN, RTCP_CLEAR_LEN, SrtpMasterKey, SrtpProfile, word};

/// Octets of a GCM tag (RFC 7714 §13.2).
const GCM_TAG_LEN: usize = 16;
/// Octets kept of an HMAC-SHA1 (RFC 3711 §4.2.1).
const CM_TAG_LEN: usize = 10;
/// Octets of an HMAC-SHA1 key (RFC 3711 §5.2).
const CM_AUTH_KEY_LEN: usize = 20;
/// The E flag: this packet is encrypted.
pub(super) const E_FLAG: u32 = 1 << 31;

/// One direction's session keys for either RTP or RTCP.
pub(super) enum Cipher {
    Gcm { key: LessSafeKey, salt: [u8; 12] },
    Cm(Box<CounterMode>),
}

/// AES in counter mode with HMAC-SHA1; some 1.7 kB, two key schedules and three hash states.
pub(super) struct CounterMode {
    key: EncryptingKey,
    salt: [u8; 14],
    auth: hmac::Key,
}

impl Cipher {
    pub(super) fn rtp(master: &SrtpMasterKey) -> Self {
        Self::derived(master, Label::RtpCipher, Label::RtpAuth, Label::RtpSalt)
    }

    pub(super) fn rtcp(master: &SrtpMasterKey) -> Self {
        Self::derived(master, Label::RtcpCipher, Label::RtcpAuth, Label::RtcpSalt)
    }

    fn derived(master: &SrtpMasterKey, cipher: Label, auth: Label, salt: Label) -> Self {
        let mut key = [0u8; 32];
        let key = &mut key[..master.profile().key_len()];
        derive(master, cipher, key);
        match master.profile() {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                let mut session_salt = [0u8; 12];
                derive(master, salt, &mut session_salt);
                Self::gcm(key, session_salt)
            }
            SrtpProfile::Aes128CmHmacSha1_80 => {
                let mut session_salt = [0u8; 14];
                derive(master, salt, &mut session_salt);
                let mut auth_key = [0u8; CM_AUTH_KEY_LEN];
                derive(master, auth, &mut auth_key);
                Self::cm(key, session_salt, &auth_key)
            }
        }
    }

    /// From session keys of 16 or 32 octets.
    pub(super) fn gcm(key: &[u8], salt: [u8; 12]) -> Self {
        let algorithm = if key.len() == 32 { &aead::AES_256_GCM } else { &aead::AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("an AES key of 16 or 32 octets is accepted");
        Cipher::Gcm { key: LessSafeKey::new(key), salt }
    }

    /// From session keys.
    pub(super) fn cm(key: &[u8], salt: [u8; 14], auth: &[u8]) -> Self {
        let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth);
        Cipher::Cm(Box::new(CounterMode { key: ctr_key(key), salt, auth }))
    }

    pub(super) fn tag_len(&self) -> usize {
        match self {
            Cipher::Gcm { .. } => GCM_TAG_LEN,
            Cipher::Cm(_) => CM_TAG_LEN,
        }
    }

    /// Seals `packet[start..]`, whose clear part is `header_len` octets, and appends the tag.
    pub(super) fn seal_rtp(
        &self,
        packet: &mut Vec<u8>,
        start: usize,
        header_len: usize,
        index: u64,
    ) -> Result<(), Unspecified> {
        let ssrc = word(packet, start + 8);
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, body) = packet[start..].split_at_mut(header_len);
                let nonce = gcm_nonce(salt, ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), body)?;
                packet.extend_from_slice(tag.as_ref());
            }
            Cipher::Cm(cm) => {
                cm.crypt(ssrc, index, &mut packet[start + header_len..])?;
                let tag = cm.rtp_tag(&packet[start..], index);
                packet.extend_from_slice(&tag.as_ref()[..CM_TAG_LEN]);
            }
        }
        Ok(())
    }

    /// Opens `packet` in place and gives its length without the tag. On failure the payload is spoilt.
    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        header_len: usize,
        index: u64,
    ) -> Result<usize, Unspecified> {
        let ssrc = word(packet, 8);
        let len = packet.len() - self.tag_len();
        let (packet, tag) = packet.split_at_mut(len);
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, body) = packet.split_at_mut(header_len);
                let nonce = gcm_nonce(salt, ssrc, index);
                key.open_in_place_separate_tag(nonce, Aad::from(&*header), tag, body)?;
            }
            Cipher::Cm(cm) => {
                verify_slices_are_equal(&cm.rtp_tag(packet, index).as_ref()[..CM_TAG_LEN], tag)?;
                cm.crypt(ssrc, index, &mut packet[header_len..])?;
            }
        }
        Ok(len)
    }

    /// Seals the compound packet `packet[start..]` and appends tag and index, in this cipher's order.
    pub(super) fn seal_rtcp(
        &self,
        packet: &mut Vec<u8>,
        start: usize,
        index: u32,
    ) -> Result<(), Unspecified> {
        let ssrc = word(packet, start + 4);
        let esrtcp = (E_FLAG | index).to_be_bytes();
        match self {
            Cipher::Gcm { key, salt } => {
                let (header, body) = packet[start..].split_at_mut(RTCP_CLEAR_LEN);
                let aad = gcm_rtcp_aad(header, esrtcp);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body)?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&esrtcp);
            }
            Cipher::Cm(cm) => {
                let body = &mut packet[start + RTCP_CLEAR_LEN..];
                cm.crypt(ssrc, u64::from(index), body)?;
                packet.extend_from_slice(&esrtcp);
                let tag = hmac::sign(&cm.auth, &packet[start..]);
                packet.extend_from_slice(&tag.as_ref()[..CM_TAG_LEN]);
            }
        }
        Ok(())
    }

    /// The E flag and index of a packet of at least [`Cipher::rtcp_len_min`] octets.
    pub(super) fn esrtcp_word(&self, packet: &[u8]) -> u32 {
        match self {
            Cipher::Gcm { .. } => word(packet, packet.len() - ESRTCP_WORD_LEN),
            Cipher::Cm(_) => word(packet, packet.len() - CM_TAG_LEN - ESRTCP_WORD_LEN),
        }
    }

    pub(super) fn rtcp_len_min(&self) -> usize {
        RTCP_CLEAR_LEN + self.tag_len() + ESRTCP_WORD_LEN
    }

    /// Opens a compound packet whose E flag is set and gives its length without tag and index.
    pub(super) fn open_rtcp(&self, packet: &mut [u8], index: u32) -> Result<usize, Unspecified> {
        let ssrc = word(packet, 4);
        let len = packet.len() - self.tag_len() - ESRTCP_WORD_LEN;
        match self {
            Cipher::Gcm { key, salt } => {
                let (packet, tail) = packet.split_at_mut(len);
                let (tag, esrtcp) = tail.split_at(GCM_TAG_LEN);
                let esrtcp = [esrtcp[0], esrtcp[1], esrtcp[2], esrtcp[3]];
                let (header, body) = packet.split_at_mut(RTCP_CLEAR_LEN);
                let aad = gcm_rtcp_aad(header, esrtcp);
                let nonce = gcm_nonce(salt, ssrc, u64::from(index));
                key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, body)?;
            }
            Cipher::Cm(cm) => {
                let (authenticated, tag) = packet.split_at_mut(len + ESRTCP_WORD_LEN);
                let expected = hmac::sign(&cm.auth, authenticated);
                verify_slices_are_equal(&expected.as_ref()[..CM_TAG_LEN], tag)?;
                cm.crypt(ssrc, u64::from(index), &mut authenticated[RTCP_CLEAR_LEN..len])?;
            }
        }
        Ok(len)
    }
}

/// RFC 7714 §8.1 with `index` = ROC << 16 | SEQ, and §9.1 with the 31-bit index: the same octets.
fn gcm_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = [0u8; 12];
    nonce[2..6].copy_from_slice(&ssrc.to_be_bytes());
    nonce[6..].copy_from_slice(&index.to_be_bytes()[2..]);
    for (octet, salt) in nonce.iter_mut().zip(salt) {
        *octet ^= salt;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 §9.2: the clear header, then the E flag and index.
fn gcm_rtcp_aad(header: &[u8], esrtcp: [u8; ESRTCP_WORD_LEN]) -> [u8; RTCP_CLEAR_LEN + ESRTCP_WORD_LEN] {
    let mut aad = [0u8; RTCP_CLEAR_LEN + ESRTCP_WORD_LEN];
    aad[..RTCP_CLEAR_LEN].copy_from_slice(header);
    aad[RTCP_CLEAR_LEN..].copy_from_slice(&esrtcp);
    aad
}

impl CounterMode {
    /// RFC 3711 §4.1.1: IV = salt·2^16 XOR ssrc·2^64 XOR index·2^16. Encryption and decryption are the same.
    fn crypt(&self, ssrc: u32, index: u64, body: &mut [u8]) -> Result<(), Unspecified> {
        let mut iv = [0u8; 16];
        iv[4..8].copy_from_slice(&ssrc.to_be_bytes());
        iv[8..14].copy_from_slice(&index.to_be_bytes()[2..]);
        for (octet, salt) in iv.iter_mut().zip(&self.salt) {
            *octet ^= salt;
        }
        self.key.less_safe_encrypt(body, EncryptionContext::Iv128(FixedLength::from(iv))).map(|_| ())
    }

    /// RFC 3711 §4.2: over the packet and the roll-over counter, which is not sent.
    fn rtp_tag(&self, packet: &[u8], index: u64) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(packet);
        context.update(&index.to_be_bytes()[2..6]);
        context.sign()
    }
}
