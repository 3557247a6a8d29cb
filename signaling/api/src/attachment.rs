//! What a message refers to, beside its words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trunkline_units::AttachmentId;

/// What is uploaded, and what it turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentKind {
    /// A picture in several sizes. What cannot be shown as one becomes a file.
    Photo,
    /// A voice note.
    Voice,
    /// Anything, as it is.
    File,
}

impl AttachmentKind {
    /// The kind as it stands on the wire; also a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            AttachmentKind::Photo => "photo",
            AttachmentKind::Voice => "voice",
            AttachmentKind::File => "file",
        }
    }
}

/// Stored bytes as a message refers to them. Only the server writes it; a client names the id.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attachment {
    /// The id of the upload that brought it.
    pub id: AttachmentId,
    /// What it turned out to be.
    pub kind: AttachmentKind,
    /// What its uploader calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// MIME type of the best variant.
    pub r#type: String,
    /// Size of the best variant, bytes.
    pub bytes: u64,
    /// Width of a picture, upright, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height of a picture, upright, in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// A placeholder of some 25 bytes (<https://evanw.github.io/thumbhash>), base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thumbhash: Option<String>,
    /// Whether the variant `original` moves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub animated: bool,
    /// How long a voice note is, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// 64 loudnesses of a voice note, 0–255 each, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waveform: Option<String>,
    /// What can be fetched, the smallest first: long edges (`320`, `1280`, `2048`) and `original` of a photo, `audio` of a
    /// voice note, `file` of a file.
    pub variants: Vec<String>,
}

impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").field("kind", &self.kind).finish_non_exhaustive()
    }
}
