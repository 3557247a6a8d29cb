//! Counters as metrics, and what is logged of allocations. All labels are closed enums; no user is named above `trace`.

use metrics::{counter, gauge, histogram};
use trunkline_turn_core::{DropReason, Event, Refusal, Stats, Throttle};

use crate::certificate::Certificate;
use crate::streams::{CloseReason, Full, StreamStats, Transport};

/// Publishes what changed since the last time, so that shards, and several relays of one process, add up.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    last: Stats,
    last_streams: StreamStats,
    last_unsent: u64,
    last_certificate_failures: u64,
    /// A warning has been logged since the last time.
    warned: bool,
}

impl Telemetry {
    /// `unsent` are datagrams that a socket did not take, since the start.
    pub(crate) fn publish(&mut self, stats: &Stats, streams: &StreamStats, unsent: u64) {
        self.publish_core(stats);
        self.publish_streams(streams);
        counter!("turn_unsent_packets_total", "transport" => "udp")
            .increment(unsent.saturating_sub(self.last_unsent));
        self.last_unsent = unsent;
        self.warned = false;
    }

    fn publish_core(&mut self, stats: &Stats) {
        let last = std::mem::replace(&mut self.last, stats.clone());
        gauge!("turn_allocations").increment(stats.allocations as f64 - last.allocations as f64);
        counter!("turn_allocations_created_total")
            .increment(stats.allocations_created - last.allocations_created);
        let directions = [
            (
                "to_peer",
                stats.to_peers_packets - last.to_peers_packets,
                stats.to_peers_bytes - last.to_peers_bytes,
            ),
            (
                "to_client",
                stats.to_clients_packets - last.to_clients_packets,
                stats.to_clients_bytes - last.to_clients_bytes,
            ),
        ];
        for (direction, packets, bytes) in directions {
            counter!("turn_relayed_packets_total", "direction" => direction).increment(packets);
            counter!("turn_relayed_bytes_total", "direction" => direction).increment(bytes);
        }
        counter!("turn_responses_total", "code" => "success").increment(stats.successes - last.successes);
        let labels = Refusal::ALL.iter().map(|refusal| refusal.label());
        count("turn_responses_total", "code", labels, &stats.refusals, &last.refusals);
        let labels = DropReason::ALL.iter().map(|reason| reason.label());
        count("turn_dropped_packets_total", "reason", labels, &stats.drops, &last.drops);
        let labels = Throttle::ALL.iter().map(|cause| cause.label());
        count("turn_throttled_total", "cause", labels, &stats.throttled, &last.throttled);
    }

    fn publish_streams(&mut self, stats: &StreamStats) {
        let last = std::mem::replace(&mut self.last_streams, stats.clone());
        for (index, transport) in Transport::ALL.iter().enumerate() {
            let label = transport.label();
            gauge!("turn_connections", "transport" => label)
                .increment(stats.open[index] as f64 - last.open[index] as f64);
            counter!("turn_connections_accepted_total", "transport" => label)
                .increment(stats.accepted[index] - last.accepted[index]);
        }
        let labels = Full::ALL.iter().map(|full| full.label());
        count("turn_connections_refused_total", "reason", labels, &stats.refused, &last.refused);
        let labels = CloseReason::ALL.iter().map(|reason| reason.label());
        count("turn_connections_closed_total", "reason", labels, &stats.closed, &last.closed);
        let handshakes = CloseReason::Handshake as usize;
        counter!("turn_tls_handshake_failures_total")
            .increment(stats.closed[handshakes] - last.closed[handshakes]);
        counter!("turn_accept_failures_total").increment(stats.accept_failures - last.accept_failures);
        counter!("turn_unsent_packets_total", "transport" => "stream").increment(stats.unsent - last.unsent);
    }

    /// By one shard for all.
    pub(crate) fn publish_certificate(&mut self, certificate: &Certificate) {
        gauge!("turn_certificate_expiry_timestamp_seconds").set(certificate.expires_unix_s() as f64);
        let failures = certificate.failures();
        counter!("turn_certificate_reload_failures_total")
            .increment(failures - self.last_certificate_failures);
        self.last_certificate_failures = failures;
    }

    /// Accounts and reports.
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::AllocationMade { user } => {
                tracing::trace!(user = %user.escape_ascii(), "allocation made");
            }
            Event::AllocationEnded { user, lasted, usage } => {
                histogram!("turn_allocation_seconds").record(lasted.as_secs_f64());
                histogram!("turn_allocation_bytes")
                    .record((usage.to_peers_bytes + usage.to_client_bytes) as f64);
                tracing::trace!(user = %user.escape_ascii(), ?lasted, ?usage, "allocation ended");
            }
            Event::Throttled { user, cause } => {
                counter!("turn_throttled_allocations_total", "cause" => cause.label()).increment(1);
                // One line a tick: thousands of them would say no more.
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(cause = cause.label(), "an allocation is over its limit and is throttled");
                }
                tracing::trace!(user = %user.escape_ascii(), cause = cause.label(), "throttled");
            }
            _ => {}
        }
    }

    /// The relay is gone, and its allocations and connections with it.
    pub(crate) fn finish(&mut self) {
        gauge!("turn_allocations").decrement(self.last.allocations as f64);
        self.last.allocations = 0;
        for (transport, open) in Transport::ALL.iter().zip(&mut self.last_streams.open) {
            gauge!("turn_connections", "transport" => transport.label()).decrement(*open as f64);
            *open = 0;
        }
    }
}

/// Adds what has come since the last time, by label; a counter that never moved is not shown.
fn count(
    name: &'static str,
    key: &'static str,
    labels: impl Iterator<Item = &'static str>,
    now: &[u64],
    last: &[u64],
) {
    for ((label, now), last) in labels.zip(now).zip(last) {
        if now > last {
            counter!(name, key => label).increment(now - last);
        }
    }
}
