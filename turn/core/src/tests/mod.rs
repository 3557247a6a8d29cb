//! A server, a clock, and clients that speak to it. Cases carry the numbers of the design's list.

mod authentication;
mod denial;
mod forgery;
mod properties;
mod relaying;
mod state;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_stun::{
    AddressFamily, Class, IntegrityKey, Message, MessageWriter, Method, TransactionId, attr,
};

use crate::{
    ClientPath, Config, Credentials, Destination, Handled, Input, Limits, ListenerId, Output, RelayAddress,
    RelayId, Secret, TurnServer, mint,
};

const REALM: &str = "example.org";
const UNIX: u64 = 1_800_000_000;
const RELAY_V4: &str = "198.51.100.1";
const RELAY_V6: &str = "2001:db8:1::1";

#[allow(clippy::disallowed_methods, reason = "an origin: only differences count")]
fn origin() -> Instant {
    Instant::now()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn secret() -> Secret {
    Secret::new(*b"a secret of the fleet")
}

fn config() -> Config {
    let relay = |text| Some(RelayAddress { bind: ip(text), advertised: ip(text) });
    Config {
        realm: REALM.to_owned(),
        secrets: vec![secret()],
        relay_v4: relay(RELAY_V4),
        relay_v6: relay(RELAY_V6),
        relay_ports: 50_000..=59_999,
        allow_peers: vec![],
        deny_peers: vec![],
        own_addresses: vec![],
        legacy_channels: false,
        limits: Limits { challenges_per_second: u32::MAX, ..Limits::default() },
    }
}

/// A message that the server sent, copied out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    path: ClientPath,
    data: Vec<u8>,
}

impl Answer {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.data).unwrap()
    }

    /// 0 for success.
    fn code(&self) -> u16 {
        let message = self.message();
        match message.class() {
            Class::Success => 0,
            Class::Error => message.error_code().unwrap().0,
            other => panic!("{other:?} is no response"),
        }
    }

    fn nonce(&self) -> Vec<u8> {
        self.message().attribute(attr::NONCE).unwrap().to_vec()
    }

    fn relayed(&self) -> SocketAddr {
        self.message().xor_address(attr::XOR_RELAYED_ADDRESS).unwrap()
    }

    fn lifetime(&self) -> u32 {
        self.message().attribute_u32(attr::LIFETIME).unwrap()
    }
}

/// The server under test with its shell's part: opens every socket that is asked for, unless told to fail.
struct Harness {
    server: TurnServer,
    now: Instant,
    /// Open relay sockets, in the order of their opening.
    relays: Vec<(RelayId, SocketAddr)>,
    answers: Vec<Answer>,
    bind_failures: u32,
    next_transaction: u64,
}

impl Harness {
    fn new(config: Config) -> Self {
        let now = origin();
        let server = TurnServer::new(config, Arc::default(), [7; 32], now, Duration::from_secs(UNIX)).unwrap();
        Self { server, now, relays: vec![], answers: vec![], bind_failures: 0, next_transaction: 0 }
    }

    fn transaction(&mut self) -> TransactionId {
        self.next_transaction += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.next_transaction.to_be_bytes());
        TransactionId(id)
    }

    fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        let _ = self.input(Input::Timeout);
    }

    fn input(&mut self, input: Input<'_>) -> Handled {
        let handled = self.server.handle(input, self.now);
        self.drain();
        handled
    }

    fn drain(&mut self) {
        loop {
            let (relay, bound) = match self.server.poll_output() {
                Output::Transmit { path, data } => {
                    self.answers.push(Answer { path, data: data.to_vec() });
                    continue;
                }
                Output::BindRelay { relay, family, port } => {
                    let bound = self.bind_failures == 0;
                    self.bind_failures = self.bind_failures.saturating_sub(1);
                    if bound {
                        let ip = if family == AddressFamily::V4 { ip(RELAY_V4) } else { ip(RELAY_V6) };
                        self.relays.push((relay, SocketAddr::new(ip, port)));
                    }
                    (relay, bound)
                }
                Output::CloseRelay { relay } => {
                    self.relays.retain(|(open, _)| *open != relay);
                    continue;
                }
                Output::Event(_) => continue,
                Output::Timeout(_) => return,
            };
            let _ = self.server.handle(Input::RelayBound { relay, bound }, self.now);
        }
    }

    /// Sends bytes as a client; the answer if there was one.
    fn client(&mut self, path: ClientPath, data: &[u8]) -> Option<Answer> {
        self.answers.clear();
        let _ = self.input(Input::Client { path, data });
        assert!(self.answers.len() <= 1);
        self.answers.pop()
    }

    fn relay_of(&self, relayed: SocketAddr) -> RelayId {
        self.relays.iter().find(|(_, addr)| *addr == relayed).unwrap().0
    }

    fn drops(&self, reason: crate::DropReason) -> u64 {
        self.server.stats().drops[reason as usize]
    }

    /// What the server remembers: allocations, 5-tuples, users, deadlines, ports, open sockets.
    fn state(&self) -> [usize; 6] {
        let server = &self.server;
        [
            server.stats().allocations as usize,
            server.paths.len(),
            server.ledger.users(),
            server.deadlines.len(),
            (server.ports_v4.count() + server.ports_v6.count()) as usize,
            self.relays.len(),
        ]
    }
}

/// A client: its path, credential and last nonce.
#[derive(Clone)]
struct Client {
    path: ClientPath,
    credentials: Credentials,
    nonce: Vec<u8>,
}

type Attributes<'a> = &'a [(u16, Vec<u8>)];

impl Client {
    fn new(harness: &mut Harness, address: &str, user: &str) -> Self {
        let path = ClientPath::new(addr(address), ListenerId(0));
        let credentials = mint(&secret(), user, Duration::from_secs(UNIX + 86_400));
        let mut client = Self { path, credentials, nonce: vec![] };
        client.renew_nonce(harness);
        client
    }

    /// Gets a nonce as a client does: by an Allocate without credential.
    fn renew_nonce(&mut self, harness: &mut Harness) {
        let answer = harness.client(self.path, &bare_allocate(harness.next_transaction)).unwrap();
        assert_eq!(answer.code(), 401);
        self.nonce = answer.nonce();
    }

    fn key(&self) -> IntegrityKey {
        let Credentials { username, password } = &self.credentials;
        IntegrityKey::long_term(username.as_bytes(), REALM.as_bytes(), password.as_bytes())
    }

    fn build(&self, id: TransactionId, method: Method, attributes: Attributes<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, Class::Request, method, &id);
        for (kind, value) in attributes {
            writer = writer.attribute(*kind, value);
        }
        writer
            .attribute(attr::USERNAME, self.credentials.username.as_bytes())
            .attribute(attr::REALM, REALM.as_bytes())
            .attribute(attr::NONCE, &self.nonce)
            .integrity(&self.key())
            .finish();
        out
    }

    fn request(&self, harness: &mut Harness, method: Method, attributes: Attributes<'_>) -> Answer {
        let id = harness.transaction();
        let data = self.build(id, method, attributes);
        let answer = harness.client(self.path, &data).expect("a request is answered");
        assert_eq!(answer.path, self.path);
        assert_eq!(answer.message().transaction_id(), id);
        answer
    }

    fn allocate(&self, harness: &mut Harness) -> Answer {
        self.request(harness, Method::ALLOCATE, &[udp()])
    }

    fn allocate_v6(&self, harness: &mut Harness) -> Answer {
        self.request(harness, Method::ALLOCATE, &[udp(), (attr::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0])])
    }

    fn refresh(&self, harness: &mut Harness, lifetime: u32) -> Answer {
        self.request(harness, Method::REFRESH, &[lifetime_attr(lifetime)])
    }

    fn permit(&self, harness: &mut Harness, peers: &[SocketAddr]) -> Answer {
        let id = harness.transaction();
        let attributes: Vec<_> = peers.iter().map(|peer| peer_attr(*peer, &id)).collect();
        let data = self.build(id, Method::CREATE_PERMISSION, &attributes);
        harness.client(self.path, &data).expect("a request is answered")
    }

    fn bind(&self, harness: &mut Harness, number: u16, peer: SocketAddr) -> Answer {
        let id = harness.transaction();
        let [high, low] = number.to_be_bytes();
        let attributes = [(attr::CHANNEL_NUMBER, vec![high, low, 0, 0]), peer_attr(peer, &id)];
        let data = self.build(id, Method::CHANNEL_BIND, &attributes);
        harness.client(self.path, &data).expect("a request is answered")
    }

    /// A Send indication: what reached the peer, if it did.
    fn send(&self, harness: &mut Harness, peer: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
        let id = harness.transaction();
        let mut data = Vec::new();
        let (kind, value) = peer_attr(peer, &id);
        MessageWriter::new(&mut data, Class::Indication, Method::SEND, &id)
            .attribute(kind, &value)
            .attribute(attr::DATA, payload)
            .finish();
        to_peer(harness.input(Input::Client { path: self.path, data: &data }), &data, peer)
    }

    /// ChannelData: what reached the peer, if it did.
    fn channel(
        &self,
        harness: &mut Harness,
        number: u16,
        peer: SocketAddr,
        payload: &[u8],
    ) -> Option<Vec<u8>> {
        let mut data = trunkline_stun::ChannelData::header(number, payload.len() as u16).to_vec();
        data.extend_from_slice(payload);
        to_peer(harness.input(Input::Client { path: self.path, data: &data }), &data, peer)
    }
}

fn to_peer(handled: Handled, data: &[u8], expected: SocketAddr) -> Option<Vec<u8>> {
    let Handled::Forward(forward) = handled else { return None };
    assert!(matches!(forward.to, Destination::Peer { peer, .. } if peer == expected));
    let mut out = Vec::new();
    forward.write(data, &mut out);
    Some(out)
}

/// A packet from a peer: what the client receives, if it does.
fn from_peer(harness: &mut Harness, relayed: SocketAddr, peer: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
    let relay = harness.relay_of(relayed);
    let Handled::Forward(forward) = harness.input(Input::Peer { relay, from: peer, data }) else {
        return None;
    };
    assert!(matches!(forward.to, Destination::Client(_)));
    let mut out = Vec::new();
    forward.write(data, &mut out);
    Some(out)
}

fn udp() -> (u16, Vec<u8>) {
    (attr::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])
}

fn lifetime_attr(seconds: u32) -> (u16, Vec<u8>) {
    (attr::LIFETIME, seconds.to_be_bytes().to_vec())
}

fn peer_attr(peer: SocketAddr, id: &TransactionId) -> (u16, Vec<u8>) {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::BINDING, id)
        .xor_address(attr::XOR_PEER_ADDRESS, peer)
        .finish();
    (attr::XOR_PEER_ADDRESS, out[24..].to_vec())
}

fn bare_allocate(seed: u64) -> Vec<u8> {
    let mut id = [0xAB; 12];
    id[4..].copy_from_slice(&seed.to_be_bytes());
    let mut out = Vec::new();
    let (kind, value) = udp();
    MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, &TransactionId(id))
        .attribute(kind, &value)
        .finish();
    out
}
