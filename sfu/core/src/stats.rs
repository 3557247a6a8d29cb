//! What a shard counts; its shell exports them.

use crate::drop::Drop;

/// Plain counters since the shard began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// RTP packets accepted from participants.
    pub received_packets: u64,
    /// Their bytes on the wire, above UDP.
    pub received_bytes: u64,
    /// RTP packets forwarded to participants for the first time.
    pub forwarded_packets: u64,
    /// Their bytes on the wire, above UDP.
    pub forwarded_bytes: u64,
    /// RTP packets repeated on a subscriber's NACK.
    pub resent_packets: u64,
    /// Packets that a publisher repeated on our NACK.
    pub repaired_packets: u64,
    /// Sequence numbers asked of publishers.
    pub nacked_packets: u64,
    /// Keyframe requests sent to publishers.
    pub keyframe_requests: u64,
    /// Participants whose transport this shard owns, now.
    pub transports: u64,
    /// Packets not used, by reason.
    pub dropped: [u64; Drop::ALL.len()],
}

impl Stats {
    /// Adds another shard's counters.
    pub fn add(&mut self, other: &Stats) {
        self.received_packets += other.received_packets;
        self.received_bytes += other.received_bytes;
        self.forwarded_packets += other.forwarded_packets;
        self.forwarded_bytes += other.forwarded_bytes;
        self.resent_packets += other.resent_packets;
        self.repaired_packets += other.repaired_packets;
        self.nacked_packets += other.nacked_packets;
        self.keyframe_requests += other.keyframe_requests;
        self.transports += other.transports;
        for (sum, one) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += one;
        }
    }

    pub(crate) fn drop(&mut self, reason: Drop) {
        self.dropped[reason as usize] += 1;
    }
}
