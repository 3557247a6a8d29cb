//! Keys of the MESSAGE-INTEGRITY attribute (RFC 8489 §14.5).

use std::sync::Arc;

use aws_lc_rs::hmac;
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

/// An HMAC-SHA1 key whose schedule is computed once: keep one per password, not one per packet.
///
/// Cheap to clone and to use from many threads. It has no accessors, and its `Debug` says nothing about the secret.
#[derive(Clone)]
pub struct IntegrityKey {
    hmac: Arc<hmac::Key>,
}

impl IntegrityKey {
    /// The short-term key: the password itself (RFC 8489 §9.1.1), as ICE uses it (RFC 8445 §7.1.2).
    #[must_use]
    pub fn short_term(password: &[u8]) -> Self {
        Self { hmac: Arc::new(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password)) }
    }

    /// The long-term key: `MD5(username ":" realm ":" password)` (RFC 8489 §9.2.2), as TURN uses it.
    ///
    /// The three are hashed as the bytes they are: OpaqueString preparation (RFC 8265) is the caller's.
    #[must_use]
    pub fn long_term(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        let mut hash = Md5::new();
        hash.update(username);
        hash.update(b":");
        hash.update(realm);
        hash.update(b":");
        hash.update(password);
        Self::short_term(&hash.finalize())
    }

    /// HMAC-SHA1 over the concatenation of `parts`.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> [u8; 20] {
        let mut context = hmac::Context::with_key(&self.hmac);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; 20];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// Whether `tag` is the HMAC-SHA1 of `parts`, compared in constant time; a tag of another length is false.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.sign(parts).ct_eq(tag).into()
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey(…)")
    }
}
