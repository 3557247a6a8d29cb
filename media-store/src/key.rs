//! The secret behind grants and links: one key from the operator, one derived from it for each use.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;

/// Shortest secret, bytes: as long as the hash.
const SECRET_BYTES_MIN: usize = 32;

/// The media store's key. Its `Debug` is redacted.
#[derive(Clone)]
pub struct MediaKey(Arc<Keys>);

struct Keys {
    grants: [u8; 32],
    links: hmac::Key,
}

/// The secret is shorter than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media store's secret has at least {SECRET_BYTES_MIN} bytes")]
pub struct ShortSecret;

impl MediaKey {
    /// Derives the keys of all uses. Servers that share a secret accept each other's grants and links.
    ///
    /// # Errors
    /// The secret is too short.
    pub fn new(secret: &[u8]) -> Result<MediaKey, ShortSecret> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(ShortSecret);
        }
        let derive = |purpose: &str| -> [u8; 32] {
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), purpose.as_bytes());
            tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
        };
        let links = hmac::Key::new(hmac::HMAC_SHA256, &derive("trunkline media links 1"));
        Ok(MediaKey(Arc::new(Keys { grants: derive("trunkline upload grants 1"), links })))
    }

    pub(crate) fn grants(&self) -> &[u8; 32] {
        &self.0.grants
    }

    pub(crate) fn links(&self) -> &hmac::Key {
        &self.0.links
    }
}

impl fmt::Debug for MediaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MediaKey(redacted)")
    }
}
