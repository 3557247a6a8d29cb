//! A WebRTC client as a value, for tests and benches of the SFU: it offers, checks connectivity, shakes hands, sends
//! made-up Opus and VP8, and repairs what it receives. No sockets, no clock: the caller moves datagrams and time.
//!
//! It shares the SFU's own codecs, so it proves behaviour, not interoperability: that is for the browsers.

mod receive;
mod sdp;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trunkline_sfu_core::dtls::{Dtls, DtlsIdentity, RtcDtls};
use trunkline_sfu_core::rtcp;
use trunkline_sfu_core::rtp::{self, Fields};
use trunkline_sfu_core::srtp::{SrtpInbound, SrtpOutbound};
use trunkline_stun::{self as stun, BindingRequestParams, IceRole, IntegrityKey, PacketKind, TransactionId};

pub use receive::Received;
use receive::Receiver;
pub use sdp::{AUDIO_PT, RTX_PT, VIDEO_PT};

/// Header extension ids of the peer's offers.
pub mod extension {
    /// `sdes:mid`.
    pub const MID: u8 = 4;
    /// `sdes:rtp-stream-id`.
    pub const RID: u8 = 10;
    /// `ssrc-audio-level`.
    pub const AUDIO_LEVEL: u8 = 1;
    /// Transport-wide sequence number.
    pub const TRANSPORT_CC: u8 = 3;
}

/// What a peer offers.
#[derive(Clone, Debug)]
pub struct PeerSpec {
    /// Sends a microphone.
    pub audio: bool,
    /// Sends a camera.
    pub video: bool,
    /// Simulcast rids of the camera; empty: one stream.
    pub rids: Vec<&'static str>,
    /// Receive slots, each with audio and video.
    pub slots: usize,
    /// Makes SSRCs and transaction ids.
    pub seed: u32,
}

impl PeerSpec {
    /// Microphone, camera without simulcast, and that many slots.
    pub fn caller(seed: u32, slots: usize) -> Self {
        Self { audio: true, video: true, rids: Vec::new(), slots, seed }
    }

    /// Nothing but slots.
    pub fn viewer(seed: u32, slots: usize) -> Self {
        Self { audio: false, video: false, rids: Vec::new(), slots, seed }
    }
}

/// One stream the peer sends, with what it keeps for repair.
struct Sender {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    picture: u16,
    payload_type: u8,
    mid: &'static str,
    rid: Option<&'static str>,
    rtx_sequence: u16,
    /// (sequence, marker, timestamp, payload) of the last packets.
    history: VecDeque<(u16, bool, u32, Vec<u8>)>,
    roc: u32,
    rtx_roc: u32,
    packets: u32,
}

/// What the SFU asked of the peer and told it, counted.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// Keyframe requests by layer.
    pub plis: Vec<u32>,
    /// Sequence numbers asked for.
    pub nacked: u32,
    /// Transport-wide feedback packets.
    pub feedbacks: u32,
    /// Packets that feedback said arrived, and said were lost.
    pub acknowledged: (u32, u32),
    /// Sender reports.
    pub sender_reports: u32,
    /// Receiver report blocks.
    pub report_blocks: u32,
    /// SRTP or SRTCP that could not be opened.
    pub undecryptable: u32,
}

/// See the crate's text.
pub struct Peer {
    spec: PeerSpec,
    identity: Arc<DtlsIdentity>,
    pwd_key: Option<IntegrityKey>,
    username: String,
    dtls: Option<RtcDtls>,
    dtls_due: Option<Instant>,
    inbound: Option<SrtpInbound>,
    outbound: Option<SrtpOutbound>,
    out: VecDeque<Vec<u8>>,
    check_due: Instant,
    checks: u32,
    nominated: bool,
    audio: Option<Sender>,
    video: Vec<Sender>,
    transport_sequence: u16,
    receivers: BTreeMap<u32, Receiver>,
    rtx_of: BTreeMap<u32, u32>,
    repair_due: Option<Instant>,
    /// Whether NACKs are sent.
    pub repair: bool,
    /// See [`Heard`].
    pub heard: Heard,
}

impl Peer {
    /// A peer that has not offered yet.
    pub fn new(spec: PeerSpec, identity: Arc<DtlsIdentity>, now: Instant) -> Self {
        let seed = spec.seed.wrapping_mul(0x9e37_79b9) & 0x7fff_ff00;
        let sender = |n: u32, payload_type, mid, rid| Sender {
            ssrc: seed + n,
            sequence: 65_500, // so that every test sees a roll-over
            timestamp: seed,
            picture: 0x7ff0,
            payload_type,
            mid,
            rid,
            rtx_sequence: 1,
            history: VecDeque::new(),
            roc: 0,
            rtx_roc: 0,
            packets: 0,
        };
        let mid_video = if spec.audio { "1" } else { "0" };
        let video = match (spec.video, spec.rids.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => vec![sender(10, VIDEO_PT, mid_video, None)],
            (true, false) => (10..)
                .step_by(2)
                .zip(&spec.rids)
                .map(|(n, rid)| sender(n, VIDEO_PT, mid_video, Some(*rid)))
                .collect(),
        };
        Self {
            heard: Heard { plis: vec![0; video.len()], ..Heard::default() },
            audio: spec.audio.then(|| sender(1, AUDIO_PT, "0", None)),
            video,
            spec,
            identity,
            pwd_key: None,
            username: String::new(),
            dtls: None,
            dtls_due: None,
            inbound: None,
            outbound: None,
            out: VecDeque::new(),
            check_due: now,
            checks: 0,
            nominated: false,
            transport_sequence: 0,
            receivers: BTreeMap::new(),
            rtx_of: BTreeMap::new(),
            repair_due: None,
            repair: true,
        }
    }

    /// The SDP to hand to the SFU.
    pub fn offer(&self) -> String {
        let ssrc = |s: &Sender| (s.ssrc, s.ssrc + 1);
        sdp::offer(&self.spec, &self.identity.fingerprint(), self.video.first().map(ssrc))
    }

    /// Takes the SFU's answer; checks begin.
    pub fn accept(&mut self, answer: &str, now: Instant) {
        let parsed = sdp::parse_answer(answer);
        self.username = format!("{}:{}", parsed.ufrag, sdp::UFRAG);
        self.pwd_key = Some(IntegrityKey::short_term(parsed.pwd.as_bytes()));
        self.dtls = Some(RtcDtls::new(&self.identity, parsed.fingerprint, true, now));
        for (slot, kind, ssrc, rtx) in parsed.streams {
            self.receivers.insert(ssrc, Receiver::new(slot, kind));
            if let Some(rtx) = rtx {
                self.rtx_of.insert(rtx, ssrc);
            }
        }
        self.check_due = now;
    }

    /// The network changed: check connectivity without waiting.
    pub fn check_now(&mut self, now: Instant) {
        self.check_due = now;
    }

    /// ICE and DTLS are done.
    pub fn connected(&self) -> bool {
        self.outbound.is_some()
    }

    /// What was received, by (slot, "audio" or "video").
    pub fn received(&self, slot: usize, kind: &str) -> &Received {
        self.receivers
            .values()
            .find(|r| r.slot == slot && r.kind == kind)
            .map(|r| &r.received)
            .expect("the offer has this slot")
    }

    /// Datagrams to send now.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        if let Some(key) = &self.pwd_key
            && now >= self.check_due
        {
            self.checks += 1;
            let id = TransactionId(std::array::from_fn(|i| {
                (self.checks >> (8 * (i % 4))) as u8 ^ self.spec.seed as u8
            }));
            let params = BindingRequestParams {
                username: Some(&self.username),
                priority: Some(1),
                role: Some(IceRole::Controlling(u64::from(self.spec.seed))),
                use_candidate: true,
            };
            let mut packet = Vec::new();
            stun::write_binding_request(&mut packet, &id, &params, Some(key));
            self.out.push_back(packet);
            self.check_due =
                now + if self.nominated { Duration::from_secs(2) } else { Duration::from_millis(50) };
        }
        if self.nominated
            && let Some(dtls) = &mut self.dtls
        {
            self.dtls_due = dtls.timeout(now);
            while let Some(bytes) = dtls.output() {
                self.out.push_back(bytes.to_vec());
            }
            if self.outbound.is_none()
                && let Some(keys) = dtls.keys()
            {
                self.inbound = Some(SrtpInbound::from_master(&keys.inbound));
                self.outbound = Some(SrtpOutbound::from_master(&keys.outbound));
            }
        }
        if self.repair && self.repair_due.is_some_and(|at| at <= now) {
            self.send_nacks(now);
        }
        self.out.pop_front()
    }

    /// When to poll again if nothing comes.
    pub fn next_at(&self) -> Instant {
        [self.dtls_due, self.repair_due].into_iter().flatten().fold(self.check_due, Instant::min)
    }

    /// Takes a datagram from the SFU.
    pub fn handle(&mut self, datagram: &mut [u8], now: Instant) {
        match stun::classify(datagram) {
            PacketKind::Stun => {
                let answered = stun::Message::parse(datagram).is_ok_and(|m| {
                    m.class() == stun::Class::Success && self.pwd_key.as_ref().is_some_and(|k| m.verify(k))
                });
                self.nominated |= answered;
            }
            PacketKind::Dtls => {
                if let Some(dtls) = &mut self.dtls {
                    // What is wrong with it shows in `connected`.
                    let _ = dtls.input(datagram, now);
                }
            }
            PacketKind::RtpOrRtcp if rtcp::is_rtcp(datagram) => self.on_rtcp(datagram, now),
            PacketKind::RtpOrRtcp => self.on_rtp(datagram, now),
            _ => {}
        }
    }

    /// Queues one 20 ms Opus packet.
    pub fn send_audio(&mut self, payload: &[u8]) {
        if self.outbound.is_none() {
            return;
        }
        let Some(mut sender) = self.audio.take() else { return };
        self.send_packet(&mut sender, false, payload.to_vec());
        sender.timestamp = sender.timestamp.wrapping_add(960);
        self.audio = Some(sender);
    }

    /// Queues one VP8 frame of `packets` packets of `size` bytes for a layer (0 without simulcast).
    pub fn send_frame(&mut self, layer: usize, keyframe: bool, packets: usize, size: usize) {
        if self.outbound.is_none() || layer >= self.video.len() {
            return;
        }
        let mut sender = self.video.remove(layer);
        for n in 0..packets {
            let picture = sender.picture | 0x8000;
            let [hi, lo] = picture.to_be_bytes();
            // X, S on the first packet; I; 15-bit picture id; then the frame's first byte: P bit 0 on a keyframe.
            let mut payload = vec![if n == 0 { 0x90 } else { 0x80 }, 0x80, hi, lo, u8::from(!keyframe)];
            if keyframe && n == 0 {
                let (width, height) = (160u16 << layer, 90u16 << layer);
                payload.extend_from_slice(&[0, 0, 0x9d, 0x01, 0x2a]);
                payload.extend_from_slice(&width.to_le_bytes());
                payload.extend_from_slice(&height.to_le_bytes());
            }
            payload.resize(size.max(payload.len()), n as u8);
            self.send_packet(&mut sender, n + 1 == packets, payload);
        }
        sender.picture = (sender.picture + 1) & 0x7fff;
        sender.timestamp = sender.timestamp.wrapping_add(3000);
        self.video.insert(layer, sender);
    }

    /// Queues a sender report for every stream sent so far, at that NTP time.
    pub fn send_reports(&mut self, ntp: u64) {
        let infos: Vec<_> = self
            .audio
            .iter()
            .chain(&self.video)
            .filter(|s| s.packets > 0)
            .map(|s| rtcp::SenderInfo {
                ssrc: s.ssrc,
                ntp,
                rtp_timestamp: s.timestamp,
                packets: s.packets,
                octets: 0,
            })
            .collect();
        for info in infos {
            self.send_rtcp(|out| {
                rtcp::write_sender_report(out, &info, &[]);
                rtcp::write_sdes_cname(out, info.ssrc, "peer");
            });
        }
    }

    /// Queues a keyframe request for a slot's video.
    pub fn request_keyframe(&mut self, slot: usize) {
        let found = self.receivers.iter().find(|(_, r)| r.slot == slot && r.kind == "video");
        if let Some(&ssrc) = found.map(|(ssrc, _)| ssrc) {
            self.send_rtcp(|out| rtcp::write_pli(out, 1, ssrc));
        }
    }

    fn send_packet(&mut self, sender: &mut Sender, marker: bool, payload: Vec<u8>) {
        let fields = Fields {
            marker,
            payload_type: sender.payload_type,
            sequence: sender.sequence,
            timestamp: sender.timestamp,
            ssrc: sender.ssrc,
        };
        let (mid, rid) = (sender.mid.as_bytes(), sender.rid.map(str::as_bytes));
        self.seal(&fields, mid, rid, &payload, sender.roc);
        sender.history.push_back((sender.sequence, marker, sender.timestamp, payload));
        if sender.history.len() > 600 {
            sender.history.pop_front();
        }
        sender.packets += 1;
        sender.sequence = sender.sequence.wrapping_add(1);
        sender.roc += u32::from(sender.sequence == 0);
    }

    fn seal(&mut self, fields: &Fields, mid: &[u8], rid: Option<&[u8]>, payload: &[u8], roc: u32) {
        let sequence = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let mut extensions: Vec<(u8, &[u8])> =
            vec![(extension::TRANSPORT_CC, &sequence), (extension::MID, mid)];
        if let Some(rid) = rid {
            extensions.push((extension::RID, rid));
        }
        if fields.payload_type == AUDIO_PT {
            extensions.push((extension::AUDIO_LEVEL, &[0x85]));
        }
        let mut packet = Vec::with_capacity(payload.len() + 64);
        let header_len = rtp::write_header(&mut packet, fields, &extensions);
        packet.extend_from_slice(payload);
        let outbound = self.outbound.as_ref().expect("callers check that it is connected");
        outbound.protect_rtp(&mut packet, 0, header_len, roc).expect("a whole packet was written");
        self.out.push_back(packet);
    }

    fn send_rtcp(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(outbound) = self.outbound.as_mut() else { return };
        let mut packet = Vec::new();
        write(&mut packet);
        if outbound.protect_rtcp(&mut packet, 0).is_ok() {
            self.out.push_back(packet);
        }
    }

    fn send_nacks(&mut self, now: Instant) {
        let mut asks = Vec::new();
        for (&ssrc, receiver) in &mut self.receivers {
            let mut due = Vec::new();
            receiver.nack.collect(now, &mut due);
            if !due.is_empty() {
                asks.push((ssrc, due));
            }
        }
        for (ssrc, lost) in asks {
            self.send_rtcp(|out| rtcp::write_nack(out, 1, ssrc, &lost));
        }
        self.repair_due = self.receivers.values().filter_map(|r| r.nack.next_at()).min();
    }

    fn on_rtp(&mut self, datagram: &mut [u8], now: Instant) {
        let (Some(inbound), Ok(header)) = (self.inbound.as_mut(), rtp::Header::parse(datagram)) else {
            return;
        };
        let Ok(length) = inbound.unprotect_rtp(datagram, header.header_len) else {
            self.heard.undecryptable += 1;
            return;
        };
        let payload = &datagram[header.header_len..length];
        if let Some(media) = self.rtx_of.get(&header.ssrc) {
            let (Some(receiver), Some((sequence, payload))) =
                (self.receivers.get_mut(media), rtp::split_rtx(payload))
            else {
                return;
            };
            receiver.on_packet(sequence, header.timestamp, header.marker, payload, true, now);
        } else if let Some(receiver) = self.receivers.get_mut(&header.ssrc) {
            receiver.on_packet(header.sequence, header.timestamp, header.marker, payload, false, now);
        }
        self.repair_due = self.receivers.values().filter_map(|r| r.nack.next_at()).min();
    }

    fn on_rtcp(&mut self, datagram: &mut [u8], _now: Instant) {
        let Some(inbound) = self.inbound.as_mut() else { return };
        let Ok(length) = inbound.unprotect_rtcp(datagram) else {
            self.heard.undecryptable += 1;
            return;
        };
        let mut repeats = Vec::new();
        for packet in rtcp::Compound::new(&datagram[..length]).flatten() {
            match packet {
                rtcp::Packet::SenderReport(report) => {
                    self.heard.sender_reports += 1;
                    self.heard.report_blocks += report.blocks().count() as u32;
                }
                rtcp::Packet::ReceiverReport(report) => {
                    self.heard.report_blocks += report.blocks().count() as u32;
                }
                rtcp::Packet::Nack(nack) => repeats.extend(nack.lost().map(|lost| (nack.media_ssrc, lost))),
                rtcp::Packet::Pli(pli) => {
                    if let Some(layer) = self.video.iter().position(|s| s.ssrc == pli.media_ssrc) {
                        self.heard.plis[layer] += 1;
                    }
                }
                rtcp::Packet::TransportFeedback(feedback) => {
                    self.heard.feedbacks += 1;
                    for status in feedback.statuses() {
                        if status.arrival_ticks.is_some() {
                            self.heard.acknowledged.0 += 1;
                        } else {
                            self.heard.acknowledged.1 += 1;
                        }
                    }
                }
                _ => {}
            }
        }
        self.heard.nacked += repeats.len() as u32;
        for (ssrc, sequence) in repeats {
            self.repeat(ssrc, sequence);
        }
    }

    /// Video as RTX, audio as the very same packet with the very same bytes.
    fn repeat(&mut self, ssrc: u32, sequence: u16) {
        if let Some(mut sender) = self.audio.take_if(|s| s.ssrc == ssrc) {
            // The transport-wide number differs from the first time, so the bytes would too; SRTP forbids that
            // under one sequence number. A browser repeats audio from its own history; this peer does not.
            sender.rtx_sequence = sender.rtx_sequence.wrapping_add(1);
            self.audio = Some(sender);
            return;
        }
        let Some(at) = self.video.iter().position(|s| s.ssrc == ssrc && s.rid.is_none()) else { return };
        let mut sender = self.video.remove(at);
        if let Some((_, marker, timestamp, payload)) =
            sender.history.iter().find(|(s, ..)| *s == sequence).cloned()
        {
            let mut repeated = Vec::new();
            rtp::write_rtx_osn(&mut repeated, sequence);
            repeated.extend_from_slice(&payload);
            let fields = Fields {
                marker,
                payload_type: RTX_PT,
                sequence: sender.rtx_sequence,
                timestamp,
                ssrc: sender.ssrc + 1,
            };
            self.seal(&fields, sender.mid.as_bytes(), None, &repeated, sender.rtx_roc);
            sender.rtx_sequence = sender.rtx_sequence.wrapping_add(1);
            sender.rtx_roc += u32::from(sender.rtx_sequence == 0);
        }
        self.video.insert(at, sender);
    }
}
