//! Requests: who asks, whether they may, and the answer (RFC 8489 §9.2.4, RFC 8656 §§8, 10, 12). Allocate is in
//! `allocate`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use trunkline_stun::{
    AddressFamily, CHANNEL_MAX, CHANNEL_MIN, Class, IntegrityKey, Message, MessageWriter, Method, attr,
    decode_xor_address,
};

use crate::allocate::Allocate;
use crate::allocation::{Allocation, BindError, FAMILIES, Judge, place};
use crate::auth::{self, PASSWORD_ALGORITHMS, Password, Scheme};
use crate::server::TurnServer;
use crate::{ClientPath, DropReason, Refusal, RelayId, Throttle};

/// Attributes below 0x8000 that we understand. DONT-FRAGMENT is not among them: it is answered 420, which tells the
/// client that it cannot have it (RFC 8656 §7.2).
const KNOWN: [u16; 14] = [
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
    attr::MESSAGE_INTEGRITY_SHA256,
    attr::PASSWORD_ALGORITHM,
    attr::USERHASH,
];

/// A request whose sender is proven.
pub(crate) struct Authenticated<'m> {
    /// Signs the answer.
    pub(crate) key: IntegrityKey,
    pub(crate) scheme: Scheme,
    pub(crate) password: Password,
    pub(crate) username: &'m [u8],
    pub(crate) user_at: usize,
    /// The allocation of the 5-tuple.
    pub(crate) allocation: Option<u32>,
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
        let username = message.attribute(attr::USERNAME);
        let (Some(realm), Some(nonce)) = (message.attribute(attr::REALM), message.attribute(attr::NONCE))
        else {
            return refuse(Refusal::BadRequest);
        };
        if username.is_none() && message.attribute(attr::USERHASH).is_none() {
            return refuse(Refusal::BadRequest);
        }
        let unix = self.clock.unix_seconds(now);
        if !self.nonces.verify(nonce, path.client, unix) {
            return refuse(Refusal::StaleNonce);
        }
        let scheme = Scheme::of(message).map_err(|refusal| (refusal, None))?;
        if realm != self.config.realm.as_bytes() {
            return refuse(Refusal::Unauthorized);
        }
        // A USERHASH alone names nobody: we did not ask for one, and cannot find an ephemeral username by it.
        let Some((username, (expiry, user))) =
            username.and_then(|username| Some((username, auth::split_username(username)?)))
        else {
            return refuse(Refusal::Unauthorized);
        };
        let index = self.live(path, now);
        let allocation = index.and_then(|index| self.allocations.get(index));
        let (realm, secrets) = (&self.config.realm, &self.config.secrets);
        let its_own = allocation.filter(|allocation| *allocation.username == *username);
        let password = match its_own.map(|allocation| allocation.password) {
            // Whatever became of the credential since: a call must not end with it.
            Some(password) => scheme.verify(message, &password, username, realm).then_some(password),
            None if expiry <= unix => None,
            None => auth::find_password(secrets, scheme, realm, username, message),
        };
        let Some(password) = password else { return refuse(Refusal::Unauthorized) };
        let key = scheme.answer_key(&password, username, realm);
        if allocation.is_some() && its_own.is_none() && message.method() != Method::ALLOCATE {
            return Err((Refusal::WrongCredentials, Some(key)));
        }
        let user_at = username.len() - user.len();
        Ok(Authenticated { key, scheme, password, username, user_at, allocation: index })
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

    /// RFC 8656 §8.2: all relays of the allocation, or that of REQUESTED-ADDRESS-FAMILY.
    fn refresh(
        &mut self,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Duration, Refusal> {
        let index = sender.allocation.ok_or(Refusal::AllocationMismatch)?;
        let lifetime = lifetime(message)?;
        let only = requested_family(message, attr::REQUESTED_ADDRESS_FAMILY)?;
        let (generation, allocation) = self.allocations.entry(index).ok_or(Refusal::AllocationMismatch)?;
        if only.is_some_and(|family| allocation.relay(family).is_none()) {
            return Err(Refusal::PeerFamilyMismatch);
        }
        let meant = FAMILIES.into_iter().filter(|family| only.is_none_or(|only| only == *family));
        if lifetime == Some(0) {
            meant.for_each(|family| self.end_relay(index, family, now));
            return Ok(Duration::ZERO);
        }
        let granted = self.config.limits.granted_lifetime(lifetime);
        for family in meant {
            if let Some(relay) = &mut allocation.relays[place(family)] {
                relay.expires = now + granted;
                self.wheel.set(RelayId::new(index, generation, family).index() as u32, relay.expires);
            }
        }
        Ok(granted)
    }

    fn create_permission(
        &mut self,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let index = sender.allocation.ok_or(Refusal::AllocationMismatch)?;
        let mut ips: Vec<IpAddr> = Vec::new();
        for (kind, value) in message.attributes() {
            if kind != attr::XOR_PEER_ADDRESS {
                continue;
            }
            let peer = decode_xor_address(value, &message.transaction_id()).ok_or(Refusal::BadRequest)?;
            self.admit_peer(index, peer)?;
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
        self.judged(index, now, |allocation, judge| allocation.permit(&ips, judge))
    }

    fn channel_bind(
        &mut self,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let index = sender.allocation.ok_or(Refusal::AllocationMismatch)?;
        // The lower half of CHANNEL-NUMBER is reserved (RFC 8656 §18.1).
        let number = message.attribute_u32(attr::CHANNEL_NUMBER).ok_or(Refusal::BadRequest)? >> 16;
        let max = if self.config.legacy_channels { 0x7FFF } else { CHANNEL_MAX };
        let number = u16::try_from(number).ok().filter(|number| (CHANNEL_MIN..=max).contains(number));
        let number = number.ok_or(Refusal::BadRequest)?;
        let peer = message.xor_address(attr::XOR_PEER_ADDRESS).ok_or(Refusal::BadRequest)?;
        if peer.port() == 0 {
            return Err(Refusal::BadRequest);
        }
        self.admit_peer(index, peer)?;
        self.judged(index, now, |allocation, judge| allocation.bind_channel(number, peer, judge))
    }

    /// Whether an allocation may have that peer at all: its family, then the policy.
    fn admit_peer(&self, index: u32, peer: SocketAddr) -> Result<(), Refusal> {
        let allocation = self.allocations.get(index).ok_or(Refusal::AllocationMismatch)?;
        if allocation.relay(AddressFamily::of(peer.ip())).is_none() {
            return Err(Refusal::PeerFamilyMismatch);
        }
        if !self.policy.policy.permits(peer.ip()) {
            return Err(Refusal::Forbidden);
        }
        Ok(())
    }

    fn judged(
        &mut self,
        index: u32,
        now: Instant,
        ask: impl FnOnce(&mut Allocation, &Judge<'_>) -> Result<(), BindError>,
    ) -> Result<(), Refusal> {
        let judge = Judge {
            limits: &self.config.limits,
            new_peers: &self.paces.new_peers,
            version: self.policy.version,
            now,
            nanos: self.clock.nanos(now),
        };
        let allocation = self.allocations.get_mut(index).ok_or(Refusal::AllocationMismatch)?;
        ask(allocation, &judge).map_err(|error| match error {
            BindError::Conflict => Refusal::BadRequest,
            BindError::Full => Refusal::InsufficientCapacity,
            BindError::TooFast => {
                self.throttle(index, Throttle::NewPeers, now);
                Refusal::InsufficientCapacity
            }
        })
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
        let alternates = match refusal {
            Refusal::TryAlternate => self.choose_alternates(path.client.ip()),
            _ => [None; 2],
        };
        let start = self.outbox.bytes.len();
        let id = message.transaction_id();
        let mut writer = MessageWriter::new(&mut self.outbox.bytes, Class::Error, message.method(), &id)
            .error(refusal.code(), refusal.reason());
        if refusal == Refusal::UnknownAttribute {
            writer = writer.unknown_attributes(message.unknown_required(&KNOWN));
        }
        for alternate in alternates.into_iter().flatten() {
            writer = writer.address(attr::ALTERNATE_SERVER, alternate);
        }
        finish(writer.integrity(key), message.has_fingerprint());
        self.outbox.transmit(path, start);
        self.stats.refuse(refusal);
    }

    /// A refusal to somebody unproven: unsigned, rate-limited, and with a nonce where one helps. On a stream nobody can be
    /// made to answer a stranger, and no request comes again (RFC 8489 §6.2.2): there the bound is that of connections.
    fn challenge(
        &mut self,
        path: ClientPath,
        message: &Message<'_>,
        refusal: Refusal,
        now: Instant,
    ) -> Result<(), DropReason> {
        if path.stream.is_none() && !self.limiter.admit(path.client.ip(), now) {
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
            writer = writer
                .attribute(attr::REALM, self.config.realm.as_bytes())
                .attribute(attr::NONCE, &nonce)
                .attribute(attr::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
        }
        finish(writer, message.has_fingerprint());
        self.outbox.transmit(path, start);
        self.stats.refuse(refusal);
        Ok(())
    }
}

/// LIFETIME in seconds; malformed is 400.
pub(crate) fn lifetime(message: &Message<'_>) -> Result<Option<u32>, Refusal> {
    match message.attribute(attr::LIFETIME) {
        None => Ok(None),
        Some(_) => message.attribute_u32(attr::LIFETIME).map(Some).ok_or(Refusal::BadRequest),
    }
}

/// An address family attribute (RFC 8656 §18.6); an unknown family is 440.
pub(crate) fn requested_family(message: &Message<'_>, kind: u16) -> Result<Option<AddressFamily>, Refusal> {
    match message.attribute(kind) {
        None => Ok(None),
        Some([code, _, _, _]) => AddressFamily::from_code(*code).map(Some).ok_or(Refusal::FamilyNotSupported),
        Some(_) => Err(Refusal::BadRequest),
    }
}

pub(crate) fn seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
}

pub(crate) fn finish(writer: MessageWriter<'_>, fingerprint: bool) {
    if fingerprint {
        writer.fingerprint().finish()
    } else {
        writer.finish()
    };
}
