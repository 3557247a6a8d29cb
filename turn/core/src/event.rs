//! What the shell accounts and reports. Users are named, so an event never goes to a log above `trace` as it is.

use std::time::Duration;

/// Something to account or to report. `user` is the username's part behind the expiry, as the client sent it: any
/// bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An allocation was made and its client told.
    AllocationMade {
        /// Whose.
        user: &'a [u8],
    },
    /// An allocation that was made has ended: refreshed to 0, expired, or its connection closed.
    AllocationEnded {
        /// Whose.
        user: &'a [u8],
        /// How long it lived.
        lasted: Duration,
        /// What it relayed.
        usage: Usage,
    },
    /// An allocation went over one of its limits. At most one report an allocation and minute.
    Throttled {
        /// Whose.
        user: &'a [u8],
        /// Which limit.
        cause: Throttle,
    },
}

/// An event without its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    Made,
    Ended { lasted: Duration, usage: Usage },
    Throttled(Throttle),
}

impl<'a> Event<'a> {
    pub(crate) fn new(user: &'a [u8], kind: EventKind) -> Self {
        match kind {
            EventKind::Made => Self::AllocationMade { user },
            EventKind::Ended { lasted, usage } => Self::AllocationEnded { user, lasted, usage },
            EventKind::Throttled(cause) => Self::Throttled { user, cause },
        }
    }
}

/// What an allocation relayed: payloads, without the headers around them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packets from the client to peers.
    pub to_peers_packets: u64,
    /// Payload bytes from the client to peers.
    pub to_peers_bytes: u64,
    /// Packets from peers to the client.
    pub to_client_packets: u64,
    /// Payload bytes from peers to the client.
    pub to_client_bytes: u64,
}

/// A limit that an allocation went over; also the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Throttle {
    /// Packets or bytes a second, from the client.
    ToPeers,
    /// Packets or bytes a second, from peers.
    ToClient,
    /// New peers a second.
    NewPeers,
}

impl Throttle {
    /// All of them, in the order of [`crate::Stats::throttled`].
    pub const ALL: [Self; 3] = [Self::ToPeers, Self::ToClient, Self::NewPeers];

    /// The metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ToPeers => "to_peers",
            Self::ToClient => "to_client",
            Self::NewPeers => "new_peers",
        }
    }
}
