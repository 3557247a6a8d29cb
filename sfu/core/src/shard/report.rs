//! What a transport says by itself: reports, NACKs, arrival feedback, keyframe requests; and when it is gone.

use std::time::{Duration, Instant};

use super::{GoneReason, Shard};
use crate::ingress::Role;
use crate::rtcp;
use crate::session::{Codec, MediaKind};

/// Time between two reports. RFC 3550 §6.2 would allow less traffic; a second is what browsers expect.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Between two reports at the least.
const REPORT_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// The sender of feedback for transports that receive nothing of ours.
const FEEDBACK_SSRC: u32 = 1;
const CNAME: &str = "trunkline";

impl Shard {
    /// After anything that may have made a deadline earlier.
    pub(super) fn reschedule(&mut self, member: usize) {
        let limits = &self.limits;
        let m = &self.members[member];
        let Some(transport) = m.transport.as_ref() else { return };
        let at = transport.next_at(limits.consent, limits.connect);
        // A look that was planned stays planned, whichever timer came before it.
        let at = m.tracks.iter().filter_map(|t| t.look_at).fold(at, Instant::min);
        self.schedule(member, at);
    }

    pub(super) fn on_member_timer(&mut self, member: usize, now: Instant) {
        self.ask_pending_keyframes(member, now);
        let Some(transport) = self.members[member].transport.as_ref() else {
            self.expire_unclaimed(member, now);
            return;
        };
        if now >= transport.consent_at + self.limits.consent {
            self.gone(member, GoneReason::ConsentExpired);
            return;
        }
        if !transport.connected() && now >= transport.claimed_at + self.limits.connect {
            self.gone(member, GoneReason::NeverConnected);
            return;
        }
        if transport.dtls_due.is_some_and(|due| due <= now) {
            self.pump_dtls(member, now);
        }
        if self.members[member].tracks.iter().any(|t| t.look_at.is_some_and(|at| at <= now)) {
            self.look_at_layers(member, now);
        }
        self.send_nacks(member, now);
        self.send_arrivals(member, now);
        let due =
            self.members[member].transport.as_ref().is_some_and(|t| t.connected() && t.report_due <= now);
        if due {
            self.send_reports(member, now);
            self.retarget_member(member, now);
            self.repeat_wants(member);
        }
        self.reschedule(member);
    }

    /// Keyframes asked for too soon after another; then the next wake for one that is still not due.
    fn ask_pending_keyframes(&mut self, member: usize, now: Instant) {
        let publisher = self.members[member].id();
        for track in 0..self.members[member].tracks.len() {
            for layer in 0..self.members[member].tracks[track].layers.len() {
                if self.members[member].tracks[track].layers[layer].keyframe_pending {
                    self.ask_keyframe(publisher, track as u8, layer as u8, now);
                }
            }
        }
    }

    /// A clock became known: those who receive the track get it at once, so that lips are in step from the start.
    pub(super) fn hasten_reports(&mut self, member: usize, track: usize, now: Instant) {
        let subscribers = self.members[member].tracks[track].subscribers.clone();
        for (subscriber, _) in subscribers {
            if let Some(transport) = self.members[subscriber].transport.as_mut() {
                // Never sooner than a little after the last: a publisher may begin anew as often as it likes.
                let at = (transport.reported_at + REPORT_INTERVAL_MIN).max(now);
                transport.report_due = transport.report_due.min(at);
                self.schedule(subscriber, at);
            }
        }
    }

    /// Seals and sends what `write` appends, as one compound packet.
    fn send_rtcp(&mut self, member: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(transport) = self.members[member].transport.as_mut() else { return };
        let Some((_, outbound)) = transport.srtp.as_mut() else { return };
        let start = self.out.begin();
        write(&mut self.out.arena);
        if self.out.arena.len() == start || outbound.protect_rtcp(&mut self.out.arena, start).is_err() {
            self.out.abandon(start);
            return;
        }
        self.out.commit(start, transport.selected.remote, transport.selected.local);
    }

    fn send_nacks(&mut self, member: usize, now: Instant) {
        let Some(transport) = self.members[member].transport.as_mut() else { return };
        let mut asks: Vec<(u32, Vec<u16>)> = Vec::new();
        for stream in &mut transport.streams {
            let mut due = Vec::new();
            stream.nack.collect(now, &mut due);
            if !due.is_empty() {
                asks.push((stream.ssrc, due));
            }
        }
        for (ssrc, lost) in asks {
            self.stats.nacked_packets += lost.len() as u64;
            self.send_rtcp(member, |out| rtcp::write_nack(out, FEEDBACK_SSRC, ssrc, &lost));
        }
    }

    fn send_arrivals(&mut self, member: usize, now: Instant) {
        loop {
            let Some(transport) = self.members[member].transport.as_mut() else { return };
            let Some(feedback) = transport.arrivals.take(now) else { return };
            let media = transport.streams.first().map_or(0, |s| s.ssrc);
            self.send_rtcp(member, |out| {
                rtcp::write_transport_feedback(out, FEEDBACK_SSRC, media, feedback.count, &feedback.statuses);
            });
        }
    }

    pub(super) fn send_pli(&mut self, member: usize, track: u8, layer: u8) {
        let Some(transport) = self.members[member].transport.as_ref() else { return };
        let role = Role::Media { track, layer };
        let Some(ssrc) = transport.streams.iter().find(|s| s.role == role).map(|s| s.ssrc) else {
            // Nothing came yet; the first packets will be a keyframe anyway. The next request may pass at once.
            self.members[member].tracks[usize::from(track)].layers[usize::from(layer)].keyframe_asked = None;
            return;
        };
        self.stats.keyframe_requests += 1;
        self.send_rtcp(member, |out| rtcp::write_pli(out, FEEDBACK_SSRC, ssrc));
    }

    /// Sender reports for what we forward, receiver reports for what we get, and a CNAME (RFC 3550 §6.1).
    fn send_reports(&mut self, member: usize, now: Instant) {
        let Some(transport) = self.members[member].transport.as_mut() else { return };
        transport.report_due = now + REPORT_INTERVAL;
        transport.reported_at = now;
        let blocks: Vec<_> = transport.streams.iter_mut().filter_map(|s| s.report(now)).collect();
        let transport = self.members[member].transport.as_ref().expect("checked above");
        let mut senders = Vec::new();
        for stream in &transport.egress {
            let Some(key) = stream.current() else { continue };
            let Some(&publisher) = self.by_id.get(&key.publisher) else { continue };
            let source = &self.members[publisher];
            let layer = &source.tracks[usize::from(key.track)].layers[usize::from(key.layer)];
            let rate = match stream.kind {
                MediaKind::Audio => Codec::Opus.clock_rate(),
                MediaKind::Video => Codec::Vp8.clock_rate(),
            };
            if let Some((ntp, rtp)) = layer.clock.and_then(|clock| stream.sender_clock(clock, rate, now)) {
                senders.push(rtcp::SenderInfo {
                    ssrc: stream.ssrc,
                    ntp,
                    rtp_timestamp: rtp,
                    packets: stream.packets,
                    octets: stream.octets,
                });
            }
        }
        if let Some(transport) = self.members[member].transport.as_mut() {
            senders.iter().for_each(|s| transport.sent_reports.note(s.ntp, now));
        }
        let mut blocks = blocks.chunks(rtcp::REPORT_BLOCKS_MAX);
        let mut senders = senders.iter();
        // One compound packet a report: each must begin with SR or RR and carry a CNAME.
        loop {
            let sender = senders.next();
            let received = blocks.next();
            if sender.is_none() && received.is_none() {
                return;
            }
            let ssrc = sender.map_or(FEEDBACK_SSRC, |s| s.ssrc);
            self.send_rtcp(member, |out| {
                match sender {
                    Some(info) => rtcp::write_sender_report(out, info, received.unwrap_or(&[])),
                    None => rtcp::write_receiver_report(out, ssrc, received.unwrap_or(&[])),
                }
                rtcp::write_sdes_cname(out, ssrc, CNAME);
            });
        }
    }
}
