//! What whoever keeps the conversations asks of the media store: the right to upload, and links to what is there.

use std::collections::BTreeMap;

use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

use crate::{
    Grant, Kind, MediaStore, clock,
    grant::Terms,
    link,
    tus::headers::{clean_mime, clean_name},
};

/// The tenant of whoever names none.
pub const DEFAULT_TENANT: &str = "default";

/// An upload that somebody wants to make. Membership has been checked.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who.
    pub user: UserId,
    /// Into which conversation.
    pub conv: ConversationId,
    /// Of which tenant; `None` is [`DEFAULT_TENANT`].
    pub tenant: Option<String>,
    /// What.
    pub kind: Kind,
    /// How large, if that is known.
    pub bytes: Option<u64>,
    /// What it is called.
    pub name: Option<String>,
    /// Its type as the client takes it.
    pub mime: Option<String>,
}

/// The right to make it.
#[derive(Clone, Debug)]
pub struct Granted {
    /// For `Authorization: Bearer`.
    pub token: String,
    /// It begins nothing later.
    pub expires_at: UnixMillis,
    /// Most bytes.
    pub bytes_max: u64,
    /// Whether the bytes may go straight to the store.
    pub direct: bool,
}

/// Why there is no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotGranted {
    /// Larger than the kind may be.
    #[error("at most {max} bytes")]
    TooLarge {
        /// The most.
        max: u64,
    },
    /// The user's or the tenant's share is used up.
    #[error("{0}")]
    OverQuota(&'static str),
    /// Try again later.
    #[error("the media store is not available")]
    Unavailable,
}

/// Links to an attachment's variants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// All of them stop to open then.
    pub expires_at: UnixMillis,
    /// Path and query by variant.
    pub links: BTreeMap<String, String>,
}

impl MediaStore {
    /// Grants an upload, if there is room for it.
    ///
    /// # Errors
    /// It is too large, or a share is used up: told before any byte is sent.
    pub async fn grant(&self, wish: Wish) -> Result<Granted, NotGranted> {
        let shared = &self.shared;
        let Wish { user, conv, tenant, kind, bytes, name, mime } = wish;
        let tenant = tenant.unwrap_or_else(|| DEFAULT_TENANT.to_owned());
        let max = shared.limits.bytes_of(kind);
        if bytes.is_some_and(|bytes| bytes > max) {
            return Err(NotGranted::TooLarge { max });
        }
        let room = shared.records.has_room(&tenant, &user, bytes.unwrap_or(0), shared.quota()).await;
        match room {
            Ok(Ok(())) => {}
            Ok(Err(over)) => return Err(NotGranted::OverQuota(over.text())),
            Err(fault) => {
                tracing::error!(%fault, "the media database failed a grant");
                return Err(NotGranted::Unavailable);
            }
        }
        let expires_at = clock::now().after(shared.limits.grant_ttl);
        let terms = Terms {
            user,
            conv,
            tenant,
            kind,
            max: bytes.unwrap_or(max),
            name: name.as_deref().and_then(clean_name),
            mime: mime.as_deref().and_then(clean_mime),
            expires_at,
        };
        let token = Grant::new(terms).sign(&shared.key);
        let bytes_max = bytes.unwrap_or(max);
        Ok(Granted { token, expires_at, bytes_max, direct: shared.store.presigns() })
    }

    /// Links to `variants` of an attachment; and to `extra`, if it is a size that is made when asked for.
    #[must_use]
    pub fn links(&self, id: &AttachmentId, variants: &[String], extra: Option<&str>) -> Links {
        let shared = &self.shared;
        let least = clock::now().after(shared.limits.link_ttl);
        let step = u64::try_from(shared.limits.link_step.as_millis()).unwrap_or(u64::MAX).max(1);
        let expires_at = UnixMillis(least.0.div_ceil(step).saturating_mul(step));
        let is_photo = variants.iter().any(|variant| variant.bytes().all(|byte| byte.is_ascii_digit()));
        let lazy = extra.filter(|extra| {
            is_photo && shared.config.lazy_sizes.iter().any(|size| size.to_string() == *extra)
        });
        let links = variants.iter().map(String::as_str).chain(lazy);
        let links =
            links.map(|variant| (variant.to_owned(), link::sign(&shared.key, id, variant, expires_at)));
        Links { expires_at, links: links.collect() }
    }
}
