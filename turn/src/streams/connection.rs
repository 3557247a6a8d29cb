//! One TCP or TLS connection.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use rustls::{ServerConfig, ServerConnection};
use trunkline_stun::frame_len;
use trunkline_turn_core::ClientPath;

use super::frames::Partial;
use super::places::Place;
use super::{CloseReason, Transport};
use crate::StreamLimits;

/// A connection and what it holds. Until its client has sent something that is only this.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) path: ClientPath,
    pub(super) transport: Transport,
    socket: TcpStream,
    tls: Tls,
    /// The message that has begun to come. Taken out while messages are handled.
    pub(super) partial: Partial,
    /// Whole messages, in plain, that the socket has not taken. Its memory is lent.
    pub(super) out: Vec<u8>,
    /// The socket takes no more for now; it will be told when it does.
    pub(super) blocked: bool,
    /// Since when it has taken nothing.
    stalled_since: Option<Instant>,
    /// In the list of those that have something to write.
    pub(super) dirty: bool,
    /// The client has closed its side, so that reading goes on until that is seen.
    pub(super) read_closed: bool,
    accepted: Instant,
    /// A whole message has come.
    pub(super) has_spoken: bool,
    /// When it had an allocation, or began.
    seen_in_use: Instant,
    /// Why it is to end; nothing is read or written any more.
    pub(super) ending: Option<CloseReason>,
    _place: Place,
}

/// What lies between messages and the socket.
#[derive(Debug)]
enum Tls {
    None,
    /// The client has sent nothing yet.
    Awaited(Arc<ServerConfig>),
    Session(Box<ServerConnection>),
}

/// What reading gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// So many bytes at the beginning of the buffer, and whether there may be more.
    Bytes { length: usize, more: bool },
    /// Nothing now.
    Nothing,
}

impl Connection {
    pub(super) fn new(
        socket: TcpStream,
        path: ClientPath,
        tls: Option<Arc<ServerConfig>>,
        place: Place,
        now: Instant,
    ) -> Self {
        Self {
            path,
            transport: if tls.is_some() { Transport::Tls } else { Transport::Tcp },
            socket,
            tls: tls.map_or(Tls::None, Tls::Awaited),
            partial: Partial::default(),
            out: Vec::new(),
            blocked: false,
            stalled_since: None,
            dirty: false,
            read_closed: false,
            accepted: now,
            has_spoken: false,
            seen_in_use: now,
            ending: None,
            _place: place,
        }
    }

    /// Whether TLS is still being agreed on.
    pub(super) fn is_handshaking(&self) -> bool {
        match &self.tls {
            Tls::None => false,
            Tls::Awaited(_) => true,
            Tls::Session(session) => session.is_handshaking(),
        }
    }

    /// Reads what is there into `buffer`, which is larger than any TLS record.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<Received, CloseReason> {
        let session = match &mut self.tls {
            Tls::None => return read_plain(&mut self.socket, self.read_closed, buffer),
            Tls::Session(session) => session,
            Tls::Awaited(config) => {
                let mut session =
                    ServerConnection::new(config.clone()).map_err(|_| CloseReason::Handshake)?;
                // `write_tls` bounds it.
                session.set_buffer_limit(None);
                self.tls = Tls::Session(Box::new(session));
                return self.read(buffer);
            }
        };
        for _ in 0..RECORDS {
            match session.read_tls(&mut self.socket) {
                Ok(0) => return Err(CloseReason::Client),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(broken(&error)),
            }
            let handshaking = session.is_handshaking();
            if let Err(error) = session.process_new_packets() {
                tracing::debug!(%error, handshaking, "TLS failed");
                // The alert that says why, if the socket takes it.
                let _ = session.write_tls(&mut self.socket);
                return Err(if handshaking { CloseReason::Handshake } else { CloseReason::Error });
            }
            match session.reader().read(buffer) {
                // The client's close_notify.
                Ok(0) => return Err(CloseReason::Client),
                Ok(length) => return Ok(Received::Bytes { length, more: true }),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(Received::Bytes { length: 0, more: true })
    }

    /// Writes what waits, as far as the socket takes it.
    pub(super) fn write(&mut self, now: Instant) -> Result<(), CloseReason> {
        if self.blocked {
            return Ok(());
        }
        let mut moved = false;
        let result = match &mut self.tls {
            Tls::None => write_plain(&mut self.socket, &mut self.out, &mut moved),
            Tls::Awaited(_) => Ok(()),
            Tls::Session(session) => write_tls(session, &mut self.socket, &mut self.out, &mut moved),
        };
        match result {
            Ok(()) => self.stalled_since = None,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.blocked = true;
                if moved || self.stalled_since.is_none() {
                    self.stalled_since = Some(now);
                }
            }
            Err(error) => return Err(broken(&error)),
        }
        Ok(())
    }

    /// The socket takes bytes again; whether any wait.
    pub(super) fn unblock(&mut self) -> bool {
        self.blocked = false;
        let waiting = match &self.tls {
            Tls::Session(session) => session.wants_write(),
            Tls::None | Tls::Awaited(_) => false,
        };
        waiting || !self.out.is_empty()
    }

    /// Whether something must be written that was not put into `out`: the handshake.
    pub(super) fn wants_write(&self) -> bool {
        matches!(&self.tls, Tls::Session(session) if session.wants_write())
    }

    /// What it has overrun, if anything.
    pub(super) fn overdue(
        &mut self,
        now: Instant,
        limits: &StreamLimits,
        has_allocation: impl FnOnce(&ClientPath) -> bool,
    ) -> Option<CloseReason> {
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        let begun = if self.has_spoken { self.partial.since() } else { Some(self.accepted) };
        if begun.is_some_and(|begun| over(begun, limits.message_deadline)) {
            return Some(CloseReason::Slow);
        }
        if self.stalled_since.is_some_and(|since| over(since, limits.message_deadline)) {
            return Some(CloseReason::NotReading);
        }
        if over(self.seen_in_use, limits.unused) {
            if !has_allocation(&self.path) {
                return Some(CloseReason::Unused);
            }
            self.seen_in_use = now;
        }
        None
    }

    /// Says goodbye, as far as that can be done without waiting.
    pub(super) fn close(mut self) {
        if let Tls::Session(session) = &mut self.tls
            && !self.blocked
        {
            session.send_close_notify();
            let _ = session.write_tls(&mut self.socket);
        }
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}

/// Reads of a TLS connection that may give no message before others have their turn.
const RECORDS: usize = 16;
/// Bytes, and up to one message more, that rustls is given at a time: that much waits, in cipher text, for a client that
/// does not read.
const TLS_BUFFER: usize = 64 << 10;

fn read_plain(socket: &mut TcpStream, read_closed: bool, buffer: &mut [u8]) -> Result<Received, CloseReason> {
    loop {
        return match socket.read(buffer) {
            Ok(0) => Err(CloseReason::Client),
            // A short read has emptied the socket: what comes later is told anew.
            Ok(length) => Ok(Received::Bytes { length, more: read_closed || length == buffer.len() }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(broken(&error)),
        };
    }
}

/// `moved` tells whether the socket took anything.
fn write_plain(socket: &mut TcpStream, out: &mut Vec<u8>, moved: &mut bool) -> io::Result<()> {
    let mut written = 0;
    let result = loop {
        if written == out.len() {
            break Ok(());
        }
        match socket.write(&out[written..]) {
            Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => written += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    *moved = written > 0;
    out.drain(..written);
    result
}

/// The same through TLS: plain text is turned into records only when those before have gone, some at a time.
///
/// Each message is a record of its own, for there are clients that take one for the other; `write_tls` still sends
/// many records at once.
fn write_tls(
    session: &mut ServerConnection,
    socket: &mut TcpStream,
    out: &mut Vec<u8>,
    moved: &mut bool,
) -> io::Result<()> {
    let mut taken = 0;
    let result = loop {
        if session.wants_write() {
            match session.write_tls(socket) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => *moved = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
            continue;
        }
        if taken == out.len() || session.is_handshaking() {
            break Ok(());
        }
        let end = out.len().min(taken + TLS_BUFFER);
        while taken < end {
            let rest = &out[taken..];
            let length = rest.first_chunk().and_then(|prefix| frame_len(*prefix)).unwrap_or(rest.len());
            match session.writer().write(&rest[..length.min(rest.len())])? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                length => taken += length,
            }
        }
    };
    out.drain(..taken);
    result
}

/// A client that goes without a word is no error of ours.
fn broken(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => CloseReason::Client,
        _ => CloseReason::Error,
    }
}
