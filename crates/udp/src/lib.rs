//! Batched UDP sockets: many datagrams a system call, and many a pass through the network stack.
//!
//! [`UdpSocket::recv_batch`] drains the socket by `recvmmsg` with receive offload (GRO) and gives single datagrams.
//! [`UdpSocket::send_batch`] sends by `sendmmsg`, where each message may be a run of equal datagrams to one destination
//! that the kernel cuts up as late as it can (GSO): passes through the stack are what sending costs, not system calls.
//!
//! This is the one crate of the workspace that contains `unsafe`: `sendmmsg` with control messages, and `setsockopt`
//! where socket2 has no method. Linux only.

mod recv;
mod send;
mod socket;
#[cfg(test)]
mod tests;

pub use recv::{Datagram, RecvBatch};
pub use send::Transmit;
pub use socket::{UdpConfig, UdpSocket, UdpStats};
