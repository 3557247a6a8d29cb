//! Why a job made nothing: a closed set of codes, so that whoever is told can act on it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was wrong, as a stable code: `too_many_pixels` and so on, on the wire and in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The bytes are no picture that we decode. The upload can still be kept as a file.
    NotAnImage,
    /// The bytes hold no sound that we decode. The upload can still be kept as a file.
    NotAudio,
    /// It begins well and then breaks its own format: cut off, or corrupt.
    Damaged,
    /// More input bytes than [`Limits::input_bytes`](crate::Limits::input_bytes).
    TooLarge,
    /// More pixels than [`Limits::pixels`](crate::Limits::pixels), or a side longer than
    /// [`Limits::side`](crate::Limits::side).
    TooManyPixels,
    /// More scans than [`Limits::scans`](crate::Limits::scans).
    TooManyScans,
    /// More frames, or more frames × pixels, than an animation may have.
    TooManyFrames,
    /// A structure of the file (chunks, segments, blocks, scans × pixels) beyond what honest files have.
    TooComplex,
    /// A voice note longer than [`Limits::voice_ms`](crate::Limits::voice_ms).
    TooLong,
    /// Would need more than [`Limits::memory_bytes`](crate::Limits::memory_bytes), or did.
    TooMuchMemory,
    /// Needed more CPU time than it may have.
    TooMuchTime,
    /// Ours, not the file's: a folder that cannot be written, an encoder that failed, a worker that died. Trying again
    /// may help.
    Failed,
}

impl Code {
    /// The name on the wire; also a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Code::NotAnImage => "not_an_image",
            Code::NotAudio => "not_audio",
            Code::Damaged => "damaged",
            Code::TooLarge => "too_large",
            Code::TooManyPixels => "too_many_pixels",
            Code::TooManyScans => "too_many_scans",
            Code::TooManyFrames => "too_many_frames",
            Code::TooComplex => "too_complex",
            Code::TooLong => "too_long",
            Code::TooMuchMemory => "too_much_memory",
            Code::TooMuchTime => "too_much_time",
            Code::Failed => "failed",
        }
    }
}

/// A job that made nothing, or not everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Refusal {
    /// What to act on.
    pub code: Code,
    /// What to show or log: one sentence in English. It may quote numbers of the file, never its content.
    pub text: String,
}

impl Refusal {
    /// A refusal with its sentence.
    pub fn new(code: Code, text: impl Into<String>) -> Refusal {
        Refusal { code, text: text.into() }
    }

    /// Ours: an operation on our own files failed.
    #[must_use]
    pub fn io(what: &str, error: &std::io::Error) -> Refusal {
        Refusal::new(Code::Failed, format!("{what}: {error}"))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
