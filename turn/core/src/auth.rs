//! Ephemeral credentials and stateless nonces.
//!
//! A username is `expiry:user`, expiry in Unix seconds; its password is base64(HMAC-SHA1(secret, username)), the
//! scheme that coturn calls `use-auth-secret` and browsers know as `iceServers`. Signaling mints, TURN verifies,
//! and nothing but the secret is shared.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use trunkline_stun::{IntegrityKey, Message};

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

    fn password(&self, username: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &self.bytes);
        STANDARD.encode(hmac::sign(&key, username))
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
    let password = secret.password(username.as_bytes());
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

/// The key under which one of `secrets` made `message`, if any did. Says nothing about expiry.
pub(crate) fn verify(
    secrets: &[Secret],
    realm: &str,
    username: &[u8],
    message: &Message<'_>,
) -> Option<IntegrityKey> {
    secrets.iter().find_map(|secret| {
        let password = secret.password(username);
        let key = IntegrityKey::long_term(username, realm.as_bytes(), password.as_bytes());
        message.verify(&key).then_some(key)
    })
}

/// The nonce cookie and an empty set of security features (RFC 8489 §9.2): SHA-256 is not offered yet.
const PREFIX: &[u8; 13] = b"obMatJos2AAAA";
const TIME_LEN: usize = 4;
const TAG_LEN: usize = 12;
/// Bytes of a nonce on the wire.
pub(crate) const NONCE_LEN: usize = PREFIX.len() + (TIME_LEN + TAG_LEN) * 4 / 3 + 1;

/// Makes and checks nonces without remembering them: prefix, time, and a MAC over prefix, time and the client's
/// address. Any server of the fleet accepts them, since the key comes from the shared secret.
#[derive(Debug)]
pub(crate) struct Nonces {
    keys: Vec<hmac::Key>,
    lifetime: u64,
}

/// What nonces of another server's clock may be ahead of ours, in seconds.
const SKEW_MAX: u64 = 60;

impl Nonces {
    pub(crate) fn new(secrets: &[Secret], lifetime: Duration) -> Self {
        let derive = |secret: &Secret| {
            let parent = hmac::Key::new(hmac::HMAC_SHA256, &secret.bytes);
            hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&parent, b"trunkline turn nonce v1").as_ref())
        };
        Self { keys: secrets.iter().map(derive).collect(), lifetime: lifetime.as_secs() }
    }

    /// A nonce for that client at that Unix time. 32 bits of seconds last until 2106.
    pub(crate) fn issue(&self, client: SocketAddr, unix: u64) -> [u8; NONCE_LEN] {
        let time = (unix as u32).to_be_bytes();
        let mut raw = [0; TIME_LEN + TAG_LEN];
        raw[..TIME_LEN].copy_from_slice(&time);
        if let Some(key) = self.keys.first() {
            raw[TIME_LEN..].copy_from_slice(&tag(key, time, client));
        }
        let mut nonce = [0; NONCE_LEN];
        nonce[..PREFIX.len()].copy_from_slice(PREFIX);
        let written = URL_SAFE_NO_PAD.encode_slice(raw, &mut nonce[PREFIX.len()..]);
        debug_assert_eq!(written, Ok(NONCE_LEN - PREFIX.len()));
        nonce
    }

    /// Whether it is ours, for that client, and still good.
    pub(crate) fn verify(&self, nonce: &[u8], client: SocketAddr, unix: u64) -> bool {
        let Some(encoded) = nonce.strip_prefix(PREFIX).filter(|rest| rest.len() == NONCE_LEN - PREFIX.len())
        else {
            return false;
        };
        let mut raw = [0; TIME_LEN + TAG_LEN + 2];
        let Ok(length) = URL_SAFE_NO_PAD.decode_slice(encoded, &mut raw) else { return false };
        if length != TIME_LEN + TAG_LEN {
            return false;
        }
        let time = [raw[0], raw[1], raw[2], raw[3]];
        let issued = u64::from(u32::from_be_bytes(time));
        issued <= unix + SKEW_MAX
            && unix <= issued + self.lifetime
            && self.keys.iter().any(|key| {
                let expected = tag(key, time, client);
                constant_time::verify_slices_are_equal(&expected, &raw[TIME_LEN..length]).is_ok()
            })
    }
}

fn tag(key: &hmac::Key, time: [u8; TIME_LEN], client: SocketAddr) -> [u8; TAG_LEN] {
    let mut context = hmac::Context::with_key(key);
    context.update(PREFIX);
    context.update(&time);
    match client.ip() {
        IpAddr::V4(ip) => context.update(&ip.octets()),
        IpAddr::V6(ip) => context.update(&ip.octets()),
    }
    context.update(&client.port().to_be_bytes());
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG_LEN]);
    tag
}
