//! One allocation with its permissions and channels (RFC 8656 §§6, 9, 12).

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use trunkline_stun::{AddressFamily, IntegrityKey, TransactionId};

use crate::{ClientPath, Limits, PeerPolicy};

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
    /// The key the allocation was made with: it outlives the credential's expiry and the secret's rotation.
    pub(crate) key: IntegrityKey,
    pub(crate) family: AddressFamily,
    pub(crate) port: u16,
    pub(crate) even_port: bool,
    /// Whether the shell has said that the relay socket is open.
    pub(crate) bound: bool,
    pub(crate) bind_attempts: u8,
    /// The Allocate that made it, so that a retransmission gets the same answer.
    pub(crate) transaction_id: TransactionId,
    pub(crate) with_fingerprint: bool,
    pub(crate) lifetime: Duration,
    pub(crate) expires: Instant,
    permissions: Vec<Permission>,
    channels: Vec<Channel>,
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

/// Why a channel cannot be bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindError {
    /// The number is another peer's, or the peer has another number.
    Conflict,
    /// The cap is reached.
    Full,
}

/// Asks the policy again if it changed since it was asked last: so a reload holds from the next packet on.
fn recheck(ip: IpAddr, version: &mut u32, denied: &mut bool, policy: &PolicyVersion) -> Access {
    if *version != policy.version {
        *version = policy.version;
        *denied = !policy.policy.permits(ip);
    }
    if *denied { Access::Denied } else { Access::Granted }
}

impl Allocation {
    #[allow(clippy::too_many_arguments, reason = "every field has its own source")]
    pub(crate) fn new(
        path: ClientPath,
        username: &[u8],
        user_at: usize,
        key: IntegrityKey,
        family: AddressFamily,
        port: u16,
        transaction_id: TransactionId,
        lifetime: Duration,
        now: Instant,
    ) -> Self {
        Self {
            path,
            username: username.into(),
            user_at,
            key,
            family,
            port,
            even_port: false,
            bound: false,
            bind_attempts: 1,
            transaction_id,
            with_fingerprint: false,
            lifetime,
            expires: now + lifetime,
            permissions: Vec::new(),
            channels: Vec::new(),
        }
    }

    pub(crate) fn user(&self) -> &[u8] {
        &self.username[self.user_at..]
    }

    /// Whether packets to and from `ip` pass.
    pub(crate) fn permission(&mut self, ip: IpAddr, policy: &PolicyVersion, now: Instant) -> Access {
        match self.permissions.iter_mut().find(|permission| permission.ip == ip && permission.expires > now) {
            Some(Permission { version, denied, .. }) => recheck(ip, version, denied, policy),
            None => Access::Absent,
        }
    }

    /// Gives or refreshes permission for all of `ips`, or for none if they do not fit. The caller asked the policy.
    pub(crate) fn permit(&mut self, ips: &[IpAddr], limits: &Limits, version: u32, now: Instant) -> bool {
        self.permissions.retain(|permission| permission.expires > now);
        let known = |ip: &IpAddr| self.permissions.iter().any(|permission| permission.ip == *ip);
        let new = ips.iter().filter(|ip| !known(ip)).count();
        if self.permissions.len() + new > limits.permissions {
            return false;
        }
        let expires = now + limits.permission_lifetime;
        for ip in ips {
            match self.permissions.iter_mut().find(|permission| permission.ip == *ip) {
                Some(permission) => *permission = Permission { ip: *ip, expires, version, denied: false },
                None => self.permissions.push(Permission { ip: *ip, expires, version, denied: false }),
            }
        }
        true
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
        limits: &Limits,
        version: u32,
        now: Instant,
    ) -> Result<(), BindError> {
        self.channels.retain(|channel| channel.expires > now);
        let mut found = None;
        for (index, channel) in self.channels.iter().enumerate() {
            match (channel.number == number, channel.peer == peer) {
                (true, true) => found = Some(index),
                (true, false) | (false, true) => return Err(BindError::Conflict),
                (false, false) => {}
            }
        }
        if found.is_none() && self.channels.len() >= limits.channels {
            return Err(BindError::Full);
        }
        if !self.permit(&[peer.ip()], limits, version, now) {
            return Err(BindError::Full);
        }
        let expires = now + limits.channel_lifetime;
        let channel = Channel { number, peer, expires, version, denied: false };
        match found {
            Some(index) => self.channels[index] = channel,
            None => self.channels.push(channel),
        }
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.permissions.len(), self.channels.len())
    }
}
