//! The limits a process puts on itself, before it reads what a stranger wrote.

use std::fs::File;
use std::io::Read as _;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus, path_beneath_rules,
};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use nix::sys::time::TimeValLike as _;

use super::{Job, Work};
use crate::{Code, Limits, Refusal};

/// Open files: the three of every process, input, output, and a few that libraries may want.
const OPEN_FILES: u64 = 32;

/// Puts `job`'s limits on this process. Tells whether the file system is closed to it as well, which depends on the
/// kernel; the limits are required.
pub(super) fn confine(job: &Job) -> Result<bool, Refusal> {
    limit(&job.limits, &job.work)?;
    // A kernel without landlock, or one that an operator has switched it off in, still has the limits above.
    Ok(close_file_system(job).unwrap_or(false))
}

fn limit(limits: &Limits, work: &Work) -> Result<(), Refusal> {
    let cpu_ms = match work {
        Work::Photo(_) | Work::Variant { .. } => limits.photo_cpu_ms,
        Work::Voice => limits.voice_cpu_ms,
    };
    let seconds = cpu_ms.div_ceil(1_000).max(1);
    let wanted = [
        (Resource::RLIMIT_DATA, limits.memory_bytes, limits.memory_bytes),
        // The soft limit ends it with a signal of its own; a second later the hard one would.
        (Resource::RLIMIT_CPU, seconds, seconds + 1),
        (Resource::RLIMIT_FSIZE, limits.output_bytes, limits.output_bytes),
        (Resource::RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES),
        (Resource::RLIMIT_CORE, 0, 0),
    ];
    for (resource, soft, hard) in wanted {
        setrlimit(resource, soft, hard).map_err(|error| {
            Refusal::new(Code::Failed, format!("the worker cannot limit itself ({resource:?}): {error}"))
        })?;
    }
    Ok(())
}

fn close_file_system(job: &Job) -> Result<bool, landlock::RulesetError> {
    let abi = ABI::V6;
    let all = AccessFs::from_all(abi);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(abi))?
        .create()?
        .add_rules(path_beneath_rules([&job.input], AccessFs::from_read(abi)))?
        .add_rules(path_beneath_rules([&job.output], all & !AccessFs::Execute))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}

/// CPU time of this process so far, in milliseconds.
pub(super) fn cpu_ms() -> u64 {
    getrusage(UsageWho::RUSAGE_SELF)
        .map_or(0, |usage| (usage.user_time() + usage.system_time()).num_milliseconds().unsigned_abs())
}

/// The kernel's account of this process, opened while that is still allowed. Not `getrusage`: its peak begins with that
/// of the parent, which memory is shared with until the program is executed.
pub(super) struct Status(Option<File>);

impl Status {
    pub(super) fn open() -> Status {
        Status(File::open("/proc/self/status").ok())
    }

    /// Most memory that was resident at a time, in bytes; 0 if the kernel does not tell.
    pub(super) fn peak_bytes(mut self) -> u64 {
        let mut text = String::new();
        if let Some(file) = &mut self.0 {
            // What is not read is not told.
            let _ = file.take(64 * 1024).read_to_string(&mut text);
        }
        let kib = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB")?.trim().parse().ok());
        kib.unwrap_or(0_u64) * 1024
    }
}
