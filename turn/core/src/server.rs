//! The server value: look-ups, the packet path, time, and the queue of outputs. Requests are in `requests`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use trunkline_stun::{
    AddressFamily, ChannelData, Class, DataIndicationHeader, Message, Method, TransactionId, attr,
    decode_xor_address,
};

use crate::allocation::{Access, Allocation, PolicyVersion};
use crate::auth::Nonces;
use crate::ports::PortPool;
use crate::table::{Deadlines, KeyedHash, Lookup, Slab, SourceLimiter};
use crate::{
    ClientPath, Config, ConfigError, Destination, DropReason, Forward, Handled, Input, Ledger, Output,
    PeerPolicy, RelayHeader, RelayId, Secret, Stats,
};

/// Bytes of answers that wait for the shell. It drains after every input, so this is a bound, not a buffer.
const OUTBOX_MAX: usize = 256 * 1024;

/// A TURN server for one shard. See the crate's documentation for how to drive it.
///
/// Getters: [`stats`](Self::stats). Inputs: [`handle`](Self::handle). Commands: [`set_policy`](Self::set_policy),
/// [`set_secrets`](Self::set_secrets), [`set_unix_now`](Self::set_unix_now). Outputs:
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
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) alternates: Option<Vec<SocketAddr>>,
    pub(crate) deadlines: Deadlines,
    pub(crate) ports_v4: PortPool,
    pub(crate) ports_v6: PortPool,
    pub(crate) limiter: SourceLimiter,
    pub(crate) outbox: Outbox,
    pub(crate) stats: Stats,
}

/// Wall-clock time, as far as it can be known from the monotonic kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    at: Instant,
    unix: Duration,
}

impl Clock {
    pub(crate) fn unix_seconds(&self, now: Instant) -> u64 {
        (self.unix + now.saturating_duration_since(self.at)).as_secs()
    }
}

/// Outputs in order; the bytes of all waiting answers share one buffer.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) bytes: Vec<u8>,
    queue: VecDeque<Queued>,
}

#[derive(Debug)]
enum Queued {
    Transmit { path: ClientPath, range: Range<usize> },
    Bind { relay: RelayId, family: AddressFamily, port: u16 },
    Close { relay: RelayId },
}

impl Outbox {
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= OUTBOX_MAX
    }

    /// Queues what was appended to `bytes` since `start`.
    pub(crate) fn transmit(&mut self, path: ClientPath, start: usize) {
        self.queue.push_back(Queued::Transmit { path, range: start..self.bytes.len() });
    }

    pub(crate) fn bind(&mut self, relay: RelayId, family: AddressFamily, port: u16) {
        self.queue.push_back(Queued::Bind { relay, family, port });
    }

    fn close(&mut self, relay: RelayId) {
        self.queue.push_back(Queued::Close { relay });
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
            clock: Clock { at: now, unix: unix_now },
            allocations: Slab::new(config.limits.allocations),
            paths,
            ledger,
            alternates: None,
            deadlines: Deadlines::default(),
            ports_v4: PortPool::new(&config.relay_ports),
            ports_v6: PortPool::new(&config.relay_ports),
            limiter,
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

    /// Whether the path has an allocation.
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

    /// Replaces the secrets: one, or two while one replaces the other. Live allocations keep their keys.
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

    /// Corrects the wall clock after it was stepped.
    pub fn set_unix_now(&mut self, now: Instant, unix_now: Duration) {
        self.clock = Clock { at: now, unix: unix_now };
    }

    /// Takes one input. `now` never goes back.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) -> Handled {
        if self.outbox.queue.is_empty() {
            self.outbox.bytes.clear();
        }
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
            Input::StreamClosed { path } => {
                if let Some(index) = self.paths.get(&ClientPath { client: plain(path.client), ..path }) {
                    self.end_allocation(*index);
                }
                Ok(Handled::Done)
            }
            Input::Peer { relay, from, data } => self.peer_data(relay, plain(from), data, now),
            Input::RelayBound { relay, bound } => {
                self.relay_bound(relay, bound);
                Ok(Handled::Done)
            }
            Input::Timeout => {
                while let Some(index) = self.deadlines.due(now) {
                    self.end_allocation(index);
                }
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
        match self.outbox.queue.pop_front() {
            Some(Queued::Transmit { path, range }) => {
                Output::Transmit { path, data: &self.outbox.bytes[range] }
            }
            Some(Queued::Bind { relay, family, port }) => Output::BindRelay { relay, family, port },
            Some(Queued::Close { relay }) => Output::CloseRelay { relay },
            None => Output::Timeout(self.deadlines.next()),
        }
    }

    fn message(&mut self, path: ClientPath, data: &[u8], now: Instant) -> Result<Handled, DropReason> {
        let message = Message::parse(data).map_err(|_| DropReason::Malformed)?;
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => self.send_indication(&path, &message, now),
            (Class::Request, _) => self.request(path, &message, now).map(|()| Handled::Done),
            _ => Err(DropReason::UnexpectedMessage),
        }
    }

    /// Client → peer on a channel (RFC 8656 §12.6). The channel is enough: it was bound with the policy's consent.
    fn channel_data(&mut self, path: &ClientPath, data: &[u8], now: Instant) -> Result<Handled, DropReason> {
        let message = ChannelData::parse(data).ok_or(DropReason::Malformed)?;
        let length = message.payload.len();
        let number = message.channel;
        let index = self.live(path, now).ok_or(DropReason::NoAllocation)?;
        let relay = self.relay_id(index).ok_or(DropReason::NoAllocation)?;
        let allocation = self.allocations.get_mut(index).ok_or(DropReason::NoAllocation)?;
        let peer = allocation.channel_peer(number, &self.policy, now).map_err(|access| match access {
            Access::Denied => DropReason::PeerDenied,
            Access::Absent | Access::Granted => DropReason::NoChannel,
        })?;
        Ok(self.forward_to_peer(relay, peer, 4..4 + length))
    }

    /// Client → peer by a Send indication (RFC 8656 §11.2). It is not authenticated; the permission is.
    fn send_indication(
        &mut self,
        path: &ClientPath,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Handled, DropReason> {
        let (mut peer, mut payload) = (None, None);
        let mut offset = trunkline_stun::HEADER_LEN;
        for (kind, value) in message.attributes() {
            match kind {
                attr::XOR_PEER_ADDRESS if peer.is_none() => {
                    peer = decode_xor_address(value, &message.transaction_id());
                    peer.ok_or(DropReason::InvalidPeer)?;
                }
                attr::DATA if payload.is_none() => payload = Some(offset + 4..offset + 4 + value.len()),
                attr::XOR_PEER_ADDRESS | attr::DATA => {}
                // DONT-FRAGMENT among them: we cannot honour it, so the packet must not leave (RFC 8656 §11.2).
                0..0x8000 => return Err(DropReason::UnknownAttribute),
                _ => {}
            }
            offset += 4 + value.len().next_multiple_of(4);
        }
        let peer = peer.filter(|peer| peer.port() != 0).ok_or(DropReason::InvalidPeer)?;
        let payload = payload.ok_or(DropReason::Malformed)?;
        let index = self.live(path, now).ok_or(DropReason::NoAllocation)?;
        let relay = self.relay_id(index).ok_or(DropReason::NoAllocation)?;
        let allocation = self.allocations.get_mut(index).ok_or(DropReason::NoAllocation)?;
        if AddressFamily::of(peer.ip()) != allocation.family {
            return Err(DropReason::InvalidPeer);
        }
        admit(allocation.permission(peer.ip(), &self.policy, now))?;
        Ok(self.forward_to_peer(relay, peer, payload))
    }

    fn forward_to_peer(&mut self, relay: RelayId, peer: SocketAddr, payload: Range<usize>) -> Handled {
        self.stats.to_peers_packets += 1;
        self.stats.to_peers_bytes += payload.len() as u64;
        Handled::Forward(Forward::new(Destination::Peer { relay, peer }, RelayHeader::Bare, payload))
    }

    /// Peer → client (RFC 8656 §§11.3, 12.7): by channel if there is one, else as a Data indication.
    fn peer_data(
        &mut self,
        relay: RelayId,
        from: SocketAddr,
        data: &[u8],
        now: Instant,
    ) -> Result<Handled, DropReason> {
        if self.allocations.generation(relay.index) != Some(relay.generation) {
            return Err(DropReason::NoAllocation);
        }
        let allocation = self.allocations.get_mut(relay.index).ok_or(DropReason::NoAllocation)?;
        if allocation.expires <= now {
            self.end_allocation(relay.index);
            return Err(DropReason::NoAllocation);
        }
        admit(allocation.permission(from.ip(), &self.policy, now))?;
        let path = allocation.path;
        let header = match allocation.channel_number(from, now) {
            Some(number) => {
                let length = u16::try_from(data.len()).map_err(|_| DropReason::TooLarge)?;
                RelayHeader::channel(number, length, path.stream.is_some())
            }
            None => {
                let mut id = TransactionId([0; 12]);
                self.rng.fill_bytes(&mut id.0);
                let header = DataIndicationHeader::new(&id, from, data.len());
                RelayHeader::Data(header.ok_or(DropReason::TooLarge)?)
            }
        };
        self.stats.to_clients_packets += 1;
        self.stats.to_clients_bytes += data.len() as u64;
        Ok(Handled::Forward(Forward::new(Destination::Client(path), header, 0..data.len())))
    }

    /// The live, bound-or-not allocation of a 5-tuple; one that has expired ends here.
    pub(crate) fn live(&mut self, path: &ClientPath, now: Instant) -> Option<u32> {
        let index = *self.paths.get(path)?;
        if self.allocations.get(index)?.expires <= now {
            self.end_allocation(index);
            return None;
        }
        Some(index)
    }

    pub(crate) fn relay_id(&self, index: u32) -> Option<RelayId> {
        self.allocations.generation(index).map(|generation| RelayId { index, generation })
    }

    pub(crate) fn ports(&mut self, family: AddressFamily) -> &mut PortPool {
        match family {
            AddressFamily::V4 => &mut self.ports_v4,
            AddressFamily::V6 => &mut self.ports_v6,
        }
    }

    /// Forgets an allocation and everything that was counted for it.
    pub(crate) fn end_allocation(&mut self, index: u32) {
        let relay = self.relay_id(index);
        let (Some(relay), Some(allocation)) = (relay, self.allocations.remove(index)) else { return };
        self.paths.remove(&allocation.path);
        self.deadlines.clear(index, allocation.expires);
        self.ledger.release(allocation.user());
        self.ports(allocation.family).release(allocation.port);
        self.stats.allocations -= 1;
        self.outbox.close(relay);
    }
}

fn admit(access: Access) -> Result<(), DropReason> {
    match access {
        Access::Granted => Ok(()),
        Access::Absent => Err(DropReason::NoPermission),
        Access::Denied => Err(DropReason::PeerDenied),
    }
}
