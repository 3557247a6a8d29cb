//! The listening sockets of all shards. Each shard has one of its own for every address (SO_REUSEPORT): the kernel spreads
//! clients over them, and keeps each 5-tuple with one.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpListener;
use rustls::ServerConfig;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use trunkline_turn_core::ListenerId;
use trunkline_udp::{UdpConfig, UdpSocket};

use crate::streams::StreamListener;
use crate::{StartError, TurnConfig};

/// Connections that may wait to be accepted, for each listener.
const BACKLOG: i32 = 1024;

/// What one shard listens on.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) streams: Vec<StreamListener>,
}

/// Where the server listens, with the ports it got.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) udp: Vec<SocketAddr>,
    pub(crate) tcp: Vec<SocketAddr>,
    pub(crate) tls: Vec<SocketAddr>,
}

/// Binds every address once for each shard.
pub(crate) fn bind(
    config: &TurnConfig,
    shards: usize,
    tls: Option<&Arc<ServerConfig>>,
) -> Result<(Vec<Listeners>, Addresses), StartError> {
    let mut all: Vec<Listeners> = (0..shards).map(|_| Listeners::default()).collect();
    let mut addresses = Addresses::default();
    let numbers = config.listen.len() + config.listen_tcp.len() + config.listen_tls.len();
    if numbers == 0 || u16::try_from(numbers).is_err() {
        return Err(StartError::NoListener);
    }
    let failed = |addr: SocketAddr| move |source| StartError::Listen { addr, source };
    for addr in &config.listen {
        let sockets =
            shared(*addr, shards, |addr, first| bind_udp(config, addr, first)).map_err(failed(*addr))?;
        addresses.udp.push(sockets[0].local_addr());
        all.iter_mut().zip(sockets).for_each(|(listeners, socket)| listeners.udp.push(socket));
    }
    let tcp = config.listen_tcp.iter().map(|addr| (addr, None));
    let tls = config.listen_tls.iter().map(|addr| (addr, tls));
    for (number, (addr, tls)) in (config.listen.len()..).zip(tcp.chain(tls)) {
        let sockets =
            shared(*addr, shards, |addr, first| bind_tcp(config, addr, first)).map_err(failed(*addr))?;
        let local = sockets[0].local_addr().map_err(failed(*addr))?;
        if tls.is_some() { &mut addresses.tls } else { &mut addresses.tcp }.push(local);
        // The count was checked above.
        let id = ListenerId(number as u16);
        for (listeners, socket) in all.iter_mut().zip(sockets) {
            listeners.streams.push(StreamListener { socket, id, tls: tls.cloned() });
        }
    }
    Ok((all, addresses))
}

/// A socket that knows where it is.
trait Bound {
    fn address(&self) -> io::Result<SocketAddr>;
}

impl Bound for UdpSocket {
    fn address(&self) -> io::Result<SocketAddr> {
        Ok(self.local_addr())
    }
}

impl Bound for TcpListener {
    fn address(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }
}

/// One socket for each shard. The first one is bound alone, so that a port that another process has is an error, also
/// if that process would share it; only then the others join.
fn shared<S: Bound>(
    addr: SocketAddr,
    shards: usize,
    mut bind: impl FnMut(SocketAddr, bool) -> io::Result<S>,
) -> io::Result<Vec<S>> {
    let first = bind(addr, true)?;
    let addr = first.address()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(bind(addr, false)?);
    }
    Ok(sockets)
}

fn bind_udp(config: &TurnConfig, addr: SocketAddr, first: bool) -> io::Result<UdpSocket> {
    let udp = UdpConfig {
        recv_buffer_bytes: config.listen_buffer_bytes,
        send_buffer_bytes: config.listen_buffer_bytes,
        reuse_port: !first,
    };
    let socket = UdpSocket::bind(addr, &udp)?;
    if config.shard_count() > 1 {
        socket.share_port()?;
    }
    Ok(socket)
}

fn bind_tcp(config: &TurnConfig, addr: SocketAddr, first: bool) -> io::Result<TcpListener> {
    let socket =
        Socket::new(Domain::for_address(addr), Type::STREAM.cloexec().nonblocking(), Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(addr.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    // Connections of a server that has just stopped must not keep the next one from its port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(!first)?;
    // Connections inherit it: without, a client that does not read can pin megabytes of the kernel's.
    socket.set_send_buffer_size(config.stream_limits.send_buffer_bytes)?;
    socket.bind(&SockAddr::from(addr))?;
    socket.set_reuse_port(config.shard_count() > 1)?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
