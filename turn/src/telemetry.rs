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
        for (index, refusal) in Refusal::ALL.iter().enumerate() {
            let change = stats.refusals[index] - last.refusals[index];
            if change > 0 {
                counter!("turn_responses_total", "code" => refusal.label()).increment(change);
            }
        }
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            let change = stats.drops[index] - last.drops[index];
            if change > 0 {
                counter!("turn_dropped_packets_total", "reason" => reason.label()).increment(change);
            }
        }
        for (index, cause) in Throttle::ALL.iter().enumerate() {
            let change = stats.throttled[index] - last.throttled[index];
            if change > 0 {
                counter!("turn_throttled_total", "cause" => cause.label()).increment(change);
            }
        }
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
        for (index, full) in Full::ALL.iter().enumerate() {
            let change = stats.refused[index] - last.refused[index];
            if change > 0 {
                counter!("turn_connections_refused_total", "reason" => full.label()).increment(change);
            }
        }
        for (index, reason) in CloseReason::ALL.iter().enumerate() {
            let change = stats.closed[index] - last.closed[index];
            if change > 0 {
                counter!("turn_connections_closed_total", "reason" => reason.label()).increment(change);
            }
        }
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
