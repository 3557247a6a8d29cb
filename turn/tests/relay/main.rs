//! The relay with real sockets on loopback: our own small client, and coturn's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod loopback;
mod operation;
mod support;
mod uclient;
