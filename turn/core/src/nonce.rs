//! Stateless nonces: nothing is remembered for who was sent one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::Secret;

/// The nonce cookie and the security features in base64 (RFC 8489 §9.2): of the 24 bits the first is set, "password
/// algorithms". "Username anonymity" is not: ephemeral usernames cannot be found by their hash, so USERHASH is never
/// asked for.
pub(crate) const PREFIX: &[u8; 13] = b"obMatJos2gAAA";
const TIME_LEN: usize = 4;
const TAG_LEN: usize = 12;
/// Bytes of a nonce on the wire.
pub(crate) const NONCE_LEN: usize = PREFIX.len() + (TIME_LEN + TAG_LEN) * 4 / 3 + 1;
/// What nonces of another server's clock may be ahead of ours, in seconds.
const SKEW_MAX: u64 = 60;

/// Makes and checks nonces without remembering them: prefix, time, and a MAC over prefix, time and the client's
/// address. Any server of the fleet accepts them, since the key comes from the shared secret.
#[derive(Debug)]
pub(crate) struct Nonces {
    keys: Vec<hmac::Key>,
    lifetime: u64,
}

impl Nonces {
    pub(crate) fn new(secrets: &[Secret], lifetime: Duration) -> Self {
        let derive = |secret: &Secret| {
            let parent = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
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
