//! The server value: inputs, time, and the end of allocations. The packet path is in `relaying`, requests in
//! `requests` and `allocate`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use trunkline_stun::{AddressFamily, Class, Message, Method};

use crate::allocation::{Allocation, FAMILIES, PolicyVersion, place};
use crate::event::EventKind;
use crate::nonce::Nonces;
use crate::outbox::Outbox;
use crate::ports::{PortKind, Ports};
use crate::rate::{Pace, RelayBuckets, RelayPace};
use crate::table::{KeyedHash, Lookup, Slab, SourceLimiter};
use crate::wheel::Wheel;
use crate::{
    ClientPath, Config, ConfigError, DropReason, Handled, Input, Ledger, Limits, Output, PeerPolicy, RelayId,
    Secret, Stats, Throttle,
};

/// Relays and tokens that end in one `handle`: with more due, the next timeout is at once. So the events of a mass
/// expiry do not pile up.
const EXPIRIES_MAX: usize = 256;

/// At most one report of an allocation in that time.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// A TURN server for one shard. See the crate's documentation for how to drive it.
///
/// Getters: [`stats`](Self::stats), [`has_allocation`](Self::has_allocation). Inputs: [`handle`](Self::handle).
/// Commands: [`set_policy`](Self::set_policy), [`set_secrets`](Self::set_secrets),
/// [`set_draining`](Self::set_draining), [`set_unix_now`](Self::set_unix_now). Outputs:
/// [`poll_output`](Self::poll_output).
#[derive(Debug)]
pub struct TurnServer {
    pub(crate) config: Config,
    pub(crate) policy: PolicyVersion,
    pub(crate) nonces: Nonces,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) clock: Clock,
    pub(crate) allocations: Slab<Allocation>,
    pub(crate) paths: Lookup<ClientPath, u32>,
    /// The end of each relay, by `RelayId::index`.
    pub(crate) wheel: Wheel,
    pub(crate) ports: Ports,
    /// Where new Allocates are sent while draining.
    pub(crate) alternates: Option<Vec<SocketAddr>>,
    pub(crate) limiter: SourceLimiter,
    pub(crate) paces: Paces,
    pub(crate) total: RelayBuckets,
    pub(crate) outbox: Outbox,
    pub(crate) stats: Stats,
}

/// The monotonic time of the start, and wall-clock time as far as it can be known from the monotonic kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
    at: Instant,
    unix: Duration,
}

impl Clock {
    pub(crate) fn unix_seconds(&self, now: Instant) -> u64 {
        (self.unix + now.saturating_duration_since(self.at)).as_secs()
    }

    /// Nanoseconds since the start: 64 bits last for 584 years.
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        since.as_secs() * 1_000_000_000 + u64::from(since.subsec_nanos())
    }
}

/// How fast things may happen.
#[derive(Debug)]
pub(crate) struct Paces {
    pub(crate) allocation: RelayPace,
    pub(crate) total: Option<RelayPace>,
    pub(crate) new_peers: Pace,
}

impl Paces {
    fn new(limits: &Limits) -> Self {
        let total = (limits.total_packets_per_second, limits.total_bytes_per_second);
        let unbounded = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        let (new_peers, burst) = (limits.new_peers_per_second, limits.new_peers_burst);
        Self {
            allocation: RelayPace::new(
                limits.allocation_packets_per_second,
                limits.allocation_bytes_per_second,
            ),
            total: (total != (None, None)).then(|| RelayPace::new(unbounded(total.0), unbounded(total.1))),
            new_peers: Pace::new(
                new_peers.into(),
                Duration::from_secs_f64(f64::from(burst) / f64::from(new_peers)),
            ),
        }
    }

    /// Takes a packet of that many bytes out of its allocation's bucket and then out of that of all.
    pub(crate) fn admit(
        &self,
        own: &mut RelayBuckets,
        total: &mut RelayBuckets,
        bytes: usize,
        now: u64,
    ) -> Result<(), DropReason> {
        if !self.allocation.admit(own, bytes, now) {
            return Err(DropReason::AllocationRate);
        }
        match &self.total {
            Some(pace) if !pace.admit(total, bytes, now) => Err(DropReason::TotalRate),
            _ => Ok(()),
        }
    }
}

/// The address without an IPv6 flow label, which would tell one peer from itself; a zone is kept.
fn plain(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(mut v6) => {
            v6.set_flowinfo(0);
            v6.into()
        }
    }
}

impl TurnServer {
    /// A server without allocations. Shards of one process share the `ledger`; each has its own part of the
    /// configuration ([`Config::part`]). `seed` must be random and secret, another for each shard: relay ports,
    /// tokens, transaction ids and hash keys come from it. `unix_now` is the time since the Unix epoch at `now`.
    ///
    /// # Errors
    /// [`ConfigError`] when the configuration cannot be served.
    pub fn new(
        config: Config,
        ledger: Arc<Ledger>,
        seed: [u8; 32],
        now: Instant,
        unix_now: Duration,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut hash = || KeyedHash::new((rng.next_u64(), rng.next_u64()));
        let paths = Lookup::new(hash());
        let limiter = SourceLimiter::new(hash(), config.limits.challenges_per_second, now);
        let policy = config.peer_policy();
        Ok(Self {
            policy: PolicyVersion { policy, version: 0 },
            nonces: Nonces::new(&config.secrets, config.limits.nonce_lifetime),
            rng,
            clock: Clock { start: now, at: now, unix: unix_now },
            allocations: Slab::new(config.limits.allocations),
            paths,
            wheel: Wheel::new(now),
            ports: Ports::new(&config.relay_ports, ledger, config.limits.allocations),
            alternates: None,
            limiter,
            paces: Paces::new(&config.limits),
            total: RelayBuckets::default(),
            outbox: Outbox::default(),
            stats: Stats::default(),
            config,
        })
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether the path has an allocation: what a shell asks before it lets a connection idle, or wait for a long
    /// message.
    #[must_use]
    pub fn has_allocation(&self, path: &ClientPath) -> bool {
        self.paths.get(path).is_some()
    }

    /// Replaces the peer policy. The next packet of every live permission and channel obeys it.
    pub fn set_policy(&mut self, policy: PeerPolicy) {
        self.policy = PolicyVersion { policy, version: self.policy.version.wrapping_add(1) };
    }

    /// Starts to drain: new Allocates are sent away with 300 and one of `alternates` of the client's family, or
    /// answered 508 when there is none; live allocations go on. `None` ends it.
    pub fn set_draining(&mut self, alternates: Option<Vec<SocketAddr>>) {
        self.alternates = alternates;
    }

    /// Replaces the secrets: one, or two while one replaces the other. Live allocations keep their passwords.
    ///
    /// # Errors
    /// [`ConfigError::Secrets`]; then nothing has changed.
    pub fn set_secrets(&mut self, secrets: Vec<Secret>) -> Result<(), ConfigError> {
        let config = Config { secrets, ..self.config.clone() };
        config.check()?;
        self.nonces = Nonces::new(&config.secrets, config.limits.nonce_lifetime);
        self.config = config;
        Ok(())
    }

    /// Tells the wall-clock time anew, for when it was set or has drifted.
    pub fn set_unix_now(&mut self, now: Instant, unix_now: Duration) {
        self.clock = Clock { at: now, unix: unix_now, ..self.clock };
    }

    /// Takes one input. `now` never goes back.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Handled {
        self.outbox.reuse();
        let result = match input {
            Input::Client { path, data } => {
                let path = ClientPath { client: plain(path.client), ..path };
                match data.first() {
                    Some(0..=3) => self.message(path, data, now),
                    Some(0x40..=0x4F) => self.channel_data(&path, data, now),
                    Some(0x50..=0x7F) if self.config.legacy_channels => self.channel_data(&path, data, now),
                    _ => Err(DropReason::NotTurn),
                }
            }
            Input::Peer { relay, from, data } => self.peer_data(relay, plain(from), data, now),
            Input::RelayBound { relay, bound } => {
                self.relay_bound(relay, bound, now);
                Ok(Handled::Done)
            }
            Input::StreamClosed { path } => {
                if let Some(index) = self.paths.get(&ClientPath { client: plain(path.client), ..path }) {
                    self.end_allocation(*index, now);
                }
                Ok(Handled::Done)
            }
            Input::Timeout => {
                self.expire(now);
                Ok(Handled::Done)
            }
        };
        result.unwrap_or_else(|reason| {
            self.stats.drop(reason);
            Handled::Dropped(reason)
        })
    }

    /// The next thing to do. Call until it is [`Output::Timeout`].
    pub fn poll_output(&mut self) -> Output<'_> {
        let (wheel, ports) = (&self.wheel, &self.ports);
        self.outbox
            .pop()
            .unwrap_or_else(|| Output::Timeout([wheel.next(), ports.next_end()].into_iter().flatten().min()))
    }

    fn message(&mut self, path: ClientPath, data: &[u8], now: Instant) -> Result<Handled, DropReason> {
        let message = Message::parse(data).map_err(|_| DropReason::Malformed)?;
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => self.send_indication(&path, &message, now),
            (Class::Request, _) => self.request(path, &message, now).map(|()| Handled::Done),
            _ => Err(DropReason::UnexpectedMessage),
        }
    }

    /// The allocation of a 5-tuple; relays that have expired end here, and it with the last of them.
    pub(crate) fn live(&mut self, path: &ClientPath, now: Instant) -> Option<u32> {
        let index = *self.paths.get(path)?;
        self.end_expired(index, now);
        self.allocations.get(index).map(|_| index)
    }

    /// Ends relays and tokens whose time has come.
    fn expire(&mut self, now: Instant) {
        for _ in 0..EXPIRIES_MAX {
            let Some(relay) = self.wheel.pop_due(now) else { break };
            self.end_expired(relay / 2, now);
        }
        for _ in 0..EXPIRIES_MAX {
            if !self.ports.end_token(now) {
                break;
            }
        }
    }

    /// Ends those relays of an allocation that have expired.
    pub(crate) fn end_expired(&mut self, index: u32, now: Instant) {
        for family in FAMILIES {
            let relay = self.allocations.get(index).and_then(|allocation| allocation.relay(family));
            if relay.is_some_and(|relay| relay.expires <= now) {
                self.end_relay(index, family, now);
            }
        }
    }

    /// Ends one relay, and the allocation with the last.
    pub(crate) fn end_relay(&mut self, index: u32, family: AddressFamily, now: Instant) {
        self.close_relay(index, family);
        let relays = self.allocations.get(index).map(|allocation| allocation.relays);
        if relays.is_some_and(|relays| relays.iter().all(Option::is_none)) {
            self.end_allocation(index, now);
        }
    }

    /// Closes a relay's socket and gives its port back, and that held with it.
    pub(crate) fn close_relay(&mut self, index: u32, family: AddressFamily) {
        let Some((generation, allocation)) = self.allocations.entry(index) else { return };
        let Some(relay) = allocation.relays[place(family)].take() else { return };
        let id = RelayId::new(index, generation, family);
        self.wheel.clear(id.index() as u32);
        self.outbox.close(id);
        self.ports.release(family, relay.port);
        if relay.kind == PortKind::EvenWithNext && allocation.origin.token.is_none() {
            self.ports.release(family, relay.port + 1);
            self.ports.ledger.release(allocation.user());
        }
    }

    /// Forgets an allocation and everything that was counted for it.
    pub(crate) fn end_allocation(&mut self, index: u32, now: Instant) {
        FAMILIES.into_iter().for_each(|family| self.close_relay(index, family));
        let Some(allocation) = self.allocations.remove(index) else { return };
        self.paths.remove(&allocation.path);
        self.ports.ledger.release(allocation.user());
        self.stats.allocations -= 1;
        if allocation.origin.answered {
            let lasted = now.saturating_duration_since(allocation.made);
            self.outbox.event(allocation.user(), EventKind::Ended { lasted, usage: allocation.usage });
        }
    }

    /// Counts that a limit of an allocation has thrown something away, and reports it once in a while.
    pub(crate) fn throttle(&mut self, index: u32, cause: Throttle, now: Instant) {
        self.stats.throttled[cause as usize] += 1;
        let Some(allocation) = self.allocations.get_mut(index) else { return };
        if allocation
            .reported
            .is_none_or(|reported| now.saturating_duration_since(reported) >= REPORT_INTERVAL)
        {
            allocation.reported = Some(now);
            self.outbox.event(allocation.user(), EventKind::Throttled(cause));
        }
    }
}
