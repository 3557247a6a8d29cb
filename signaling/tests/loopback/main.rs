//! The service on loopback sockets, with real WebSocket clients. Tests wait for frames, never for time.

mod calls;
mod conversations;
mod faults;
mod media;
mod messages;
mod support;
