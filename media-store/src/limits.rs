//! Every bound of the media store, with what it costs and what moving it does.

use std::time::Duration;

use crate::Kind;

const MIB: u64 = 1024 * 1024;

/// Bounds on what people may store and what the server works on at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one photo as uploaded. Default 50 MiB. Higher takes larger originals; each is decoded in a process of
    /// its own, whose memory is bounded by pixels, not by this.
    pub photo_bytes: u64,
    /// Bytes of one voice note as uploaded. Default 64 MiB: over an hour of WebM, or six minutes of WAV.
    pub voice_bytes: u64,
    /// Bytes of one file. Default 2 GiB. Costs disk, never memory.
    pub file_bytes: u64,
    /// Stored and pending bytes of one user. Default 10 GiB. Lower: people delete sooner; higher: disks fill sooner.
    pub user_bytes: u64,
    /// Attachments of one user. Default 100,000, some 1 KB of database each.
    pub user_files: u64,
    /// Uploads of one user that are not finished. Default 64. Each may hold its whole declared size of disk until it
    /// expires.
    pub user_uploads: u64,
    /// Stored and pending bytes of one tenant; 0 for no bound. Default 0.
    pub tenant_bytes: u64,
    /// Uploads that receive at the same moment, all users together. Default 1,000 at some 300 KiB each. Above it clients
    /// are told to come back.
    pub receiving: usize,
    /// Worker processes at a time; 0: one a core. Each may use the pipeline's `memory_bytes`, 256 MiB.
    pub workers: usize,
    /// Requests at a time for sizes that are made on demand. Default 256. Each waits with at most a copy of a
    /// stored photo in the spool, and takes up to 256 KiB of memory while it copies that. Above it clients are told to
    /// come back. Higher: more wait, and longer; lower: more are sent away. Uploads that wait for a worker do not count.
    pub lazy_waiting: usize,
    /// How long an upload may rest between two requests before it is swept. Default 24 h.
    pub upload_ttl: Duration,
    /// How long an attachment that no message refers to is kept. Default 24 h. Shorter frees disk sooner; longer
    /// forgives clients that send late.
    pub grace: Duration,
    /// How long a grant creates uploads. Default 1 h.
    pub grant_ttl: Duration,
    /// How long a link opens, at least; at most a `link_step` longer. Default 12 h.
    pub link_ttl: Duration,
    /// Links end at whole multiples of this, so that the same link is given again for a while and caches keep what they
    /// have. Default 1 h.
    pub link_step: Duration,
    /// A request's body that brings nothing for so long has stalled: what came is kept, and the request ends. Default
    /// 60 s.
    pub stall: Duration,
    /// Wall-clock time of one worker process. Default 60 s; its CPU time is bounded by the pipeline itself.
    pub worker_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            photo_bytes: 50 * MIB,
            voice_bytes: 64 * MIB,
            file_bytes: 2 * 1024 * MIB,
            user_bytes: 10 * 1024 * MIB,
            user_files: 100_000,
            user_uploads: 64,
            tenant_bytes: 0,
            receiving: 1_000,
            workers: 0,
            lazy_waiting: 256,
            upload_ttl: Duration::from_secs(24 * 3_600),
            grace: Duration::from_secs(24 * 3_600),
            grant_ttl: Duration::from_secs(3_600),
            link_ttl: Duration::from_secs(12 * 3_600),
            link_step: Duration::from_secs(3_600),
            stall: Duration::from_secs(60),
            worker_time: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// Most bytes of one upload of a kind.
    #[must_use]
    pub const fn bytes_of(&self, kind: Kind) -> u64 {
        match kind {
            Kind::Photo => self.photo_bytes,
            Kind::Voice => self.voice_bytes,
            Kind::File => self.file_bytes,
        }
    }

    /// Most bytes of any upload.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.photo_bytes.max(self.voice_bytes).max(self.file_bytes)
    }
}
