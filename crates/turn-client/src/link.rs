//! Whole messages over UDP, TCP and TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use trunkline_stun::{FRAME_PREFIX, frame_len};

/// The ALPN name of TURN over TLS (RFC 7443 §2), for [`ClientConfig::alpn_protocols`].
pub const TLS_ALPN: &[u8] = b"stun.turn";

/// A connection to a server that carries whole STUN and ChannelData messages.
#[derive(Debug)]
pub enum Link {
    /// A connected socket.
    Udp(UdpSocket),
    /// A stream in clear.
    Tcp(Framed<TcpStream>),
    /// A stream in TLS.
    Tls(Box<Framed<StreamOwned<ClientConnection, TcpStream>>>),
}

impl Link {
    /// A socket on a free port, connected so that what nobody listens to is heard of (ICMP).
    ///
    /// # Errors
    /// As `bind` and `connect`.
    pub fn udp(server: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        Self::udp_from(any, server)
    }

    /// The same from an address of the caller's choice.
    ///
    /// # Errors
    /// As `bind` and `connect`.
    pub fn udp_from(local: SocketAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(local)?;
        socket.connect(server)?;
        Ok(Self::Udp(socket))
    }

    /// A TCP connection, made within `patience`.
    ///
    /// # Errors
    /// As `connect`; [`ErrorKind::TimedOut`].
    pub fn tcp(server: SocketAddr, patience: Duration) -> io::Result<Self> {
        Ok(Self::Tcp(Framed::new(dial(server, patience)?)))
    }

    /// A TLS connection whose handshake was finished within `patience`.
    ///
    /// # Errors
    /// As `connect`; what the handshake says; [`ErrorKind::TimedOut`].
    pub fn tls(
        server: SocketAddr,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
        patience: Duration,
    ) -> io::Result<Self> {
        let deadline = Instant::now() + patience;
        let mut tcp = dial(server, patience)?;
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tcp.set_read_timeout(Some(left(deadline)?))?;
            tls.complete_io(&mut tcp).map_err(timed_out)?;
        }
        Ok(Self::Tls(Box::new(Framed::new(StreamOwned::new(tls, tcp)))))
    }

    /// Our own address on this link.
    ///
    /// # Errors
    /// As `getsockname`.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(framed) => framed.stream.local_addr(),
            Self::Tls(framed) => framed.stream.sock.local_addr(),
        }
    }

    /// Whether a message may be lost, and is to be sent again.
    #[must_use]
    pub fn is_datagram(&self) -> bool {
        matches!(self, Self::Udp(_))
    }

    /// What TLS negotiated, if this is TLS.
    #[must_use]
    pub fn tls_state(&self) -> Option<&ClientConnection> {
        match self {
            Self::Tls(framed) => Some(&framed.stream.conn),
            Self::Udp(_) | Self::Tcp(_) => None,
        }
    }

    /// Sends one message. ChannelData is padded to four bytes on streams (RFC 8656 §12.5).
    ///
    /// # Errors
    /// As `send` and `write`.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(message).map(drop),
            Self::Tcp(framed) => framed.send(message),
            Self::Tls(framed) => framed.send(message),
        }
    }

    /// The next message, ChannelData with its padding.
    ///
    /// # Errors
    /// [`ErrorKind::TimedOut`] at `deadline`, [`ErrorKind::UnexpectedEof`] when the server closed,
    /// [`ErrorKind::InvalidData`] when a stream carries neither STUN nor ChannelData; else as `recv` and `read`.
    pub fn receive(&mut self, deadline: Instant) -> io::Result<Vec<u8>> {
        match self {
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(left(deadline)?))?;
                let mut message = vec![0; 65_535];
                let length = socket.recv(&mut message).map_err(timed_out)?;
                message.truncate(length);
                Ok(message)
            }
            Self::Tcp(framed) => framed.receive(|tcp| tcp, deadline),
            Self::Tls(framed) => framed.receive(|tls| &tls.sock, deadline),
        }
    }
}

/// A stream and what has arrived of its next message.
#[derive(Debug)]
pub struct Framed<S> {
    stream: S,
    arrived: Vec<u8>,
}

impl<S: Read + Write> Framed<S> {
    fn new(stream: S) -> Self {
        Self { stream, arrived: Vec::new() }
    }

    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let padding = message.len().next_multiple_of(4) - message.len();
        self.stream.write_all(message)?;
        self.stream.write_all(&[0; 3][..padding])?;
        self.stream.flush()
    }

    fn receive(&mut self, tcp: fn(&S) -> &TcpStream, deadline: Instant) -> io::Result<Vec<u8>> {
        loop {
            if let Some(length) = whole_len(&self.arrived)?
                && length <= self.arrived.len()
            {
                return Ok(self.arrived.drain(..length).collect());
            }
            tcp(&self.stream).set_read_timeout(Some(left(deadline)?))?;
            // Stays below `trunkline_stun::FRAME_MAX` and what one read adds.
            let mut some = [0; 4096];
            match self.stream.read(&mut some) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(length) => self.arrived.extend_from_slice(&some[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(timed_out(error)),
            }
        }
    }
}

/// How long the message that begins with `bytes` is, with its padding; `None` until four of them are there.
fn whole_len(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(prefix) = bytes.first_chunk::<FRAME_PREFIX>() else { return Ok(None) };
    frame_len(*prefix).map(Some).ok_or_else(|| ErrorKind::InvalidData.into())
}

fn dial(server: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&server, patience)?;
    tcp.set_nodelay(true)?;
    tcp.set_write_timeout(Some(patience))?;
    Ok(tcp)
}

/// Time until `deadline`; never zero, which would mean for ever.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left.max(Duration::from_millis(1))) }
}

/// The kernel says `WouldBlock` when SO_RCVTIMEO has passed.
fn timed_out(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::WouldBlock { ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_a_message_before_its_length_is_there() {
        assert_eq!(whole_len(&[0, 1, 0]).unwrap(), None);
        assert_eq!(whole_len(&[0, 1, 0, 8, 0x21]).unwrap(), Some(28));
        assert_eq!(whole_len(b"\x16\x03\x01\x02").unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
