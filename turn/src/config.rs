//! What an operator decides about the relay.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use trunkline_turn_core::{Config, ConfigError, IpRange, Limits, PeerPolicy, RelayAddress, Secret};

use crate::certificate::CertificateError;

/// Everything that [`crate::Turn::start`] needs to know.
#[derive(Debug, Clone)]
pub struct TurnConfig {
    /// UDP addresses to listen on; port 0 takes a free port. A wildcard answers from the address that the client used.
    pub listen: Vec<SocketAddr>,
    /// TCP addresses to listen on.
    pub listen_tcp: Vec<SocketAddr>,
    /// TCP addresses to listen on for TLS (RFC 7443: ALPN `stun.turn`, or none). They need `tls`.
    pub listen_tls: Vec<SocketAddr>,
    /// Certificate and key of the TLS listeners.
    pub tls: Option<TlsFiles>,
    /// Threads, each with sockets, relay ports and a server of its own; 0: one a core. More than the machine has cores
    /// gain nothing.
    pub shards: usize,
    /// Where relay sockets live: at most one address of each family. Empty: the first listening address of each
    /// family, which must not be a wildcard then.
    pub relays: Vec<RelayAddress>,
    /// UDP ports of relay sockets. Default 49152–65535 (RFC 8656 §7.2). Shards share them out.
    pub relay_ports: RangeInclusive<u16>,
    /// REALM.
    pub realm: String,
    /// One secret, or two while one replaces the other: shared with whoever mints the credentials.
    pub secrets: Vec<Secret>,
    /// Peers to permit although the built-in list refuses them, such as an SFU on a private address.
    pub allow_peers: Vec<IpRange>,
    /// Peers to refuse in any case.
    pub deny_peers: Vec<IpRange>,
    /// The host's addresses besides those it listens on and relays from; peers may not reach them unless allowed.
    pub own_addresses: Vec<IpAddr>,
    /// Accept RFC 5766's channel numbers up to 0x7FFF, for old clients. Default false.
    pub legacy_channels: bool,
    /// Quotas and bounds of the whole server: shards share them out.
    pub limits: Limits,
    /// Bounds of TCP and TLS connections.
    pub stream_limits: StreamLimits,
    /// Bytes of kernel buffer, each way, of a listening socket. Default 4 MiB. Higher: longer bursts survive. Lower:
    /// fewer.
    pub listen_buffer_bytes: usize,
    /// The same for a relay socket. Default 256 KiB; all allocations under a flood can pin that much kernel memory
    /// each, twice over.
    pub relay_buffer_bytes: usize,
}

/// Where the TLS listeners' certificate is. Both files are PEM, and read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those between it and the root.
    pub certificate: PathBuf,
    /// Its key: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// Bounds of TCP and TLS connections, of the whole server. The most memory that strangers can take is about `connections
/// × (opening_frame_bytes + 40 KiB of a TLS handshake)`; each connection with an allocation can take
/// `2 × write_buffer_bytes + 260 KiB` besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamLimits {
    /// Open connections. Default 10,000. Higher: more memory and descriptors. Lower: newcomers are closed sooner.
    pub connections: usize,
    /// Open connections of one source: an IPv4 address, or an IPv6 /64. Default 500, as an office behind one address
    /// may need. Higher: one stranger can take a greater part of all. Lower: large networks are turned away.
    pub connections_per_source: usize,
    /// How long a client may take for TLS handshake and first whole message together, for the rest of a message once
    /// it has begun, and to read something when its buffer is full. Default 9 s: looked at every second, so it is over
    /// in ten. Higher: slow senders hold their place longer. Lower: clients on bad networks are closed.
    pub message_deadline: Duration,
    /// How long a connection may be without an allocation, whatever it says; looked at once in that time. Default 30 s.
    /// Higher: strangers hold their places longer. Lower: clients that wait before they allocate must connect again.
    pub unused: Duration,
    /// Bytes of the longest message before there is an allocation. Default 4,096: a request with every attribute at
    /// its longest is shorter. Higher: strangers' half messages take more memory. Lower: long usernames are closed.
    pub opening_frame_bytes: usize,
    /// Bytes that wait for a client which does not read; what comes then is dropped. Default 256 KiB, about a second
    /// of video. Higher: more memory, and staler media. Lower: a pause loses more.
    pub write_buffer_bytes: usize,
    /// Bytes of the kernel's send buffer, of which it takes up to twice as much. Default 256 KiB. Higher: throughput
    /// over long paths, and staler media. Lower: throughput over long paths suffers.
    pub send_buffer_bytes: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_source: 500,
            message_deadline: Duration::from_secs(9),
            unused: Duration::from_secs(30),
            opening_frame_bytes: 4096,
            write_buffer_bytes: 256 << 10,
            send_buffer_bytes: 256 << 10,
        }
    }
}

impl StreamLimits {
    fn check(&self) -> Result<(), ConfigError> {
        for (name, wrong) in [
            ("connections", self.connections == 0 || u32::try_from(self.connections).is_err()),
            ("connections_per_source", self.connections_per_source == 0),
            ("message_deadline", self.message_deadline.is_zero()),
            ("unused", self.unused.is_zero()),
            ("opening_frame_bytes", self.opening_frame_bytes < 1024),
            ("write_buffer_bytes", self.write_buffer_bytes == 0),
        ] {
            if wrong {
                return Err(ConfigError::Limit(name));
            }
        }
        Ok(())
    }
}

impl TurnConfig {
    /// Defaults for everything else: UDP, relaying from the listening address, one shard a core.
    #[must_use]
    pub fn new(listen: SocketAddr, realm: impl Into<String>, secret: Secret) -> Self {
        Self {
            listen: vec![listen],
            listen_tcp: vec![],
            listen_tls: vec![],
            tls: None,
            shards: 0,
            relays: vec![],
            relay_ports: 49_152..=65_535,
            realm: realm.into(),
            secrets: vec![secret],
            allow_peers: vec![],
            deny_peers: vec![],
            own_addresses: vec![],
            legacy_channels: false,
            limits: Limits::default(),
            stream_limits: StreamLimits::default(),
            listen_buffer_bytes: 4 << 20,
            relay_buffer_bytes: 256 << 10,
        }
    }

    /// Every address it listens on.
    fn listening(&self) -> impl Iterator<Item = &SocketAddr> {
        self.listen.iter().chain(&self.listen_tcp).chain(&self.listen_tls)
    }

    pub(crate) fn shard_count(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        }
    }

    /// The core's configuration for the whole server, checked.
    pub(crate) fn core(&self) -> Result<Config, StartError> {
        let mut relays = self.relays.clone();
        if relays.is_empty() {
            relays = self
                .listening()
                .map(|addr| RelayAddress { bind: addr.ip(), advertised: addr.ip() })
                .collect();
        }
        let of = |v4| relays.iter().find(|relay| relay.advertised.is_ipv4() == v4).copied();
        let own = self.listening().map(SocketAddr::ip).chain(self.own_addresses.iter().copied());
        let config = Config {
            realm: self.realm.clone(),
            secrets: self.secrets.clone(),
            relay_v4: of(true),
            relay_v6: of(false),
            relay_ports: self.relay_ports.clone(),
            allow_peers: self.allow_peers.clone(),
            deny_peers: self.deny_peers.clone(),
            own_addresses: own.collect(),
            legacy_channels: self.legacy_channels,
            limits: self.limits.clone(),
        };
        config.check()?;
        self.stream_limits.check()?;
        Ok(config)
    }

    pub(crate) fn policy(&self) -> Result<PeerPolicy, StartError> {
        let config = self.core()?;
        Ok(config.peer_policy())
    }
}

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration cannot be served.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No address to listen on, or more than 65,535.
    #[error("no address to listen on")]
    NoListener,
    /// TLS listeners without a certificate.
    #[error("TLS needs a certificate and a key")]
    NoCertificate,
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// An address cannot be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A thread, its epoll or its entropy cannot be had.
    #[error("cannot start the relay's threads")]
    Thread(#[from] io::Error),
}
