//! Peers, shards and seeded links under one fake clock: a whole node and its network in one deterministic value.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use trunkline_netsim::{Link, LinkConfig};
use trunkline_sfu_core::dtls::DtlsIdentity;
use trunkline_sfu_core::limits::Limits;
use trunkline_sfu_core::negotiation;
use trunkline_sfu_core::session::{IceCredentials, LocalParameters};
use trunkline_sfu_core::shard::{
    Claim, Command, Event, Input, Neighbour, Output, ParticipantId, Registration, RoomId, Shard, ShardId,
};
use trunkline_sfu_core::stats::Stats;
use trunkline_test_peer::{Peer, PeerSpec};

pub(crate) const ROOM: RoomId = RoomId(1);
/// The address that every shard answers at.
pub(crate) const SERVER: &str = "192.0.2.1:3480";
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// One client, its address, its links, and which shard the kernel's hash would choose.
pub(crate) struct Client {
    pub(crate) id: ParticipantId,
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    pub(crate) shard: usize,
    up: Link,
    down: Link,
    /// Bytes and packets that reached the client, of whatever kind.
    pub(crate) datagrams: u64,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    start: Instant,
    pub(crate) shards: Vec<Shard>,
    pub(crate) clients: Vec<Client>,
    pub(crate) events: Vec<Event>,
    identity: Arc<DtlsIdentity>,
    link: LinkConfig,
    seed: u64,
}

/// Keys are costly and tests are many.
pub(crate) fn identity() -> Arc<DtlsIdentity> {
    static IDENTITY: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
    IDENTITY.get_or_init(|| Arc::new(DtlsIdentity::generate().expect("a key pair"))).clone()
}

/// What the shards are to the `n`-th client.
pub(crate) fn local_parameters(n: usize) -> LocalParameters {
    LocalParameters {
        ice: IceCredentials { ufrag: format!("server{n:04}"), pwd: format!("serverpasswordserver{n:04}") },
        fingerprint: identity().fingerprint(),
        candidates: vec![SERVER.parse().expect("an address")],
        ssrc_base: 0x1000_0000 + 0x1000 * n as u32,
        session_id: n as u64 + 1,
    }
}

impl World {
    #[allow(clippy::disallowed_methods)] // the one origin of the fake clock
    pub(crate) fn new(shards: u16, seed: u64, link: LinkConfig) -> Self {
        let now = Instant::now();
        let shard = |n| Shard::new(ShardId(n), Limits::default(), identity(), seed + u64::from(n));
        Self {
            now,
            start: now,
            shards: (0..shards).map(shard).collect(),
            clients: Vec::new(),
            events: Vec::new(),
            identity: identity(),
            link,
            seed,
        }
    }

    /// Negotiates a client into the room; returns its index.
    pub(crate) fn join(&mut self, spec: PeerSpec) -> usize {
        let n = self.clients.len();
        let mut peer = Peer::new(spec, self.identity.clone(), self.now);
        let (session, answer) =
            negotiation::answer(&peer.offer(), &local_parameters(n)).expect("an offer of our own");
        let id = ParticipantId(n as u64 + 100);
        let registration = Registration { room: ROOM, participant: id, session, claim: Claim::default() };
        self.command(&Command::Join(Arc::new(registration)));
        peer.accept(&answer, self.now);
        let seed = self.seed.wrapping_mul(31).wrapping_add(n as u64 * 2);
        let address = SocketAddr::from(([203, 0, 113, n as u8 + 1], 40_000 + n as u16));
        let shard = n % self.shards.len();
        let (up, down) = (Link::new(seed, self.link), Link::new(seed + 1, self.link));
        self.clients.push(Client { id, peer, address, shard, up, down, datagrams: 0 });
        n
    }

    /// The clients' wall clock, as NTP's 32.32 seconds.
    pub(crate) fn ntp(&self) -> u64 {
        (((self.now - self.start).as_nanos() << 32) / 1_000_000_000) as u64 + (1 << 40)
    }

    pub(crate) fn leave(&mut self, client: usize) {
        let id = self.clients[client].id;
        self.command(&Command::Leave(id));
    }

    pub(crate) fn command(&mut self, command: &Command) {
        for n in 0..self.shards.len() {
            self.shards[n].handle(Input::Command(command.clone()), self.now);
            self.drain(n);
        }
    }

    /// A datagram that came from nowhere in particular.
    pub(crate) fn inject(&mut self, shard: usize, source: SocketAddr, bytes: &mut [u8]) {
        self.shards[shard].handle(Input::Datagram { source, local: None, bytes }, self.now);
        self.drain(shard);
    }

    /// Runs for `ms` milliseconds; every 20 ms `each` may make the clients speak.
    pub(crate) fn run(&mut self, ms: u64, mut each: impl FnMut(&mut World, u64)) {
        for n in 0..ms {
            if n % 20 == 0 {
                each(self, n / 20);
            }
            self.tick();
        }
    }

    /// Runs until every client is connected; panics if that takes more than `ms`.
    pub(crate) fn connect(&mut self, ms: u64) {
        for _ in 0..ms {
            if self.clients.iter().all(|c| c.peer.connected()) {
                return;
            }
            self.tick();
        }
        panic!("not connected within {ms} ms");
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        self.shards.iter().for_each(|s| sum.add(s.stats()));
        sum
    }

    /// The events of a client so far.
    pub(crate) fn events_of(&self, client: usize) -> Vec<&Event> {
        let id = self.clients[client].id;
        self.events
            .iter()
            .filter(|e| matches!(e, Event::Connected(p) | Event::Slots(p, _) | Event::Gone(p, _) if *p == id))
            .collect()
    }

    fn tick(&mut self) {
        self.now += TICK;
        for n in 0..self.clients.len() {
            let (now, client) = (self.now, &mut self.clients[n]);
            while let Some(mut datagram) = client.down.pop(now) {
                client.datagrams += 1;
                client.peer.handle(&mut datagram, now);
            }
            while let Some(datagram) = client.peer.poll(now) {
                client.up.push(datagram, now);
            }
        }
        for n in 0..self.clients.len() {
            let shard = self.clients[n].shard;
            let source = self.clients[n].address;
            while let Some(mut bytes) = self.clients[n].up.pop(self.now) {
                let input = Input::Datagram { source, local: None, bytes: &mut bytes };
                self.shards[shard].handle(input, self.now);
            }
        }
        for n in 0..self.shards.len() {
            if self.drain(n).is_some_and(|at| at <= self.now) {
                self.shards[n].handle(Input::Wake, self.now);
                self.drain(n);
            }
        }
    }

    fn drain(&mut self, shard: usize) -> Option<Instant> {
        let mut messages: Vec<(Option<ShardId>, Neighbour)> = Vec::new();
        let mut gone = Vec::new();
        let wait = loop {
            match self.shards[shard].poll_output(self.now) {
                Output::Wait(at) => break at,
                Output::Event(event) => {
                    if let Event::Gone(id, _) = event {
                        gone.push(id);
                    }
                    self.events.push(event);
                }
                Output::Neighbour(to, message) => messages.push((to, message)),
                Output::Transmits { bytes, transmits } => {
                    for transmit in transmits {
                        let run = &bytes[transmit.range.clone()];
                        let Some(client) =
                            self.clients.iter_mut().find(|c| c.address == transmit.destination)
                        else {
                            continue;
                        };
                        for datagram in run.chunks(transmit.segment_size) {
                            client.down.push(datagram.to_vec(), self.now);
                        }
                    }
                }
            }
        };
        for (to, message) in messages {
            for n in 0..self.shards.len() {
                if n != shard && to.is_none_or(|to| usize::from(to.0) == n) {
                    let input = Input::Neighbour(ShardId(shard as u16), message.clone());
                    self.shards[n].handle(input, self.now);
                    self.drain(n);
                }
            }
        }
        for id in gone {
            self.command(&Command::Leave(id));
        }
        wait
    }
}
