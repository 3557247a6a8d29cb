//! Who may act: tokens, JWT (RFC 7519) signed with HS256 under a shared key; and the key of a chat server, which acts for
//! anyone.

use std::{fmt, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use trunkline_units::{DeviceId, IdError, UserId};

use crate::clock;

/// Shortest key, bytes: as long as the hash (RFC 7518 §3.2).
const KEY_BYTES_MIN: usize = 32;

/// A key for HS256. Its `Debug` is redacted.
#[derive(Clone)]
pub struct JwtKey(Arc<Keys>);

struct Keys {
    signing: EncodingKey,
    checking: DecodingKey,
}

/// The key is shorter than 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key has at least {KEY_BYTES_MIN} bytes (RFC 7518 §3.2)")]
pub struct ShortKey;

impl JwtKey {
    /// Takes a secret as a key.
    pub fn new(secret: &[u8]) -> Result<JwtKey, ShortKey> {
        if secret.len() < KEY_BYTES_MIN {
            return Err(ShortKey);
        }
        Ok(JwtKey(Arc::new(Keys {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
        })))
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JwtKey(redacted)")
    }
}

/// What a chat server shows instead of a token: it acts for every user, over REST alone. Its `Debug` is redacted.
#[derive(Clone)]
pub struct ServerKey(Arc<[u8]>);

impl ServerKey {
    /// Takes a secret as a key. It is sent as it is: let it be printable ASCII without spaces.
    pub fn new(secret: &[u8]) -> Result<ServerKey, ShortKey> {
        if secret.len() < KEY_BYTES_MIN { Err(ShortKey) } else { Ok(ServerKey(secret.into())) }
    }

    /// Whether somebody has shown it. How long that takes tells its length and nothing else of it.
    pub(crate) fn is(&self, shown: &str) -> bool {
        self.0.ct_eq(shown.as_bytes()).into()
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(redacted)")
    }
}

/// Who shares storage and its quota: an id, by the rules of all ids.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// Takes `text` as an id if it is one.
    pub fn new(text: &str) -> Result<Tenant, IdError> {
        // The rules of all ids are kept in one place.
        UserId::new(text).map(|id| Tenant(id.as_str().into()))
    }

    /// The id's text. Never log it above `trace`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Tenant {
    type Error = IdError;

    fn try_from(text: String) -> Result<Tenant, IdError> {
        Tenant::new(&text)
    }
}

impl From<Tenant> for String {
    fn from(tenant: Tenant) -> String {
        tenant.as_str().to_owned()
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tenant(redacted)")
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: UserId,
    /// When it stops to hold, Unix seconds.
    pub exp: u64,
    /// The only device it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Whose storage the user's uploads count in; absent: the default tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// A WHIP or WHEP room. A token with a room is for that alone, and opens no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// May publish into the room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish: bool,
    /// May watch the room.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub subscribe: bool,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Missing, malformed, forged, or for something else.
    #[error("the token is not valid")]
    Bad,
    /// It held once.
    #[error("the token has expired")]
    Expired,
}

impl Claims {
    /// Claims of a user's token.
    pub fn of_user(user: &UserId, device: Option<&DeviceId>, ttl: Duration) -> Claims {
        Claims {
            sub: user.clone(),
            exp: clock::now().after(ttl).0 / 1_000,
            device: device.cloned(),
            tenant: None,
            room: None,
            publish: false,
            subscribe: false,
        }
    }

    /// Signs them.
    pub fn sign(&self, key: &JwtKey) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), self, &key.0.signing)
            .expect("HS256 signs any claims that are JSON, and these are")
    }

    /// Checks a token's signature and time (`exp`, and `nbf` if there is one; 5 s of grace for clocks).
    pub fn check(token: &str, key: &JwtKey) -> Result<Claims, AuthError> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp", "sub"]);
        validation.validate_nbf = true;
        validation.leeway = 5;
        match jsonwebtoken::decode::<Claims>(token, &key.0.checking, &validation) {
            Ok(data) => Ok(data.claims),
            Err(fault) if matches!(fault.kind(), ErrorKind::ExpiredSignature) => Err(AuthError::Expired),
            Err(_) => Err(AuthError::Bad),
        }
    }

    /// Checks that the token is a user's: for sessions and REST.
    pub(crate) fn check_user(token: &str, key: &JwtKey) -> Result<Claims, AuthError> {
        let claims = Claims::check(token, key)?;
        if claims.room.is_some() { Err(AuthError::Bad) } else { Ok(claims) }
    }
}

/// Makes a token for a user, bound to a device if one is given.
pub fn mint_token(key: &JwtKey, user: &UserId, device: Option<&DeviceId>, ttl: Duration) -> String {
    Claims::of_user(user, device, ttl).sign(key)
}

#[cfg(test)]
mod tests;
