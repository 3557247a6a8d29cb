//! What a message refers to.

use serde::{Deserialize, Serialize};
use trunkline_units::AttachmentId;

/// What a client says it uploads. It decides the limit and the treatment; the content decides whether that is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Made upright and small, in several sizes. What is no picture that we decode becomes a file.
    Photo,
    /// Made Opus, with its duration and waveform.
    Voice,
    /// Stored as it is.
    File,
}

impl Kind {
    /// The name on the wire; also a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Photo => "photo",
            Kind::Voice => "voice",
            Kind::File => "file",
        }
    }
}

/// What is known of stored bytes, whoever refers to them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// What it turned out to be.
    pub kind: Kind,
    /// MIME type of the best variant.
    pub r#type: String,
    /// Size of the best variant in bytes; while the larger variants of a photo are still being made, of the upload.
    pub bytes: u64,
    /// Upright, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Upright, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// A placeholder of some 25 bytes (<https://evanw.github.io/thumbhash>), base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbhash: Option<String>,
    /// Whether `original` moves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub animated: bool,
    /// Of a voice note, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// 64 loudnesses, 0–255 each, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waveform: Option<String>,
    /// What can be fetched, the smallest first.
    pub variants: Vec<String>,
}

/// An attachment as messages carry it: what is known of its bytes, under its own id and name.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The upload's id.
    pub id: AttachmentId,
    /// What its uploader calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The bytes.
    #[serde(flatten)]
    pub content: Content,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").field("kind", &self.content.kind).finish_non_exhaustive()
    }
}

/// The variant of a kind that is not a photo's size.
pub(crate) const AUDIO: &str = "audio";
/// See [`AUDIO`].
pub(crate) const FILE: &str = "file";
/// A photo at its full size.
pub(crate) const ORIGINAL: &str = "original";
