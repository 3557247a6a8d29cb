//! TCP and TLS connections of one shard: who may connect, for how long, and what waits for them.

mod connection;
mod frames;
mod places;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpListener;
use mio::{Interest, Registry, Token};
use rustls::ServerConfig;
use trunkline_turn_core::{ClientPath, ListenerId, StreamId};

use self::connection::{Connection, Received};
pub(crate) use self::frames::{FrameError, Partial, Receiver};
pub(crate) use self::places::{Full, Places};
use crate::StreamLimits;

/// Connections accepted from one listener before others have their turn.
const ACCEPTS: usize = 16;
/// Buffers kept for the next connections that have something to write, and bytes of the largest that is kept.
const SPARE_MAX: usize = 64;
const SPARE_BYTES_MAX: usize = 64 << 10;

/// What a connection speaks; also the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Tls,
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::Tcp, Self::Tls];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// Why a connection ended; also the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The client closed or reset it.
    Client,
    /// The TLS handshake failed.
    Handshake,
    /// No whole message, or only the half of one, in the time that there is for it.
    Slow,
    /// No allocation for too long.
    Unused,
    /// Neither STUN nor ChannelData.
    NotTurn,
    /// A long message without an allocation.
    TooLong,
    /// The client reads nothing.
    NotReading,
    /// TLS or the system failed.
    Error,
}

impl CloseReason {
    pub(crate) const ALL: [Self; 8] = [
        Self::Client,
        Self::Handshake,
        Self::Slow,
        Self::Unused,
        Self::NotTurn,
        Self::TooLong,
        Self::NotReading,
        Self::Error,
    ];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Handshake => "handshake",
            Self::Slow => "slow",
            Self::Unused => "unused",
            Self::NotTurn => "not_turn",
            Self::TooLong => "too_long",
            Self::NotReading => "not_reading",
            Self::Error => "error",
        }
    }
}

impl From<FrameError> for CloseReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::NotTurn => Self::NotTurn,
            FrameError::TooLong => Self::TooLong,
        }
    }
}

/// Totals since the start, but for `open`.
#[derive(Debug, Clone, Default)]
pub(crate) struct StreamStats {
    /// Now, in the order of [`Transport::ALL`].
    pub(crate) open: [u64; Transport::ALL.len()],
    /// In the order of [`Transport::ALL`].
    pub(crate) accepted: [u64; Transport::ALL.len()],
    /// In the order of [`Full::ALL`].
    pub(crate) refused: [u64; Full::ALL.len()],
    /// In the order of [`CloseReason::ALL`].
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    /// Messages dropped as the client did not read, or had gone.
    pub(crate) unsent: u64,
    /// Times that no connection could be accepted, for want of descriptors.
    pub(crate) accept_failures: u64,
}

/// A listening socket of this shard.
#[derive(Debug)]
pub(crate) struct StreamListener {
    pub(crate) socket: TcpListener,
    pub(crate) id: ListenerId,
    /// `None`: plain TCP.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Streams {
    registry: Registry,
    listeners: Vec<StreamListener>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Connections with something to write.
    dirty: Vec<u32>,
    /// Connections to end.
    ending: Vec<u32>,
    /// Buffers to lend: a connection holds one only while something waits for it.
    spare: Vec<Vec<u8>>,
    places: Arc<Places>,
    limits: StreamLimits,
    stats: StreamStats,
    /// The first token of listeners, and that of connections.
    tokens: (usize, usize),
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Streams {
    /// Registers the listeners; listener `n` gets the token `tokens.0 + n`, connection `n` the token `tokens.1 + n`.
    pub(crate) fn new(
        registry: Registry,
        mut listeners: Vec<StreamListener>,
        places: Arc<Places>,
        limits: StreamLimits,
        tokens: (usize, usize),
    ) -> io::Result<Self> {
        for (number, listener) in listeners.iter_mut().enumerate() {
            registry.register(&mut listener.socket, Token(tokens.0 + number), Interest::READABLE)?;
        }
        Ok(Self {
            registry,
            listeners,
            slots: vec![],
            free: vec![],
            dirty: vec![],
            ending: vec![],
            spare: vec![],
            places,
            limits,
            stats: StreamStats::default(),
            tokens,
        })
    }

    pub(crate) fn stats(&self) -> &StreamStats {
        &self.stats
    }

    pub(crate) fn limits(&self) -> &StreamLimits {
        &self.limits
    }

    /// Accepts some of those who wait on a listener; whether there may be more.
    pub(crate) fn accept(&mut self, number: usize, now: Instant) -> bool {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.listeners.get(number) else { return false };
            match listener.socket.accept() {
                Ok((socket, client)) => {
                    let (id, tls) = (listener.id, listener.tls.clone());
                    self.admit(socket, client, id, tls, now);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return false,
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    // No descriptor is left. Those who wait are looked at again with the next tick.
                    _ => {
                        self.stats.accept_failures += 1;
                        tracing::debug!(%error, "a connection cannot be accepted");
                        return false;
                    }
                },
            }
        }
        true
    }

    fn admit(
        &mut self,
        mut socket: mio::net::TcpStream,
        client: SocketAddr,
        listener: ListenerId,
        tls: Option<Arc<ServerConfig>>,
        now: Instant,
    ) {
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let place = match self.places.take(client.ip()) {
            Ok(place) => place,
            Err(full) => {
                self.stats.refused[full as usize] += 1;
                return;
            }
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, connection: None });
            (self.slots.len() - 1) as u32
        });
        let token = Token(self.tokens.1 + index as usize);
        let registered = socket.set_nodelay(true).and_then(|()| {
            self.registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)
        });
        if registered.is_err() {
            // The client has gone already, or epoll is out of memory.
            self.free.push(index);
            return;
        }
        let slot = &mut self.slots[index as usize];
        let stream = Some(StreamId { index, generation: slot.generation });
        let path = ClientPath { client, listener, local_ip: None, stream };
        let connection = Connection::new(socket, path, tls, place, now);
        self.stats.accepted[connection.transport as usize] += 1;
        self.stats.open[connection.transport as usize] += 1;
        slot.connection = Some(Box::new(connection));
    }

    /// The connection in a slot, unless it is ending.
    fn live(&mut self, index: u32) -> Option<&mut Connection> {
        let connection = self.slots.get_mut(index as usize)?.connection.as_deref_mut()?;
        connection.ending.is_none().then_some(connection)
    }

    /// Whether what it says next may cost a signature.
    pub(crate) fn is_handshaking(&self, index: u32) -> bool {
        let slot = self.slots.get(index as usize);
        slot.and_then(|slot| slot.connection.as_deref()).is_some_and(Connection::is_handshaking)
    }

    /// Takes note of what epoll said.
    pub(crate) fn told(&mut self, index: u32, writable: bool, read_closed: bool) {
        let Some(connection) = self.live(index) else { return };
        connection.read_closed |= read_closed;
        if writable && connection.unblock() {
            self.mark_dirty(index);
        }
    }

    fn mark_dirty(&mut self, index: u32) {
        if let Some(connection) = self.live(index)
            && !connection.dirty
        {
            connection.dirty = true;
            self.dirty.push(index);
        }
    }

    /// Reads into `buffer`: the connection's path, its half message, how many bytes there are and whether there may be
    /// more. The half message is lent until [`Self::handled`].
    pub(crate) fn read(
        &mut self,
        index: u32,
        buffer: &mut [u8],
    ) -> Option<(ClientPath, Partial, usize, bool)> {
        let connection = self.live(index)?;
        let received = connection.read(buffer);
        let wants_write = connection.wants_write();
        let result = match received {
            Ok(Received::Nothing) => None,
            Ok(Received::Bytes { length, more }) => {
                Some((connection.path, std::mem::take(&mut connection.partial), length, more))
            }
            Err(reason) => {
                self.end(index, reason);
                None
            }
        };
        if wants_write {
            self.mark_dirty(index);
        }
        result
    }

    /// Gives back what [`Self::read`] lent; `messages` were whole.
    pub(crate) fn handled(&mut self, index: u32, partial: Partial, messages: usize) {
        if let Some(connection) = self.live(index) {
            connection.partial = partial;
            connection.has_spoken |= messages > 0;
        }
    }

    /// Queues the message that `write` appends. All messages of one turn are one write.
    pub(crate) fn push(&mut self, id: StreamId, now: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        let max = self.limits.write_buffer_bytes;
        let spare = &mut self.spare;
        let connection = match self.slots.get_mut(id.index as usize) {
            Some(Slot { generation, connection: Some(connection) })
                if *generation == id.generation && connection.ending.is_none() =>
            {
                connection
            }
            // It ended since.
            _ => {
                self.stats.unsent += 1;
                return;
            }
        };
        let written = if connection.out.len() < max { Ok(()) } else { connection.write(now) };
        if connection.out.len() < max {
            if connection.out.capacity() == 0 {
                connection.out = spare.pop().unwrap_or_default();
            }
            write(&mut connection.out);
        } else {
            self.stats.unsent += 1;
        }
        match written {
            Ok(()) => self.mark_dirty(id.index),
            Err(reason) => self.end(id.index, reason),
        }
    }

    /// Writes what waits, one write a connection.
    pub(crate) fn flush(&mut self, now: Instant) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let Some(connection) = self.live(index) else { continue };
            connection.dirty = false;
            let result = connection.write(now);
            if connection.out.is_empty() && connection.out.capacity() > 0 {
                let buffer = std::mem::take(&mut connection.out);
                if self.spare.len() < SPARE_MAX && buffer.capacity() <= SPARE_BYTES_MAX {
                    self.spare.push(buffer);
                }
            }
            if let Err(reason) = result {
                self.end(index, reason);
            }
        }
        // Its memory is used again; nothing was added meanwhile.
        self.dirty = dirty;
    }

    /// Marks a connection as to be ended: [`Self::next_ended`] gives it.
    pub(crate) fn end(&mut self, index: u32, reason: CloseReason) {
        if let Some(connection) = self.live(index) {
            connection.ending = Some(reason);
            self.ending.push(index);
        }
    }

    /// Closes a connection that was marked; the core is to be told its path.
    pub(crate) fn next_ended(&mut self) -> Option<ClientPath> {
        let index = self.ending.pop()?;
        let slot = self.slots.get_mut(index as usize)?;
        let mut connection = slot.connection.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.stats.open[connection.transport as usize] -= 1;
        if let Some(reason) = connection.ending.take() {
            self.stats.closed[reason as usize] += 1;
        }
        let path = connection.path;
        connection.close();
        Some(path)
    }

    /// Marks those that have overrun a deadline, and accepts those who waited for a descriptor. Once a tick: it looks at
    /// every connection.
    pub(crate) fn sweep(&mut self, now: Instant, has_allocation: impl Fn(&ClientPath) -> bool) {
        for index in 0..self.slots.len() as u32 {
            let Some(connection) = self.slots[index as usize].connection.as_deref_mut() else { continue };
            if let Some(reason) = connection.overdue(now, &self.limits, &has_allocation) {
                self.end(index, reason);
            }
        }
        for number in 0..self.listeners.len() {
            self.accept(number, now);
        }
    }
}
