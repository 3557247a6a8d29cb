//! What a client's messages go over.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use trunkline_stun::{FRAME_PREFIX, frame_len};

use super::{PATIENCE, TestCertificate};

/// What the test certificate is for.
pub(super) const NAME: &str = "relay.example";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
    Tls,
}

pub(crate) enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A client that trusts that certificate and offers these protocols.
pub(crate) fn trusting(certificate: &TestCertificate, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der.clone())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A TLS connection, its handshake done.
pub(crate) fn handshake(
    server: SocketAddr,
    config: Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let socket = TcpStream::connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let session = ClientConnection::new(config, ServerName::try_from(NAME).unwrap()).unwrap();
    let mut stream = StreamOwned::new(session, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

impl Link {
    pub(crate) fn connect(server: SocketAddr, transport: Transport, certificate: &TestCertificate) -> Self {
        match transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
                socket.connect(server).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                Self::Udp(socket)
            }
            Transport::Tcp => {
                let socket = TcpStream::connect(server).unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket.set_nodelay(true).unwrap();
                Self::Tcp(socket)
            }
            Transport::Tls => {
                Self::Tls(Box::new(handshake(server, trusting(certificate, &["stun.turn"])).unwrap()))
            }
        }
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Udp(socket) => socket.local_addr(),
            Self::Tcp(socket) => socket.local_addr(),
            Self::Tls(stream) => stream.sock.local_addr(),
        }
        .unwrap()
    }

    pub(crate) fn send(&mut self, message: &[u8]) {
        match self {
            Self::Udp(socket) => assert_eq!(socket.send(message).unwrap(), message.len()),
            Self::Tcp(socket) => socket.write_all(message).unwrap(),
            Self::Tls(stream) => stream.write_all(message).unwrap(),
        }
    }

    /// The next message; an error when the connection ends or nothing comes.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                let length = socket.recv(&mut buffer)?;
                buffer.truncate(length);
                Ok(buffer)
            }
            Self::Tcp(socket) => receive_frame(socket),
            Self::Tls(stream) => receive_frame(stream),
        }
    }
}

fn receive_frame(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut prefix = [0; FRAME_PREFIX];
    stream.read_exact(&mut prefix)?;
    let length = frame_len(prefix).expect("the server sends whole frames only");
    let mut frame = prefix.to_vec();
    frame.resize(length, 0);
    stream.read_exact(&mut frame[FRAME_PREFIX..])?;
    Ok(frame)
}
