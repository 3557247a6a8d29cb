//! The packet path: one hash look-up, no allocation, no lock.

use std::net::SocketAddr;
use std::ops::Range;
use std::time::Instant;

use rand_chacha::rand_core::RngCore as _;
use trunkline_stun::{
    AddressFamily, ChannelData, DataIndicationHeader, HEADER_LEN, Message, TransactionId, attr,
    decode_xor_address,
};

use crate::allocation::Access;
use crate::server::TurnServer;
use crate::{ClientPath, Destination, DropReason, Forward, Handled, RelayHeader, RelayId, Throttle};

/// The longest payload of an IPv4 datagram; a stream's message can be longer, and would not leave.
const UDP_PAYLOAD_MAX: usize = 65_535 - 20 - 8;

impl TurnServer {
    /// Client → peer on a channel (RFC 8656 §12.6). The channel is enough: it was bound with the policy's consent.
    pub(crate) fn channel_data(
        &mut self,
        path: &ClientPath,
        data: &[u8],
        now: Instant,
    ) -> Result<Handled, DropReason> {
        let message = ChannelData::parse(data).ok_or(DropReason::Malformed)?;
        let length = message.payload.len();
        let index = *self.paths.get(path).ok_or(DropReason::NoAllocation)?;
        let allocation = self.allocations.get_mut(index).ok_or(DropReason::NoAllocation)?;
        let peer =
            allocation.channel_peer(message.channel, &self.policy, now).map_err(|access| match access {
                Access::Denied => DropReason::PeerDenied,
                Access::Absent | Access::Granted => DropReason::NoChannel,
            });
        match peer {
            Ok(peer) => self.relay_to_peer(index, peer, 4..4 + length, now),
            Err(reason) => {
                self.end_expired(index, now);
                Err(reason)
            }
        }
    }

    /// Client → peer by a Send indication (RFC 8656 §11.2). It is not authenticated; the permission is.
    pub(crate) fn send_indication(
        &mut self,
        path: &ClientPath,
        message: &Message<'_>,
        now: Instant,
    ) -> Result<Handled, DropReason> {
        let (mut peer, mut payload) = (None, None);
        let mut offset = HEADER_LEN;
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
        let allocation = self.allocations.get_mut(index).ok_or(DropReason::NoAllocation)?;
        if allocation.relay(AddressFamily::of(peer.ip())).is_none() {
            return Err(DropReason::InvalidPeer);
        }
        admit(allocation.permission(peer.ip(), &self.policy, now))?;
        self.relay_to_peer(index, peer, payload, now)
    }

    /// The permission is given; what is left is whether the relay is there and the limits allow it.
    fn relay_to_peer(
        &mut self,
        index: u32,
        peer: SocketAddr,
        payload: Range<usize>,
        now: Instant,
    ) -> Result<Handled, DropReason> {
        if payload.len() > UDP_PAYLOAD_MAX {
            return Err(DropReason::TooLarge);
        }
        let family = AddressFamily::of(peer.ip());
        let (generation, allocation) = self.allocations.entry(index).ok_or(DropReason::NoAllocation)?;
        if !allocation.relays_now(family, now) {
            self.end_expired(index, now);
            return Err(DropReason::NoAllocation);
        }
        let nanos = self.clock.nanos(now);
        let own = &mut allocation.to_peers;
        if let Err(reason) = self.paces.admit(own, &mut self.total, payload.len(), nanos) {
            return Err(self.over_rate(index, reason, Throttle::ToPeers, now));
        }
        allocation.usage.to_peers_packets += 1;
        allocation.usage.to_peers_bytes += payload.len() as u64;
        self.stats.to_peers_packets += 1;
        self.stats.to_peers_bytes += payload.len() as u64;
        let relay = RelayId::new(index, generation, family);
        Ok(Handled::Forward(Forward::new(Destination::Peer { relay, peer }, RelayHeader::Bare, payload)))
    }

    /// Peer → client (RFC 8656 §§11.3, 12.7): by channel if there is one, else as a Data indication.
    pub(crate) fn peer_data(
        &mut self,
        relay: RelayId,
        from: SocketAddr,
        data: &[u8],
        now: Instant,
    ) -> Result<Handled, DropReason> {
        let index = relay.allocation();
        let (generation, allocation) = self.allocations.entry(index).ok_or(DropReason::NoAllocation)?;
        if generation != relay.generation() {
            return Err(DropReason::NoAllocation);
        }
        if !allocation.relays_now(relay.family(), now) {
            self.end_expired(index, now);
            return Err(DropReason::NoAllocation);
        }
        if AddressFamily::of(from.ip()) != relay.family() {
            return Err(DropReason::InvalidPeer);
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
        let nanos = self.clock.nanos(now);
        let own = &mut allocation.to_client;
        if let Err(reason) = self.paces.admit(own, &mut self.total, data.len(), nanos) {
            return Err(self.over_rate(index, reason, Throttle::ToClient, now));
        }
        allocation.usage.to_client_packets += 1;
        allocation.usage.to_client_bytes += data.len() as u64;
        self.stats.to_clients_packets += 1;
        self.stats.to_clients_bytes += data.len() as u64;
        Ok(Handled::Forward(Forward::new(Destination::Client(path), header, 0..data.len())))
    }

    /// Reports who is too fast. When all together are, it is nobody's fault.
    fn over_rate(&mut self, index: u32, reason: DropReason, cause: Throttle, now: Instant) -> DropReason {
        if reason == DropReason::AllocationRate {
            self.throttle(index, cause, now);
        }
        reason
    }
}

fn admit(access: Access) -> Result<(), DropReason> {
    match access {
        Access::Granted => Ok(()),
        Access::Absent => Err(DropReason::NoPermission),
        Access::Denied => Err(DropReason::PeerDenied),
    }
}
