//! What a fuzzer calls: any bytes as a sequence of operations on a small server, with everything that is remembered
//! checked after each. A panic is a bug.
#![allow(clippy::unwrap_used, clippy::panic, reason = "what fails here is the finding")]

use std::net::{IpAddr, SocketAddr};

use trunkline_stun::{Message, Method, PasswordAlgorithm, TransactionId, attr};

use crate::harness::{Client, Harness, addr, config, forwarded, lifetime_attr, peer_attr, udp};
use crate::{Config, Destination, Handled, Input, Output, PeerPolicy};

/// Operations of one sequence at most: enough to fill every table and empty it again.
const OPERATIONS_MAX: usize = 400;
const ALLOCATIONS: usize = 4;
const PER_USER: u32 = 3;
const PERMISSIONS: usize = 3;
const CHANNELS: usize = 2;

/// Reads `data` as operations, one after another until it ends.
pub fn sequence(data: &[u8]) {
    let mut run = Run::new();
    let mut bytes = Bytes(data);
    for _ in 0..OPERATIONS_MAX {
        if bytes.0.is_empty() {
            break;
        }
        run.step(&mut bytes);
        run.check();
    }
    run.end();
}

/// What is left of the input; zero when it has ended.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.u8(), self.u8()])
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

/// A server and everything that was said to and by it.
pub(crate) struct Run {
    pub(crate) harness: Harness,
    /// The token of the last reservation.
    token: Vec<u8>,
    /// What was relayed, to compare two runs by.
    pub(crate) relayed: Vec<(Destination, Vec<u8>)>,
}

fn small() -> Config {
    let mut config = Config { relay_ports: 50_000..=50_004, ..config() };
    config.limits.allocations = ALLOCATIONS;
    config.limits.allocations_per_user = PER_USER;
    config.limits.permissions = PERMISSIONS;
    config.limits.channels = CHANNELS;
    config.limits.new_peers_burst = 6;
    config.limits.allocation_packets_per_second = 40;
    config
}

/// Half of them of each family, one of each denied.
fn peer(n: u8) -> SocketAddr {
    match n % 8 {
        0 => addr("10.0.0.1:9"),
        1 => addr("[fe80::1]:9"),
        n @ 2..=4 => SocketAddr::from(([203, 0, 113, n], 9)),
        n => SocketAddr::new(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]), 9),
    }
}

impl Run {
    pub(crate) fn new() -> Self {
        Self { harness: Harness::new(small()), token: vec![0; 8], relayed: vec![] }
    }

    /// Six 5-tuples, two of them streams and one IPv6; three users; two ways to sign.
    fn client(&mut self, selector: u8) -> Client {
        let user = format!("user{}", selector / 8 % 3);
        let mut client = match selector % 8 {
            4 => Client::on_stream(&mut self.harness, "203.0.113.9:5", 0, &user),
            5 => Client::on_stream(&mut self.harness, "203.0.113.9:6", 1, &user),
            6 => Client::new(&mut self.harness, "[2001:db8::9]:7", &user),
            n => Client::new(&mut self.harness, &format!("203.0.113.9:{}", n % 4 + 1), &user),
        };
        client.algorithm = (selector >= 128).then_some(PasswordAlgorithm::Sha256);
        client
    }

    #[cfg(test)]
    pub(crate) fn step_all(&mut self, data: &[u8]) {
        let mut bytes = Bytes(data);
        while !bytes.0.is_empty() {
            self.step(&mut bytes);
            self.check();
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let (operation, client) = (bytes.u8(), bytes.u8());
        let client = self.client(client);
        match operation % 16 {
            0..=2 => self.allocate(&client, bytes),
            3 => {
                let mut attributes = vec![lifetime_attr(u32::from(bytes.u8()) * 20)];
                let family = bytes.u8() % 4;
                if family > 0 {
                    attributes.push((attr::REQUESTED_ADDRESS_FAMILY, vec![family, 0, 0, 0]));
                }
                client.request(&mut self.harness, Method::REFRESH, &attributes);
            }
            4 => {
                let peers: Vec<_> =
                    bytes.take(usize::from(operation / 64)).iter().map(|n| peer(*n)).collect();
                client.permit(&mut self.harness, &peers);
            }
            5 | 6 => {
                let number = 0x4000 + u16::from(bytes.u8() % 8) * if operation < 240 { 1 } else { 0x400 };
                client.bind(&mut self.harness, number, peer(bytes.u8()));
            }
            7 => {
                let n = bytes.u8();
                let sent = client.send(&mut self.harness, peer(n), b"payload");
                assert!(sent.is_none() || n % 8 >= 2, "a packet to a denied peer");
            }
            8 => {
                let mut data =
                    trunkline_stun::ChannelData::header(0x4000 + u16::from(bytes.u8() % 8), 4).to_vec();
                data.extend_from_slice(&[7; 4]);
                self.give(Input::Client { path: client.path, data: &data }, &data);
            }
            9 => {
                let (relay, from) = (usize::from(bytes.u8()), peer(bytes.u8()));
                let data = vec![9; bytes.u16().into()];
                if let Some((relay, _)) = self.harness.relays.get(relay % self.harness.relays.len().max(1)) {
                    self.give(Input::Peer { relay: *relay, from, data: &data }, &data);
                }
            }
            10 => {
                let count = bytes.u8();
                let data = bytes.take(count.into());
                self.give(Input::Client { path: client.path, data }, data);
            }
            11 => {
                // One that is right but for some bytes.
                let id = TransactionId([operation; 12]);
                let attributes = [udp(), lifetime_attr(900), peer_attr(peer(bytes.u8()), &id)];
                let method = Method(u16::from(bytes.u8() % 12));
                let mut data = client.build(id, method, &attributes);
                for _ in 0..operation / 64 {
                    let at = usize::from(bytes.u16()) % data.len();
                    data[at] = bytes.u8();
                }
                self.give(Input::Client { path: client.path, data: &data }, &data);
            }
            12 => self.harness.advance(u64::from(bytes.u16()) >> (operation / 32)),
            13 => self.harness.bind_failures = (operation / 16).into(),
            14 => {
                let _ = self.harness.input(Input::StreamClosed { path: client.path });
            }
            _ => match operation / 64 {
                0 => {
                    let deny = "203.0.113.3".parse().unwrap();
                    self.harness.server.set_policy(PeerPolicy::new(&[], &[deny], &[]));
                }
                1 => self.harness.server.set_policy(PeerPolicy::default()),
                2 => self.harness.server.set_draining(Some(vec![addr("192.0.2.9:3478")])),
                _ => self.harness.server.set_draining(None),
            },
        }
    }

    fn allocate(&mut self, client: &Client, bytes: &mut Bytes<'_>) {
        let mut attributes = vec![udp()];
        match bytes.u8() % 8 {
            1 => attributes.push((attr::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0])),
            2 => attributes.push((attr::ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0])),
            3 => attributes.push((attr::EVEN_PORT, vec![0])),
            4 | 5 => attributes.push((attr::EVEN_PORT, vec![0x80])),
            6 => attributes.push((attr::RESERVATION_TOKEN, self.token.clone())),
            _ => {}
        }
        let answer = client.request(&mut self.harness, Method::ALLOCATE, &attributes);
        if let Some(token) = answer.token() {
            self.token = token;
        }
    }

    /// One input, and what becomes of it: nothing goes to a peer that the policy denies, or malformed to a client.
    fn give(&mut self, input: Input<'_>, data: &[u8]) {
        let handled = self.harness.input(input);
        assert!(!matches!(handled, Handled::Done) || !matches!(input, Input::Peer { .. }));
        let Some((to, packet)) = forwarded(handled, data) else { return };
        match to {
            Destination::Peer { peer, .. } => assert!(self.harness.server.policy.policy.permits(peer.ip())),
            Destination::Client(path) if packet[0] < 4 => {
                assert_eq!(Message::parse(&packet).unwrap().method(), Method::DATA);
                assert!(path.stream.is_none() || packet.len().is_multiple_of(4));
            }
            Destination::Client(path) => {
                assert!(path.stream.is_none() || packet.len().is_multiple_of(4));
            }
        }
        self.relayed.push((to, packet));
    }

    /// What is remembered stays within its bounds and adds up.
    fn check(&mut self) {
        let [allocations, paths, users, deadlines, ports, sockets] = self.harness.state();
        let server = &mut self.harness.server;
        let reservations = server.ports.ledger.reservations();
        assert!(allocations <= ALLOCATIONS && paths == allocations);
        assert!(deadlines == sockets && (allocations..=2 * allocations).contains(&sockets));
        assert_eq!(ports, sockets + reservations);
        assert!(users <= allocations + reservations && server.ports.ledger.largest() <= PER_USER);
        for (relay, _) in &self.harness.relays {
            let (permissions, channels) = server.allocations.get(relay.allocation()).unwrap().counts();
            assert!(permissions <= PERMISSIONS && channels <= CHANNELS);
        }
        let Output::Timeout(timeout) = server.poll_output() else { panic!("not drained") };
        assert!(timeout.is_some() || (deadlines, reservations) == (0, 0));
    }

    /// After the longest lifetime nothing is left.
    fn end(mut self) {
        self.harness.bind_failures = 0;
        self.harness.advance(3601);
        assert_eq!(self.harness.state(), [0; 6]);
    }
}
