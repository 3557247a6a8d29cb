//! Ephemeral credentials, and which key a request was made with (RFC 8489 §9.2).
//!
//! A username is `expiry:user`, expiry in Unix seconds; its password is base64(HMAC-SHA1(secret, username)), the
//! scheme that coturn calls `use-auth-secret` and browsers know as `iceServers`. Signaling mints, TURN verifies,
//! and nothing but the secret is shared.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use trunkline_stun::{Integrity, IntegrityKey, Message, PasswordAlgorithm, attr};

use crate::Refusal;

/// Longest USERNAME, in bytes (RFC 8489 §14.3 as RFC 5389 §15.3 had it: fewer than 513).
const USERNAME_MAX: usize = 512;

/// A secret that signaling and the TURN fleet share. At least 16 random bytes are wise: who guesses it, relays.
#[derive(Clone)]
pub struct Secret {
    bytes: Box<[u8]>,
}

impl Secret {
    /// Takes the bytes as they are.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into().into() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn password(&self, username: &[u8]) -> Password {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.bytes);
        let mut password = Password { raw: [0; 20] };
        password.raw.copy_from_slice(hmac::sign(&key, username).as_ref());
        password
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a client puts into its `iceServers`. Not `Debug`: it opens the relay.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// `expiry:user`.
    pub username: String,
    /// base64.
    pub password: String,
}

/// Makes the credential of `user`, good for new allocations until `expiry` (time since the Unix epoch). Quotas
/// count by `user`, which may be a pseudonym.
#[must_use]
pub fn mint(secret: &Secret, user: &str, expiry: Duration) -> Credentials {
    let username = format!("{}:{user}", expiry.as_secs());
    let password = STANDARD.encode(secret.password(username.as_bytes()).raw);
    Credentials { username, password }
}

/// Splits `expiry:user`; `None` when it is not that.
pub(crate) fn split_username(username: &[u8]) -> Option<(u64, &[u8])> {
    let colon = username.iter().position(|byte| *byte == b':')?;
    let digits = &username[..colon];
    if username.len() > USERNAME_MAX || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let expiry = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((expiry, &username[colon + 1..]))
}

/// The password of a username, before base64. An allocation keeps this: 20 bytes, out of which the key of any
/// algorithm is made when a request needs it.
#[derive(Clone, Copy)]
pub(crate) struct Password {
    raw: [u8; 20],
}

impl Password {
    /// The key of the long-term credential (RFC 8489 §9.2.2) for that attribute.
    pub(crate) fn key(
        &self,
        algorithm: PasswordAlgorithm,
        integrity: Integrity,
        username: &[u8],
        realm: &str,
    ) -> IntegrityKey {
        let mut text = [0; 28];
        let length = STANDARD.encode_slice(self.raw, &mut text).unwrap_or_default();
        let password = &text[..length];
        IntegrityKey::long_term_with(algorithm, integrity, username, realm.as_bytes(), password)
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// PASSWORD-ALGORITHMS of our challenges, in the order of our preference.
pub(crate) const PASSWORD_ALGORITHMS: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// How a request was made: decided by its attributes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scheme {
    algorithm: PasswordAlgorithm,
    /// Neither PASSWORD-ALGORITHM nor PASSWORD-ALGORITHMS was there: a client of RFC 5389, or one that was made to
    /// believe that we are.
    classic: bool,
}

impl Scheme {
    /// RFC 8489 §9.2.4 for a nonce whose feature "password algorithms" is set, as it is in all of ours: who echoes
    /// anything must echo what we sent and choose from it, so that nobody on the path can take SHA-256 out of the
    /// offer.
    pub(crate) fn of(message: &Message<'_>) -> Result<Self, Refusal> {
        match (message.attribute(attr::PASSWORD_ALGORITHM), message.attribute(attr::PASSWORD_ALGORITHMS)) {
            (None, None) => Ok(Self { algorithm: PasswordAlgorithm::Md5, classic: true }),
            (Some(chosen), Some(offered)) if offered == PASSWORD_ALGORITHMS => {
                let algorithm = PasswordAlgorithm::from_value(chosen).ok_or(Refusal::BadRequest)?;
                Ok(Self { algorithm, classic: false })
            }
            _ => Err(Refusal::BadRequest),
        }
    }

    /// The key that signs answers: MESSAGE-INTEGRITY-SHA256 unless the request was a classic one (RFC 8489 §9.2.4).
    pub(crate) fn answer_key(self, password: &Password, username: &[u8], realm: &str) -> IntegrityKey {
        let integrity = if self.classic { Integrity::Sha1 } else { Integrity::Sha256 };
        password.key(self.algorithm, integrity, username, realm)
    }

    /// Whether `message` was made with that password.
    pub(crate) fn verify(
        self,
        message: &Message<'_>,
        password: &Password,
        username: &[u8],
        realm: &str,
    ) -> bool {
        message.integrity().is_some_and(|integrity| {
            message.verify(&password.key(self.algorithm, integrity, username, realm))
        })
    }
}

/// The password of `username` under that of `secrets` with which `message` was made. Says nothing about expiry.
pub(crate) fn find_password(
    secrets: &[Secret],
    scheme: Scheme,
    realm: &str,
    username: &[u8],
    message: &Message<'_>,
) -> Option<Password> {
    secrets
        .iter()
        .map(|secret| secret.password(username))
        .find(|password| scheme.verify(message, password, username, realm))
}
