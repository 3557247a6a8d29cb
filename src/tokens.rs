//! Tokens minted on the command line: for developers, tests, and chat servers that do not mint their own yet.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use crate::config::Secret;

/// What a token grants. The claims are those of docs/protocol.md.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// The user.
    pub sub: String,
    /// The one device that the token is for; without it the device names itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The WHIP or WHEP room.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// May publish into the room.
    #[serde(skip_serializing_if = "is_false")]
    pub publish: bool,
    /// May watch the room.
    #[serde(skip_serializing_if = "is_false")]
    pub subscribe: bool,
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(flatten)]
    grant: &'a Grant,
    /// Unix seconds (RFC 7519 §4.1.6).
    iat: u64,
    /// Unix seconds (RFC 7519 §4.1.4).
    exp: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if gives a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Grant {
    /// Signs a token that is good for `ttl` from `now`.
    ///
    /// # Errors
    /// An id has a character outside `A–Z a–z 0–9 . _ -` or is not of 1 to 64 of them.
    pub fn sign(&self, key: &Secret, ttl: Duration, now: SystemTime) -> anyhow::Result<String> {
        for (what, id) in
            [("user", Some(&self.sub)), ("device", self.device.as_ref()), ("room", self.room.as_ref())]
        {
            if let Some(id) = id {
                ensure!(is_id(id), "a {what} is 1 to 64 characters of A-Z a-z 0-9 . _ -");
            }
        }
        let iat = now.duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
        let claims = Claims { grant: self, iat, exp: iat.saturating_add(ttl.as_secs()) };
        let key = EncodingKey::from_secret(key.expose().as_bytes());
        jsonwebtoken::encode(&Header::default(), &claims, &key).context("the token cannot be signed")
    }
}

fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    fn key() -> Secret {
        Secret::new("k".repeat(32))
    }

    #[test]
    fn carry_the_claims_of_the_protocol() {
        let grant =
            Grant { sub: "cam".into(), room: Some("lobby".into()), publish: true, ..Grant::default() };
        let token = grant.sign(&key(), Duration::from_secs(60), SystemTime::now()).unwrap();
        let decoded = jsonwebtoken::decode::<serde_json::Value>(
            &token,
            &DecodingKey::from_secret(key().expose().as_bytes()),
            &Validation::new(Algorithm::HS256),
        )
        .unwrap();
        assert_eq!(decoded.claims["sub"], "cam");
        assert_eq!(decoded.claims["room"], "lobby");
        assert_eq!(decoded.claims["publish"], true);
        assert!(decoded.claims.get("subscribe").is_none() && decoded.claims.get("device").is_none());
        let (iat, exp) = (decoded.claims["iat"].as_u64().unwrap(), decoded.claims["exp"].as_u64().unwrap());
        assert_eq!(exp - iat, 60);
    }

    #[test]
    fn refuse_ids_that_the_protocol_does_not_have() {
        for user in ["", "two words", "ü", &"a".repeat(65)] {
            let grant = Grant { sub: user.to_owned(), ..Grant::default() };
            grant.sign(&key(), Duration::from_secs(1), SystemTime::now()).unwrap_err();
        }
    }
}
