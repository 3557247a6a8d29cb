//! A small blocking TURN client.

mod link;

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use trunkline_stun::{ChannelData, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr};
use trunkline_turn::{Credentials, Secret, TlsFiles, Turn, TurnConfig, mint};

pub(crate) use self::link::{Link, Transport, handshake, trusting};

pub(crate) const REALM: &str = "example.org";
pub(crate) const SECRET: &str = "north";

/// Ports for relays, below those that the system gives out.
const RELAY_PORTS: RangeInclusive<u16> = 16_000..=31_999;
const PORTS: u16 = 100;

/// Relays of tests that run at the same time must not meet, be it in this process or in another checkout's: each has
/// ports of its own, kept until the process ends by listening on the first one with TCP, which no relay does there.
fn relay_ports() -> RangeInclusive<u16> {
    static KEPT: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    let (first, listener) = (RELAY_PORTS.step_by(PORTS.into()))
        .find_map(|first| Some((first, TcpListener::bind(("127.0.0.1", first)).ok()?)))
        .expect("ports that no other test has");
    KEPT.lock().unwrap().push(listener);
    first..=first + (PORTS - 1)
}

/// A relay on a free loopback port that may reach loopback peers.
pub(crate) fn config(listen: &str) -> TurnConfig {
    TurnConfig {
        allow_peers: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        relay_ports: relay_ports(),
        // Fixed, so that a machine of any size tests the same.
        shards: 2,
        ..TurnConfig::new(listen.parse().unwrap(), REALM, Secret::new(SECRET))
    }
}

/// The same with all three transports on one address, each on a port of its own.
pub(crate) fn config_of_all(ip: &str, certificate: &TestCertificate) -> TurnConfig {
    let listen = SocketAddr::new(ip.parse().unwrap(), 0);
    TurnConfig {
        listen_tcp: vec![listen],
        listen_tls: vec![listen],
        tls: Some(certificate.files.clone()),
        ..config(&listen.to_string())
    }
}

/// Where `turn` speaks `transport`.
pub(crate) fn address(turn: &Turn, transport: Transport) -> SocketAddr {
    match transport {
        Transport::Udp => turn.local_addrs()[0],
        Transport::Tcp => turn.tcp_addrs()[0],
        Transport::Tls => turn.tls_addrs()[0],
    }
}

/// A certificate for `relay.example` that signs itself, in files of its own.
pub(crate) struct TestCertificate {
    pub(crate) files: TlsFiles,
    /// What a client must trust.
    pub(crate) der: Vec<u8>,
    dir: tempfile::TempDir,
}

impl TestCertificate {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
        let mut made = Self { files, der: vec![], dir };
        made.replace();
        made
    }

    /// Writes another pair over the files.
    pub(crate) fn replace(&mut self) {
        let pair = rcgen::generate_simple_self_signed([link::NAME.to_owned()]).unwrap();
        std::fs::write(&self.files.certificate, pair.cert.pem()).unwrap();
        std::fs::write(&self.files.key, pair.signing_key.serialize_pem()).unwrap();
        self.der = pair.cert.der().to_vec();
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// Waits until it is so, for ten seconds.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

pub(crate) struct Client {
    pub(crate) link: Link,
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
    /// A client of the relay at `server` over UDP, with a nonce.
    pub(crate) fn new(server: SocketAddr, user: &str) -> Self {
        let socket = UdpSocket::bind(SocketAddr::new(server.ip(), 0)).unwrap();
        Self::with_socket(socket, server, user)
    }

    pub(crate) fn with_socket(socket: UdpSocket, server: SocketAddr, user: &str) -> Self {
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::over(Link::Udp(socket), user)
    }

    /// A client over any transport.
    pub(crate) fn connect(
        turn: &Turn,
        transport: Transport,
        certificate: &TestCertificate,
        user: &str,
    ) -> Self {
        Self::over(Link::connect(address(turn, transport), transport, certificate), user)
    }

    pub(crate) fn over(link: Link, user: &str) -> Self {
        let credentials = mint(&Secret::new(SECRET), user, unix_now() + Duration::from_secs(3600));
        let mut client = Self { link, credentials, nonce: vec![], next: 0 };
        let challenge = client.request(Method::ALLOCATE, &|writer| writer);
        assert_eq!(challenge.code(), 401);
        client.nonce = challenge.message().attribute(attr::NONCE).unwrap().to_vec();
        client
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.link.receive().expect("an answer within ten seconds")
    }

    /// The next message's ChannelData.
    pub(crate) fn receive_channel(&mut self) -> (u16, Vec<u8>) {
        let data = self.receive();
        let ChannelData { channel, payload } = ChannelData::parse(&data).unwrap();
        (channel, payload.to_vec())
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
        self.link.send(&data);
        let response = Response { data: self.receive() };
        assert_eq!(response.message().transaction_id(), id);
        response
    }

    pub(crate) fn allocate(&mut self) -> Response {
        let v6 = self.link.local_addr().is_ipv6();
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

    pub(crate) fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        let mut data = Vec::new();
        MessageWriter::new(&mut data, Class::Indication, Method::SEND, &TransactionId([5; 12]))
            .xor_address(attr::XOR_PEER_ADDRESS, peer)
            .attribute(attr::DATA, payload)
            .finish();
        self.link.send(&data);
    }

    pub(crate) fn send_channel(&mut self, channel: u16, payload: &[u8]) {
        let mut data = ChannelData::header(channel, payload.len() as u16).to_vec();
        data.extend_from_slice(payload);
        if !matches!(self.link, Link::Udp(_)) {
            data.resize(data.len().next_multiple_of(4), 0);
        }
        self.link.send(&data);
    }
}

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A peer's socket.
pub(crate) fn peer(ip: std::net::IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind(SocketAddr::new(ip, 0)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
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
