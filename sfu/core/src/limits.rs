//! What bounds the memory and the work of one shard.

use std::time::Duration;

/// One shard's limits. Every map, queue and loop of the core is bounded by one of these.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Participants known to a shard, all rooms together. Worst case some 2 KiB each before its transport is
    /// claimed and a packet ring of `video_ring_packets × 1,500 B` for each video layer it sends afterwards.
    /// Raising it lets one node hold more people; lowering it refuses joins earlier. Default 20,000.
    pub participants: usize,
    /// Participants of one room. Forwarding work grows with its square. Default 200.
    pub room_participants: usize,
    /// Addresses remembered a participant after they passed ICE: 64 B each. A higher value survives more
    /// network changes without a new check; lower frees memory. Default 4.
    pub addresses_per_participant: usize,
    /// SSRCs accepted from one participant after authentication: some 300 B each, and a ring. Default 16.
    pub streams_per_participant: usize,
    /// Packets kept a video layer for repair; at 150 packets/s 512 is over three seconds. Up to 1,500 B each.
    /// Higher repairs over longer round trips; lower saves memory. Default 512.
    pub video_ring_packets: usize,
    /// Packets kept an audio track for repair; at 50 packets/s 64 is over a second. Default 64.
    pub audio_ring_packets: usize,
    /// Sequence numbers one stream may be missing at a time before the oldest are given up: 40 B each. Default 256.
    pub missing_per_stream: usize,
    /// Retransmitted bytes a subscriber may cause in one second beyond what was forwarded to it in that second.
    /// Higher repairs longer bursts on idle streams; lower weakens a NACK flood. Default 64,000.
    pub resend_floor_bytes: usize,
    /// Bytes a shard queues for sending before its shell must drain. Default 512 KiB.
    pub queued_bytes: usize,
    /// Without an authenticated STUN request for this long a participant is gone (RFC 7675 §5.1). Default 30 s.
    pub consent: Duration,
    /// A participant that never passed ICE and DTLS is gone after this. Default 30 s.
    pub connect: Duration,
    /// At most one keyframe request a layer in this time. Lower makes joins quicker, higher protects the
    /// publisher's uplink from keyframe storms. Default 300 ms.
    pub keyframe_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            participants: 20_000,
            room_participants: 200,
            addresses_per_participant: 4,
            streams_per_participant: 16,
            video_ring_packets: 512,
            audio_ring_packets: 64,
            missing_per_stream: 256,
            resend_floor_bytes: 64_000,
            queued_bytes: 512 * 1024,
            consent: Duration::from_secs(30),
            connect: Duration::from_secs(30),
            keyframe_interval: Duration::from_millis(300),
        }
    }
}
