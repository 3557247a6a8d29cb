//! Requests: who asks, whether they may, and the answer (RFC 8489 §9.2.4, RFC 8656 §§7, 8, 10, 12).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use trunkline_stun::{
    AddressFamily, CHANNEL_MAX, CHANNEL_MIN, Class, IntegrityKey, Message, MessageWriter, Method, attr,
    decode_xor_address,
};

use crate::allocation::{Allocation, BindError};
use crate::auth;
use crate::server::TurnServer;
use crate::{ClientPath, DropReason, Refusal, RelayId};

/// Attributes below 0x8000 that we understand. DONT-FRAGMENT is not among them: it is answered 420, which tells the
/// client that it cannot have it (RFC 8656 §7.2).
const KNOWN: [u16; 11] = [
    attr::USERNAME,
    attr::MESSAGE_INTEGRITY,
    attr::CHANNEL_NUMBER,
    attr::LIFETIME,
    attr::XOR_PEER_ADDRESS,
    attr::REALM,
    attr::NONCE,
    attr::REQUESTED_ADDRESS_FAMILY,
    attr::EVEN_PORT,
    attr::REQUESTED_TRANSPORT,
    attr::RESERVATION_TOKEN,
];

/// IANA's number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

/// Ports that are tried before an Allocate is answered 508: another process may hold some of our range.
const BIND_ATTEMPTS_MAX: u8 = 8;

/// A request whose sender is proven.
struct Authenticated<'m> {
    key: IntegrityKey,
    username: &'m [u8],
    user_at: usize,
    /// The allocation of the 5-tuple.
    allocation: Option<u32>,
}

impl TurnServer {
    pub(crate) fn request(
        &mut self,
        path: ClientPath,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), DropReason> {
        if self.outbox.is_full() {
            return Err(DropReason::OutboxFull);
        }
        match message.method() {
            Method::BINDING => return self.binding(path, message, now),
            Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND => {}
            _ => return Err(DropReason::UnexpectedMessage),
        }
        let sender = match self.authenticate(&path, message, now) {
            Ok(sender) => sender,
            Err((refusal, None)) => return self.challenge(path, message, refusal, now),
            Err((refusal, Some(key))) => {
                self.refuse(path, message, refusal, &key);
                return Ok(());
            }
        };
        let key = sender.key.clone();
        let result = if message.unknown_required(&KNOWN).next().is_some() {
            Err(Refusal::UnknownAttribute)
        } else {
            match message.method() {
                Method::ALLOCATE => match self.allocate(path, &sender, message, now) {
                    // The answer follows when the relay socket is open.
                    Ok(Allocate::Pending) => return Ok(()),
                    Ok(Allocate::Repeated(index)) => return self.repeat_allocated(index),
                    Err(refusal) => Err(refusal),
                },
                Method::REFRESH => self.refresh(&sender, message, now).map(Some),
                Method::CREATE_PERMISSION => self.create_permission(&sender, message, now).map(|()| None),
                _ => self.channel_bind(&sender, message, now).map(|()| None),
            }
        };
        match result {
            Ok(lifetime) => self.succeed(path, message, lifetime, &key),
            Err(refusal) => self.refuse(path, message, refusal, &key),
        }
        Ok(())
    }

    /// Proves the sender or says why not, with the key to sign the refusal where there is one.
    ///
    /// The nonce comes first, although RFC 8489 §9.2.4 lists it last: it is the cheapest check, and a sender
    /// without one that is good for its address must not cost us a credential's three hashes.
    fn authenticate<'m>(
        &mut self,
        path: &ClientPath,
        message: &Message<'m>,
        now: Instant,
    ) -> Result<Authenticated<'m>, (Refusal, Option<IntegrityKey>)> {
        let refuse = |refusal| Err((refusal, None));
        if !message.has_integrity() {
            return refuse(Refusal::Unauthorized);
        }
        let (Some(username), Some(realm), Some(nonce)) = (
            message.attribute(attr::USERNAME),
            message.attribute(attr::REALM),
            message.attribute(attr::NONCE),
        ) else {
            return refuse(Refusal::BadRequest);
        };
        let unix = self.clock.unix_seconds(now);
        if !self.nonces.verify(nonce, path.client, unix) {
            return refuse(Refusal::StaleNonce);
        }
        if realm != self.config.realm.as_bytes() {
            return refuse(Refusal::Unauthorized);
        }
        let Some((expiry, user)) = auth::split_username(username) else {
            return refuse(Refusal::Unauthorized);
        };
        let user_at = username.len() - user.len();
        let index = self.live(path, now);
        let allocation = index.and_then(|index| self.allocations.get(index));
        if let Some(allocation) = allocation.filter(|allocation| *allocation.username == *username) {
            // Its own key, whatever became of the credential since: a call must not end with it.
            let key = allocation.key.clone();
            if !message.verify(&key) {
                return refuse(Refusal::Unauthorized);
            }
            return Ok(Authenticated { key, username, user_at, allocation: index });
        }
        if expiry <= unix {
            return refuse(Refusal::Unauthorized);
        }
        let Some(key) = auth::verify(&self.config.secrets, &self.config.realm, username, message) else {
            return refuse(Refusal::Unauthorized);
        };
        if index.is_some() && message.method() != Method::ALLOCATE {
            return Err((Refusal::WrongCredentials, Some(key)));
        }
        Ok(Authenticated { key, username, user_at, allocation: index })
    }

    fn binding(&mut self, path: ClientPath, message: &Message<'_>, now: Instant) -> Result<(), DropReason> {
        if message.unknown_required(&KNOWN).next().is_some() {
            return self.challenge(path, message, Refusal::UnknownAttribute, now);
        }
        // Nothing but the address, and FINGERPRINT only if the request had it: at most 1.5 times the request on
        // the wire (20 → 32 bytes behind 28 of IP and UDP), so that it does not pay to reflect.
        let start = self.outbox.bytes.len();
        let id = message.transaction_id();
        let mapped = SocketAddr::new(path.client.ip().to_canonical(), path.client.port());
        let writer = MessageWriter::new(&mut self.outbox.bytes, Class::Success, Method::BINDING, &id)
            .xor_address(attr::XOR_MAPPED_ADDRESS, mapped);
        finish(writer, message.has_fingerprint());
        self.outbox.transmit(path, start);
        self.stats.successes += 1;
        Ok(())
    }

    fn allocate(
        &mut self,
        path: ClientPath,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Allocate, Refusal> {
        if let Some(index) = sender.allocation {
            let allocation = self.allocations.get(index).ok_or(Refusal::AllocationMismatch)?;
            if allocation.transaction_id != message.transaction_id()
                || *allocation.username != *sender.username
            {
                return Err(Refusal::AllocationMismatch);
            }
            return Ok(Allocate::Repeated(index));
        }
        let wanted = Wanted::parse(message)?;
        let supported = match wanted.family {
            AddressFamily::V4 => self.config.relay_v4.is_some(),
            AddressFamily::V6 => self.config.relay_v6.is_some(),
        };
        if !supported {
            return Err(Refusal::FamilyNotSupported);
        }
        let user = &sender.username[sender.user_at..];
        let lifetime = self.granted_lifetime(wanted.lifetime);
        let pool = match wanted.family {
            AddressFamily::V4 => &mut self.ports_v4,
            AddressFamily::V6 => &mut self.ports_v6,
        };
        let port = pool.take(&mut self.rng, wanted.even_port).ok_or(Refusal::InsufficientCapacity)?;
        if !self.ledger.admit(user, self.config.limits.allocations_per_user) {
            pool.release(port);
            return Err(Refusal::QuotaReached);
        }
        let mut allocation = Allocation::new(
            path,
            sender.username,
            sender.user_at,
            sender.key.clone(),
            wanted.family,
            port,
            message.transaction_id(),
            lifetime,
            now,
        );
        allocation.even_port = wanted.even_port;
        allocation.with_fingerprint = message.has_fingerprint();
        let expires = allocation.expires;
        let Some((index, generation)) = self.allocations.insert(allocation) else {
            self.ports(wanted.family).release(port);
            self.ledger.release(user);
            return Err(Refusal::InsufficientCapacity);
        };
        self.paths.insert(path, index);
        self.deadlines.set(index, expires);
        self.stats.allocations += 1;
        self.stats.allocations_created += 1;
        self.outbox.bind(RelayId { index, generation }, wanted.family, port);
        Ok(Allocate::Pending)
    }

    /// The shell's answer to `BindRelay`.
    pub(crate) fn relay_bound(&mut self, relay: RelayId, bound: bool) {
        // An allocation that ended meanwhile has asked for the socket to be closed already.
        if self.relay_id(relay.index) != Some(relay) {
            return;
        }
        let Some(allocation) = self.allocations.get_mut(relay.index) else { return };
        if allocation.bound {
            return;
        }
        if bound {
            allocation.bound = true;
            self.answer_allocate(relay.index);
            return;
        }
        let (family, even, old) = (allocation.family, allocation.even_port, allocation.port);
        allocation.bind_attempts += 1;
        let attempts = allocation.bind_attempts;
        let pool = match family {
            AddressFamily::V4 => &mut self.ports_v4,
            AddressFamily::V6 => &mut self.ports_v6,
        };
        // Taken before the old one is released, so that it is another.
        let next = (attempts <= BIND_ATTEMPTS_MAX).then(|| pool.take(&mut self.rng, even)).flatten();
        if let Some(port) = next {
            pool.release(old);
            if let Some(allocation) = self.allocations.get_mut(relay.index) {
                allocation.port = port;
            }
            self.outbox.bind(relay, family, port);
            return;
        }
        self.answer_allocate_refused(relay.index);
        self.end_allocation(relay.index);
    }

    fn repeat_allocated(&mut self, index: u32) -> Result<(), DropReason> {
        if !self.allocations.get(index).is_some_and(|allocation| allocation.bound) {
            return Err(DropReason::AllocationPending);
        }
        self.answer_allocate(index);
        Ok(())
    }

    /// The success response to the Allocate that made an allocation: the same bytes whenever it is repeated.
    fn answer_allocate(&mut self, index: u32) {
        let Some(allocation) = self.allocations.get(index) else { return };
        let relay = match allocation.family {
            AddressFamily::V4 => self.config.relay_v4,
            AddressFamily::V6 => self.config.relay_v6,
        };
        let Some(relay) = relay else { return };
        let client = allocation.path.client;
        let start = self.outbox.bytes.len();
        let id = allocation.transaction_id;
        let writer = MessageWriter::new(&mut self.outbox.bytes, Class::Success, Method::ALLOCATE, &id)
            .xor_address(attr::XOR_RELAYED_ADDRESS, SocketAddr::new(relay.advertised, allocation.port))
            .attribute_u32(attr::LIFETIME, seconds(allocation.lifetime))
            .xor_address(attr::XOR_MAPPED_ADDRESS, SocketAddr::new(client.ip().to_canonical(), client.port()))
            .integrity(&allocation.key);
        finish(writer, allocation.with_fingerprint);
        self.outbox.transmit(allocation.path, start);
        self.stats.successes += 1;
    }

    fn answer_allocate_refused(&mut self, index: u32) {
        let Some(allocation) = self.allocations.get(index) else { return };
        let refusal = Refusal::InsufficientCapacity;
        let start = self.outbox.bytes.len();
        let id = allocation.transaction_id;
        let writer = MessageWriter::new(&mut self.outbox.bytes, Class::Error, Method::ALLOCATE, &id)
            .error(refusal.code(), refusal.reason())
            .integrity(&allocation.key);
        finish(writer, allocation.with_fingerprint);
        self.outbox.transmit(allocation.path, start);
        self.stats.refuse(refusal);
    }

    fn refresh(
        &mut self,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Duration, Refusal> {
        let index = sender.allocation.ok_or(Refusal::AllocationMismatch)?;
        let requested = lifetime(message)?;
        let granted = self.granted_lifetime(requested);
        let allocation = self.allocations.get_mut(index).ok_or(Refusal::AllocationMismatch)?;
        if requested_family(message, attr::REQUESTED_ADDRESS_FAMILY)?
            .is_some_and(|family| family != allocation.family)
        {
            return Err(Refusal::PeerFamilyMismatch);
        }
        if requested == Some(0) {
            self.end_allocation(index);
            return Ok(Duration::ZERO);
        }
        self.deadlines.clear(index, allocation.expires);
        allocation.expires = now + granted;
        self.deadlines.set(index, allocation.expires);
        Ok(granted)
    }

    fn create_permission(
        &mut self,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let index = sender.allocation.ok_or(Refusal::AllocationMismatch)?;
        let allocation = self.allocations.get_mut(index).ok_or(Refusal::AllocationMismatch)?;
        let mut ips: Vec<IpAddr> = Vec::new();
        for (kind, value) in message.attributes() {
            if kind != attr::XOR_PEER_ADDRESS {
                continue;
            }
            let peer = decode_xor_address(value, &message.transaction_id()).ok_or(Refusal::BadRequest)?;
            if AddressFamily::of(peer.ip()) != allocation.family {
                return Err(Refusal::PeerFamilyMismatch);
            }
            if !self.policy.policy.permits(peer.ip()) {
                return Err(Refusal::Forbidden);
            }
            if !ips.contains(&peer.ip()) {
                ips.push(peer.ip());
            }
            if ips.len() > self.config.limits.permissions {
                return Err(Refusal::InsufficientCapacity);
            }
        }
        if ips.is_empty() {
            return Err(Refusal::BadRequest);
        }
        if allocation.permit(&ips, &self.config.limits, self.policy.version, now) {
            Ok(())
        } else {
            Err(Refusal::InsufficientCapacity)
        }
    }

    fn channel_bind(
        &mut self,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let index = sender.allocation.ok_or(Refusal::AllocationMismatch)?;
        let allocation = self.allocations.get_mut(index).ok_or(Refusal::AllocationMismatch)?;
        // The lower half of CHANNEL-NUMBER is reserved (RFC 8656 §18.1).
        let number = message.attribute_u32(attr::CHANNEL_NUMBER).ok_or(Refusal::BadRequest)? >> 16;
        let max = if self.config.legacy_channels { 0x7FFF } else { CHANNEL_MAX };
        let number = u16::try_from(number).ok().filter(|number| (CHANNEL_MIN..=max).contains(number));
        let number = number.ok_or(Refusal::BadRequest)?;
        let peer = message.xor_address(attr::XOR_PEER_ADDRESS).ok_or(Refusal::BadRequest)?;
        if peer.port() == 0 {
            return Err(Refusal::BadRequest);
        }
        if AddressFamily::of(peer.ip()) != allocation.family {
            return Err(Refusal::PeerFamilyMismatch);
        }
        if !self.policy.policy.permits(peer.ip()) {
            return Err(Refusal::Forbidden);
        }
        allocation.bind_channel(number, peer, &self.config.limits, self.policy.version, now).map_err(
            |error| match error {
                BindError::Conflict => Refusal::BadRequest,
                BindError::Full => Refusal::InsufficientCapacity,
            },
        )
    }

    /// RFC 8656 §7.2: at least the default, at most the maximum.
    fn granted_lifetime(&self, requested: Option<u32>) -> Duration {
        let limits = &self.config.limits;
        let requested =
            requested.map_or(limits.lifetime_default, |seconds| Duration::from_secs(seconds.into()));
        requested.clamp(limits.lifetime_default, limits.lifetime_max)
    }

    fn succeed(
        &mut self,
        path: ClientPath,
        message: &Message<'_>,
        lifetime: Option<Duration>,
        key: &IntegrityKey,
    ) {
        let start = self.outbox.bytes.len();
        let id = message.transaction_id();
        let mut writer = MessageWriter::new(&mut self.outbox.bytes, Class::Success, message.method(), &id);
        if let Some(lifetime) = lifetime {
            writer = writer.attribute_u32(attr::LIFETIME, seconds(lifetime));
        }
        finish(writer.integrity(key), message.has_fingerprint());
        self.outbox.transmit(path, start);
        self.stats.successes += 1;
    }

    fn refuse(&mut self, path: ClientPath, message: &Message<'_>, refusal: Refusal, key: &IntegrityKey) {
        let start = self.outbox.bytes.len();
        let id = message.transaction_id();
        let mut writer = MessageWriter::new(&mut self.outbox.bytes, Class::Error, message.method(), &id)
            .error(refusal.code(), refusal.reason());
        if refusal == Refusal::UnknownAttribute {
            writer = writer.unknown_attributes(message.unknown_required(&KNOWN));
        }
        finish(writer.integrity(key), message.has_fingerprint());
        self.outbox.transmit(path, start);
        self.stats.refuse(refusal);
    }

    /// A refusal to somebody unproven: unsigned, rate-limited, and with a nonce where one helps.
    fn challenge(
        &mut self,
        path: ClientPath,
        message: &Message<'_>,
        refusal: Refusal,
        now: Instant,
    ) -> Result<(), DropReason> {
        if !self.limiter.admit(path.client.ip(), now) {
            return Err(DropReason::ChallengeLimited);
        }
        let nonce = self.nonces.issue(path.client, self.clock.unix_seconds(now));
        let start = self.outbox.bytes.len();
        let id = message.transaction_id();
        let mut writer = MessageWriter::new(&mut self.outbox.bytes, Class::Error, message.method(), &id)
            .error(refusal.code(), refusal.reason());
        if refusal == Refusal::UnknownAttribute {
            writer = writer.unknown_attributes(message.unknown_required(&KNOWN));
        }
        if matches!(refusal, Refusal::Unauthorized | Refusal::StaleNonce) {
            writer =
                writer.attribute(attr::REALM, self.config.realm.as_bytes()).attribute(attr::NONCE, &nonce);
        }
        finish(writer, message.has_fingerprint());
        self.outbox.transmit(path, start);
        self.stats.refuse(refusal);
        Ok(())
    }
}

enum Allocate {
    /// The relay socket is being opened.
    Pending,
    /// A retransmission of the request that made that allocation.
    Repeated(u32),
}

/// What an Allocate asks for.
struct Wanted {
    family: AddressFamily,
    lifetime: Option<u32>,
    even_port: bool,
}

impl Wanted {
    /// In the order of RFC 8656 §7.2.
    fn parse(message: &Message<'_>) -> Result<Self, Refusal> {
        let transport = message.attribute(attr::REQUESTED_TRANSPORT).ok_or(Refusal::BadRequest)?;
        match transport {
            [UDP, _, _, _] => {}
            [_, _, _, _] => return Err(Refusal::TransportNotSupported),
            _ => return Err(Refusal::BadRequest),
        }
        let family = requested_family(message, attr::REQUESTED_ADDRESS_FAMILY)?;
        let additional = requested_family(message, attr::ADDITIONAL_ADDRESS_FAMILY)?;
        let token = message.attribute(attr::RESERVATION_TOKEN);
        let even_port = message.attribute(attr::EVEN_PORT);
        if token.is_some() && (family.is_some() || additional.is_some() || even_port.is_some())
            || additional.is_some() && family.is_some()
        {
            return Err(Refusal::BadRequest);
        }
        // Reservations are not given yet, so no token is known and no second port can be held.
        if token.is_some() {
            return Err(Refusal::InsufficientCapacity);
        }
        let even_port = match even_port {
            None => false,
            Some([bits]) if bits & 0x80 == 0 => true,
            Some([_]) => return Err(Refusal::InsufficientCapacity),
            Some(_) => return Err(Refusal::BadRequest),
        };
        Ok(Self { family: family.unwrap_or(AddressFamily::V4), lifetime: lifetime(message)?, even_port })
    }
}

/// LIFETIME in seconds; malformed is 400.
fn lifetime(message: &Message<'_>) -> Result<Option<u32>, Refusal> {
    match message.attribute(attr::LIFETIME) {
        None => Ok(None),
        Some(_) => message.attribute_u32(attr::LIFETIME).map(Some).ok_or(Refusal::BadRequest),
    }
}

/// An address family attribute (RFC 8656 §18.6); an unknown family is 440.
fn requested_family(message: &Message<'_>, kind: u16) -> Result<Option<AddressFamily>, Refusal> {
    match message.attribute(kind) {
        None => Ok(None),
        Some([code, _, _, _]) => AddressFamily::from_code(*code).map(Some).ok_or(Refusal::FamilyNotSupported),
        Some(_) => Err(Refusal::BadRequest),
    }
}

fn seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
}

fn finish(writer: MessageWriter<'_>, fingerprint: bool) {
    if fingerprint {
        writer.fingerprint().finish()
    } else {
        writer.finish()
    };
}
