//! The service on loopback sockets, with real WebSocket clients. Tests wait for frames, never for time.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as its body does")]

mod attachments;
mod calls;
mod conversations;
mod faults;
mod faulty;
mod grants;
mod hostile;
mod media;
mod messages;
mod repair;
mod rest;
mod retention;
mod support;
