//! The core's counters as metrics. All labels are closed enums.

use metrics::{counter, gauge};
use trunkline_turn_core::{DropReason, Refusal, Stats};

/// Publishes what changed since the last time, so that several relays of one process add up.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    last: Stats,
    last_unsent: u64,
}

impl Telemetry {
    /// `unsent` are packets that a socket did not take, since the start.
    pub(crate) fn publish(&mut self, stats: &Stats, unsent: u64) {
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
        counter!("turn_unsent_packets_total").increment(unsent.saturating_sub(self.last_unsent));
        self.last_unsent = unsent;
    }

    /// The relay is gone, and its allocations with it.
    pub(crate) fn finish(&mut self) {
        gauge!("turn_allocations").decrement(self.last.allocations as f64);
        self.last.allocations = 0;
    }
}
