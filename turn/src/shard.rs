//! The thread: sockets in, core, sockets out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use trunkline_stun::AddressFamily;
use trunkline_turn_core::{
    ClientPath, Destination, Handled, Input, ListenerId, Output, PeerPolicy, RelayId, Secret, TurnServer,
};
use trunkline_udp::{RecvBatch, UdpConfig, UdpSocket, UdpStats};

use crate::outgoing::{Outgoing, Socket};
use crate::telemetry::Telemetry;

/// The waker's token; listeners have their number, relays `RELAYS` plus their index.
pub(crate) const WAKER: Token = Token(usize::MAX);
const RELAYS: usize = 1 << 16;

/// Batches read from one socket before the others have their turn.
const TURN_BATCHES: usize = 8;
/// Bytes of waiting packets after which a batch is sent before it is wholly handled.
const OUTGOING_MAX: usize = 1 << 20;
/// How often counters are published and the wall clock is read.
const TICK: Duration = Duration::from_secs(1);

/// What the owner asks of the thread.
#[derive(Debug)]
pub(crate) enum Command {
    SetPolicy(PeerPolicy),
    SetSecrets(Vec<Secret>),
    Shutdown,
}

/// Everything the thread owns.
#[derive(Debug)]
pub(crate) struct Shard {
    server: TurnServer,
    poll: Poll,
    sockets: Sockets,
    outgoing: Outgoing,
    commands: Receiver<Command>,
    telemetry: Telemetry,
    /// Sockets that had more to read when their turn was over.
    unfinished: Vec<Token>,
}

#[derive(Debug)]
struct Sockets {
    registry: Registry,
    listeners: Vec<UdpSocket>,
    /// By `RelayId::index`.
    relays: Vec<Option<(RelayId, UdpSocket)>>,
    /// Where relay sockets are bound: IPv4, IPv6.
    relay_binds: [Option<IpAddr>; 2],
    relay_udp: UdpConfig,
    /// Packets that sockets now closed did not take.
    unsent_before: u64,
}

impl Shard {
    pub(crate) fn new(
        server: TurnServer,
        poll: Poll,
        listeners: Vec<UdpSocket>,
        relay_binds: [Option<IpAddr>; 2],
        relay_udp: UdpConfig,
        commands: Receiver<Command>,
    ) -> io::Result<Self> {
        let registry = poll.registry().try_clone()?;
        for (number, socket) in listeners.iter().enumerate() {
            registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(number), Interest::READABLE)?;
        }
        let sockets =
            Sockets { registry, listeners, relays: vec![], relay_binds, relay_udp, unsent_before: 0 };
        Ok(Self {
            server,
            poll,
            sockets,
            outgoing: Outgoing::default(),
            commands,
            telemetry: Telemetry::default(),
            unfinished: vec![],
        })
    }

    /// Until told to stop.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut batch = RecvBatch::new();
        let mut tick = Instant::now() + TICK;
        let mut deadline = None;
        loop {
            let timeout = if self.unfinished.is_empty() {
                let next = deadline.map_or(tick, |deadline: Instant| deadline.min(tick));
                next.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            if let Err(error) = self.poll.poll(&mut events, Some(timeout))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "epoll failed: the relay stops");
                break;
            }
            let mut ready = std::mem::take(&mut self.unfinished);
            for event in &events {
                if event.token() == WAKER {
                    if self.obey() {
                        self.telemetry.publish(self.server.stats(), self.sockets.unsent());
                        self.telemetry.finish();
                        return;
                    }
                } else if !ready.contains(&event.token()) {
                    ready.push(event.token());
                }
            }
            for token in ready {
                self.read(token, &mut batch);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                let _ = self.server.handle(Input::Timeout, now);
            }
            deadline = self.drain(now);
            self.flush();
            if tick <= now {
                tick = now + TICK;
                self.server.set_unix_now(now, crate::unix_now());
                self.telemetry.publish(self.server.stats(), self.sockets.unsent());
            }
        }
    }

    /// Takes the owner's commands; whether it is time to stop.
    fn obey(&mut self) -> bool {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::SetPolicy(policy) => self.server.set_policy(policy),
                Command::SetSecrets(secrets) => {
                    if let Err(error) = self.server.set_secrets(secrets) {
                        tracing::error!(%error, "secrets not replaced");
                    }
                }
                Command::Shutdown => return true,
            }
        }
        false
    }

    /// Reads a socket until it is empty or its turn is over.
    fn read(&mut self, token: Token, batch: &mut RecvBatch) {
        for _ in 0..TURN_BATCHES {
            let Some((source, socket)) = self.sockets.source(token) else { return };
            match socket.recv_batch(batch) {
                Ok(_) => self.relay(source, batch),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!(%error, "reading a socket failed");
                    return;
                }
            }
        }
        self.unfinished.push(token);
    }

    /// One batch through the core and out.
    fn relay(&mut self, source: Source, batch: &mut RecvBatch) {
        let now = Instant::now();
        for datagram in batch.datagrams() {
            let data: &[u8] = datagram.bytes;
            let handled = match source {
                Source::Listener { id, wildcard } => {
                    let local_ip = datagram.local_ip.filter(|_| wildcard);
                    let path = ClientPath { client: datagram.source, listener: id, local_ip, stream: None };
                    self.server.handle(Input::Client { path, data }, now)
                }
                Source::Relay(relay) => {
                    self.server.handle(Input::Peer { relay, from: datagram.source, data }, now)
                }
            };
            match handled {
                Handled::Forward(forward) => {
                    let (socket, dst, src_ip) = match forward.to {
                        Destination::Client(path) => client_socket(&path),
                        Destination::Peer { relay, peer } => (Socket::Relay(relay), peer, None),
                    };
                    self.outgoing.push(socket, dst, src_ip, |out| forward.write(data, out));
                }
                // Also after a drop: an allocation found expired asks for its socket to be closed.
                Handled::Done | Handled::Dropped(_) => {
                    drain(&mut self.server, &mut self.sockets, &mut self.outgoing, now);
                }
            }
            if self.outgoing.len() > OUTGOING_MAX {
                self.outgoing.flush(|socket, transmits| self.sockets.send(socket, transmits));
            }
        }
        self.flush();
    }

    fn drain(&mut self, now: Instant) -> Option<Instant> {
        drain(&mut self.server, &mut self.sockets, &mut self.outgoing, now)
    }

    fn flush(&mut self) {
        if !self.outgoing.is_empty() {
            self.outgoing.flush(|socket, transmits| self.sockets.send(socket, transmits));
        }
    }
}

/// Obeys the core until it gives a time.
fn drain(
    server: &mut TurnServer,
    sockets: &mut Sockets,
    outgoing: &mut Outgoing,
    now: Instant,
) -> Option<Instant> {
    loop {
        let (relay, bound) = match server.poll_output() {
            Output::Transmit { path, data } => {
                let (socket, dst, src_ip) = client_socket(&path);
                outgoing.push(socket, dst, src_ip, |out| out.extend_from_slice(data));
                continue;
            }
            Output::BindRelay { relay, family, port } => (relay, sockets.open(relay, family, port)),
            Output::CloseRelay { relay } => {
                sockets.close(relay);
                continue;
            }
            Output::Event(_) => continue,
            Output::Timeout(at) => return at,
        };
        let _ = server.handle(Input::RelayBound { relay, bound }, now);
    }
}

fn client_socket(path: &ClientPath) -> (Socket, SocketAddr, Option<IpAddr>) {
    (Socket::Listener(path.listener.0), path.client, path.local_ip)
}

/// Where a batch came from.
#[derive(Debug, Clone, Copy)]
enum Source {
    Listener { id: ListenerId, wildcard: bool },
    Relay(RelayId),
}

impl Sockets {
    fn source(&mut self, token: Token) -> Option<(Source, &mut UdpSocket)> {
        match token.0.checked_sub(RELAYS) {
            None => {
                let id = ListenerId(u16::try_from(token.0).ok()?);
                let socket = self.listeners.get_mut(token.0)?;
                let wildcard = socket.local_addr().ip().is_unspecified();
                Some((Source::Listener { id, wildcard }, socket))
            }
            Some(index) => {
                let (relay, socket) = self.relays.get_mut(index)?.as_mut()?;
                Some((Source::Relay(*relay), socket))
            }
        }
    }

    /// Opens a relay socket; false when the port is another's or descriptors have run out.
    fn open(&mut self, relay: RelayId, family: AddressFamily, port: u16) -> bool {
        let [v4, v6] = self.relay_binds;
        let bind = match family {
            AddressFamily::V4 => v4,
            AddressFamily::V6 => v6,
        };
        let Some(bind) = bind else { return false };
        let opened = UdpSocket::bind(SocketAddr::new(bind, port), &self.relay_udp).and_then(|socket| {
            let token = Token(RELAYS + relay.index());
            self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                if self.relays.len() <= relay.index() {
                    self.relays.resize_with(relay.index() + 1, || None);
                }
                self.relays[relay.index()] = Some((relay, socket));
                true
            }
            Err(error) => {
                tracing::debug!(port, %error, "relay port not opened");
                false
            }
        }
    }

    /// Closing the descriptor takes it out of epoll.
    fn close(&mut self, relay: RelayId) {
        if let Some(slot) = self.relays.get_mut(relay.index())
            && let Some((_, socket)) = slot.take_if(|(open, _)| *open == relay)
        {
            self.unsent_before += unsent(&socket.stats());
        }
    }

    fn send(&mut self, socket: Socket, transmits: &mut dyn Iterator<Item = trunkline_udp::Transmit<'_>>) {
        let socket = match socket {
            Socket::Listener(number) => self.listeners.get_mut(usize::from(number)),
            // A relay that was closed since takes its packets with it.
            Socket::Relay(relay) => self
                .relays
                .get_mut(relay.index())
                .and_then(Option::as_mut)
                .filter(|(open, _)| *open == relay)
                .map(|(_, socket)| socket),
        };
        if let Some(socket) = socket
            && let Err(error) = socket.send_batch(transmits)
        {
            tracing::warn!(%error, "sending on a socket failed");
        }
    }

    /// Packets that sockets did not take, since the start.
    fn unsent(&self) -> u64 {
        let open = self.listeners.iter().chain(self.relays.iter().flatten().map(|(_, socket)| socket));
        self.unsent_before + open.map(|socket| unsent(&socket.stats())).sum::<u64>()
    }
}

fn unsent(stats: &UdpStats) -> u64 {
    stats.dropped_would_block + stats.dropped_too_big + stats.dropped_error
}
