//! The signaling service: conversations, delivery and calls over one WebSocket a device, and REST beside it.
//!
//! [`Signaling::open`] takes a configuration and the ports it needs; [`Signaling::router`] is what to serve. The wire is
//! `docs/protocol.md`; the types are `trunkline-signaling-api`'s; the decisions are `trunkline-signaling-core`'s. Here
//! are sockets, tasks, threads and the store.
//!
//! A message's path: `session::reader` limits it, `sending` checks it, [`store::Store::append`] makes it durable, `ok` goes back, a
//! [`bus::Hint`] goes out, `dispatch` hands the encoded frame to the hub's links, each link's `session::writer` sends
//! it. A hint that is lost costs five seconds: `repair` finds what changed.

mod auth;
pub mod bus;
mod calls;
mod clock;
mod config;
mod dispatch;
mod fault;
mod frame;
mod hub;
mod media;
mod meters;
mod ports;
mod references;
mod rest;
mod sending;
mod service;
mod session;
pub mod store;
mod sweeper;

pub use auth::{AuthError, Claims, JwtKey, ServerKey, ShortKey, Tenant, mint_token};
pub use config::SignalingConfig;
pub use ports::{
    AttachmentGrants, GrantError, MediaError, MediaEvent, MediaPlane, RelayCredentials, UploadWish,
};
pub use references::References;
pub use service::{OpenError, Signaling};
pub use store::Place;
pub use trunkline_signaling_api::{
    Attachment, AttachmentKind, IceServer, Relays, SlotAssignment, SlotView,
    rest::{AttachmentLinks, UploadGrant},
};
pub use trunkline_signaling_core::{
    bucket::Rate,
    limits::{CallTiming, Limits},
};
