//! The TURN server's sockets and thread. Every decision is `trunkline-turn-core`'s; this crate obeys.
//!
//! ```no_run
//! use trunkline_turn::{Secret, Turn, TurnConfig};
//!
//! let listen = "192.0.2.1:3478".parse().unwrap();
//! let turn = Turn::start(TurnConfig::new(listen, "example.org", Secret::new(*b"from the configuration")))?;
//! println!("turn:{}", turn.local_addr());
//! turn.shutdown();
//! # Ok::<(), trunkline_turn::StartError>(())
//! ```
//!
//! One thread reads the listening sockets and every relay socket (epoll, edge-triggered), relays in batches, and sends
//! runs of equal packets to one destination as one message.

#![forbid(unsafe_code)]

mod outgoing;
mod shard;
mod telemetry;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mio::{Poll, Waker};
use trunkline_turn_core::{Config, TurnServer};
use trunkline_udp::{UdpConfig, UdpSocket};

pub use trunkline_turn_core::{
    ConfigError, Credentials, IpRange, Limits, PeerPolicy, RangeError, RelayAddress, Secret, mint,
};

use crate::shard::{Command, Shard, WAKER};

/// What an operator decides about the relay.
#[derive(Debug, Clone)]
pub struct TurnConfig {
    /// UDP addresses to listen on, at least one; port 0 takes a free port. A wildcard answers from the address that
    /// the client used.
    pub listen: Vec<SocketAddr>,
    /// Where relay sockets live: at most one address of each family. Empty: the first listening address of each
    /// family, which must not be a wildcard then.
    pub relays: Vec<RelayAddress>,
    /// UDP ports of relay sockets. Default 49152–65535 (RFC 8656 §7.2).
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
    /// Quotas and bounds.
    pub limits: Limits,
    /// Bytes of kernel buffer, each way, of a listening socket. Default 4 MiB. Higher: longer bursts survive. Lower:
    /// fewer.
    pub listen_buffer_bytes: usize,
    /// The same for a relay socket. Default 256 KiB; all allocations under a flood can pin that much kernel memory
    /// each, twice over.
    pub relay_buffer_bytes: usize,
}

impl TurnConfig {
    /// Defaults for everything else: relaying from the listening address.
    #[must_use]
    pub fn new(listen: SocketAddr, realm: impl Into<String>, secret: Secret) -> Self {
        Self {
            listen: vec![listen],
            relays: vec![],
            relay_ports: 49_152..=65_535,
            realm: realm.into(),
            secrets: vec![secret],
            allow_peers: vec![],
            deny_peers: vec![],
            own_addresses: vec![],
            legacy_channels: false,
            limits: Limits::default(),
            listen_buffer_bytes: 4 << 20,
            relay_buffer_bytes: 256 << 10,
        }
    }

    fn core(&self) -> Result<Config, StartError> {
        let mut relays = self.relays.clone();
        if relays.is_empty() {
            relays = self
                .listen
                .iter()
                .map(|addr| RelayAddress { bind: addr.ip(), advertised: addr.ip() })
                .collect();
        }
        let of = |v4| relays.iter().find(|relay| relay.advertised.is_ipv4() == v4).copied();
        let own = self.listen.iter().map(SocketAddr::ip).chain(self.own_addresses.iter().copied());
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
        Ok(config)
    }

    fn policy(&self) -> Result<PeerPolicy, StartError> {
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
    /// An address cannot be bound.
    #[error("cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread, its epoll or its entropy cannot be had.
    #[error("cannot start the relay's thread")]
    Thread(#[from] io::Error),
}

/// A running relay. Dropping it stops it as [`Turn::shutdown`] does.
#[derive(Debug)]
pub struct Turn {
    config: TurnConfig,
    addrs: Vec<SocketAddr>,
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Turn {
    /// Binds the listening sockets and starts the thread. When this returns, clients are answered.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start(config: TurnConfig) -> Result<Self, StartError> {
        let core = config.core()?;
        let udp = UdpConfig {
            recv_buffer_bytes: config.listen_buffer_bytes,
            send_buffer_bytes: config.listen_buffer_bytes,
            reuse_port: false,
        };
        let mut listeners = Vec::new();
        for addr in &config.listen {
            let bound = UdpSocket::bind(*addr, &udp);
            listeners.push(bound.map_err(|source| StartError::Listen { addr: *addr, source })?);
        }
        if listeners.is_empty() || u16::try_from(listeners.len()).is_err() {
            return Err(StartError::NoListener);
        }
        let addrs = listeners.iter().map(UdpSocket::local_addr).collect();
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("no entropy"))?;
        let relay_binds = [core.relay_v4, core.relay_v6].map(|relay| relay.map(|relay| relay.bind));
        let server = TurnServer::new(core, Arc::default(), seed, Instant::now(), unix_now())?;
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (commands, received) = channel();
        let relay_udp = UdpConfig {
            recv_buffer_bytes: config.relay_buffer_bytes,
            send_buffer_bytes: config.relay_buffer_bytes,
            reuse_port: false,
        };
        let shard = Shard::new(server, poll, listeners, relay_binds, relay_udp, received)?;
        let thread = std::thread::Builder::new().name("turn-0".to_owned()).spawn(move || shard.run())?;
        Ok(Self { config, addrs, commands, waker, thread: Some(thread) })
    }

    /// The first address it listens on, with the port it got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.addrs[0]
    }

    /// All of them.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addrs
    }

    /// Replaces what peers may be reached. The next packet of every live allocation obeys it.
    ///
    /// # Errors
    /// Never today: the other settings were checked at the start.
    pub fn set_peers(&mut self, allow: Vec<IpRange>, deny: Vec<IpRange>) -> Result<(), StartError> {
        self.config.allow_peers = allow;
        self.config.deny_peers = deny;
        let policy = self.config.policy()?;
        self.command(Command::SetPolicy(policy));
        Ok(())
    }

    /// Replaces the secrets: one, or two while one replaces the other.
    ///
    /// # Errors
    /// [`ConfigError::Secrets`]; then nothing has changed.
    pub fn set_secrets(&mut self, secrets: Vec<Secret>) -> Result<(), StartError> {
        TurnConfig { secrets: secrets.clone(), ..self.config.clone() }.core()?;
        self.config.secrets.clone_from(&secrets);
        self.command(Command::SetSecrets(secrets));
        Ok(())
    }

    /// Stops relaying at once, closes every socket and joins the thread.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.command(Command::Shutdown);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the relay's thread had panicked");
        }
    }

    fn command(&self, command: Command) {
        // Either fails only when the thread has gone, and then there is nothing to command.
        if self.commands.send(command).is_ok()
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake the relay's thread");
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.stop();
        }
    }
}

/// Time since the Unix epoch.
fn unix_now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
