//! Everything that a client and a Trunkline server say to each other, as types.
//!
//! [`ClientFrame`] and [`ServerFrame`] are the WebSocket frames of `docs/protocol.md`; [`rest`] has the bodies of the
//! HTTP requests beside it. JSON Schema (`schema/`) and example frames (`fixtures/`) are generated from these types,
//! and a test fails when the committed files differ.

mod attachment;
mod call;
mod client;
mod error;
pub mod fixtures;
mod message;
pub mod rest;
mod server;

pub use attachment::{Attachment, AttachmentKind};
pub use call::{
    CallState, CallView, DeviceState, EndReason, LegState, LegView, Media, MissedOutcome, Party,
    SlotAssignment, SlotView,
};
pub use client::{
    Ack, CallMedia, CallRequest, CallRinging, CallWithMedia, ClientFrame, Hello, History, Invite, MediaOffer,
    MediaView, Read, Send, Typing,
};
pub use error::ErrorCode;
pub use message::{CallMessage, Head, MemberView, Message, Role};
pub use server::{
    Bye, ByeCode, CallOk, ErrorFrame, Gap, GapReason, IceServer, MediaAnswer, MediaGone, Ok, OutLimits, Page,
    Receipt, Relays, SendOk, ServerFrame, Slots, TypingBy, Welcome,
};

/// The WebSocket subprotocol of version 1.
pub const SUBPROTOCOL: &str = "trunkline.v1.json";

/// The protocol version of this crate: `hello.v`.
pub const VERSION: u32 = 1;

/// Longest frame in either direction, in bytes.
pub const FRAME_BYTES_MAX: usize = 65_536;

/// Longest message body as JSON text, in bytes.
pub const BODY_BYTES_MAX: usize = 16_384;

/// Most attachments of one message.
pub const ATTACHMENTS_MAX: usize = 10;

/// Longest [`Attachment`] as JSON text, in bytes: so many of them and the longest body fit a frame.
pub const ATTACHMENT_BYTES_MAX: usize = 4_096;

/// Most messages in one page.
pub const HISTORY_MESSAGES_MAX: u32 = 200;

#[cfg(test)]
mod tests;
