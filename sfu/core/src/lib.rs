//! The SFU as a value: ICE-lite, DTLS, SRTP, routing and repair with no socket, no clock and no entropy of its own.
//!
//! | Room | What is in it |
//! |---|---|
//! | [`shard`] | one thread's share of the SFU: inputs, outputs, rooms, the path of a packet |
//! | [`negotiation`], [`session`] | offer → answer, and the immutable value they agreed on |
//! | [`srtp`], [`dtls`] | keys, and what is done with them |
//! | [`rtp`], [`rtcp`], [`codec`] | what stands on the wire |
//! | [`repair`], [`congestion`] | what is missing, what is given again, what the publisher is told |
//! | `slots`, [`layers`] | who is shown where, and how large: pure functions |

pub mod codec;
pub mod congestion;
pub mod drop;
pub mod dtls;
mod egress;
mod ids;
mod ingress;
pub mod layers;
pub mod limits;
pub mod negotiation;
pub mod packet;
pub mod repair;
pub mod rtcp;
pub mod rtp;
pub mod session;
pub mod shard;
mod slots;
pub mod srtp;
pub mod stats;
mod table;
mod transport;

/// An instant for tests to count from: the core itself never asks what time it is.
#[cfg(test)]
#[allow(clippy::disallowed_methods)]
fn test_clock() -> std::time::Instant {
    std::time::Instant::now()
}
