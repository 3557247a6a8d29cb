//! Allocate (RFC 8656 §7.2): what is asked for, the ports for it, and the answer once the sockets are open.

use std::net::SocketAddr;
use std::time::Instant;

use rand_chacha::rand_core::RngCore as _;
use trunkline_stun::{AddressFamily, Class, Message, MessageWriter, Method, attr};

use crate::allocation::{Allocation, FAMILIES, Origin, Relay, place};
use crate::event::EventKind;
use crate::ledger::Token;
use crate::ports::PortKind;
use crate::requests::{Authenticated, finish, lifetime, requested_family, seconds};
use crate::server::TurnServer;
use crate::{ClientPath, DropReason, Refusal, RelayId};

/// IANA's number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

/// Ports that are tried before an Allocate is answered 508: another process may hold some of our range.
const BIND_ATTEMPTS_MAX: u8 = 8;

pub(crate) enum Allocate {
    /// The relay sockets are being opened.
    Pending,
    /// A retransmission of the request that made that allocation.
    Repeated(u32),
}

/// What an Allocate asks for.
struct Wanted {
    relays: WantedRelays,
    lifetime: Option<u32>,
}

enum WantedRelays {
    One(AddressFamily, PortKind),
    /// ADDITIONAL-ADDRESS-FAMILY: one of each family.
    Dual(PortKind),
    /// The port that is held under that token.
    Reserved(Token),
}

/// The ports of a new allocation, IPv4 and IPv6.
struct Chosen {
    ports: [Option<(u16, PortKind)>; 2],
    /// The family that a dual allocation has to do without.
    lacks: Option<(AddressFamily, Refusal)>,
}

impl TurnServer {
    pub(crate) fn allocate(
        &mut self,
        path: ClientPath,
        sender: &Authenticated<'_>,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Allocate, Refusal> {
        if let Some(index) = sender.allocation {
            let allocation = self.allocations.get(index).ok_or(Refusal::AllocationMismatch)?;
            if allocation.origin.transaction_id != message.transaction_id()
                || *allocation.username != *sender.username
            {
                return Err(Refusal::AllocationMismatch);
            }
            return Ok(Allocate::Repeated(index));
        }
        let wanted = Wanted::parse(message)?;
        if let Some(alternates) = &self.alternates {
            let v4 = path.client.ip().to_canonical().is_ipv4();
            let any = alternates.iter().any(|alternate| alternate.is_ipv4() == v4);
            return Err(if any { Refusal::TryAlternate } else { Refusal::InsufficientCapacity });
        }
        if self.allocations.is_full() {
            return Err(Refusal::InsufficientCapacity);
        }
        let user = &sender.username[sender.user_at..];
        let Chosen { ports, lacks } = match wanted.relays {
            WantedRelays::Reserved(token) => {
                let (family, port) =
                    self.ports.ledger.redeem(&token, user).ok_or(Refusal::InsufficientCapacity)?;
                let mut ports = [None; 2];
                ports[place(family)] = Some((port, PortKind::Reserved));
                Chosen { ports, lacks: None }
            }
            WantedRelays::One(family, kind) => self.choose(&[family], kind, user)?,
            WantedRelays::Dual(kind) => self.choose(&FAMILIES, kind, user)?,
        };
        let lifetime = self.config.limits.granted_lifetime(wanted.lifetime);
        let expires = now + lifetime;
        let relays = ports
            .map(|port| port.map(|(port, kind)| Relay { port, kind, open: false, attempts: 1, expires }));
        let origin = Origin {
            transaction_id: message.transaction_id(),
            scheme: sender.scheme,
            fingerprint: message.has_fingerprint(),
            lifetime: seconds(lifetime),
            token: None,
            lacks,
            answered: false,
        };
        let allocation =
            Allocation::new(path, sender.username, sender.user_at, sender.password, relays, origin, now);
        let (index, generation) = self.allocations.insert(allocation).ok_or(Refusal::InsufficientCapacity)?;
        self.paths.insert(path, index);
        self.stats.allocations += 1;
        self.stats.allocations_created += 1;
        for (family, port) in FAMILIES.into_iter().zip(ports) {
            let Some((port, _)) = port else { continue };
            let relay = RelayId::new(index, generation, family);
            self.wheel.set(relay.index() as u32, expires);
            self.outbox.bind(relay, port);
        }
        Ok(Allocate::Pending)
    }

    /// Takes a port of each family that can be had and counts them for the user. With two families asked for, one
    /// is enough.
    fn choose(&mut self, families: &[AddressFamily], kind: PortKind, user: &[u8]) -> Result<Chosen, Refusal> {
        let mut chosen = Chosen { ports: [None; 2], lacks: None };
        for family in families {
            let port = match self.config.relay(*family) {
                None => Err(Refusal::FamilyNotSupported),
                Some(_) => self.ports.take(*family, kind, &mut self.rng).ok_or(Refusal::InsufficientCapacity),
            };
            match port {
                Ok(port) => chosen.ports[place(*family)] = Some((port, kind)),
                Err(refusal) => chosen.lacks = Some((*family, refusal)),
            }
        }
        if chosen.ports == [None; 2] {
            // Where two were asked for, at least one is supported and has no port left.
            let refusal = chosen.lacks.map(|(_, refusal)| refusal).filter(|_| families.len() == 1);
            return Err(refusal.unwrap_or(Refusal::InsufficientCapacity));
        }
        // A reserved port is counted as the allocation that it can become.
        let count = if kind == PortKind::EvenWithNext { 2 } else { 1 };
        if !self.ports.ledger.admit(user, count, self.config.limits.allocations_per_user) {
            for (family, port) in FAMILIES.into_iter().zip(chosen.ports) {
                let Some((port, _)) = port else { continue };
                self.ports.release(family, port);
                if kind == PortKind::EvenWithNext {
                    self.ports.release(family, port + 1);
                }
            }
            return Err(Refusal::QuotaReached);
        }
        Ok(chosen)
    }

    /// The shell's answer to `BindRelay`.
    pub(crate) fn relay_bound(&mut self, id: RelayId, bound: bool, now: Instant) {
        let (index, family) = (id.allocation(), id.family());
        // An allocation that ended meanwhile has asked for the socket to be closed already.
        let Some((_, allocation)) =
            self.allocations.entry(index).filter(|(generation, _)| *generation == id.generation())
        else {
            return;
        };
        let Some(relay) = allocation.relays[place(family)].as_mut().filter(|relay| !relay.open) else {
            return;
        };
        if bound {
            relay.open = true;
        } else {
            relay.attempts += 1;
            let Relay { port: old, kind, attempts, .. } = *relay;
            let retry = attempts <= BIND_ATTEMPTS_MAX && kind != PortKind::Reserved;
            // Taken before the old one is released, so that it is another.
            let next = retry.then(|| self.ports.take(family, kind, &mut self.rng)).flatten();
            if let Some(port) = next {
                relay.port = port;
                self.ports.release(family, old);
                if kind == PortKind::EvenWithNext {
                    self.ports.release(family, old + 1);
                }
                self.outbox.bind(id, port);
                return;
            }
            allocation.origin.lacks = Some((family, Refusal::InsufficientCapacity));
            if allocation.relays.iter().flatten().count() == 1 {
                self.answer_allocate_refused(index);
                self.end_allocation(index, now);
                return;
            }
            self.close_relay(index, family);
        }
        let pending = |allocation: &Allocation| allocation.relays.iter().flatten().any(|relay| !relay.open);
        if self.allocations.get(index).is_some_and(|allocation| !pending(allocation)) {
            self.finish_allocate(index, now);
        }
    }

    /// Every socket is open, or known not to be: the client is told.
    fn finish_allocate(&mut self, index: u32, now: Instant) {
        let Some(allocation) = self.allocations.get_mut(index) else { return };
        for (family, relay) in FAMILIES.into_iter().zip(allocation.relays) {
            let Some(relay) = relay.filter(|relay| relay.kind == PortKind::EvenWithNext) else { continue };
            let mut token = [0; 8];
            self.rng.fill_bytes(&mut token);
            allocation.origin.token = Some(token);
            let end = now + self.config.limits.reservation_lifetime;
            self.ports.reserve(token, allocation.user(), family, relay.port + 1, end);
        }
        allocation.origin.answered = true;
        self.answer_allocate(index);
        if let Some(allocation) = self.allocations.get(index) {
            self.outbox.event(allocation.user(), EventKind::Made);
        }
    }

    pub(crate) fn repeat_allocated(&mut self, index: u32) -> Result<(), DropReason> {
        if !self.allocations.get(index).is_some_and(|allocation| allocation.origin.answered) {
            return Err(DropReason::AllocationPending);
        }
        self.answer_allocate(index);
        Ok(())
    }

    /// The success response to the Allocate that made an allocation: the same bytes whenever it is repeated.
    fn answer_allocate(&mut self, index: u32) {
        let Some(allocation) = self.allocations.get(index) else { return };
        let (origin, client) = (&allocation.origin, allocation.path.client);
        let start = self.outbox.bytes.len();
        let id = origin.transaction_id;
        let mut writer = MessageWriter::new(&mut self.outbox.bytes, Class::Success, Method::ALLOCATE, &id);
        for (family, relay) in FAMILIES.into_iter().zip(&allocation.relays) {
            if let (Some(relay), Some(address)) = (relay, self.config.relay(family)) {
                let relayed = SocketAddr::new(address.advertised, relay.port);
                writer = writer.xor_address(attr::XOR_RELAYED_ADDRESS, relayed);
            }
        }
        writer = writer.attribute_u32(attr::LIFETIME, origin.lifetime).xor_address(
            attr::XOR_MAPPED_ADDRESS,
            SocketAddr::new(client.ip().to_canonical(), client.port()),
        );
        if let Some(token) = &origin.token {
            writer = writer.attribute(attr::RESERVATION_TOKEN, token);
        }
        if let Some((family, refusal)) = origin.lacks {
            writer = writer.address_error(family, refusal.code(), refusal.reason());
        }
        let writer = writer.integrity(&allocation.answer_key(&self.config.realm));
        finish(writer, origin.fingerprint);
        self.outbox.transmit(allocation.path, start);
        self.stats.successes += 1;
    }

    fn answer_allocate_refused(&mut self, index: u32) {
        let Some(allocation) = self.allocations.get(index) else { return };
        let refusal = Refusal::InsufficientCapacity;
        let start = self.outbox.bytes.len();
        let id = allocation.origin.transaction_id;
        let writer = MessageWriter::new(&mut self.outbox.bytes, Class::Error, Method::ALLOCATE, &id)
            .error(refusal.code(), refusal.reason())
            .integrity(&allocation.answer_key(&self.config.realm));
        finish(writer, allocation.origin.fingerprint);
        self.outbox.transmit(allocation.path, start);
        self.stats.refuse(refusal);
    }

    /// For a 300: a server of the client's family, and one of the other if there is one (RFC 8489 §10). Any of
    /// several, so that the crowd of a drained server is spread.
    pub(crate) fn choose_alternates(&mut self, client: std::net::IpAddr) -> [Option<SocketAddr>; 2] {
        let v4 = client.to_canonical().is_ipv4();
        [v4, !v4].map(|v4| {
            let of_family = || self.alternates.iter().flatten().filter(|addr| addr.is_ipv4() == v4);
            let nth = (self.rng.next_u32() as usize).checked_rem(of_family().count())?;
            of_family().nth(nth).copied()
        })
    }
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
        let token = message.attribute(attr::RESERVATION_TOKEN);
        let even_port = message.attribute(attr::EVEN_PORT);
        let has = |kind| message.attribute(kind).is_some();
        let family = has(attr::REQUESTED_ADDRESS_FAMILY);
        let additional = has(attr::ADDITIONAL_ADDRESS_FAMILY);
        if token.is_some() && (family || additional || even_port.is_some()) || additional && family {
            return Err(Refusal::BadRequest);
        }
        let family = requested_family(message, attr::REQUESTED_ADDRESS_FAMILY)?;
        let additional = requested_family(message, attr::ADDITIONAL_ADDRESS_FAMILY)?;
        let kind = match even_port {
            None => PortKind::Any,
            Some([bits]) if bits & 0x80 == 0 => PortKind::Even,
            Some([_]) => PortKind::EvenWithNext,
            Some(_) => return Err(Refusal::BadRequest),
        };
        let relays = match (token, additional) {
            (Some(token), _) => WantedRelays::Reserved(token.try_into().map_err(|_| Refusal::BadRequest)?),
            // One token cannot stand for a port of each family; and IPv4 is what a client gets anyway.
            (None, Some(_)) if kind == PortKind::EvenWithNext => return Err(Refusal::BadRequest),
            (None, Some(AddressFamily::V4)) => return Err(Refusal::BadRequest),
            (None, Some(AddressFamily::V6)) => WantedRelays::Dual(kind),
            (None, None) => WantedRelays::One(family.unwrap_or(AddressFamily::V4), kind),
        };
        Ok(Self { relays, lifetime: lifetime(message)? })
    }
}
