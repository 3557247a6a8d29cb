//! The right to upload one object into one conversation: a signed token, so that whoever mints it and whoever takes the
//! bytes need share nothing but the key.

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use trunkline_units::{ConversationId, UnixMillis, UserId};

use crate::{Kind, key::MediaKey};

/// What tells a grant from every other token.
const AUDIENCE: &str = "trunkline:upload";

/// What a grant allows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    aud: String,
    /// Who uploads.
    pub(crate) sub: UserId,
    /// The only conversation that the result can be sent to.
    pub(crate) conv: ConversationId,
    /// The domain of de-duplication and of the tenant's quota.
    pub(crate) tenant: String,
    /// What is uploaded.
    pub(crate) kind: Kind,
    /// Most bytes.
    pub(crate) max: u64,
    /// What it is called, unless the upload says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Its type as the client takes it, unless the upload says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mime: Option<String>,
    /// From then on it creates nothing, Unix seconds. What it created it continues.
    pub(crate) exp: u64,
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grant").field("kind", &self.kind).field("max", &self.max).finish_non_exhaustive()
    }
}

/// Missing, malformed, forged, or a token for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadGrant;

/// What a grant is made from.
pub(crate) struct Terms {
    pub(crate) user: UserId,
    pub(crate) conv: ConversationId,
    pub(crate) tenant: String,
    pub(crate) kind: Kind,
    pub(crate) max: u64,
    pub(crate) name: Option<String>,
    pub(crate) mime: Option<String>,
    pub(crate) expires_at: UnixMillis,
}

impl Grant {
    pub(crate) fn new(terms: Terms) -> Grant {
        let Terms { user, conv, tenant, kind, max, name, mime, expires_at } = terms;
        let exp = expires_at.0 / 1_000;
        Grant { aud: AUDIENCE.into(), sub: user, conv, tenant, kind, max, name, mime, exp }
    }

    pub(crate) fn sign(&self, key: &MediaKey) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), self, &EncodingKey::from_secret(key.grants()))
            .expect("HS256 signs any claims that are JSON, and these are")
    }

    /// Checks the signature; the time is for [`Self::creates`].
    pub(crate) fn check(token: &str, key: &MediaKey) -> Result<Grant, BadGrant> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["aud", "sub", "exp"]);
        jsonwebtoken::decode::<Grant>(token, &DecodingKey::from_secret(key.grants()), &validation)
            .map(|data| data.claims)
            .map_err(|_| BadGrant)
    }

    /// Whether it still creates uploads.
    pub(crate) fn creates(&self, now: UnixMillis) -> bool {
        self.exp.saturating_mul(1_000) > now.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> MediaKey {
        MediaKey::new(&[byte; 32]).unwrap()
    }

    fn grant() -> Grant {
        Grant::new(Terms {
            user: UserId::new("alice").unwrap(),
            conv: ConversationId::new("c").unwrap(),
            tenant: "default".into(),
            kind: Kind::Photo,
            max: 1_000,
            name: Some("фото.jpg".into()),
            mime: None,
            expires_at: UnixMillis(5_000_000),
        })
    }

    #[test]
    fn holds_for_its_key_alone() {
        let token = grant().sign(&key(1));
        assert_eq!(Grant::check(&token, &key(1)), Ok(grant()));
        assert_eq!(Grant::check(&token, &key(2)), Err(BadGrant));
        assert_eq!(Grant::check("", &key(1)), Err(BadGrant));
        let mut forged = token.into_bytes();
        let last = forged.len() - 2;
        forged[last] = if forged[last] == b'A' { b'B' } else { b'A' };
        assert_eq!(Grant::check(std::str::from_utf8(&forged).unwrap(), &key(1)), Err(BadGrant));
    }

    #[test]
    fn an_old_one_creates_nothing_but_is_still_known() {
        let token = grant().sign(&key(1));
        let grant = Grant::check(&token, &key(1)).unwrap();
        assert!(grant.creates(UnixMillis(4_999_999)));
        assert!(!grant.creates(UnixMillis(5_000_000)));
    }

    #[test]
    fn another_kind_of_token_is_none() {
        let mut other = grant();
        other.aud = "trunkline:session".into();
        assert_eq!(Grant::check(&other.sign(&key(1)), &key(1)), Err(BadGrant));
    }
}
