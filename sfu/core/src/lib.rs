//! The SFU as a value: ICE-lite, DTLS, SRTP, routing and repair with no socket, no clock and no entropy of its own.

pub mod codec;
pub mod rtcp;
pub mod rtp;
pub mod session;
pub mod srtp;
