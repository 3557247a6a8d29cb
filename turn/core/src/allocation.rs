//! One allocation with its relays, permissions and channels (RFC 8656 §§6, 9, 12).

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use trunkline_stun::{AddressFamily, IntegrityKey, TransactionId};

use crate::auth::{Password, Scheme};
use crate::ledger::Token;
use crate::ports::PortKind;
use crate::rate::{Bucket, Pace, RelayBuckets};
use crate::{ClientPath, Limits, PeerPolicy, Refusal, Usage};

/// The peer policy with a number that grows whenever it changes.
#[derive(Debug)]
pub(crate) struct PolicyVersion {
    pub(crate) policy: PeerPolicy,
    pub(crate) version: u32,
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) path: ClientPath,
    pub(crate) username: Box<[u8]>,
    /// Where the user starts in `username`.
    pub(crate) user_at: usize,
    /// The password that it was made with: it outlives the credential's expiry and the secret's rotation.
    pub(crate) password: Password,
    /// The relayed transport addresses, IPv4 and IPv6: at least one.
    pub(crate) relays: [Option<Relay>; 2],
    pub(crate) origin: Origin,
    pub(crate) made: Instant,
    pub(crate) usage: Usage,
    pub(crate) to_peers: RelayBuckets,
    pub(crate) to_client: RelayBuckets,
    pub(crate) new_peers: Bucket,
    /// When it was reported last for going over a limit.
    pub(crate) reported: Option<Instant>,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
}

/// A relayed transport address; its IP is the configuration's. Each has its own time-to-expiry (RFC 8656 §6).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relay {
    pub(crate) port: u16,
    pub(crate) kind: PortKind,
    /// Whether the shell has said that the socket is open.
    pub(crate) open: bool,
    /// Ports that were asked for so far.
    pub(crate) attempts: u8,
    pub(crate) expires: Instant,
}

/// The Allocate that made it, as far as its answer needs it, so that a retransmission gets the same answer.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) transaction_id: TransactionId,
    pub(crate) scheme: Scheme,
    pub(crate) fingerprint: bool,
    pub(crate) lifetime: u32,
    /// RESERVATION-TOKEN of the answer.
    pub(crate) token: Option<Token>,
    /// ADDRESS-ERROR-CODE of the answer: the family that a dual allocation lacks, and why.
    pub(crate) lacks: Option<(AddressFamily, Refusal)>,
    /// Whether it was answered.
    pub(crate) answered: bool,
}

#[derive(Debug, Clone, Copy)]
struct Permission {
    ip: IpAddr,
    expires: Instant,
    /// The policy that permitted it; `denied` is what a later one said.
    version: u32,
    denied: bool,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires: Instant,
    version: u32,
    denied: bool,
}

/// What an allocation thinks of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Granted,
    Absent,
    Denied,
}

/// Why permissions are not given or a channel is not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindError {
    /// The number is another peer's, or the peer has another number.
    Conflict,
    /// The cap is reached.
    Full,
    /// Too many new peers a second.
    TooFast,
}

/// What a request for permissions or a channel is judged by.
pub(crate) struct Judge<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) new_peers: &'a Pace,
    pub(crate) version: u32,
    pub(crate) now: Instant,
    /// The same in ns since the server's start.
    pub(crate) nanos: u64,
}

/// Asks the policy again if it changed since it was asked last: so a reload holds from the next packet on.
fn recheck(ip: IpAddr, version: &mut u32, denied: &mut bool, policy: &PolicyVersion) -> Access {
    if *version != policy.version {
        *version = policy.version;
        *denied = !policy.policy.permits(ip);
    }
    if *denied { Access::Denied } else { Access::Granted }
}

/// The place of a family in tables of two.
pub(crate) fn place(family: AddressFamily) -> usize {
    match family {
        AddressFamily::V4 => 0,
        AddressFamily::V6 => 1,
    }
}

/// The family of a place.
pub(crate) const FAMILIES: [AddressFamily; 2] = [AddressFamily::V4, AddressFamily::V6];

impl Allocation {
    pub(crate) fn new(
        path: ClientPath,
        username: &[u8],
        user_at: usize,
        password: Password,
        relays: [Option<Relay>; 2],
        origin: Origin,
        now: Instant,
    ) -> Self {
        Self {
            path,
            username: username.into(),
            user_at,
            password,
            relays,
            origin,
            made: now,
            usage: Usage::default(),
            to_peers: RelayBuckets::default(),
            to_client: RelayBuckets::default(),
            new_peers: Bucket::default(),
            reported: None,
            permissions: Vec::new(),
            channels: Vec::new(),
        }
    }

    pub(crate) fn user(&self) -> &[u8] {
        &self.username[self.user_at..]
    }

    /// The key that signs the answer to the Allocate.
    pub(crate) fn answer_key(&self, realm: &str) -> IntegrityKey {
        self.origin.scheme.answer_key(&self.password, &self.username, realm)
    }

    pub(crate) fn relay(&self, family: AddressFamily) -> Option<&Relay> {
        self.relays[place(family)].as_ref()
    }

    /// Whether a relay of that family relays now.
    pub(crate) fn relays_now(&self, family: AddressFamily, now: Instant) -> bool {
        self.relay(family).is_some_and(|relay| relay.open && relay.expires > now)
    }

    /// Whether packets to and from `ip` pass.
    pub(crate) fn permission(&mut self, ip: IpAddr, policy: &PolicyVersion, now: Instant) -> Access {
        match self.permissions.iter_mut().find(|permission| permission.ip == ip && permission.expires > now) {
            Some(Permission { version, denied, .. }) => recheck(ip, version, denied, policy),
            None => Access::Absent,
        }
    }

    /// Gives or refreshes permission for all of `ips`, or for none if they do not fit. The caller asked the policy.
    pub(crate) fn permit(&mut self, ips: &[IpAddr], judge: &Judge<'_>) -> Result<(), BindError> {
        self.permissions.retain(|permission| permission.expires > judge.now);
        let known = |ip: &IpAddr| self.permissions.iter().any(|permission| permission.ip == *ip);
        let new = ips.iter().filter(|ip| !known(ip)).count();
        if self.permissions.len() + new > judge.limits.permissions {
            return Err(BindError::Full);
        }
        self.new_peers =
            judge.new_peers.take(self.new_peers, new as u64, judge.nanos).ok_or(BindError::TooFast)?;
        let expires = judge.now + judge.limits.permission_lifetime;
        for ip in ips {
            let given = Permission { ip: *ip, expires, version: judge.version, denied: false };
            match self.permissions.iter_mut().find(|permission| permission.ip == *ip) {
                Some(permission) => *permission = given,
                None => self.permissions.push(given),
            }
        }
        Ok(())
    }

    /// The peer of a bound channel.
    pub(crate) fn channel_peer(
        &mut self,
        number: u16,
        policy: &PolicyVersion,
        now: Instant,
    ) -> Result<SocketAddr, Access> {
        let channel = self
            .channels
            .iter_mut()
            .find(|channel| channel.number == number && channel.expires > now)
            .ok_or(Access::Absent)?;
        match recheck(channel.peer.ip(), &mut channel.version, &mut channel.denied, policy) {
            Access::Granted => Ok(channel.peer),
            refused => Err(refused),
        }
    }

    /// The number of the channel that is bound to `peer`. The caller has the permission already.
    pub(crate) fn channel_number(&self, peer: SocketAddr, now: Instant) -> Option<u16> {
        self.channels
            .iter()
            .find(|channel| channel.peer == peer && channel.expires > now)
            .map(|channel| channel.number)
    }

    /// Binds or refreshes a channel, and the permission with it (RFC 8656 §12.2). The caller asked the policy.
    pub(crate) fn bind_channel(
        &mut self,
        number: u16,
        peer: SocketAddr,
        judge: &Judge<'_>,
    ) -> Result<(), BindError> {
        self.channels.retain(|channel| channel.expires > judge.now);
        let mut found = None;
        for (index, channel) in self.channels.iter().enumerate() {
            match (channel.number == number, channel.peer == peer) {
                (true, true) => found = Some(index),
                (true, false) | (false, true) => return Err(BindError::Conflict),
                (false, false) => {}
            }
        }
        if found.is_none() && self.channels.len() >= judge.limits.channels {
            return Err(BindError::Full);
        }
        self.permit(&[peer.ip()], judge)?;
        let expires = judge.now + judge.limits.channel_lifetime;
        let channel = Channel { number, peer, expires, version: judge.version, denied: false };
        match found {
            Some(index) => self.channels[index] = channel,
            None => self.channels.push(channel),
        }
        Ok(())
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.permissions.len(), self.channels.len())
    }

    /// Bytes that it takes, the tables' included.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.username.len()
            + self.permissions.capacity() * size_of::<Permission>()
            + self.channels.capacity() * size_of::<Channel>()
    }
}
