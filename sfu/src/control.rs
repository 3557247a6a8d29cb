//! One node's control: names to numbers, offers to answers, commands to every shard, events to the outside.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc::UnboundedSender;
use trunkline_sfu_core::dtls::DtlsIdentity;
use trunkline_sfu_core::layers::View;
use trunkline_sfu_core::limits::Limits;
use trunkline_sfu_core::negotiation::{self, NegotiationError};
use trunkline_sfu_core::session::{IceCredentials, LocalParameters};
use trunkline_sfu_core::shard::{Claim, Command, Event, ParticipantId, Registration, RoomId};
use trunkline_sfu_core::stats::Stats;

use crate::media_thread::{self, ShardLink};
use crate::{SfuConfig, SfuEvent, SlotOccupant};

/// RFC 8839 §5.4's alphabet, less two signs so that a byte maps evenly: 64 characters.
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What an offer may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Allowed {
    /// A call's participant.
    Both,
    /// WHIP.
    Send,
    /// WHEP.
    Receive,
}

/// WHIP and WHEP sessions of one user in one room: each offer makes a new one.
const BARE_PER_USER: usize = 8;

/// Why an offer was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The offer is wrong, or offers nothing that we can do: the text says where and what.
    #[error("{0}")]
    Offer(#[from] NegotiationError),
    /// A viewer's offer sends, or a publisher's receives: the token does not allow it.
    #[error("{0}")]
    NotAllowed(&'static str),
    /// The room or the node is full.
    #[error("{limit} is full: at most {max}")]
    LimitExceeded {
        /// What is full.
        limit: &'static str,
        /// Its bound.
        max: usize,
    },
    /// The SFU is shutting down, or the system gives no randomness.
    #[error("the media plane is not available")]
    Unavailable,
}

struct Who {
    room: String,
    name: String,
    connected: bool,
}

#[derive(Default)]
struct Names {
    next_id: u64,
    rooms: BTreeMap<String, (RoomId, BTreeMap<String, ParticipantId>)>,
    participants: BTreeMap<ParticipantId, Who>,
    closed: bool,
}

/// Shared by the handles and the media threads.
pub(crate) struct Control {
    names: Mutex<Names>,
    shards: Vec<ShardLink>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    identity: Arc<DtlsIdentity>,
    advertise: Vec<SocketAddr>,
    local_addr: SocketAddr,
    limits: Limits,
    events: UnboundedSender<SfuEvent>,
    random: SystemRandom,
}

impl Control {
    pub(crate) fn start(config: &SfuConfig, events: UnboundedSender<SfuEvent>) -> io::Result<Arc<Self>> {
        let identity = DtlsIdentity::generate().map_err(io::Error::other)?;
        let (starters, local_addr) = media_thread::bind(config)?;
        let advertise = advertised(&config.advertise, local_addr)?;
        let control = Arc::new(Self {
            names: Mutex::default(),
            shards: starters.iter().map(|s| s.link.clone()).collect(),
            threads: Mutex::default(),
            identity: Arc::new(identity),
            advertise,
            local_addr,
            limits: config.limits.clone(),
            events,
            random: SystemRandom::new(),
        });
        let mut threads = Vec::new();
        for starter in starters {
            let seed = control.random_u64().ok_or_else(|| io::Error::other("no randomness"))?;
            threads.push(starter.start(&control, config.limits.clone(), control.identity.clone(), seed)?);
        }
        *lock(&control.threads) = threads;
        Ok(control)
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    pub(crate) fn shards(&self) -> &[ShardLink] {
        &self.shards
    }

    pub(crate) fn join(
        &self,
        room: &str,
        name: &str,
        offer: &str,
        allowed: Allowed,
    ) -> Result<String, JoinError> {
        let local = self.local_parameters().ok_or(JoinError::Unavailable)?;
        let (session, answer) = negotiation::answer(offer, &local)?;
        if allowed == Allowed::Receive && !session.tracks.is_empty() {
            return Err(JoinError::NotAllowed("a WHEP offer must not send"));
        }
        if allowed == Allowed::Send && !session.slots.is_empty() {
            return Err(JoinError::NotAllowed("a WHIP offer must not receive"));
        }
        let mut names = lock(&self.names);
        if names.closed {
            return Err(JoinError::Unavailable);
        }
        if let Some(old) = names.remove(room, name) {
            self.broadcast(&Command::Leave(old));
        }
        if allowed != Allowed::Both && names.of_user(room, name) >= BARE_PER_USER {
            return Err(JoinError::LimitExceeded {
                limit: "this user's share of the room",
                max: BARE_PER_USER,
            });
        }
        if names.participants.len() >= self.limits.participants {
            return Err(JoinError::LimitExceeded { limit: "the node", max: self.limits.participants });
        }
        if names.rooms.get(room).is_some_and(|(_, all)| all.len() >= self.limits.room_participants) {
            return Err(JoinError::LimitExceeded { limit: "the call", max: self.limits.room_participants });
        }
        let (room_id, participant) = names.add(room, name);
        let registration = Registration { room: room_id, participant, session, claim: Claim::default() };
        // Under the lock: every shard must hear joins and leaves in the same order.
        self.broadcast(&Command::Join(Arc::new(registration)));
        Ok(answer)
    }

    pub(crate) fn contains(&self, room: &str, name: &str) -> bool {
        lock(&self.names).rooms.get(room).is_some_and(|(_, all)| all.contains_key(name))
    }

    pub(crate) fn leave(&self, room: &str, name: &str) {
        let mut names = lock(&self.names);
        if let Some(id) = names.remove(room, name) {
            self.broadcast(&Command::Leave(id));
        }
    }

    pub(crate) fn close_room(&self, room: &str) {
        let mut names = lock(&self.names);
        let everyone: Vec<String> =
            names.rooms.get(room).map(|(_, all)| all.keys().cloned().collect()).unwrap_or_default();
        for name in everyone {
            if let Some(id) = names.remove(room, &name) {
                self.broadcast(&Command::Leave(id));
            }
        }
    }

    pub(crate) fn view(&self, room: &str, name: &str, slots: Vec<(u16, View)>) {
        let names = lock(&self.names);
        if let Some(&participant) = names.rooms.get(room).and_then(|(_, all)| all.get(name)) {
            self.broadcast(&Command::View { participant, slots });
        }
    }

    pub(crate) fn live_rooms(&self) -> Vec<String> {
        let names = lock(&self.names);
        let mut rooms: Vec<String> =
            names.participants.values().filter(|w| w.connected).map(|w| w.room.clone()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        rooms
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for shard in &self.shards {
            sum.add(&shard.stats());
        }
        sum
    }

    /// Called by media threads.
    pub(crate) fn on_event(&self, event: Event) {
        let mut names = lock(&self.names);
        let told = match event {
            Event::Connected(id) => names.participants.get_mut(&id).map(|who| {
                who.connected = true;
                SfuEvent::Connected { room: who.room.clone(), participant: who.name.clone() }
            }),
            Event::Slots(id, slots) => {
                let slots = slots
                    .into_iter()
                    .map(|s| SlotOccupant {
                        slot: s.slot,
                        mid_audio: s.mid_audio,
                        mid_video: s.mid_video,
                        participant: s
                            .occupant
                            .and_then(|id| names.participants.get(&id))
                            .map(|who| who.name.clone()),
                    })
                    .collect();
                names.participants.get(&id).map(|who| SfuEvent::Slots {
                    room: who.room.clone(),
                    participant: who.name.clone(),
                    slots,
                })
            }
            Event::Gone(id, why) => {
                names.participants.get(&id).map(|w| (w.room.clone(), w.name.clone())).map(
                    |(room, participant)| {
                        names.remove(&room, &participant);
                        self.broadcast(&Command::Leave(id));
                        SfuEvent::Gone { room, participant, why }
                    },
                )
            }
        };
        if let Some(event) = told {
            // A receiver that is gone means that the process is going down.
            let _ = self.events.send(event);
        }
    }

    pub(crate) fn shutdown(&self) {
        {
            let mut names = lock(&self.names);
            names.closed = true;
            let everyone: Vec<_> = names.participants.keys().copied().collect();
            for id in everyone {
                self.broadcast(&Command::Leave(id));
            }
            names.rooms.clear();
            names.participants.clear();
        }
        self.shards.iter().for_each(ShardLink::stop);
        for thread in std::mem::take(&mut *lock(&self.threads)) {
            if thread.join().is_err() {
                tracing::error!("a media thread panicked");
            }
        }
    }

    fn broadcast(&self, command: &Command) {
        self.shards.iter().for_each(|shard| shard.command(command.clone()));
    }

    fn local_parameters(&self) -> Option<LocalParameters> {
        Some(LocalParameters {
            ice: IceCredentials { ufrag: self.random_ice(8)?, pwd: self.random_ice(24)? },
            fingerprint: self.identity.fingerprint(),
            candidates: self.advertise.clone(),
            ssrc_base: (self.random_u64()? as u32) & 0x7fff_ff00 | 0x1_0000,
            session_id: self.random_u64()? >> 2,
        })
    }

    fn random_ice(&self, characters: usize) -> Option<String> {
        let mut bytes = vec![0u8; characters];
        self.random.fill(&mut bytes).ok()?;
        Some(bytes.iter().map(|b| char::from(ICE_CHARS[usize::from(b & 63)])).collect())
    }

    pub(crate) fn random_u64(&self) -> Option<u64> {
        let mut bytes = [0u8; 8];
        self.random.fill(&mut bytes).ok()?;
        Some(u64::from_ne_bytes(bytes))
    }
}

impl Names {
    /// Participants in the room whose name begins with the same user.
    fn of_user(&self, room: &str, name: &str) -> usize {
        let user = |name: &str| name.split('/').next().map(str::to_owned);
        let all = self.rooms.get(room).map(|(_, all)| all.keys());
        all.map_or(0, |all| all.filter(|other| user(other) == user(name)).count())
    }

    fn add(&mut self, room: &str, name: &str) -> (RoomId, ParticipantId) {
        self.next_id += 2;
        let (fresh_room, id) = (RoomId(self.next_id), ParticipantId(self.next_id + 1));
        let (room_id, all) = self.rooms.entry(room.to_owned()).or_insert((fresh_room, BTreeMap::new()));
        all.insert(name.to_owned(), id);
        let who = Who { room: room.to_owned(), name: name.to_owned(), connected: false };
        let room_id = *room_id;
        self.participants.insert(id, who);
        (room_id, id)
    }

    fn remove(&mut self, room: &str, name: &str) -> Option<ParticipantId> {
        let (_, all) = self.rooms.get_mut(room)?;
        let id = all.remove(name)?;
        if all.is_empty() {
            self.rooms.remove(room);
        }
        self.participants.remove(&id);
        Some(id)
    }
}

fn advertised(wanted: &[SocketAddr], local: SocketAddr) -> io::Result<Vec<SocketAddr>> {
    if wanted.is_empty() {
        if local.ip().is_unspecified() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the media port is bound to a wildcard: say which addresses to advertise",
            ));
        }
        return Ok(vec![local]);
    }
    let port = |a: &SocketAddr| if a.port() == 0 { local.port() } else { a.port() };
    Ok(wanted.iter().map(|a| SocketAddr::new(a.ip(), port(a))).collect())
}

/// A poisoned lock means that another thread panicked inside a few lines that cannot; its data is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
