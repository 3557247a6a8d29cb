//! Making a socket and its options.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::send::Sender;

/// How a [`UdpSocket`] is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// Bytes asked for as the kernel's receive buffer. Higher survives longer pauses of the thread that drains it; the
    /// kernel charges about twice a datagram's size. Without CAP_NET_ADMIN `net.core.rmem_max` is the most it gives:
    /// see [`UdpSocket::buffer_sizes`].
    pub recv_buffer_bytes: usize,
    /// Bytes asked for as the kernel's send buffer. Higher drops less when a batch exceeds what the device takes at once,
    /// and delays what it does not drop.
    pub send_buffer_bytes: usize,
    /// Whether other sockets may be bound to the same port, the kernel spreading flows over them (SO_REUSEPORT): one for
    /// each shard.
    pub reuse_port: bool,
}

impl Default for UdpConfig {
    fn default() -> Self {
        UdpConfig { recv_buffer_bytes: 4 << 20, send_buffer_bytes: 4 << 20, reuse_port: true }
    }
}

/// Counts since the socket was made. Datagrams, unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpStats {
    /// Received.
    pub received: u64,
    /// Handed to the kernel.
    pub sent: u64,
    /// Messages those were sent in: runs count once.
    pub sent_messages: u64,
    /// Dropped as the send buffer was full.
    pub dropped_would_block: u64,
    /// Dropped as larger than the path or the interface takes.
    pub dropped_too_big: u64,
    /// Dropped for any other error, an unreachable network for instance.
    pub dropped_error: u64,
}

/// A non-blocking UDP socket for one thread, which never fragments what it sends.
///
/// Give [`AsRawFd`] to mio's `SourceFd` or to epoll; with edge triggering, call [`UdpSocket::recv_batch`] until it would
/// block or [`crate::RecvBatch::emptied_socket`].
#[derive(Debug)]
pub struct UdpSocket {
    pub(crate) io: Socket,
    pub(crate) state: UdpSocketState,
    pub(crate) local: SocketAddr,
    pub(crate) sender: Sender,
}

impl UdpSocket {
    /// Binds to `addr`; port zero takes a free one. `[::]` takes IPv4 too, and such addresses appear as IPv4
    /// everywhere in this crate.
    ///
    /// # Errors
    /// As `socket`, `setsockopt` and `bind`. Smaller buffers than asked for are no error.
    pub fn bind(addr: SocketAddr, config: &UdpConfig) -> io::Result<Self> {
        let io =
            Socket::new(Domain::for_address(addr), Type::DGRAM.cloexec().nonblocking(), Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            io.set_only_v6(addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
        }
        // With the option already set, a free port is taken for free although another socket shares it.
        let pick_port = addr.port() == 0;
        io.set_reuse_port(config.reuse_port && !pick_port)?;
        grow_buffer(&io, libc::SO_RCVBUFFORCE, config.recv_buffer_bytes, Socket::set_recv_buffer_size)?;
        grow_buffer(&io, libc::SO_SNDBUFFORCE, config.send_buffer_bytes, Socket::set_send_buffer_size)?;
        io.bind(&SockAddr::from(addr))?;
        io.set_reuse_port(config.reuse_port)?;
        // Sets IP_PMTUDISC_PROBE (the path's size is the sender's business, and 30 ns a packet), GRO and pktinfo, so that
        // a socket bound to a wildcard knows which of the machine's addresses was meant.
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // Also sets SO_TIMESTAMPNS, which makes the kernel read a clock for every packet of the machine.
        set_option(&io, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 0)?;
        let local = io.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        let sender = Sender { gso: state.max_gso_segments() > 1, stats: UdpStats::default() };
        Ok(UdpSocket { io, state, local, sender })
    }

    /// Lets more sockets be bound to this one's address, those that ask for [`UdpConfig::reuse_port`]. For the first of
    /// several: bound without, it fails if the port is another process's, even one that would share.
    ///
    /// # Errors
    /// As `setsockopt`.
    pub fn share_port(&self) -> io::Result<()> {
        self.io.set_reuse_port(true)
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel gave as (receive, send) buffer, in its own bookkeeping, which doubles what was asked for. Less
    /// than asked for is worth a warning: raise `net.core.rmem_max` and `wmem_max`.
    ///
    /// # Errors
    /// As `getsockopt`.
    pub fn buffer_sizes(&self) -> io::Result<(usize, usize)> {
        Ok((self.io.recv_buffer_size()?, self.io.send_buffer_size()?))
    }

    /// Whether runs of equal datagrams are sent as one message.
    pub fn gso(&self) -> bool {
        self.sender.gso
    }

    /// Turns that off, for interfaces known to be bad at it.
    pub fn disable_gso(&mut self) {
        self.sender.gso = false;
    }

    /// Counts since the socket was made.
    pub fn stats(&self) -> UdpStats {
        self.sender.stats
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.io.as_raw_fd()
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

/// Asks for `bytes` past the system's limit, which needs CAP_NET_ADMIN, and else within it.
fn grow_buffer(
    io: &Socket,
    force: libc::c_int,
    bytes: usize,
    within_limit: fn(&Socket, usize) -> io::Result<()>,
) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    match set_option(io, libc::SOL_SOCKET, force, value) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => within_limit(io, value as usize),
        result => result,
    }
}

/// `setsockopt` for an option whose value is an int.
fn set_option(io: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which outlives the call; the descriptor is open, being owned
    // by `io`.
    let result = unsafe {
        libc::setsockopt(
            io.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
