//! Counters. Every label is a closed enum.

/// Why a datagram was dropped without an answer; also the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// Neither STUN nor ChannelData by its first byte.
    NotTurn,
    /// STUN or ChannelData whose framing is wrong.
    Malformed,
    /// A response, a Data indication, or a method that we do not serve.
    UnexpectedMessage,
    /// An indication with an attribute that we would have to understand.
    UnknownAttribute,
    /// No allocation for that 5-tuple or relay socket.
    NoAllocation,
    /// A retransmitted Allocate whose relay socket is being opened: it will be answered.
    AllocationPending,
    /// ChannelData on a channel that is not bound.
    NoChannel,
    /// No permission for that peer.
    NoPermission,
    /// The peer policy refuses that peer (it changed after the permission was given).
    PeerDenied,
    /// A peer address that cannot be sent to: missing, malformed, port 0, or of the other family.
    InvalidPeer,
    /// The payload does not fit what it would be wrapped in.
    TooLarge,
    /// The source has had its share of unauthenticated answers this second.
    ChallengeLimited,
    /// The shell did not drain the outputs.
    OutboxFull,
    /// The allocation has had its share of packets or bytes this second.
    AllocationRate,
    /// The server has.
    TotalRate,
}

impl DropReason {
    /// All reasons, in the order of [`Stats::drops`].
    pub const ALL: [Self; 15] = [
        Self::NotTurn,
        Self::Malformed,
        Self::UnexpectedMessage,
        Self::UnknownAttribute,
        Self::NoAllocation,
        Self::AllocationPending,
        Self::NoChannel,
        Self::NoPermission,
        Self::PeerDenied,
        Self::InvalidPeer,
        Self::TooLarge,
        Self::ChallengeLimited,
        Self::OutboxFull,
        Self::AllocationRate,
        Self::TotalRate,
    ];

    /// The metric's label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NotTurn => "not_turn",
            Self::Malformed => "malformed",
            Self::UnexpectedMessage => "unexpected_message",
            Self::UnknownAttribute => "unknown_attribute",
            Self::NoAllocation => "no_allocation",
            Self::AllocationPending => "allocation_pending",
            Self::NoChannel => "no_channel",
            Self::NoPermission => "no_permission",
            Self::PeerDenied => "peer_denied",
            Self::InvalidPeer => "invalid_peer",
            Self::TooLarge => "too_large",
            Self::ChallengeLimited => "challenge_limited",
            Self::OutboxFull => "outbox_full",
            Self::AllocationRate => "allocation_rate",
            Self::TotalRate => "total_rate",
        }
    }
}

/// An error response (RFC 8656 §19, RFC 8489 §14.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// 300: the server is draining.
    TryAlternate,
    /// 400.
    BadRequest,
    /// 401.
    Unauthorized,
    /// 403: the peer policy.
    Forbidden,
    /// 420.
    UnknownAttribute,
    /// 437.
    AllocationMismatch,
    /// 438.
    StaleNonce,
    /// 440.
    FamilyNotSupported,
    /// 441.
    WrongCredentials,
    /// 442.
    TransportNotSupported,
    /// 443.
    PeerFamilyMismatch,
    /// 486.
    QuotaReached,
    /// 508.
    InsufficientCapacity,
}

impl Refusal {
    /// All refusals, in the order of [`Stats::refusals`].
    pub const ALL: [Self; 13] = [
        Self::TryAlternate,
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownAttribute,
        Self::AllocationMismatch,
        Self::StaleNonce,
        Self::FamilyNotSupported,
        Self::WrongCredentials,
        Self::TransportNotSupported,
        Self::PeerFamilyMismatch,
        Self::QuotaReached,
        Self::InsufficientCapacity,
    ];

    /// The number on the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::TryAlternate => 300,
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::UnknownAttribute => 420,
            Self::AllocationMismatch => 437,
            Self::StaleNonce => 438,
            Self::FamilyNotSupported => 440,
            Self::WrongCredentials => 441,
            Self::TransportNotSupported => 442,
            Self::PeerFamilyMismatch => 443,
            Self::QuotaReached => 486,
            Self::InsufficientCapacity => 508,
        }
    }

    /// The metric's label: the number.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::TryAlternate => "300",
            Self::BadRequest => "400",
            Self::Unauthorized => "401",
            Self::Forbidden => "403",
            Self::UnknownAttribute => "420",
            Self::AllocationMismatch => "437",
            Self::StaleNonce => "438",
            Self::FamilyNotSupported => "440",
            Self::WrongCredentials => "441",
            Self::TransportNotSupported => "442",
            Self::PeerFamilyMismatch => "443",
            Self::QuotaReached => "486",
            Self::InsufficientCapacity => "508",
        }
    }

    /// The reason phrase: fixed text, so nothing of the request is echoed.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TryAlternate => "Try Alternate",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthenticated",
            Self::Forbidden => "Forbidden",
            Self::UnknownAttribute => "Unknown Attribute",
            Self::AllocationMismatch => "Allocation Mismatch",
            Self::StaleNonce => "Stale Nonce",
            Self::FamilyNotSupported => "Address Family not Supported",
            Self::WrongCredentials => "Wrong Credentials",
            Self::TransportNotSupported => "Unsupported Transport Protocol",
            Self::PeerFamilyMismatch => "Peer Address Family Mismatch",
            Self::QuotaReached => "Allocation Quota Reached",
            Self::InsufficientCapacity => "Insufficient Capacity",
        }
    }
}

/// What has happened since the start; totals but for `allocations`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Live allocations now, those waiting for their socket included.
    pub allocations: u64,
    /// Allocations ever made.
    pub allocations_created: u64,
    /// Packets relayed to peers.
    pub to_peers_packets: u64,
    /// Payload bytes relayed to peers.
    pub to_peers_bytes: u64,
    /// Packets relayed to clients.
    pub to_clients_packets: u64,
    /// Payload bytes relayed to clients.
    pub to_clients_bytes: u64,
    /// Times that an allocation's limit threw something away, in the order of [`crate::Throttle::ALL`].
    pub throttled: [u64; crate::Throttle::ALL.len()],
    /// Success responses.
    pub successes: u64,
    /// Error responses, in the order of [`Refusal::ALL`].
    pub refusals: [u64; Refusal::ALL.len()],
    /// Drops, in the order of [`DropReason::ALL`].
    pub drops: [u64; DropReason::ALL.len()],
}

impl Stats {
    pub(crate) fn drop(&mut self, reason: DropReason) {
        self.drops[reason as usize] += 1;
    }

    pub(crate) fn refuse(&mut self, refusal: Refusal) {
        self.refusals[refusal as usize] += 1;
    }
}
