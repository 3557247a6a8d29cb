//! A TURN server as a value (RFC 8489, RFC 8656): datagrams and time go in, datagrams and commands come out.
//!
//! No sockets, clock, threads or entropy live here. The shell's loop is the whole contract:
//!
//! 1. [`TurnServer::handle`] one [`Input`] with the time. A [`Handled::Forward`] is a relayed packet, to be sent at
//!    once from the buffer that the input borrowed: this hot path queues and allocates nothing.
//! 2. Drain [`TurnServer::poll_output`] until it gives [`Output::Timeout`].
//! 3. Wait for a datagram or that time, whichever comes first ([`Input::Timeout`]).
//!
//! Nothing is stored for a client before it proves its credential: the nonce is a message authentication code over
//! the client's address and the time ([`auth`]), so a spoofed Allocate costs one answer. Every peer address passes
//! the [`PeerPolicy`] on CreatePermission and ChannelBind, and again on the packet path after the policy changed.
//!
//! Not here: TCP between relay and peer (RFC 6062), OAuth (RFC 7635), mobility (RFC 8016).

#![forbid(unsafe_code)]

mod allocate;
mod allocation;
pub mod auth;
mod config;
mod event;
mod io;
mod ledger;
mod nonce;
mod outbox;
mod policy;
mod ports;
mod rate;
mod relaying;
mod requests;
mod server;
mod stats;
mod table;
mod wheel;

pub use auth::{Credentials, Secret, mint};
pub use config::{Config, ConfigError, Limits, RelayAddress};
pub use event::{Event, Throttle, Usage};
pub use io::{
    ClientPath, Destination, Forward, Handled, Input, ListenerId, Output, RelayHeader, RelayId, StreamId,
};
pub use ledger::Ledger;
pub use policy::{IpRange, PeerPolicy, RangeError};
pub use server::TurnServer;
pub use stats::{DropReason, Refusal, Stats};

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(any(test, feature = "fuzzing"))]
mod harness;
#[cfg(test)]
mod tests;
