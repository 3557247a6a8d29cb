//! A small blocking TURN client (RFC 8489, RFC 8656) over UDP, TCP and TLS: what `trunkline turn check` and the TURN bench
//! speak. It is for looking at servers, not for calls: it has one allocation, and refreshes nothing by itself.
//!
//! ```no_run
//! use std::time::Duration;
//! use trunkline_turn_client::{Client, Link, LongTerm};
//!
//! let server = "192.0.2.1:3478".parse().unwrap();
//! let credentials = LongTerm { username: "1790000000:alice".into(), password: "…".into() };
//! let mut client = Client::new(Link::udp(server)?, Some(credentials));
//! let relayed = client.allocate(None)?.accepted()?.relayed()?;
//! client.permit(&[relayed])?.accepted()?;
//! client.send(relayed, b"hello")?;
//! # Ok::<(), trunkline_turn_client::Failure>(())
//! ```

#![forbid(unsafe_code)]

mod client;
mod link;
mod uri;

pub use client::{Client, Failure, LongTerm, Relayed, Response, Source};
pub use link::{Link, TLS_ALPN};
pub use uri::{Transport, TurnUri, UriError};
