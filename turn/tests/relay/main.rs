//! The relay with real sockets on loopback: our own small client, and coturn's.

mod loopback;
mod support;
mod uclient;
