//! A shard: one thread's share of the SFU, as a value.
//!
//! # How to call it
//!
//! `handle` one [`Input`], then call `poll_output` until it gives [`Output::Wait`]; wait until that time or the
//! next input; repeat, with [`Input::Wake`] when the time came. Time, randomness and sockets are the caller's.
//!
//! # Who owns what
//!
//! Every shard of a node hears every [`Command`], so each knows all members of all rooms. The shard whose socket
//! first receives a participant's authenticated STUN request claims its transport ([`Claim`]) and alone talks to
//! it. A packet crosses to a neighbour once, decrypted, and only in the layers that somebody there wants
//! ([`Neighbour::Want`]).

mod arrival;
mod forward;
mod outbox;
mod report;
mod rooms;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use slab::Slab;
use trunkline_stun::IntegrityKey;

use crate::dtls::DtlsIdentity;
pub use crate::ids::{ParticipantId, RoomId, ShardId};
use crate::layers::{LayerInfo, View};
use crate::limits::Limits;
use crate::packet::{ClockReport, PlainPacket, StreamKey};
use crate::repair::ring::PacketRing;
use crate::session::NegotiatedSession;
use crate::stats::Stats;
use crate::table::Table;
use crate::transport::Transport;
use outbox::Outbox;
pub use outbox::Transmit;

/// Which shard owns a transport: decided once, by the first authenticated packet.
#[derive(Debug, Default)]
pub struct Claim(AtomicU16);

impl Claim {
    /// The owner, if there is one.
    pub fn owner(&self) -> Option<ShardId> {
        self.0.load(Ordering::Acquire).checked_sub(1).map(ShardId)
    }

    /// Claims for `shard` unless another was first; returns the owner.
    pub fn claim(&self, shard: ShardId) -> ShardId {
        match self.0.compare_exchange(0, shard.0 + 1, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => shard,
            Err(owner) => ShardId(owner - 1),
        }
    }
}

/// A negotiated participant, as every shard learns of it.
#[derive(Debug)]
pub struct Registration {
    /// Where it takes part.
    pub room: RoomId,
    /// Who it is.
    pub participant: ParticipantId,
    /// What was agreed.
    pub session: NegotiatedSession,
    /// Who owns its transport.
    pub claim: Claim,
}

/// What control tells every shard.
#[derive(Clone, Debug)]
pub enum Command {
    /// A participant was negotiated.
    Join(Arc<Registration>),
    /// A participant is to go; its transport closes.
    Leave(ParticipantId),
    /// How large a participant shows its slots; slots not named keep what they had.
    View {
        /// Whose screen.
        participant: ParticipantId,
        /// (slot, size) pairs.
        slots: Vec<(u16, View)>,
    },
}

/// What shards tell each other.
#[derive(Clone, Debug)]
pub enum Neighbour {
    /// A datagram whose transport the receiver owns: the client's network changed and the kernel's hash with it.
    Datagram {
        /// Whence it came.
        source: SocketAddr,
        /// To which of our addresses, where known.
        local: Option<IpAddr>,
        /// As received.
        bytes: Vec<u8>,
    },
    /// The sender's wish: layers of a track, as a bit mask; 0 ends it.
    Want {
        /// Publisher.
        publisher: ParticipantId,
        /// Its track.
        track: u8,
        /// Bit n set: layer n.
        layers: u8,
    },
    /// Plain packets of one layer, in order of arrival.
    Media {
        /// Publisher.
        publisher: ParticipantId,
        /// Its track.
        track: u8,
        /// Layer.
        layer: u8,
        /// Grows when the layer's SSRC changes.
        generation: u32,
        /// Payloads are shared, not copied.
        packets: Vec<PlainPacket>,
    },
    /// A sender report of one layer.
    Clock {
        /// Publisher.
        publisher: ParticipantId,
        /// Its track.
        track: u8,
        /// Layer.
        layer: u8,
        /// The report.
        clock: ClockReport,
    },
    /// What the owner knows of a track's layers: a neighbour sees only those it wants.
    Layers {
        /// Publisher.
        publisher: ParticipantId,
        /// Its track.
        track: u8,
        /// Lowest first.
        layers: Vec<LayerInfo>,
    },
    /// A subscriber of the sender needs a keyframe.
    Keyframe {
        /// Publisher.
        publisher: ParticipantId,
        /// Its track.
        track: u8,
        /// Layer.
        layer: u8,
    },
}

/// What a slot shows, as told to its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotState {
    /// Counted from 0 in the order of the offer.
    pub slot: u16,
    /// Mid of its audio section.
    pub mid_audio: Option<String>,
    /// Mid of its video section.
    pub mid_video: Option<String>,
    /// Who is in it.
    pub occupant: Option<ParticipantId>,
}

/// Why a participant is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoneReason {
    /// It never finished ICE and DTLS.
    NeverConnected,
    /// Consent ran out: no STUN request for `Limits::consent`.
    ConsentExpired,
    /// The client closed DTLS.
    Closed,
    /// DTLS failed, a wrong fingerprint included.
    DtlsFailed,
}

/// What control learns from a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// ICE and DTLS are done; media flows.
    Connected(ParticipantId),
    /// Who is in which slot of this participant's screen: all of them.
    Slots(ParticipantId, Vec<SlotState>),
    /// The participant must be removed everywhere: answer with [`Command::Leave`].
    Gone(ParticipantId, GoneReason),
}

/// What a shard is given.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram from the media port; it is decrypted in place.
    Datagram {
        /// Whence it came.
        source: SocketAddr,
        /// To which of our addresses, where known.
        local: Option<IpAddr>,
        /// The payload of UDP.
        bytes: &'a mut [u8],
    },
    /// From control.
    Command(Command),
    /// From another shard.
    Neighbour(ShardId, Neighbour),
    /// The time of the last [`Output::Wait`] has come.
    Wake,
}

/// What a shard gives.
#[derive(Debug)]
pub enum Output<'a> {
    /// Datagrams to send, valid until the next call.
    Transmits {
        /// All packets, back to back.
        bytes: &'a [u8],
        /// What goes where.
        transmits: &'a [Transmit],
    },
    /// For control.
    Event(Event),
    /// For one neighbour, or for every one.
    Neighbour(Option<ShardId>, Neighbour),
    /// Nothing more until an input comes, or this moment.
    Wait(Option<Instant>),
}

/// One layer of a track as this shard sees it, its own or a neighbour's.
struct Layer {
    ring: PacketRing,
    generation: u32,
    clock: Option<ClockReport>,
    last_packet: Option<Instant>,
    /// Pixels of the last keyframe whose size could be read.
    pixels: u32,
    keyframe_asked: Option<Instant>,
    /// Somebody asked too soon after another; asked again when the interval is over.
    keyframe_pending: bool,
}

struct Track {
    layers: Vec<Layer>,
    /// (member, egress) pairs served by this shard.
    subscribers: Vec<(usize, usize)>,
    /// Layers wanted by each neighbour.
    wants: BTreeMap<ShardId, u8>,
    /// What this shard last told the neighbours it wants.
    wanted: u8,
    /// The layers as the owner last saw them.
    infos: Vec<LayerInfo>,
    /// A layer awoke or changed its size: when to look at all of them.
    look_at: Option<Instant>,
}

struct Member {
    registration: Arc<Registration>,
    integrity: IntegrityKey,
    joined_at: Instant,
    tracks: Vec<Track>,
    /// Only at the owner.
    transport: Option<Box<Transport>>,
    occupants: Vec<Option<ParticipantId>>,
    views: Vec<View>,
    /// Elsewhere: addresses from which its packets reach this shard all the same.
    strays: Vec<SocketAddr>,
    /// When the timer queue will look at this member.
    scheduled: Option<Instant>,
}

impl Member {
    fn id(&self) -> ParticipantId {
        self.registration.participant
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Here(usize),
    At(ShardId),
}

/// Packets of one stream waiting to be forwarded together, so that each subscriber's copies lie back to back.
struct Run {
    member: usize,
    key: StreamKey,
    packets: Vec<PlainPacket>,
}

/// See the module's text.
pub struct Shard {
    id: ShardId,
    limits: Limits,
    identity: Arc<DtlsIdentity>,
    rng: Seeded,
    members: Slab<Member>,
    by_id: Table<ParticipantId, usize>,
    by_ufrag: Table<String, usize>,
    by_address: Table<SocketAddr, Owner>,
    rooms: BTreeMap<RoomId, Vec<usize>>,
    /// The newest participant heard of, and what neighbours wanted of newer ones: a neighbour may hear a join first.
    newest: ParticipantId,
    early_wants: BTreeMap<(ParticipantId, u8, ShardId), u8>,
    timers: BTreeSet<(Instant, usize)>,
    out: Outbox,
    run: Run,
    stats: Stats,
}

impl Shard {
    /// `seed` is the shard's only entropy: it chooses first sequence numbers, never keys.
    pub fn new(id: ShardId, limits: Limits, identity: Arc<DtlsIdentity>, seed: u64) -> Self {
        let participants = limits.participants;
        let addresses = participants * limits.addresses_per_participant;
        Self {
            id,
            identity,
            rng: Seeded(seed),
            members: Slab::new(),
            by_id: Table::new(participants),
            by_ufrag: Table::new(participants),
            by_address: Table::new(addresses),
            rooms: BTreeMap::new(),
            newest: ParticipantId(0),
            early_wants: BTreeMap::new(),
            timers: BTreeSet::new(),
            out: Outbox::default(),
            run: Run::empty(),
            stats: Stats::default(),
            limits,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input<'_>, now: Instant) {
        match input {
            Input::Datagram { source, local, bytes } => self.on_datagram(source, local, bytes, false, now),
            Input::Command(Command::Join(registration)) => self.on_join(registration, now),
            Input::Command(Command::Leave(participant)) => self.on_leave(participant, now),
            Input::Command(Command::View { participant, slots }) => self.on_view(participant, &slots, now),
            Input::Neighbour(from, message) => self.on_neighbour(from, message, now),
            Input::Wake => self.on_wake(now),
        }
    }

    /// Drains: call until it gives `Wait`.
    pub fn poll_output(&mut self, now: Instant) -> Output<'_> {
        self.flush_run(now);
        if let Some(event) = self.out.events.pop_front() {
            return Output::Event(event);
        }
        if let Some((to, message)) = self.out.neighbours.pop_front() {
            return Output::Neighbour(to, message);
        }
        self.out.begin();
        if !self.out.transmits.is_empty() {
            self.out.handed_out = true;
            return Output::Transmits { bytes: &self.out.arena, transmits: &self.out.transmits };
        }
        Output::Wait(self.timers.first().map(|(at, _)| *at))
    }

    /// Whether so much waits to be sent that outputs should be drained before the next input.
    pub fn is_full(&self) -> bool {
        self.out.arena.len() >= self.limits.queued_bytes
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Entries in each table that input from outside could grow: what a test of forged input watches.
    pub fn table_sizes(&self) -> [usize; 4] {
        let streams =
            self.members.iter().filter_map(|(_, m)| m.transport.as_ref()).map(|t| t.streams.len()).sum();
        [self.members.len(), self.by_ufrag.len(), self.by_address.len(), streams]
    }

    /// Makes sure that the member is looked at no later than `at`.
    fn schedule(&mut self, member: usize, at: Instant) {
        let m = &mut self.members[member];
        if m.scheduled.is_some_and(|due| due <= at) {
            return;
        }
        if let Some(due) = m.scheduled.replace(at) {
            self.timers.remove(&(due, member));
        }
        self.timers.insert((at, member));
    }

    fn on_wake(&mut self, now: Instant) {
        while let Some(&(at, member)) = self.timers.first()
            && at <= now
        {
            self.timers.pop_first();
            self.members[member].scheduled = None;
            self.on_member_timer(member, now);
        }
    }
}

impl Run {
    fn empty() -> Self {
        let key = StreamKey { publisher: ParticipantId(0), track: 0, layer: 0, generation: 0 };
        Self { member: usize::MAX, key, packets: Vec::new() }
    }
}

/// SplitMix64: enough to spread first sequence numbers, never used for a secret.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
