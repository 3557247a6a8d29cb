//! Cases carry the numbers of the design's list.

mod authentication;
mod denial;
mod differential;
mod dual;
mod forgery;
mod limits;
mod properties;
mod relaying;
mod reservations;
mod sha256;
mod shards;
mod state;
mod streams;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use trunkline_stun::{AddressFamily, Class, Message, MessageWriter, Method, TransactionId, attr};

use crate::harness::{
    Answer, Client, Harness, REALM, RELAY_V4, RELAY_V6, UNIX, addr, bare_allocate, config, from_peer, ip,
    lifetime_attr, origin, peer_attr, secret, udp,
};
use crate::{
    ClientPath, Config, Credentials, Handled, Input, ListenerId, Output, RelayAddress, Secret, TurnServer,
    mint,
};
