//! The thread: sockets in, core, sockets out.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::Receiver as Commands;
use std::time::{Duration, Instant};

use mio::event::Event as Readiness;
use mio::{Events, Poll, Token};
use trunkline_stun::FRAME_MAX;
use trunkline_turn_core::{
    ClientPath, Destination, Forward, Handled, Input, Output, PeerPolicy, Secret, TurnServer,
};
use trunkline_udp::{RecvBatch, UdpConfig};

use crate::certificate::Certificate;
use crate::listeners::Listeners;
use crate::outgoing::{Outgoing, Socket};
use crate::sockets::{Sockets, Source};
use crate::streams::{Places, Receiver, Streams};
use crate::telemetry::Telemetry;
use crate::{Health, StreamLimits, unix_now};

/// Tokens: listeners by their number, UDP first; then relay sockets and connections by their index.
const STREAM_LISTENERS: usize = 1 << 16;
const RELAYS: usize = 1 << 32;
const STREAMS: usize = 2 << 32;
pub(crate) const WAKER: Token = Token(usize::MAX);

/// Batches, or reads of a connection, before other sockets have their turn.
const TURN_BATCHES: usize = 8;
/// Reads of connections that are agreeing on TLS, in one round of all sockets: each may cost a signature, a tenth of a
/// millisecond to one, and calls wait meanwhile.
const HANDSHAKES: u32 = 16;
/// Bytes of waiting datagrams after which they are sent before the turn is over: they should not leave the cache.
const OUTGOING_MAX: usize = 256 << 10;
/// Bytes read from a connection at a time: more than any TLS record.
const READ_MAX: usize = if FRAME_MAX > 64 << 10 { FRAME_MAX } else { 64 << 10 };
/// How often counters are published, the wall clock is read, and connections are looked at, at least.
const TICK: Duration = Duration::from_secs(1);

/// What the owner asks of the thread.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    SetPolicy(PeerPolicy),
    SetSecrets(Vec<Secret>),
    SetDraining(Option<Vec<SocketAddr>>),
    Shutdown,
}

/// What a shard is made of.
pub(crate) struct Parts {
    pub(crate) server: TurnServer,
    pub(crate) poll: Poll,
    pub(crate) listeners: Listeners,
    /// IPv4, IPv6.
    pub(crate) relay_binds: [Option<IpAddr>; 2],
    pub(crate) relay_udp: UdpConfig,
    pub(crate) places: Arc<Places>,
    pub(crate) stream_limits: StreamLimits,
    /// For the one shard that looks after it.
    pub(crate) certificate: Option<Arc<Certificate>>,
    /// Which shard it is.
    pub(crate) number: usize,
    pub(crate) health: Health,
    pub(crate) commands: Commands<Command>,
}

/// Everything the thread owns.
#[derive(Debug)]
pub(crate) struct Shard {
    server: TurnServer,
    poll: Poll,
    io: Io,
    certificate: Option<Arc<Certificate>>,
    number: usize,
    health: Health,
    commands: Commands<Command>,
    telemetry: Telemetry,
    /// Sockets that had more to read when their turn was over.
    unfinished: Vec<Token>,
    /// Reads of connections without TLS yet that may still be done before other sockets have their turn.
    handshakes: u32,
    tick: Duration,
}

/// Every way out.
#[derive(Debug)]
struct Io {
    sockets: Sockets,
    streams: Streams,
    outgoing: Outgoing,
}

impl Shard {
    pub(crate) fn new(parts: Parts) -> io::Result<Self> {
        let registry = || parts.poll.registry().try_clone();
        // A deadline that has passed is seen within an eighth of it, so that a short one of a test is one too.
        let tick = TICK.min(parts.stream_limits.message_deadline / 8).max(Duration::from_millis(1));
        let Listeners { udp, streams } = parts.listeners;
        let sockets = Sockets::new(registry()?, udp, parts.relay_binds, parts.relay_udp, RELAYS)?;
        let tokens = (STREAM_LISTENERS, STREAMS);
        let streams = Streams::new(registry()?, streams, parts.places, parts.stream_limits, tokens)?;
        Ok(Self {
            server: parts.server,
            poll: parts.poll,
            io: Io { sockets, streams, outgoing: Outgoing::default() },
            certificate: parts.certificate,
            number: parts.number,
            health: parts.health,
            commands: parts.commands,
            telemetry: Telemetry::default(),
            unfinished: vec![],
            handshakes: 0,
            tick,
        })
    }

    /// Until told to stop.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        let mut batch = RecvBatch::new();
        let mut buffer = vec![0; READ_MAX];
        let mut ready = Vec::new();
        let mut tick = Instant::now() + self.tick;
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
            if !self.ready(&events, &mut ready) {
                break;
            }
            self.handshakes = HANDSHAKES;
            for token in ready.drain(..) {
                self.read(token, &mut batch, &mut buffer);
            }
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                let _ = self.server.handle(Input::Timeout, now);
            }
            if tick <= now {
                tick = now + self.tick;
                self.every_tick(now);
            }
            deadline = self.finish(now);
        }
        self.publish();
        self.telemetry.finish();
    }

    /// Puts the sockets to read into `ready`, those that have waited among them; false when it is time to stop.
    fn ready(&mut self, events: &Events, ready: &mut Vec<Token>) -> bool {
        // The two change places, so that both keep their memory.
        std::mem::swap(ready, &mut self.unfinished);
        let waited = !ready.is_empty();
        for event in events {
            let token = event.token();
            if token == WAKER {
                if self.obey() {
                    return false;
                }
                continue;
            }
            if let Some(index) = stream_index(token) {
                self.io.streams.told(index, event.is_writable(), has_ended(event));
                if !event.is_readable() && !has_ended(event) {
                    continue;
                }
            }
            ready.push(token);
        }
        if waited {
            ready.sort_unstable();
            ready.dedup();
        }
        true
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
                Command::SetDraining(alternates) => self.server.set_draining(alternates),
                Command::Shutdown => return true,
            }
        }
        false
    }

    /// Reads a socket until it is empty or its turn is over.
    fn read(&mut self, token: Token, batch: &mut RecvBatch, buffer: &mut [u8]) {
        let more = match token.0 {
            0..STREAM_LISTENERS => self.read_datagrams(token, batch),
            STREAM_LISTENERS..RELAYS => {
                let now = Instant::now();
                self.io.streams.accept(token.0 - STREAM_LISTENERS, now)
            }
            RELAYS..STREAMS => self.read_datagrams(token, batch),
            _ => self.read_stream(token, buffer),
        };
        if more {
            self.unfinished.push(token);
        }
    }

    fn read_datagrams(&mut self, token: Token, batch: &mut RecvBatch) -> bool {
        for _ in 0..TURN_BATCHES {
            let source = match token.0.checked_sub(RELAYS) {
                None => self.io.sockets.listener(token.0),
                Some(index) => self.io.sockets.relay(index),
            };
            let Some((source, socket)) = source else { return false };
            match socket.recv_batch(batch) {
                Ok(_) => self.relay(source, batch),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) => {
                    tracing::warn!(%error, "reading a socket failed");
                    return false;
                }
            }
            if batch.emptied_socket() {
                return false;
            }
        }
        true
    }

    /// One batch through the core.
    fn relay(&mut self, source: Source, batch: &mut RecvBatch) {
        let now = Instant::now();
        for datagram in batch.datagrams() {
            let data: &[u8] = datagram.bytes;
            let input = match source {
                Source::Listener { id, wildcard } => {
                    let local_ip = datagram.local_ip.filter(|_| wildcard);
                    let path = ClientPath { client: datagram.source, listener: id, local_ip, stream: None };
                    Input::Client { path, data }
                }
                Source::Relay(relay) => Input::Peer { relay, from: datagram.source, data },
            };
            handle(&mut self.server, &mut self.io, &mut self.telemetry, input, data, now);
        }
        if self.io.outgoing.len() > OUTGOING_MAX {
            self.io.flush_datagrams();
        }
    }

    fn read_stream(&mut self, token: Token, buffer: &mut [u8]) -> bool {
        let Some(index) = stream_index(token) else { return false };
        if self.io.streams.is_handshaking(index) {
            let Some(left) = self.handshakes.checked_sub(1) else { return true };
            self.handshakes = left;
        }
        for _ in 0..TURN_BATCHES {
            let Some((path, mut partial, length, more)) = self.io.streams.read(index, buffer) else {
                return false;
            };
            let now = Instant::now();
            let mut messages = Messages { shard: self, path, now };
            match partial.feed(&buffer[..length], now, &mut messages) {
                Ok(count) => self.io.streams.handled(index, partial, count),
                Err(error) => self.io.streams.end(index, error.into()),
            }
            if self.io.outgoing.len() > OUTGOING_MAX {
                self.io.flush_datagrams();
            }
            if !more {
                return false;
            }
        }
        true
    }

    /// Sends what waits, ends the connections that are to end, and gives the core's next deadline.
    fn finish(&mut self, now: Instant) -> Option<Instant> {
        drain(&mut self.server, &mut self.io, &mut self.telemetry, now);
        self.io.flush_datagrams();
        self.io.streams.flush(now);
        while let Some(path) = self.io.streams.next_ended() {
            let _ = self.server.handle(Input::StreamClosed { path }, now);
        }
        let deadline = drain(&mut self.server, &mut self.io, &mut self.telemetry, now);
        // What the end of an allocation let through.
        self.io.flush_datagrams();
        deadline
    }

    fn every_tick(&mut self, now: Instant) {
        self.server.set_unix_now(now, unix_now());
        self.io.streams.sweep(now, |path| self.server.has_allocation(path));
        if let Some(certificate) = &self.certificate {
            certificate.reload_if_changed();
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.health.set_allocations(self.number, self.server.stats().allocations);
        let unsent = self.io.sockets.unsent();
        self.telemetry.publish(self.server.stats(), self.io.streams.stats(), unsent);
        if let Some(certificate) = &self.certificate {
            self.telemetry.publish_certificate(certificate);
        }
    }
}

/// The messages of one connection.
struct Messages<'a> {
    shard: &'a mut Shard,
    path: ClientPath,
    now: Instant,
}

impl Receiver for Messages<'_> {
    fn message(&mut self, message: &[u8]) {
        let Shard { server, io, telemetry, .. } = &mut *self.shard;
        handle(server, io, telemetry, Input::Client { path: self.path, data: message }, message, self.now);
    }

    fn may_wait(&mut self, length: usize) -> bool {
        length <= self.shard.io.streams.limits().opening_frame_bytes
            || self.shard.server.has_allocation(&self.path)
    }
}

/// One input, which is `data` or about it, through the core.
fn handle(
    server: &mut TurnServer,
    io: &mut Io,
    telemetry: &mut Telemetry,
    input: Input<'_>,
    data: &[u8],
    now: Instant,
) {
    match server.handle(input, now) {
        Handled::Forward(forward) => io.forward(&forward, data, now),
        // Also after a drop: an allocation found expired asks for its socket to be closed.
        Handled::Done | Handled::Dropped(_) => {
            drain(server, io, telemetry, now);
        }
    }
}

/// Obeys the core until it gives a time.
fn drain(server: &mut TurnServer, io: &mut Io, telemetry: &mut Telemetry, now: Instant) -> Option<Instant> {
    loop {
        let (relay, bound) = match server.poll_output() {
            Output::Transmit { path, data } => {
                io.push_to_client(&path, now, |out| out.extend_from_slice(data));
                continue;
            }
            Output::BindRelay { relay, family, port } => (relay, io.sockets.open(relay, family, port)),
            Output::CloseRelay { relay } => {
                // What came before the end goes out.
                io.flush_datagrams();
                io.sockets.close(relay);
                continue;
            }
            Output::Event(event) => {
                telemetry.event(&event);
                continue;
            }
            Output::Timeout(at) => return at,
        };
        let _ = server.handle(Input::RelayBound { relay, bound }, now);
    }
}

impl Io {
    fn forward(&mut self, forward: &Forward, data: &[u8], now: Instant) {
        match forward.to {
            Destination::Client(path) => self.push_to_client(&path, now, |out| forward.write(data, out)),
            Destination::Peer { relay, peer } => {
                self.outgoing.push(Socket::Relay(relay), peer, None, |out| forward.write(data, out));
            }
        }
    }

    fn push_to_client(&mut self, path: &ClientPath, now: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        match path.stream {
            Some(stream) => self.streams.push(stream, now, write),
            None => {
                let socket = Socket::Listener(path.listener.0);
                self.outgoing.push(socket, path.client, path.local_ip, write);
            }
        }
    }

    fn flush_datagrams(&mut self) {
        if !self.outgoing.is_empty() {
            self.outgoing.flush(|socket, transmits| self.sockets.send(socket, transmits));
        }
    }
}

fn stream_index(token: Token) -> Option<u32> {
    token.0.checked_sub(STREAMS).and_then(|index| u32::try_from(index).ok())
}

/// The other side has closed, or the connection has failed: reading tells which.
fn has_ended(event: &Readiness) -> bool {
    event.is_read_closed() || event.is_error()
}
