//! Every metric of the media store, in one place: names with units, labels from closed sets.

use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::{Kind, problem::Code};

/// Tells the exporter what the numbers mean. Call it after the recorder is installed; without one it does nothing.
pub(crate) fn describe() {
    describe_counter!("media_received_bytes_total", "Bytes of uploads made durable in the spool.");
    describe_counter!("media_sent_bytes_total", "Bytes of downloads handed to connections.");
    describe_counter!("media_uploads_created_total", "Uploads begun, by kind.");
    describe_counter!("media_attachments_total", "Uploads made attachments, by kind.");
    describe_counter!("media_deduplicated_total", "Attachments whose bytes were there already.");
    describe_counter!("media_refused_total", "Uploads that became no attachment, by kind.");
    describe_counter!("media_problems_total", "Requests answered with a problem, by code.");
    describe_counter!("media_worker_deaths_total", "Worker processes that died without an answer.");
    describe_gauge!("media_workers", "Worker processes that run now.");
    describe_histogram!("media_worker_cpu_seconds", "CPU time of a worker process, seconds.");
    describe_histogram!("media_ready_seconds", "From an upload's last byte until it can be sent, seconds.");
    describe_counter!("media_swept_total", "What the sweep removed, by what it was.");
    describe_counter!("media_sweep_failures_total", "Sweeps that could not be finished.");
}

pub(crate) fn received(bytes: u64) {
    counter!("media_received_bytes_total").increment(bytes);
}

pub(crate) fn sent(bytes: u64) {
    counter!("media_sent_bytes_total").increment(bytes);
}

pub(crate) fn created(kind: Kind) {
    counter!("media_uploads_created_total", "kind" => kind.as_str()).increment(1);
}

pub(crate) fn attached(kind: Kind, after: Duration) {
    counter!("media_attachments_total", "kind" => kind.as_str()).increment(1);
    histogram!("media_ready_seconds").record(after.as_secs_f64());
}

pub(crate) fn deduplicated() {
    counter!("media_deduplicated_total").increment(1);
}

pub(crate) fn refused(kind: Kind) {
    counter!("media_refused_total", "kind" => kind.as_str()).increment(1);
}

pub(crate) fn problem(code: Code) {
    counter!("media_problems_total", "code" => code.as_str()).increment(1);
}

pub(crate) fn worker_started() {
    gauge!("media_workers").increment(1);
}

pub(crate) fn worker_ended(cpu: Option<Duration>) {
    gauge!("media_workers").decrement(1);
    match cpu {
        Some(cpu) => histogram!("media_worker_cpu_seconds").record(cpu.as_secs_f64()),
        None => counter!("media_worker_deaths_total").increment(1),
    }
}

/// What a sweep removes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Swept {
    Upload,
    Attachment,
    Object,
    OrphanBlob,
    OrphanMultipart,
    OrphanSpool,
}

pub(crate) fn swept(what: Swept, count: usize) {
    let label = match what {
        Swept::Upload => "upload",
        Swept::Attachment => "attachment",
        Swept::Object => "object",
        Swept::OrphanBlob => "orphan_blob",
        Swept::OrphanMultipart => "orphan_multipart",
        Swept::OrphanSpool => "orphan_spool",
    };
    counter!("media_swept_total", "what" => label).increment(count as u64);
}

pub(crate) fn sweep_failed() {
    counter!("media_sweep_failures_total").increment(1);
}
