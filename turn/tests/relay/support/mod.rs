//! A small blocking TURN client.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trunkline_stun::{ChannelData, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr};
use trunkline_turn::{Credentials, Secret, Turn, TurnConfig, mint};

pub(crate) const REALM: &str = "example.org";
pub(crate) const SECRET: &str = "north";

/// Relays of tests that run at the same time must not meet: each has ports of its own, below those that the system
/// gives out.
static NEXT_PORTS: AtomicU16 = AtomicU16::new(20_000);

/// A relay on a free loopback port that may reach loopback peers.
pub(crate) fn config(listen: &str) -> TurnConfig {
    let first = NEXT_PORTS.fetch_add(500, Ordering::Relaxed);
    TurnConfig {
        allow_peers: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        relay_ports: first..=first + 499,
        ..TurnConfig::new(listen.parse().unwrap(), REALM, Secret::new(SECRET))
    }
}

pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

pub(crate) struct Client {
    pub(crate) socket: UdpSocket,
    credentials: Credentials,
    nonce: Vec<u8>,
    next: u64,
}

/// A response, copied out.
pub(crate) struct Response {
    data: Vec<u8>,
}

impl Response {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.data).unwrap()
    }

    /// 0 for success.
    pub(crate) fn code(&self) -> u16 {
        match self.message().class() {
            Class::Success => 0,
            _ => self.message().error_code().unwrap().0,
        }
    }
}

impl Client {
    /// A client of the relay at `server`, with a nonce.
    pub(crate) fn new(server: SocketAddr, user: &str) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
        Self::with_socket(socket, server, user)
    }

    pub(crate) fn with_socket(socket: UdpSocket, server: SocketAddr, user: &str) -> Self {
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let credentials = mint(&Secret::new(SECRET), user, unix_now() + Duration::from_secs(3600));
        let mut client = Self { socket, credentials, nonce: vec![], next: 0 };
        let challenge = client.request(Method::ALLOCATE, &|writer| writer);
        assert_eq!(challenge.code(), 401);
        client.nonce = challenge.message().attribute(attr::NONCE).unwrap().to_vec();
        client
    }

    pub(crate) fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).expect("an answer within ten seconds");
        buffer.truncate(length);
        buffer
    }

    /// Signs when there is a nonce.
    pub(crate) fn request(
        &mut self,
        method: Method,
        attributes: &dyn for<'b> Fn(MessageWriter<'b>) -> MessageWriter<'b>,
    ) -> Response {
        self.next += 1;
        let mut id = TransactionId(*b"client......");
        id.0[6..].copy_from_slice(&self.next.to_be_bytes()[2..]);
        let mut data = Vec::new();
        let mut writer = attributes(MessageWriter::new(&mut data, Class::Request, method, &id));
        if !self.nonce.is_empty() {
            let Credentials { username, password } = &self.credentials;
            let key = IntegrityKey::long_term(username.as_bytes(), REALM.as_bytes(), password.as_bytes());
            writer = writer
                .attribute(attr::USERNAME, username.as_bytes())
                .attribute(attr::REALM, REALM.as_bytes())
                .attribute(attr::NONCE, &self.nonce)
                .integrity(&key);
        }
        writer.finish();
        self.socket.send(&data).unwrap();
        let response = Response { data: self.receive() };
        assert_eq!(response.message().transaction_id(), id);
        response
    }

    pub(crate) fn allocate(&mut self) -> Response {
        let v6 = self.socket.local_addr().unwrap().is_ipv6();
        self.request(Method::ALLOCATE, &|writer| {
            let writer = writer.attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            if v6 { writer.attribute(attr::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]) } else { writer }
        })
    }

    /// Allocates and gives the relayed address.
    pub(crate) fn relayed(&mut self) -> SocketAddr {
        let response = self.allocate();
        assert_eq!(response.code(), 0);
        response.message().xor_address(attr::XOR_RELAYED_ADDRESS).unwrap()
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) -> u16 {
        self.request(Method::CREATE_PERMISSION, &|writer| writer.xor_address(attr::XOR_PEER_ADDRESS, peer))
            .code()
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddr) -> u16 {
        self.request(Method::CHANNEL_BIND, &|writer| {
            writer
                .attribute_u32(attr::CHANNEL_NUMBER, u32::from(channel) << 16)
                .xor_address(attr::XOR_PEER_ADDRESS, peer)
        })
        .code()
    }

    pub(crate) fn refresh(&mut self, lifetime: u32) -> u16 {
        self.request(Method::REFRESH, &|writer| writer.attribute_u32(attr::LIFETIME, lifetime)).code()
    }

    pub(crate) fn send(&self, peer: SocketAddr, payload: &[u8]) {
        let mut data = Vec::new();
        MessageWriter::new(&mut data, Class::Indication, Method::SEND, &TransactionId([5; 12]))
            .xor_address(attr::XOR_PEER_ADDRESS, peer)
            .attribute(attr::DATA, payload)
            .finish();
        self.socket.send(&data).unwrap();
    }

    pub(crate) fn send_channel(&self, channel: u16, payload: &[u8]) {
        let mut data = ChannelData::header(channel, payload.len() as u16).to_vec();
        data.extend_from_slice(payload);
        self.socket.send(&data).unwrap();
    }
}

/// A peer's socket.
pub(crate) fn peer(ip: std::net::IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket
}

pub(crate) fn receive_from(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = socket.recv_from(&mut buffer).expect("a packet within ten seconds");
    buffer.truncate(length);
    (buffer, from)
}

pub(crate) fn start(config: TurnConfig) -> Turn {
    Turn::start(config).unwrap()
}
