//! What an operator decides, checked once at the start.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use trunkline_stun::AddressFamily;

use crate::{IpRange, PeerPolicy, Secret};

/// Everything that [`crate::TurnServer::new`] needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// REALM, 1–127 bytes. Part of every key: changing it ends no allocation but invalidates no credential either,
    /// since clients learn it from the 401.
    pub realm: String,
    /// One secret, or two while one replaces the other. Both are accepted; the first makes nonces.
    pub secrets: Vec<Secret>,
    /// Where IPv4 relay sockets live; without it IPv4 allocations are answered 440.
    pub relay_v4: Option<RelayAddress>,
    /// Where IPv6 relay sockets live; without it IPv6 allocations are answered 440.
    pub relay_v6: Option<RelayAddress>,
    /// UDP ports of relay sockets, in both families. One allocation takes one, or one of each family.
    pub relay_ports: RangeInclusive<u16>,
    /// Peers that the built-in list would refuse and that clients may reach all the same, such as an SFU on a
    /// private address.
    pub allow_peers: Vec<IpRange>,
    /// Peers refused whatever `allow_peers` says.
    pub deny_peers: Vec<IpRange>,
    /// The host's own addresses besides the relay's: public, operator, link. Refused unless allowed.
    pub own_addresses: Vec<IpAddr>,
    /// Accept channel numbers up to 0x7FFF as RFC 5766 §11 did; RFC 8656 §12 ends them at 0x4FFF. For old clients
    /// on a port that is TURN's alone (RFC 7983 gives 0x50–0x7F to nobody).
    pub legacy_channels: bool,
    /// Bounds.
    pub limits: Limits,
}

/// An address of relay sockets: `bind` is the host's, `advertised` the one that peers see (they differ behind 1:1
/// NAT). Both are of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelayAddress {
    /// Bound by the shell.
    pub bind: IpAddr,
    /// Told to clients in XOR-RELAYED-ADDRESS.
    pub advertised: IpAddr,
}

/// Bounds of one server value. Worst-case memory is about `allocations × (1 KiB + permissions × 56 B + channels ×
/// 72 B)`: 10,000 allocations with every slot used take 50 MB, and some 12 MB as browsers use them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Live allocations of the whole server ([`Config::part`] divides them). Default 10,000. Higher: more memory and
    /// relay sockets. Lower: 508 sooner.
    pub allocations: usize,
    /// Live allocations of one user (the part of the username behind the expiry), on all shards together; a reserved
    /// port counts as one. Default 24, which is a few devices with a few candidates each. Higher: one leaked credential can take more ports. Lower: users with
    /// many interfaces are answered 486.
    pub allocations_per_user: u32,
    /// Permissions (peer IP addresses) of one allocation. Default 64, twice `new_peers_burst`. Higher: more memory and a longer scan for
    /// each packet without a channel. Lower: calls with many candidates are answered 508.
    pub permissions: usize,
    /// Channels of one allocation. Default 32. Higher: more memory and a longer scan a packet. Lower: 508 sooner.
    pub channels: usize,
    /// Lifetime given when the client asks for none or less (RFC 8656 §7.2: 600 s). Higher: abandoned allocations
    /// stay longer. Lower: clients refresh more often.
    pub lifetime_default: Duration,
    /// The longest lifetime given (RFC 8656 §7.2 recommends 3,600 s). Effects as above.
    pub lifetime_max: Duration,
    /// Permission lifetime (RFC 8656 §9: 300 s). Clients assume that value.
    pub permission_lifetime: Duration,
    /// Channel lifetime (RFC 8656 §12: 600 s). Clients assume that value.
    pub channel_lifetime: Duration,
    /// How long a nonce is good (RFC 8656 §5: at most one hour). Higher: a stolen nonce lives longer. Lower: more
    /// 438 round trips.
    pub nonce_lifetime: Duration,
    /// Unauthenticated error answers to one source (IPv4 address or IPv6 /64) a second; more is dropped and
    /// counted. Default 256. Takes 32 KiB whatever it is, so sources can share a count. Higher: a better reflector.
    /// Lower: many clients behind one address wait for a retransmission.
    pub challenges_per_second: u32,
    /// Packets a second of one allocation, each way; what exceeds them is dropped, counted and reported. A second's
    /// worth may come at once. Default 10,000, some 100 Mbit/s of full packets. Higher: one user, or a loop through
    /// two relays, can take more of the machine. Lower: fast transfers over data channels are slowed.
    pub allocation_packets_per_second: u64,
    /// Payload bytes a second of one allocation, each way, at least 65,536. Default 12 MiB (100 Mbit/s). Effects
    /// as above.
    pub allocation_bytes_per_second: u64,
    /// Packets a second of the whole server, both ways together ([`Config::part`] divides them). Default: no bound.
    /// Lower: everybody loses packets before the machine or its uplink is overrun.
    pub total_packets_per_second: Option<u64>,
    /// Payload bytes a second of the whole server, both ways together, at least 65,536 a shard. Default: no bound.
    /// Effects as above.
    pub total_bytes_per_second: Option<u64>,
    /// New peers (IP addresses without a live permission) of one allocation a second, after the first
    /// `new_peers_burst`; more is answered 508 and reported. Default 5. Higher: an allocation scans a network
    /// faster. Lower: a client that learns many candidates late must ask again.
    pub new_peers_per_second: u32,
    /// New peers of one allocation at once. Default 32, which is every permission that it may have. Effects as above.
    pub new_peers_burst: u32,
    /// How long a port is held under a RESERVATION-TOKEN (RFC 8656 §7.2: at least 30 s). Default 30 s. Higher:
    /// unused ports are missing longer. Lower: slow clients are answered 508.
    pub reservation_lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            allocations: 10_000,
            allocations_per_user: 24,
            permissions: 64,
            channels: 32,
            lifetime_default: Duration::from_secs(600),
            lifetime_max: Duration::from_secs(3600),
            permission_lifetime: Duration::from_secs(300),
            channel_lifetime: Duration::from_secs(600),
            nonce_lifetime: Duration::from_secs(3600),
            challenges_per_second: 256,
            allocation_packets_per_second: 10_000,
            allocation_bytes_per_second: 12 << 20,
            total_packets_per_second: None,
            total_bytes_per_second: None,
            new_peers_per_second: 5,
            new_peers_burst: 32,
            reservation_lifetime: Duration::from_secs(30),
        }
    }
}

/// A configuration that cannot be served: the operator's fault, found before anything starts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// REALM is empty or longer than 127 bytes (RFC 8489 §14.9 allows fewer than 128 characters).
    #[error("realm must have 1 to 127 bytes")]
    Realm,
    /// No secret, more than two, or an empty one.
    #[error("one secret is needed, or two while one replaces the other")]
    Secrets,
    /// Neither family has a relay address.
    #[error("at least one relay address is needed")]
    NoRelayAddress,
    /// A relay address is of the wrong family, or the advertised one is unspecified.
    #[error("relay address {0} is of the wrong family or cannot be advertised")]
    RelayAddress(IpAddr),
    /// The port range is empty or starts at 0.
    #[error("relay port range {0}-{1} is empty or starts at 0")]
    RelayPorts(u16, u16),
    /// More shards than pairs of relay ports.
    #[error("{0} shards need as many pairs of relay ports")]
    Shards(usize),
    /// A limit is 0, or the default lifetime exceeds the longest.
    #[error("limit {0} is out of range")]
    Limit(&'static str),
}

impl Config {
    pub(crate) fn relay(&self, family: AddressFamily) -> Option<RelayAddress> {
        match family {
            AddressFamily::V4 => self.relay_v4,
            AddressFamily::V6 => self.relay_v6,
        }
    }

    /// The peer policy that these settings make, the relay's own addresses refused with the rest.
    #[must_use]
    pub fn peer_policy(&self) -> PeerPolicy {
        let mut own = self.own_addresses.clone();
        for relay in [self.relay_v4, self.relay_v6].into_iter().flatten() {
            own.extend([relay.bind, relay.advertised]);
        }
        PeerPolicy::new(&self.allow_peers, &self.deny_peers, &own)
    }

    /// What shard `index` of `shards` serves: its part of the relay ports, and of what is counted for the whole
    /// server. Parts begin at even ports, so that no pair is torn.
    ///
    /// # Errors
    /// [`ConfigError::Shards`] when there are fewer port pairs than shards.
    pub fn part(&self, index: usize, shards: usize) -> Result<Self, ConfigError> {
        let (first, last) = (u32::from(*self.relay_ports.start()), u32::from(*self.relay_ports.end()));
        let pairs = (last / 2 + 1).saturating_sub(first / 2) as usize;
        if index >= shards || pairs < shards {
            return Err(ConfigError::Shards(shards));
        }
        let start = |index: usize| (first / 2 * 2) + (pairs * index / shards * 2) as u32;
        let (from, to) = (start(index).max(first) as u16, (start(index + 1) - 1).min(last) as u16);
        let mut limits = self.limits.clone();
        limits.allocations = limits.allocations.div_ceil(shards);
        // A source with many ports reaches every shard.
        limits.challenges_per_second = limits.challenges_per_second.div_ceil(shards as u32);
        for total in [&mut limits.total_packets_per_second, &mut limits.total_bytes_per_second] {
            *total = total.map(|total| total / shards as u64);
        }
        Ok(Self { relay_ports: from..=to, limits, ..self.clone() })
    }

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.realm.is_empty() || self.realm.len() > 127 {
            return Err(ConfigError::Realm);
        }
        if !(1..=2).contains(&self.secrets.len()) || self.secrets.iter().any(Secret::is_empty) {
            return Err(ConfigError::Secrets);
        }
        if self.relay_v4.is_none() && self.relay_v6.is_none() {
            return Err(ConfigError::NoRelayAddress);
        }
        for (relay, v4) in [(self.relay_v4, true), (self.relay_v6, false)] {
            let Some(relay) = relay else { continue };
            for ip in [relay.bind, relay.advertised] {
                if ip.is_ipv4() != v4 {
                    return Err(ConfigError::RelayAddress(ip));
                }
            }
            if relay.advertised.is_unspecified() {
                return Err(ConfigError::RelayAddress(relay.advertised));
            }
        }
        let (first, last) = (*self.relay_ports.start(), *self.relay_ports.end());
        if first == 0 || first > last {
            return Err(ConfigError::RelayPorts(first, last));
        }
        self.limits.check()
    }
}

impl Limits {
    /// RFC 8656 §7.2: at least the default, at most the maximum.
    pub(crate) fn granted_lifetime(&self, requested: Option<u32>) -> Duration {
        let requested =
            requested.map_or(self.lifetime_default, |seconds| Duration::from_secs(seconds.into()));
        requested.clamp(self.lifetime_default, self.lifetime_max)
    }

    fn check(&self) -> Result<(), ConfigError> {
        for (name, zero) in [
            // Relays are numbered with 32 bits, two for each allocation.
            ("allocations", self.allocations == 0 || i32::try_from(self.allocations).is_err()),
            ("allocations_per_user", self.allocations_per_user == 0),
            ("permissions", self.permissions == 0),
            ("channels", self.channels == 0),
            (
                "lifetime_default",
                self.lifetime_default.is_zero() || self.lifetime_default > self.lifetime_max,
            ),
            ("lifetime_max", u32::try_from(self.lifetime_max.as_secs()).is_err()),
            ("permission_lifetime", self.permission_lifetime.is_zero()),
            ("channel_lifetime", self.channel_lifetime.is_zero()),
            ("nonce_lifetime", self.nonce_lifetime.is_zero()),
            ("challenges_per_second", self.challenges_per_second == 0),
            ("allocation_packets_per_second", self.allocation_packets_per_second == 0),
            // Else the largest packet would never pass.
            ("allocation_bytes_per_second", self.allocation_bytes_per_second < 65_536),
            ("total_packets_per_second", self.total_packets_per_second == Some(0)),
            ("total_bytes_per_second", self.total_bytes_per_second.is_some_and(|total| total < 65_536)),
            ("new_peers_per_second", self.new_peers_per_second == 0),
            ("new_peers_burst", self.new_peers_burst == 0),
            ("reservation_lifetime", self.reservation_lifetime.is_zero()),
        ] {
            if zero {
                return Err(ConfigError::Limit(name));
            }
        }
        Ok(())
    }
}
