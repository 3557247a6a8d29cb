//! Every metric of the service, in one place: names with units, labels from closed sets.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use trunkline_signaling_api::{ByeCode, EndReason, ErrorCode};

/// Tells the exporter what the numbers mean. Call it after the recorder is installed; without one it does nothing.
pub(crate) fn describe() {
    describe_gauge!("signaling_sessions", "Sessions that have been welcomed and are open.");
    describe_counter!("signaling_frames_received_total", "Frames from clients, by type.");
    describe_counter!("signaling_errors_total", "Errors told to clients, by code.");
    describe_counter!("signaling_byes_total", "Sessions that the server ended, by code.");
    describe_counter!("signaling_messages_committed_total", "Messages made durable, resends not counted.");
    describe_histogram!("signaling_send_seconds", "From a send's arrival until its commit, seconds.");
    describe_histogram!(
        "signaling_store_commit_seconds",
        "Duration of a commit with its transactions, seconds."
    );
    describe_histogram!("signaling_store_batch_transactions", "Transactions that shared a commit.");
    describe_counter!("signaling_store_commit_failures_total", "Commits that failed.");
    describe_counter!("signaling_calls_started_total", "Invitations that made a call.");
    describe_counter!("signaling_calls_ended_total", "Calls that ended, by reason.");
    describe_counter!("signaling_ephemerals_dropped_total", "Queues that dropped ephemeral frames.");
    describe_counter!("signaling_behind_total", "Sessions told that they are behind.");
    describe_counter!(
        "signaling_bus_hints_lost_total",
        "Times that hints were lost and the repair poll ran early."
    );
    describe_counter!(
        "signaling_repairs_total",
        "Conversations in which the repair poll found something unsent."
    );
}

pub(crate) fn session_opened() {
    gauge!("signaling_sessions").increment(1);
}

pub(crate) fn session_closed() {
    gauge!("signaling_sessions").decrement(1);
}

pub(crate) fn frame_received(kind: &'static str) {
    counter!("signaling_frames_received_total", "type" => kind).increment(1);
}

pub(crate) fn error(code: ErrorCode) {
    counter!("signaling_errors_total", "code" => code.as_str()).increment(1);
}

pub(crate) fn bye(code: ByeCode) {
    counter!("signaling_byes_total", "code" => code.as_str()).increment(1);
}

pub(crate) fn message_committed(after: Duration, fresh: bool) {
    if fresh {
        counter!("signaling_messages_committed_total").increment(1);
    }
    histogram!("signaling_send_seconds").record(after.as_secs_f64());
}

pub(crate) fn store_commit(took: Duration, transactions: usize, committed: bool) {
    histogram!("signaling_store_commit_seconds").record(took.as_secs_f64());
    // A batch is at most some hundreds.
    histogram!("signaling_store_batch_transactions")
        .record(f64::from(u32::try_from(transactions).unwrap_or(u32::MAX)));
    if !committed {
        counter!("signaling_store_commit_failures_total").increment(1);
    }
}

pub(crate) fn call_started() {
    counter!("signaling_calls_started_total").increment(1);
}

pub(crate) fn call_ended(reason: EndReason) {
    counter!("signaling_calls_ended_total", "reason" => reason.as_str()).increment(1);
}

pub(crate) fn ephemerals_dropped() {
    counter!("signaling_ephemerals_dropped_total").increment(1);
}

pub(crate) fn behind() {
    counter!("signaling_behind_total").increment(1);
}

pub(crate) fn hints_lost() {
    counter!("signaling_bus_hints_lost_total").increment(1);
}

pub(crate) fn repaired() {
    counter!("signaling_repairs_total").increment(1);
}
