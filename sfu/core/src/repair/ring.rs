//! The last packets of one ingress layer, by extended sequence number.

use crate::packet::PlainPacket;

/// Holds the newest `capacity` sequence numbers; older ones are overwritten. Grows only as packets come:
/// an unused layer costs nothing.
pub struct PacketRing {
    slots: Vec<Option<PlainPacket>>,
    capacity: usize,
}

impl PacketRing {
    /// `capacity` in packets.
    pub fn new(capacity: usize) -> Self {
        Self { slots: Vec::new(), capacity: capacity.max(1) }
    }

    /// Stores a packet. False if that very sequence number is held already, or a newer one has its place:
    /// a duplicate, or too late to matter.
    pub fn insert(&mut self, packet: PlainPacket) -> bool {
        if self.slots.is_empty() {
            self.slots.resize_with(self.capacity, || None);
        }
        let place = self.place(packet.sequence);
        let slot = &mut self.slots[place];
        if slot.as_ref().is_some_and(|held| held.sequence >= packet.sequence) {
            return false;
        }
        *slot = Some(packet);
        true
    }

    /// The packet with this extended sequence number, if it is still held.
    pub fn get(&self, sequence: u64) -> Option<&PlainPacket> {
        self.slots.get(self.place(sequence))?.as_ref().filter(|held| held.sequence == sequence)
    }

    fn place(&self, sequence: u64) -> usize {
        (sequence % self.capacity as u64) as usize
    }
}
