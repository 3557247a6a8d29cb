//! Where signaling and the media store meet: each one's port trait, implemented by the other.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use trunkline_media_store::{
    Attachment, Content, Kind, MediaStore, NotGranted, References, ReferencesError, Wish,
};
use trunkline_signaling::{
    Attachment as Referred, AttachmentGrants, AttachmentKind, AttachmentLinks, GrantError, Signaling,
    UploadGrant, UploadWish,
};
use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

/// Where clients upload to.
const ENDPOINT: &str = "/v1/uploads";

/// The media store as signaling sees it.
pub(crate) fn grants(media_store: MediaStore) -> Arc<dyn AttachmentGrants> {
    Arc::new(Grants(media_store))
}

/// Signaling as the media store sees it.
pub(crate) fn references(signaling: &Signaling) -> Arc<dyn References> {
    Arc::new(Messages(signaling.references()))
}

struct Grants(MediaStore);

#[async_trait]
impl AttachmentGrants for Grants {
    async fn upload(&self, wish: UploadWish) -> Result<UploadGrant, GrantError> {
        let UploadWish { user, conv, tenant, kind, bytes, name, mime } = wish;
        let tenant = tenant.map(String::from);
        let wish = Wish { user, conv, tenant, kind: kind_of(kind), bytes, name, mime };
        let granted = self.0.grant(wish).await.map_err(|refused| match refused {
            NotGranted::TooLarge { max } => GrantError::TooLarge { max },
            NotGranted::OverQuota(what) => GrantError::QuotaExceeded(what.into()),
            NotGranted::Unavailable => GrantError::Unavailable,
        })?;
        Ok(UploadGrant {
            grant: granted.token,
            endpoint: ENDPOINT.to_owned(),
            expires_at: granted.expires_at,
            bytes_max: granted.bytes_max,
            direct: granted.direct,
        })
    }

    fn links(&self, attachment: &Referred, extra: Option<&str>) -> AttachmentLinks {
        let links = self.0.links(&attachment.id, &attachment.variants, extra);
        AttachmentLinks { id: attachment.id.clone(), expires_at: links.expires_at, links: links.links }
    }
}

struct Messages(trunkline_signaling::References);

#[async_trait]
impl References for Messages {
    async fn offer(
        &self,
        conv: &ConversationId,
        user: &UserId,
        attachment: &Attachment,
    ) -> Result<(), ReferencesError> {
        self.0.offer(conv, user, referred(attachment), now()).await.map_err(failed)
    }

    async fn take_unreferenced(
        &self,
        before: UnixMillis,
        limit: u32,
    ) -> Result<Vec<AttachmentId>, ReferencesError> {
        self.0.take_unreferenced(before, limit).await.map_err(failed)
    }

    async fn forget(&self, ids: &[AttachmentId]) -> Result<(), ReferencesError> {
        self.0.forget(ids).await.map_err(failed)
    }
}

fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn failed(fault: impl std::fmt::Display) -> ReferencesError {
    ReferencesError(fault.to_string())
}

fn kind_of(kind: AttachmentKind) -> Kind {
    match kind {
        AttachmentKind::Photo => Kind::Photo,
        AttachmentKind::Voice => Kind::Voice,
        AttachmentKind::File => Kind::File,
    }
}

/// An attachment as messages carry it.
fn referred(attachment: &Attachment) -> Referred {
    let Attachment { id, name, content } = attachment.clone();
    let Content { kind, r#type, bytes, width, height, thumbhash, animated, duration_ms, waveform, variants } =
        content;
    let kind = match kind {
        Kind::Photo => AttachmentKind::Photo,
        Kind::Voice => AttachmentKind::Voice,
        Kind::File => AttachmentKind::File,
    };
    Referred {
        id,
        kind,
        name,
        r#type,
        bytes,
        width,
        height,
        thumbhash,
        animated,
        duration_ms,
        waveform,
        variants,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two crates that do not know each other write the same JSON.
    #[test]
    fn both_sides_say_the_same_of_an_attachment() {
        let attachment = Attachment {
            id: AttachmentId::new("a").unwrap(),
            name: Some("фото.jpg".into()),
            content: Content {
                kind: Kind::Photo,
                r#type: "image/jpeg".into(),
                bytes: 5,
                width: Some(4),
                height: Some(3),
                thumbhash: Some("AAAA".into()),
                animated: true,
                duration_ms: Some(9),
                waveform: Some("BBBB".into()),
                variants: vec!["320".into()],
            },
        };
        let ours = serde_json::to_value(&attachment).unwrap();
        assert_eq!(serde_json::to_value(referred(&attachment)).unwrap(), ours);
    }
}
