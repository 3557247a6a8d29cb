//! Keys of MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §§9.1.1, 9.2.2, 14.5, 14.6).

use std::sync::Arc;

use aws_lc_rs::{digest, hmac};
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

use crate::attr;

/// How a long-term credential becomes a key (RFC 8489 §18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PasswordAlgorithm {
    /// 0x0001: MD5, as RFC 5389 had it.
    Md5,
    /// 0x0002: SHA-256.
    Sha256,
}

impl PasswordAlgorithm {
    /// The value of PASSWORD-ALGORITHM (RFC 8489 §14.12): its number, and no parameters.
    #[must_use]
    pub fn value(self) -> [u8; 4] {
        match self {
            Self::Md5 => [0, 1, 0, 0],
            Self::Sha256 => [0, 2, 0, 0],
        }
    }

    /// Reads the value of PASSWORD-ALGORITHM; `None` when it is malformed or of an algorithm unknown here. Neither
    /// of ours has parameters.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256].into_iter().find(|algorithm| algorithm.value() == value)
    }
}

/// Which attribute a key makes and checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Integrity {
    /// MESSAGE-INTEGRITY: HMAC-SHA1, 20 bytes.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256. All 32 bytes, since neither ICE nor TURN allows to truncate it.
    Sha256,
}

impl Integrity {
    /// The attribute's type.
    #[must_use]
    pub fn attribute(self) -> u16 {
        match self {
            Self::Sha1 => attr::MESSAGE_INTEGRITY,
            Self::Sha256 => attr::MESSAGE_INTEGRITY_SHA256,
        }
    }

    /// The length of its value in bytes.
    #[must_use]
    pub fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        }
    }
}

/// An HMAC key whose schedule is computed once: keep one per password, not one per packet.
///
/// Cheap to clone and to use from many threads. It has no accessors, and its `Debug` says nothing about the secret.
#[derive(Clone)]
pub struct IntegrityKey {
    hmac: Arc<hmac::Key>,
    integrity: Integrity,
}

impl IntegrityKey {
    /// The short-term key: the password itself (RFC 8489 §9.1.1), as ICE uses it (RFC 8445 §7.1.2), for
    /// MESSAGE-INTEGRITY.
    #[must_use]
    pub fn short_term(password: &[u8]) -> Self {
        Self::new(Integrity::Sha1, password)
    }

    /// The classic long-term key, `MD5(username ":" realm ":" password)` for MESSAGE-INTEGRITY, as TURN clients use
    /// it that know no PASSWORD-ALGORITHMS.
    ///
    /// The three are hashed as the bytes they are: OpaqueString preparation (RFC 8265) is the caller's.
    #[must_use]
    pub fn long_term(username: &[u8], realm: &[u8], password: &[u8]) -> Self {
        Self::long_term_with(PasswordAlgorithm::Md5, Integrity::Sha1, username, realm, password)
    }

    /// A long-term key of that algorithm (RFC 8489 §9.2.2), for that attribute.
    #[must_use]
    pub fn long_term_with(
        algorithm: PasswordAlgorithm,
        integrity: Integrity,
        username: &[u8],
        realm: &[u8],
        password: &[u8],
    ) -> Self {
        let parts = [username, b":", realm, b":", password];
        match algorithm {
            PasswordAlgorithm::Md5 => {
                let mut hash = Md5::new();
                parts.iter().for_each(|part| hash.update(part));
                Self::new(integrity, &hash.finalize())
            }
            PasswordAlgorithm::Sha256 => {
                let mut hash = digest::Context::new(&digest::SHA256);
                parts.iter().for_each(|part| hash.update(part));
                Self::new(integrity, hash.finish().as_ref())
            }
        }
    }

    fn new(integrity: Integrity, key: &[u8]) -> Self {
        Self { hmac: Arc::new(hmac::Key::new(integrity.hmac(), key)), integrity }
    }

    /// Which attribute it makes and checks.
    #[must_use]
    pub fn integrity(&self) -> Integrity {
        self.integrity
    }

    /// The HMAC over the concatenation of `parts`, [`Integrity::length`] bytes.
    #[must_use]
    pub fn sign(&self, parts: &[&[u8]]) -> impl AsRef<[u8]> + use<> {
        let mut context = hmac::Context::with_key(&self.hmac);
        for part in parts {
            context.update(part);
        }
        context.sign()
    }

    /// Whether `tag` is the HMAC of `parts`, compared in constant time; a tag of another length is false.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], tag: &[u8]) -> bool {
        self.sign(parts).as_ref().ct_eq(tag).into()
    }
}

impl std::fmt::Debug for IntegrityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntegrityKey(…)")
    }
}
