//! A server with its shell's part, a clock, and clients that speak to it: for tests and for fuzzing.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here is the finding")]
#![cfg_attr(not(test), allow(dead_code, reason = "the fuzz target needs only a part of it"))]

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_stun::{
    AddressFamily, Class, Integrity, IntegrityKey, Message, MessageWriter, Method, PasswordAlgorithm,
    TransactionId, attr, decode_xor_address,
};

use crate::auth::PASSWORD_ALGORITHMS;
use crate::event::EventKind;
use crate::{
    ClientPath, Config, Credentials, Destination, Event, Handled, Input, Ledger, Limits, ListenerId, Output,
    RelayAddress, RelayId, Secret, StreamId, TurnServer, mint,
};

pub(crate) const REALM: &str = "example.org";
pub(crate) const UNIX: u64 = 1_800_000_000;
pub(crate) const RELAY_V4: &str = "198.51.100.1";
pub(crate) const RELAY_V6: &str = "2001:db8:1::1";

#[allow(clippy::disallowed_methods, reason = "an origin: only differences count")]
pub(crate) fn origin() -> Instant {
    Instant::now()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) fn secret() -> Secret {
    Secret::new(*b"a secret of the fleet")
}

pub(crate) fn config() -> Config {
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
pub(crate) struct Answer {
    pub(crate) path: ClientPath,
    pub(crate) data: Vec<u8>,
}

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.data).unwrap()
    }

    /// 0 for success.
    pub(crate) fn code(&self) -> u16 {
        let message = self.message();
        match message.class() {
            Class::Success => 0,
            Class::Error => message.error_code().unwrap().0,
            other => panic!("{other:?} is no response"),
        }
    }

    pub(crate) fn nonce(&self) -> Vec<u8> {
        self.message().attribute(attr::NONCE).unwrap().to_vec()
    }

    pub(crate) fn relayed(&self) -> SocketAddr {
        self.message().xor_address(attr::XOR_RELAYED_ADDRESS).unwrap()
    }

    /// All relayed addresses, in their order.
    pub(crate) fn all_relayed(&self) -> Vec<SocketAddr> {
        let message = self.message();
        let relayed = message.attributes().filter(|(kind, _)| *kind == attr::XOR_RELAYED_ADDRESS);
        relayed.map(|(_, value)| decode_xor_address(value, &message.transaction_id()).unwrap()).collect()
    }

    pub(crate) fn token(&self) -> Option<Vec<u8>> {
        self.message().attribute(attr::RESERVATION_TOKEN).map(<[u8]>::to_vec)
    }

    pub(crate) fn lifetime(&self) -> u32 {
        self.message().attribute_u32(attr::LIFETIME).unwrap()
    }
}

/// The server under test with its shell's part: opens every socket that is asked for, unless told to fail.
pub(crate) struct Harness {
    pub(crate) server: TurnServer,
    pub(crate) now: Instant,
    /// Open relay sockets, in the order of their opening.
    pub(crate) relays: Vec<(RelayId, SocketAddr)>,
    pub(crate) answers: Vec<Answer>,
    pub(crate) events: Vec<Happened>,
    pub(crate) bind_failures: u32,
    pub(crate) next_transaction: u64,
}

/// An event, copied out.
pub(crate) type Happened = (String, EventKind);

impl Harness {
    pub(crate) fn new(config: Config) -> Self {
        Self::shard(config, Arc::default(), 7, origin())
    }

    /// One of several that share a ledger.
    pub(crate) fn shard(config: Config, ledger: Arc<Ledger>, seed: u8, now: Instant) -> Self {
        let server = TurnServer::new(config, ledger, [seed; 32], now, Duration::from_secs(UNIX)).unwrap();
        Self {
            server,
            now,
            relays: vec![],
            answers: vec![],
            events: vec![],
            bind_failures: 0,
            next_transaction: 0,
        }
    }

    pub(crate) fn transaction(&mut self) -> TransactionId {
        self.next_transaction += 1;
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.next_transaction.to_be_bytes());
        TransactionId(id)
    }

    pub(crate) fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        let _ = self.input(Input::Timeout);
        // As a shell does that is told a time which has passed.
        while matches!(self.server.poll_output(), Output::Timeout(Some(at)) if at <= self.now) {
            let _ = self.input(Input::Timeout);
        }
    }

    pub(crate) fn input(&mut self, input: Input<'_>) -> Handled {
        let handled = self.server.handle(input, self.now);
        self.drain();
        handled
    }

    pub(crate) fn drain(&mut self) {
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
                Output::Event(event) => {
                    self.events.push(copied(event));
                    continue;
                }
                Output::Timeout(_) => return,
            };
            let _ = self.server.handle(Input::RelayBound { relay, bound }, self.now);
        }
    }

    /// Sends bytes as a client; the answer if there was one.
    pub(crate) fn client(&mut self, path: ClientPath, data: &[u8]) -> Option<Answer> {
        self.answers.clear();
        let _ = self.input(Input::Client { path, data });
        assert!(self.answers.len() <= 1);
        self.answers.pop()
    }

    pub(crate) fn relay_of(&self, relayed: SocketAddr) -> RelayId {
        self.relays.iter().find(|(_, addr)| *addr == relayed).unwrap().0
    }

    pub(crate) fn drops(&self, reason: crate::DropReason) -> u64 {
        self.server.stats().drops[reason as usize]
    }

    /// What the server remembers: allocations, 5-tuples, users, deadlines, ports, open sockets.
    pub(crate) fn state(&self) -> [usize; 6] {
        let server = &self.server;
        [
            server.stats().allocations as usize,
            server.paths.len(),
            server.ports.ledger.users(),
            server.wheel.len(),
            server.ports.count() as usize,
            self.relays.len(),
        ]
    }
}

fn copied(event: Event<'_>) -> Happened {
    let (user, kind) = match event {
        Event::AllocationMade { user } => (user, EventKind::Made),
        Event::AllocationEnded { user, lasted, usage } => (user, EventKind::Ended { lasted, usage }),
        Event::Throttled { user, cause } => (user, EventKind::Throttled(cause)),
    };
    (String::from_utf8_lossy(user).into_owned(), kind)
}

/// A client: its path, credential and last nonce.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) path: ClientPath,
    pub(crate) credentials: Credentials,
    pub(crate) nonce: Vec<u8>,
    /// Which of PASSWORD-ALGORITHMS it chooses; `None` is a client that does not know them.
    pub(crate) algorithm: Option<PasswordAlgorithm>,
}

pub(crate) type Attributes<'a> = &'a [(u16, Vec<u8>)];

impl Client {
    pub(crate) fn new(harness: &mut Harness, address: &str, user: &str) -> Self {
        Self::on(harness, ClientPath::new(addr(address), ListenerId(0)), user)
    }

    /// On a TCP or TLS connection.
    pub(crate) fn on_stream(harness: &mut Harness, address: &str, stream: u32, user: &str) -> Self {
        let stream = Some(StreamId { index: stream, generation: 0 });
        Self::on(harness, ClientPath { stream, ..ClientPath::new(addr(address), ListenerId(1)) }, user)
    }

    fn on(harness: &mut Harness, path: ClientPath, user: &str) -> Self {
        let credentials = mint(&secret(), user, Duration::from_secs(UNIX + 86_400));
        let mut client = Self { path, credentials, nonce: vec![], algorithm: None };
        client.renew_nonce(harness);
        client
    }

    /// Gets a nonce as a client does: by an Allocate without credential.
    pub(crate) fn renew_nonce(&mut self, harness: &mut Harness) {
        let answer = harness.client(self.path, &bare_allocate(harness.next_transaction)).unwrap();
        assert_eq!(answer.code(), 401);
        self.nonce = answer.nonce();
    }

    pub(crate) fn key(&self) -> IntegrityKey {
        let Credentials { username, password } = &self.credentials;
        let (algorithm, integrity) = match self.algorithm {
            None => (PasswordAlgorithm::Md5, Integrity::Sha1),
            Some(algorithm) => (algorithm, Integrity::Sha256),
        };
        let (username, realm) = (username.as_bytes(), REALM.as_bytes());
        IntegrityKey::long_term_with(algorithm, integrity, username, realm, password.as_bytes())
    }

    pub(crate) fn build(&self, id: TransactionId, method: Method, attributes: Attributes<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, Class::Request, method, &id);
        for (kind, value) in attributes {
            writer = writer.attribute(*kind, value);
        }
        writer = writer
            .attribute(attr::USERNAME, self.credentials.username.as_bytes())
            .attribute(attr::REALM, REALM.as_bytes())
            .attribute(attr::NONCE, &self.nonce);
        if let Some(algorithm) = self.algorithm {
            writer = writer
                .attribute(attr::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS)
                .attribute(attr::PASSWORD_ALGORITHM, &algorithm.value());
        }
        writer.integrity(&self.key()).finish();
        out
    }

    pub(crate) fn request(
        &self,
        harness: &mut Harness,
        method: Method,
        attributes: Attributes<'_>,
    ) -> Answer {
        let id = harness.transaction();
        let data = self.build(id, method, attributes);
        let answer = harness.client(self.path, &data).expect("a request is answered");
        assert_eq!(answer.path, self.path);
        assert_eq!(answer.message().transaction_id(), id);
        answer
    }

    pub(crate) fn allocate(&self, harness: &mut Harness) -> Answer {
        self.request(harness, Method::ALLOCATE, &[udp()])
    }

    /// One relay of each family.
    pub(crate) fn allocate_dual(&self, harness: &mut Harness) -> Answer {
        self.request(harness, Method::ALLOCATE, &[udp(), (attr::ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0])])
    }

    pub(crate) fn allocate_v6(&self, harness: &mut Harness) -> Answer {
        self.request(harness, Method::ALLOCATE, &[udp(), (attr::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0])])
    }

    pub(crate) fn refresh(&self, harness: &mut Harness, lifetime: u32) -> Answer {
        self.request(harness, Method::REFRESH, &[lifetime_attr(lifetime)])
    }

    pub(crate) fn permit(&self, harness: &mut Harness, peers: &[SocketAddr]) -> Answer {
        let id = harness.transaction();
        let attributes: Vec<_> = peers.iter().map(|peer| peer_attr(*peer, &id)).collect();
        let data = self.build(id, Method::CREATE_PERMISSION, &attributes);
        harness.client(self.path, &data).expect("a request is answered")
    }

    pub(crate) fn bind(&self, harness: &mut Harness, number: u16, peer: SocketAddr) -> Answer {
        let id = harness.transaction();
        let [high, low] = number.to_be_bytes();
        let attributes = [(attr::CHANNEL_NUMBER, vec![high, low, 0, 0]), peer_attr(peer, &id)];
        let data = self.build(id, Method::CHANNEL_BIND, &attributes);
        harness.client(self.path, &data).expect("a request is answered")
    }

    /// A Send indication: what reached the peer, if it did.
    pub(crate) fn send(&self, harness: &mut Harness, peer: SocketAddr, payload: &[u8]) -> Option<Vec<u8>> {
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
    pub(crate) fn channel(
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

pub(crate) fn to_peer(handled: Handled, data: &[u8], expected: SocketAddr) -> Option<Vec<u8>> {
    let Handled::Forward(forward) = handled else { return None };
    assert!(matches!(forward.to, Destination::Peer { peer, .. } if peer == expected));
    let mut out = Vec::new();
    forward.write(data, &mut out);
    Some(out)
}

/// A whole packet to wherever, if there is one.
pub(crate) fn forwarded(handled: Handled, data: &[u8]) -> Option<(Destination, Vec<u8>)> {
    let Handled::Forward(forward) = handled else { return None };
    let mut out = Vec::new();
    forward.write(data, &mut out);
    Some((forward.to, out))
}

/// A packet from a peer: what the client receives, if it does.
pub(crate) fn from_peer(
    harness: &mut Harness,
    relayed: SocketAddr,
    peer: SocketAddr,
    data: &[u8],
) -> Option<Vec<u8>> {
    let relay = harness.relay_of(relayed);
    let Handled::Forward(forward) = harness.input(Input::Peer { relay, from: peer, data }) else {
        return None;
    };
    assert!(matches!(forward.to, Destination::Client(_)));
    let mut out = Vec::new();
    forward.write(data, &mut out);
    Some(out)
}

pub(crate) fn udp() -> (u16, Vec<u8>) {
    (attr::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])
}

pub(crate) fn lifetime_attr(seconds: u32) -> (u16, Vec<u8>) {
    (attr::LIFETIME, seconds.to_be_bytes().to_vec())
}

pub(crate) fn peer_attr(peer: SocketAddr, id: &TransactionId) -> (u16, Vec<u8>) {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::BINDING, id)
        .xor_address(attr::XOR_PEER_ADDRESS, peer)
        .finish();
    (attr::XOR_PEER_ADDRESS, out[24..].to_vec())
}

pub(crate) fn bare_allocate(seed: u64) -> Vec<u8> {
    let mut id = [0xAB; 12];
    id[4..].copy_from_slice(&seed.to_be_bytes());
    let mut out = Vec::new();
    let (kind, value) = udp();
    MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, &TransactionId(id))
        .attribute(kind, &value)
        .finish();
    out
}
