//! A media store that only remembers what it was asked.

use async_trait::async_trait;
use tokio::sync::mpsc;
use trunkline_signaling::{AttachmentGrants, AttachmentLinks, GrantError, UploadGrant, UploadWish};
use trunkline_signaling_api::{Attachment, AttachmentKind};
use trunkline_units::UnixMillis;

use crate::support::attachment_id;

/// Most bytes of anything.
pub(crate) const BYTES_MAX: u64 = 1_000;

pub(crate) struct FakeGrants(pub(crate) mpsc::UnboundedSender<UploadWish>);

#[async_trait]
impl AttachmentGrants for FakeGrants {
    async fn upload(&self, wish: UploadWish) -> Result<UploadGrant, GrantError> {
        self.0.send(wish.clone()).unwrap();
        if wish.bytes.is_some_and(|bytes| bytes > BYTES_MAX) {
            return Err(GrantError::TooLarge { max: BYTES_MAX });
        }
        match wish.name.as_deref() {
            Some("over") => Err(GrantError::QuotaExceeded("your share is used up".into())),
            Some("down") => Err(GrantError::Unavailable),
            _ => Ok(UploadGrant {
                grant: format!("grant-of-{}", wish.user.as_str()),
                endpoint: "/v1/uploads".into(),
                expires_at: UnixMillis(5_000),
                bytes_max: wish.bytes.unwrap_or(BYTES_MAX),
                direct: false,
            }),
        }
    }

    fn links(&self, attachment: &Attachment, extra: Option<&str>) -> AttachmentLinks {
        let id = attachment.id.as_str();
        let variants = attachment.variants.iter().map(String::as_str);
        let all = variants.chain(extra.filter(|extra| *extra == "640"));
        AttachmentLinks {
            id: attachment.id.clone(),
            expires_at: UnixMillis(6_000),
            links: all.map(|name| (name.to_owned(), format!("/v1/media/{id}/{name}?k=signed"))).collect(),
        }
    }
}

pub(crate) fn photo(name: &str) -> Attachment {
    Attachment {
        id: attachment_id(name),
        kind: AttachmentKind::Photo,
        name: Some("фото.jpg".into()),
        r#type: "image/jpeg".into(),
        bytes: 900,
        width: Some(1_280),
        height: Some(960),
        thumbhash: Some("1QcSHQRnh493V4dIh4eXh1h4kJUI".into()),
        animated: false,
        duration_ms: None,
        waveform: None,
        variants: vec!["320".into(), "1280".into()],
    }
}
