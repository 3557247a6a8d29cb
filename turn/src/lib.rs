//! The TURN server's sockets and threads. Every decision is `trunkline-turn-core`'s; this crate obeys.
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
//! One thread a core, a shard, with listening sockets, relay ports and a server value of its own: the kernel keeps each
//! 5-tuple with one shard (SO_REUSEPORT), so nothing is locked for a packet. Shards share the count of each user's
//! allocations and of connections, looked at when one begins and when it ends. A shard reads listening sockets, relay
//! sockets and TCP or TLS connections (epoll, edge-triggered), relays in batches, sends runs of equal packets to one
//! destination as one message, and gives each connection one write a turn.

#![forbid(unsafe_code)]

mod certificate;
mod config;
mod listeners;
mod outgoing;
mod shard;
mod sockets;
mod streams;
mod telemetry;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mio::{Poll, Waker};
use trunkline_turn_core::{Ledger, TurnServer};
use trunkline_udp::UdpConfig;

pub use crate::certificate::CertificateError;
pub use crate::config::{StartError, StreamLimits, TlsFiles, TurnConfig};
pub use trunkline_turn_core::{
    ConfigError, Credentials, IpRange, Limits, PeerPolicy, RangeError, RelayAddress, Secret, mint,
};

use crate::certificate::Certificate;
use crate::listeners::{Addresses, Listeners};
use crate::shard::{Command, Parts, Shard, WAKER};
use crate::streams::Places;

/// A running relay. Dropping it stops it as [`Turn::shutdown`] does.
#[derive(Debug)]
pub struct Turn {
    config: TurnConfig,
    addresses: Addresses,
    certificate: Option<Arc<Certificate>>,
    shards: Vec<Handle>,
    health: Health,
}

/// A shard's thread.
#[derive(Debug)]
struct Handle {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// Whether a relay's threads live, and what they carry: for those who ask while others own the [`Turn`].
#[derive(Debug, Clone)]
pub struct Health {
    running: Arc<AtomicUsize>,
    /// Of each shard, as of its last tick.
    allocations: Arc<[AtomicU64]>,
}

impl Health {
    fn set_allocations(&self, shard: usize, count: u64) {
        if let Some(allocations) = self.allocations.get(shard) {
            allocations.store(count, Ordering::Relaxed);
        }
    }

    /// Whether every shard runs. One that has ended by an error of ours takes its clients with it and does not come
    /// back: send traffic elsewhere and start anew.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.running.load(Ordering::Relaxed) == self.allocations.len()
    }

    /// Live allocations, a second ago at most.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations.iter().map(|shard| shard.load(Ordering::Relaxed)).sum()
    }
}

/// Counts a thread as running until it ends, by a panic too.
struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turn {
    /// Binds the listening sockets and starts the threads. When this returns, clients are answered.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start(config: TurnConfig) -> Result<Self, StartError> {
        let core = config.core()?;
        let count = config.shard_count();
        let cores = (0..count).map(|index| core.part(index, count)).collect::<Result<Vec<_>, _>>()?;
        let certificate = match &config.tls {
            Some(files) => Some(Certificate::load(files)?),
            None if config.listen_tls.is_empty() => None,
            None => return Err(StartError::NoCertificate),
        };
        let tls = certificate.as_ref().map(|certificate| certificate.server_config()).transpose();
        let tls = tls.map_err(CertificateError::from)?;
        let (listeners, addresses) = listeners::bind(&config, count, tls.as_ref())?;
        let ledger = Arc::new(Ledger::default());
        let limits = &config.stream_limits;
        let places = Places::new(limits.connections, limits.connections_per_source);
        let allocations = (0..count).map(|_| AtomicU64::new(0)).collect();
        let health = Health { running: Arc::default(), allocations };
        let mut turn = Self { config, addresses, certificate, shards: vec![], health };
        for (core, listeners) in cores.into_iter().zip(listeners) {
            let mut seed = [0; 32];
            aws_lc_rs::rand::fill(&mut seed).map_err(|_| io::Error::other("no entropy"))?;
            let relay_binds = [core.relay_v4, core.relay_v6].map(|relay| relay.map(|relay| relay.bind));
            let server = TurnServer::new(core, ledger.clone(), seed, Instant::now(), unix_now())?;
            // If this fails, dropping `turn` stops those that run.
            turn.start_shard(server, relay_binds, listeners, places.clone())?;
        }
        Ok(turn)
    }

    fn start_shard(
        &mut self,
        server: TurnServer,
        relay_binds: [Option<std::net::IpAddr>; 2],
        listeners: Listeners,
        places: Arc<Places>,
    ) -> io::Result<()> {
        let number = self.shards.len();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (commands, received) = channel();
        let shard = Shard::new(Parts {
            server,
            poll,
            listeners,
            relay_binds,
            relay_udp: UdpConfig {
                recv_buffer_bytes: self.config.relay_buffer_bytes,
                send_buffer_bytes: self.config.relay_buffer_bytes,
                reuse_port: false,
            },
            places,
            stream_limits: self.config.stream_limits.clone(),
            certificate: self.certificate.clone().filter(|_| number == 0),
            number,
            health: self.health.clone(),
            commands: received,
        })?;
        self.health.running.fetch_add(1, Ordering::Relaxed);
        let running = Running(self.health.running.clone());
        let thread = std::thread::Builder::new().name(format!("turn-{number}")).spawn(move || {
            let _running = running;
            shard.run();
        })?;
        self.shards.push(Handle { commands, waker, thread: Some(thread) });
        Ok(())
    }

    /// The first address it listens on, UDP if there is one, with the port it got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let Addresses { udp, tcp, tls } = &self.addresses;
        *udp.iter().chain(tcp).chain(tls).next().expect("without an address it does not start")
    }

    /// The UDP addresses it listens on, in the configuration's order.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses.udp
    }

    /// The same for TCP.
    #[must_use]
    pub fn tcp_addrs(&self) -> &[SocketAddr] {
        &self.addresses.tcp
    }

    /// The same for TLS.
    #[must_use]
    pub fn tls_addrs(&self) -> &[SocketAddr] {
        &self.addresses.tls
    }

    /// What tells whether every shard runs, and how many allocations there are.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Whether every shard runs: see [`Health::is_healthy`].
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.health.is_healthy()
    }

    /// Replaces what peers may be reached; `own` are this host's addresses as they are now. The next packet of every live
    /// allocation obeys it.
    ///
    /// # Errors
    /// Never today: the other settings were checked at the start.
    pub fn set_peers(
        &mut self,
        allow: Vec<IpRange>,
        deny: Vec<IpRange>,
        own: Vec<IpAddr>,
    ) -> Result<(), StartError> {
        self.config.allow_peers = allow;
        self.config.deny_peers = deny;
        self.config.own_addresses = own;
        let policy = self.config.policy()?;
        self.command(&Command::SetPolicy(policy));
        Ok(())
    }

    /// Replaces the secrets: one, or two while one replaces the other.
    ///
    /// # Errors
    /// [`ConfigError::Secrets`]; then nothing has changed.
    pub fn set_secrets(&mut self, secrets: Vec<Secret>) -> Result<(), StartError> {
        TurnConfig { secrets: secrets.clone(), ..self.config.clone() }.core()?;
        self.config.secrets.clone_from(&secrets);
        self.command(&Command::SetSecrets(secrets));
        Ok(())
    }

    /// Starts to drain: who asks for a new allocation is sent to the one of `alternates` that is of its address family
    /// (RFC 8489 §10), or refused when there is none; live allocations go on. `None` ends it.
    pub fn set_draining(&mut self, alternates: Option<Vec<SocketAddr>>) {
        self.command(&Command::SetDraining(alternates));
    }

    /// Reads the TLS certificate and its key again, which happens by itself when the files change. New connections get
    /// the new one. Without TLS there is nothing to do.
    ///
    /// # Errors
    /// [`CertificateError`]; then the one in force stays.
    pub fn reload(&self) -> Result<(), CertificateError> {
        self.certificate.as_ref().map_or(Ok(()), |certificate| certificate.reload())
    }

    /// Stops relaying at once, closes every socket and joins the threads.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.command(&Command::Shutdown);
        for shard in &mut self.shards {
            if let Some(thread) = shard.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a thread of the relay had panicked");
            }
        }
    }

    fn command(&self, command: &Command) {
        for Handle { commands, waker, .. } in &self.shards {
            // Either fails only when the thread has gone, and then there is nothing to command.
            if commands.send(command.clone()).is_ok()
                && let Err(error) = waker.wake()
            {
                tracing::error!(%error, "cannot wake a thread of the relay");
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.shards.iter().any(|shard| shard.thread.is_some()) {
            self.stop();
        }
    }
}

/// Time since the Unix epoch.
fn unix_now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
