//! str0m clients and one shard, on seeded links under one fake clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::change::SdpAnswer;
use str0m::crypto::from_feature_flags;
use str0m::media::{Direction, KeyframeRequestKind, MediaData, MediaKind, MediaTime, Mid};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Rtc};
use trunkline_netsim::{Link, LinkConfig};
use trunkline_sfu_core::limits::Limits;
use trunkline_sfu_core::negotiation;
use trunkline_sfu_core::shard::{Claim, Command, Input, Output, ParticipantId, Registration, Shard, ShardId};
use trunkline_sfu_core::stats::Stats;

use crate::world::{ROOM, SERVER, TICK, identity, local_parameters};

/// One str0m client, with one audio and one video section.
pub(super) struct Client {
    rtc: Rtc,
    address: SocketAddr,
    up: Link,
    down: Link,
    audio: Mid,
    video: Mid,
    /// Whole frames, as str0m gave them out.
    received: Vec<MediaData>,
    /// Whether RTCP passes, both ways.
    pub(super) feedback: bool,
    pub(super) heard: Heard,
}

/// What str0m understood of our RTCP, and what both sides said of SRTP in clear.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Keyframe requests for what this client sends.
    pub(super) keyframe_requests: u32,
    /// NACKs for what this client sends.
    pub(super) nacks: u64,
    /// Whether a receiver report has come, for what this client sends.
    pub(super) receiver_report: bool,
    /// Whether a sender report has come, for what this client receives.
    pub(super) sender_report: bool,
    /// Whether transport-wide feedback has come: the loss on the way up is made of it.
    pub(super) transport_feedback: bool,
    /// `use_srtp` of the ClientHello.
    pub(super) srtp_offered: Vec<u16>,
    /// `use_srtp` of the ServerHello.
    pub(super) srtp_chosen: Vec<u16>,
}

impl Client {
    /// The frames received of one kind.
    pub(super) fn received(&self, kind: MediaKind) -> Vec<&MediaData> {
        let mid = if kind == MediaKind::Audio { self.audio } else { self.video };
        self.received.iter().filter(|data| data.mid == mid).collect()
    }

    /// Writes an Opus packet or a VP8 frame; str0m makes packets of it.
    pub(super) fn write(&mut self, kind: MediaKind, now: Instant, ms: u64, data: &[u8]) {
        let mid = if kind == MediaKind::Audio { self.audio } else { self.video };
        let writer = self.rtc.writer(mid).expect("a section that sends");
        let payload_type = writer.payload_params().next().expect("an agreed codec").pt();
        writer.write(payload_type, now, MediaTime::from_millis(ms), data).expect("an agreed codec");
    }

    pub(super) fn request_keyframe(&mut self) {
        let mut writer = self.rtc.writer(self.video).expect("a section that receives");
        writer.request_keyframe(None, KeyframeRequestKind::Pli).expect("PLI is agreed");
    }

    /// Takes what has arrived, and sends what is due.
    fn turn(&mut self, now: Instant) {
        while let Some(datagram) = self.down.pop(now) {
            if let Some(chosen) = use_srtp(&datagram, SERVER_HELLO) {
                self.heard.srtp_chosen = chosen;
            }
            if !self.feedback && is_rtcp(&datagram) {
                continue;
            }
            let source = SERVER.parse().expect("an address");
            let receive = Receive::new(Protocol::Udp, source, self.address, &datagram)
                .expect("str0m knows what kind of datagram it is");
            self.rtc.handle_input(str0m::Input::Receive(now, receive)).expect("str0m takes what we send");
            self.drain(now);
        }
        self.rtc.handle_input(str0m::Input::Timeout(now)).expect("str0m lives");
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        loop {
            match self.rtc.poll_output().expect("str0m lives") {
                str0m::Output::Timeout(_) => return,
                str0m::Output::Transmit(transmit) => {
                    if let Some(offered) = use_srtp(&transmit.contents, CLIENT_HELLO) {
                        self.heard.srtp_offered = offered;
                    }
                    if self.feedback || !is_rtcp(&transmit.contents) {
                        self.up.push(transmit.contents.to_vec(), now);
                    }
                }
                str0m::Output::Event(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: str0m::Event) {
        match event {
            str0m::Event::MediaData(data) => self.received.push(data),
            str0m::Event::KeyframeRequest(request) if request.mid == self.video => {
                self.heard.keyframe_requests += 1;
            }
            str0m::Event::PeerStats(stats) => {
                self.heard.transport_feedback |= stats.egress_loss_fraction.is_some();
            }
            str0m::Event::MediaEgressStats(stats) if stats.mid == self.video => {
                self.heard.nacks = stats.nacks;
                self.heard.receiver_report |= stats.remote.is_some();
            }
            str0m::Event::MediaIngressStats(stats) if stats.mid == self.video => {
                self.heard.sender_report |= stats.remote.is_some();
            }
            _ => {}
        }
    }
}

/// See the module's text.
pub(super) struct Meeting {
    pub(super) now: Instant,
    pub(super) clients: Vec<Client>,
    shard: Shard,
    link: LinkConfig,
    seed: u64,
}

impl Meeting {
    #[allow(clippy::disallowed_methods)] // the one origin of the fake clock
    pub(super) fn new(seed: u64, link: LinkConfig) -> Self {
        let shard = Shard::new(ShardId(0), Limits::default(), identity(), seed);
        Self { now: Instant::now(), clients: Vec::new(), shard, link, seed }
    }

    /// Negotiates a client into the room by str0m's own offer; returns its index.
    pub(super) fn join(&mut self, direction: Direction) -> usize {
        let n = self.clients.len();
        let address = SocketAddr::from(([203, 0, 113, n as u8 + 1], 40_000 + n as u16));
        let mut rtc = Rtc::builder()
            .set_crypto_provider(Arc::new(from_feature_flags()))
            .enable_bwe(Some(Bitrate::kbps(1_000)))
            .set_stats_interval(Some(Duration::from_millis(500)))
            .build(self.now);
        rtc.add_local_candidate(Candidate::host(address, "udp").expect("an address"));
        let mut change = rtc.sdp_api();
        let [audio, video] = [MediaKind::Audio, MediaKind::Video]
            .map(|kind| change.add_media(kind, direction, None, None, None));
        let (offer, pending) = change.apply().expect("two sections are a change");
        let (session, answer) =
            negotiation::answer(&offer.to_sdp_string(), &local_parameters(n)).expect("we take str0m's offer");
        let participant = ParticipantId(n as u64 + 100);
        let registration = Registration { room: ROOM, participant, session, claim: Claim::default() };
        let join = Command::Join(Arc::new(registration));
        self.shard.handle(Input::Command(join), self.now);
        let answer = SdpAnswer::from_sdp_string(&answer).expect("str0m reads our answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("str0m takes our answer");
        let seed = self.seed.wrapping_mul(31).wrapping_add(n as u64 * 2);
        self.clients.push(Client {
            rtc,
            address,
            up: Link::new(seed, self.link),
            down: Link::new(seed + 1, self.link),
            audio,
            video,
            received: Vec::new(),
            feedback: true,
            heard: Heard::default(),
        });
        n
    }

    /// Runs until every client has ICE and DTLS; panics if that takes more than `ms`.
    pub(super) fn connect(&mut self, ms: u64) {
        for _ in 0..ms {
            if self.clients.iter().all(|c| c.rtc.is_connected()) {
                return;
            }
            self.tick();
        }
        panic!("not connected within {ms} ms");
    }

    /// Runs for `ms` milliseconds; every 20 ms `each` may make the clients speak.
    pub(super) fn run(&mut self, ms: u64, mut each: impl FnMut(&mut Meeting)) {
        for n in 0..ms {
            if n % 20 == 0 {
                each(self);
            }
            self.tick();
        }
    }

    pub(super) fn stats(&self) -> &Stats {
        self.shard.stats()
    }

    fn tick(&mut self) {
        self.now += TICK;
        for client in &mut self.clients {
            client.turn(self.now);
        }
        for n in 0..self.clients.len() {
            let source = self.clients[n].address;
            while let Some(mut bytes) = self.clients[n].up.pop(self.now) {
                self.shard.handle(Input::Datagram { source, local: None, bytes: &mut bytes }, self.now);
            }
        }
        if self.deliver().is_some_and(|at| at <= self.now) {
            self.shard.handle(Input::Wake, self.now);
            self.deliver();
        }
    }

    /// Puts what the shard sends on the links; returns when it wants to be woken.
    fn deliver(&mut self) -> Option<Instant> {
        loop {
            match self.shard.poll_output(self.now) {
                Output::Wait(at) => return at,
                Output::Event(_) | Output::Neighbour(..) => {}
                Output::Transmits { bytes, transmits } => {
                    for transmit in transmits {
                        let to = self.clients.iter_mut().find(|c| c.address == transmit.destination);
                        let client = to.expect("only clients are sent to");
                        for datagram in bytes[transmit.range.clone()].chunks(transmit.segment_size) {
                            client.down.push(datagram.to_vec(), self.now);
                        }
                    }
                }
            }
        }
    }
}

/// RFC 5761 §4: the payload type tells, also where the rest is encrypted.
fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

const CLIENT_HELLO: u8 = 1;
const SERVER_HELLO: u8 = 2;

/// The profiles in `use_srtp` (RFC 5764 §4.1.1) of a datagram that begins with that handshake message: hellos are in
/// clear. Searched for, not parsed: extension 14, whose data is a list of two-byte numbers and an empty MKI.
fn use_srtp(datagram: &[u8], message: u8) -> Option<Vec<u16>> {
    const HANDSHAKE: u8 = 22;
    if datagram.first() != Some(&HANDSHAKE) || datagram.get(13) != Some(&message) {
        return None;
    }
    let number = |at: usize| Some(u16::from_be_bytes([*datagram.get(at)?, *datagram.get(at + 1)?]));
    (0..datagram.len()).find_map(|at| {
        let length = number(at + 4).filter(|length| (1..=8).contains(length) && length % 2 == 0)?;
        if number(at) != Some(14) || number(at + 2) != Some(length + 3) {
            return None;
        }
        (0..usize::from(length / 2)).map(|n| number(at + 6 + 2 * n)).collect()
    })
}
