//! One ICE + DTLS association with a participant: where it is, its keys, its streams in both directions.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::congestion::twcc::ArrivalRecorder;
use crate::dtls::Dtls;
use crate::egress::Egress;
use crate::ingress::Ingress;
use crate::rtcp::ReportBlock;
use crate::srtp::{SrtpInbound, SrtpOutbound};

/// Where a packet goes to, and from which of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub remote: SocketAddr,
    pub local: Option<IpAddr>,
}

/// Owned by the one shard that claimed it.
pub(crate) struct Transport {
    /// Where we send: the path nominated last, or the first that passed a check.
    pub selected: Path,
    pub nominated: bool,
    /// Addresses that passed a check, oldest first.
    pub addresses: Vec<SocketAddr>,
    pub claimed_at: Instant,
    /// The last authenticated STUN request: consent to send (RFC 7675).
    pub consent_at: Instant,
    pub dtls: Box<dyn Dtls + Send>,
    pub dtls_due: Option<Instant>,
    pub srtp: Option<(SrtpInbound, SrtpOutbound)>,
    pub arrivals: ArrivalRecorder,
    pub streams: Vec<Ingress>,
    pub egress: Vec<Egress>,
    /// Round trip by the subscriber's receiver reports.
    pub rtt: Duration,
    pub sent_reports: SentReports,
    pub report_due: Instant,
    pub reported_at: Instant,
}

impl Transport {
    pub(crate) fn new(path: Path, dtls: Box<dyn Dtls + Send>, egress: Vec<Egress>, now: Instant) -> Self {
        Self {
            selected: path,
            nominated: false,
            addresses: Vec::new(),
            claimed_at: now,
            consent_at: now,
            dtls,
            dtls_due: None,
            srtp: None,
            arrivals: ArrivalRecorder::new(now),
            streams: Vec::new(),
            egress,
            rtt: Duration::from_millis(60),
            sent_reports: SentReports::default(),
            report_due: now,
            reported_at: now,
        }
    }

    pub(crate) fn connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// The next moment this transport wants to be woken.
    pub(crate) fn next_at(&self, consent: Duration, connect: Duration) -> Instant {
        let mut at = self.consent_at + consent;
        if !self.connected() {
            at = at.min(self.claimed_at + connect);
        } else {
            at = at.min(self.report_due);
        }
        for due in [self.dtls_due, self.arrivals.next_at()].into_iter().flatten() {
            at = at.min(due);
        }
        for stream in &self.streams {
            if let Some(due) = stream.nack.next_at() {
                at = at.min(due);
            }
        }
        at
    }
}

/// When the last sender reports went out, by the middle 32 bits of their NTP time.
#[derive(Default)]
pub(crate) struct SentReports {
    sent: [Option<(u32, Instant)>; 32],
    next: usize,
}

impl SentReports {
    pub(crate) fn note(&mut self, ntp: u64, now: Instant) {
        self.sent[self.next] = Some(((ntp >> 16) as u32, now));
        self.next = (self.next + 1) % self.sent.len();
    }

    /// RFC 3550 §6.4.1: arrival − LSR − DLSR. Only for a report that we did send: a forged LSR measures nothing.
    pub(crate) fn round_trip(&self, block: &ReportBlock, now: Instant) -> Option<Duration> {
        let (_, at) =
            self.sent.iter().flatten().find(|(ntp, _)| *ntp == block.last_sr && block.last_sr != 0)?;
        let held = Duration::from_micros(u64::from(block.delay_since_last_sr) * 1_000_000 / 65_536);
        now.saturating_duration_since(*at).checked_sub(held)
    }
}
