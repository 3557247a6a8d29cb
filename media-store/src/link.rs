//! Signed, expiring links: `/v1/media/{id}/{variant}?k={expiry}.{variant}.{signature}`.
//!
//! The variant stands in the token as well as in the path, so that a link that was bent to another variant can be told from
//! one that was forged.

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use trunkline_units::{AttachmentId, UnixMillis};

use crate::key::MediaKey;

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadLink {
    /// Not made by this key, or changed.
    Forged,
    /// Made for another variant.
    WrongVariant,
    /// It opened once.
    Expired,
}

/// The link's path and query.
pub(crate) fn sign(key: &MediaKey, id: &AttachmentId, variant: &str, expires_at: UnixMillis) -> String {
    let exp = expires_at.0 / 1_000;
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(key.links(), &signed(id, variant, exp)));
    format!("/v1/media/{}/{variant}?k={exp}.{variant}.{signature}", id.as_str())
}

/// Checks the token of a link to `variant`; gives the time that it holds until.
pub(crate) fn check(
    key: &MediaKey,
    id: &AttachmentId,
    variant: &str,
    token: &str,
    now: UnixMillis,
) -> Result<UnixMillis, BadLink> {
    let mut parts = token.splitn(3, '.');
    let (Some(exp), Some(made_for), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(BadLink::Forged);
    };
    let exp: u64 = exp.parse().map_err(|_| BadLink::Forged)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| BadLink::Forged)?;
    // Compared in constant time.
    hmac::verify(key.links(), &signed(id, made_for, exp), &signature).map_err(|_| BadLink::Forged)?;
    if made_for != variant {
        return Err(BadLink::WrongVariant);
    }
    let until = UnixMillis(exp.saturating_mul(1_000));
    if until <= now { Err(BadLink::Expired) } else { Ok(until) }
}

/// Ids and variants have no line break, so no two links share these bytes.
fn signed(id: &AttachmentId, variant: &str, exp: u64) -> Vec<u8> {
    format!("{}\n{variant}\n{exp}", id.as_str()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(link: &str) -> &str {
        link.split_once("?k=").unwrap().1
    }

    #[test]
    fn each_fault_has_its_own_name() {
        let key = MediaKey::new(&[1; 32]).unwrap();
        let (id, other) = (AttachmentId::new("one").unwrap(), AttachmentId::new("two").unwrap());
        let link = sign(&key, &id, "320", UnixMillis(10_000));
        let now = UnixMillis(9_999);
        assert_eq!(check(&key, &id, "320", token(&link), now), Ok(UnixMillis(10_000)));
        assert_eq!(check(&key, &id, "320", token(&link), UnixMillis(10_000)), Err(BadLink::Expired));
        assert_eq!(check(&key, &id, "1280", token(&link), now), Err(BadLink::WrongVariant));
        assert_eq!(check(&key, &other, "320", token(&link), now), Err(BadLink::Forged));
        let longer = token(&link).replacen("10.", "11.", 1);
        assert_eq!(check(&key, &id, "320", &longer, now), Err(BadLink::Forged));
        let bent = token(&link).replacen(".320.", ".1280.", 1);
        assert_eq!(check(&key, &id, "1280", &bent, now), Err(BadLink::Forged));
        let key2 = MediaKey::new(&[2; 32]).unwrap();
        assert_eq!(check(&key2, &id, "320", token(&link), now), Err(BadLink::Forged));
        for nonsense in ["", ".", "..", "x.320.y", "10.320", "10.320.%%"] {
            assert_eq!(check(&key, &id, "320", nonsense, now), Err(BadLink::Forged), "{nonsense}");
        }
    }
}
