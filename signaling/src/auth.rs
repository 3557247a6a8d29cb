//! Tokens: JWT (RFC 7519) signed with HS256 under a shared key.

use std::{fmt, sync::Arc, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};
use trunkline_units::{DeviceId, UserId};

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
#[error("a token key has at least {KEY_BYTES_MIN} bytes (RFC 7518 §3.2)")]
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
mod tests {
    use super::*;

    fn key(byte: u8) -> JwtKey {
        JwtKey::new(&[byte; 32]).unwrap()
    }

    #[test]
    fn tokens_hold_for_their_key_and_time() {
        let user = UserId::new("alice").unwrap();
        let token = mint_token(&key(1), &user, None, Duration::from_secs(60));
        assert_eq!(Claims::check(&token, &key(1)).unwrap().sub, user);
        assert_eq!(Claims::check(&token, &key(2)), Err(AuthError::Bad));
        assert_eq!(Claims::check("", &key(1)), Err(AuthError::Bad));
        let mut old = Claims::of_user(&user, None, Duration::ZERO);
        old.exp -= 60;
        assert_eq!(Claims::check(&old.sign(&key(1)), &key(1)), Err(AuthError::Expired));
        assert!(JwtKey::new(&[0; 31]).is_err());
        assert_eq!(format!("{:?}", key(1)), "JwtKey(redacted)");
    }

    #[test]
    fn an_unsigned_or_otherwise_signed_token_is_refused() {
        let user = UserId::new("alice").unwrap();
        let claims = Claims::of_user(&user, None, Duration::from_secs(60));
        let other = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims, &key(1).0.signing).unwrap();
        assert_eq!(Claims::check(&other, &key(1)), Err(AuthError::Bad));
        // {"alg":"none"}, and the claims of a good token.
        let good = claims.sign(&key(1));
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", good.split('.').nth(1).unwrap());
        assert_eq!(Claims::check(&unsigned, &key(1)), Err(AuthError::Bad));
    }

    #[test]
    fn a_room_token_is_no_users() {
        let user = UserId::new("camera").unwrap();
        let mut claims = Claims::of_user(&user, None, Duration::from_secs(60));
        claims.room = Some("stage".into());
        claims.publish = true;
        let token = claims.sign(&key(1));
        assert_eq!(Claims::check(&token, &key(1)), Ok(claims));
        assert_eq!(Claims::check_user(&token, &key(1)), Err(AuthError::Bad));
    }
}
