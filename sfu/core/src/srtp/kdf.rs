//! Session keys from master keys (RFC 3711 §4.3; RFC 7714 §11; RFC 6188 §3 for 256 bits), key derivation rate zero.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::SrtpMasterKey;

/// What a derived octet string is for (RFC 3711 §4.3.2).
#[derive(Clone, Copy)]
pub(super) enum Label {
    RtpCipher = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpCipher = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// AES-CTR under `key`, whose length is that of a profile and therefore never refused.
pub(super) fn ctr_key(key: &[u8]) -> EncryptingKey {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    UnboundCipherKey::new(algorithm, key)
        .and_then(EncryptingKey::ctr)
        .expect("an AES key of 16 or 32 octets is accepted")
}

/// Fills `out` with the pseudo-random function's output for `label`.
///
/// The index divided by a rate of zero is zero, so the key id is the label followed by six zero octets; right-aligned
/// with the 112-bit salt, the label falls on octet 7. The 96-bit salts of GCM are taken as followed by two zero octets.
pub(super) fn derive(master: &SrtpMasterKey, label: Label, out: &mut [u8]) {
    let mut iv = [0u8; 16];
    iv[..master.salt().len()].copy_from_slice(master.salt());
    iv[7] ^= label as u8;
    out.fill(0);
    ctr_key(master.key())
        .less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(iv)))
        .expect("counter mode takes any length");
}
