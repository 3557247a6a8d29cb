//! The process around a job: its protocol, and the limits it puts on itself.
//!
//! The parent starts it, writes one [`Job`] as JSON to its standard input and closes that; then it reads lines from its
//! standard output, each an [`Event`] as JSON, the last of them `done`. The process makes one job and ends. If it ends
//! without `done`, [`refusal_of`] tells from its exit status what killed it; variants told before that are whole.
//!
//! Photos tell `photo`, then `made` for each variant; voice notes `made` and `voice`. `refused` comes instead of what is
//! missing. What is told is flushed at once, so that the smallest picture can be shown while the others are made.

mod confine;

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};

use serde::{Deserialize, Serialize};

use crate::photo::{self, Made, PhotoInfo, Request};
use crate::voice::{self, VoiceNote};
use crate::{Code, Limits, Refusal};

/// What one process is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// The file to read.
    pub input: PathBuf,
    /// An empty folder of the job's own, to write to.
    pub output: PathBuf,
    /// What to make.
    pub work: Work,
    /// What to stay within.
    #[serde(default)]
    pub limits: Limits,
}

/// What to make of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The variants of a photo.
    Photo(Request),
    /// One size of a photo, made of a larger variant.
    Variant {
        /// The cap of its long edge, in pixels.
        size: u32,
    },
    /// The voice note `audio.ogg`.
    Voice,
}

/// What a process tells, a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// What is known of a photo; before the first `made`.
    Photo(PhotoInfo),
    /// A file is there.
    Made(Made),
    /// What is known of a voice note; after its `made`.
    Voice(VoiceNote),
    /// Nothing more will be made.
    Refused(Refusal),
    /// The last line.
    Done(Done),
}

/// What a job took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// CPU time of the process, user's and system's, in milliseconds.
    pub cpu_ms: u64,
    /// Most memory that was resident at a time, in bytes; 0 where the system does not tell.
    pub peak_bytes: u64,
    /// Whether the file system was closed to it (landlock), all but the input and the output folder.
    pub confined: bool,
}

impl Event {
    /// Reads a line of a process; None for what is none of ours.
    #[must_use]
    pub fn parse(line: &str) -> Option<Event> {
        serde_json::from_str(line).ok()
    }
}

/// Variables that the parent should set for the process. With huge pages, the kernel hands out the memory of a large
/// picture in a dozen steps, not in ten thousand: a sixth of the CPU time of a photo.
pub const ENVIRONMENT: [(&str, &str); 1] = [("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")];

/// Bytes of a job, at most.
const JOB_BYTES: u64 = 64 * 1024;

/// The process: reads its job from standard input, does it, and tells on standard output. Fails only if it cannot do
/// either; a refused file is a success.
#[must_use]
pub fn run() -> ExitCode {
    let mut text = String::new();
    let read = io::stdin().lock().take(JOB_BYTES).read_to_string(&mut text);
    let job = match read.and_then(|_| Ok(serde_json::from_str::<Job>(&text)?)) {
        Ok(job) => job,
        Err(error) => {
            eprintln!("no job on standard input: {error}");
            return ExitCode::from(2);
        }
    };
    // A decoder's panic is a refusal, and its message would quote the file.
    std::panic::set_hook(Box::new(|_| {}));
    let status = confine::Status::open();
    let mut confined = false;
    let result = confine::confine(&job).map_err(Refused::By).and_then(|closed| {
        confined = closed;
        perform(&job)
    });
    let told = match result {
        Ok(()) => Ok(()),
        Err(Refused::By(refusal)) => tell(&Event::Refused(refusal)),
        Err(Refused::Deaf(error)) => Err(error),
    };
    let done = Done { cpu_ms: confine::cpu_ms(), peak_bytes: status.peak_bytes(), confined };
    match told.and_then(|()| tell(&Event::Done(done))) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads any more: the parent has given up on this job.
        Err(_) => ExitCode::from(3),
    }
}

/// Why a job ended early.
enum Refused {
    By(Refusal),
    /// The parent does not listen.
    Deaf(io::Error),
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused::By(refusal)
    }
}

fn perform(job: &Job) -> Result<(), Refused> {
    match &job.work {
        Work::Photo(request) => photo(job, request),
        Work::Variant { size } => {
            photo(job, &Request { sizes: vec![*size], original: false, animated_original: false })
        }
        Work::Voice => {
            const FILE: &str = "audio.ogg";
            let note = voice::process(&job.input, &job.output.join(FILE), &job.limits)?;
            let made = Made {
                name: "audio".to_owned(),
                file: FILE.to_owned(),
                mime: "audio/ogg".to_owned(),
                bytes: note.bytes,
                width: 0,
                height: 0,
            };
            tell(&Event::Made(made)).and_then(|()| tell(&Event::Voice(note))).map_err(Refused::Deaf)
        }
    }
}

fn photo(job: &Job, request: &Request) -> Result<(), Refused> {
    let input = read_input(&job.input, &job.limits)?;
    let mut told = Ok(());
    photo::process(input, &job.output, request, &job.limits, &mut |event| {
        let event = match event {
            photo::Event::Photo(info) => Event::Photo(info),
            photo::Event::Made(made) => Event::Made(made),
        };
        if told.is_ok() {
            told = tell(&event);
        }
    })?;
    told.map_err(Refused::Deaf)
}

fn read_input(path: &Path, limits: &Limits) -> Result<Vec<u8>, Refusal> {
    let failed = |error| Refusal::io("the input cannot be read", &error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > limits.input_bytes {
        return Err(Refusal::new(
            Code::TooLarge,
            format!("{bytes} bytes are more than {}", limits.input_bytes),
        ));
    }
    // As it is, without its metadata, and once more as its original.
    limits.check_memory(3 * bytes)?;
    let mut input = Vec::with_capacity(bytes as usize);
    file.read_to_end(&mut input).map_err(failed)?;
    Ok(input)
}

fn tell(event: &Event) -> io::Result<()> {
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    let mut out = io::stdout().lock();
    out.write_all(&line)?;
    out.flush()
}

/// What it means that a process ended without `done`: the limits it had put on itself kill it by signal.
#[must_use]
pub fn refusal_of(status: ExitStatus) -> Refusal {
    /// Signal numbers that are the same on every Linux.
    const SIGABRT: i32 = 6;
    const SIGKILL: i32 = 9;
    const SIGXCPU: i32 = 24;
    const SIGXFSZ: i32 = 25;
    match (status.signal(), status.code()) {
        // Rust aborts where an allocation fails.
        (Some(SIGABRT), _) => Refusal::new(Code::TooMuchMemory, "it took more memory than it may have"),
        (Some(SIGXCPU | SIGKILL), _) => Refusal::new(Code::TooMuchTime, "it took more time than it may have"),
        (Some(SIGXFSZ), _) => Refusal::new(Code::TooLarge, "a result was larger than it may be"),
        (Some(signal), _) => Refusal::new(Code::Damaged, format!("it broke a decoder (signal {signal})")),
        (None, code) => Refusal::new(Code::Failed, format!("the worker ended by itself ({code:?})")),
    }
}
