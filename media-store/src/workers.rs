//! Worker processes: photos and voice notes are decoded by programs of their own, one for each, that limit themselves and
//! may die alone.

use std::{ffi::OsString, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
use trunkline_media_pipeline::{
    Code, Refusal,
    worker::{self, ENVIRONMENT, Event, Job},
};

use crate::{finish::Failure, limits::Limits, meters};

/// Longest line of a worker. What it tells is bounded by its own types; a longer one is no worker of ours.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// Starts workers, so many at a time.
pub(crate) struct Workers {
    command: Vec<OsString>,
    places: Semaphore,
    time: Duration,
}

impl Workers {
    pub(crate) fn new(command: Vec<OsString>, limits: &Limits) -> Workers {
        let places = match limits.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            some => some,
        };
        Workers { command, places: Semaphore::new(places), time: limits.worker_time }
    }

    /// Starts a process for one job, when there is a place for it.
    pub(crate) async fn start(&self, job: &Job) -> Result<Running<'_>, Failure> {
        let place = self.places.acquire().await.map_err(|_| Failure::Later("stopped".into()))?;
        let mut child = self.spawn(job).await?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::Later("a worker without output".into()))?;
        meters::worker_started();
        let deadline = Instant::now() + self.time;
        Ok(Running {
            _place: place,
            child,
            lines: BufReader::new(stdout),
            deadline,
            cpu: None,
            refused: None,
        })
    }

    async fn spawn(&self, job: &Job) -> Result<Child, Failure> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            return Err(Failure::Later("no worker program is configured".into()));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|fault| Failure::Later(format!("a worker cannot be started: {fault}")))?;
        let mut stdin = child.stdin.take().ok_or_else(|| Failure::Later("a worker without input".into()))?;
        let job = serde_json::to_vec(job).map_err(|fault| Failure::Later(fault.to_string()))?;
        // One that died already has said why by its exit.
        let _ = stdin.write_all(&job).await;
        let _ = stdin.shutdown().await;
        Ok(child)
    }
}

/// A worker at work. Dropping it kills it.
pub(crate) struct Running<'a> {
    _place: SemaphorePermit<'a>,
    child: Child,
    lines: BufReader<ChildStdout>,
    deadline: Instant,
    /// What it took, once it has said so: then it is done.
    cpu: Option<Duration>,
    refused: Option<Refusal>,
}

impl Running<'_> {
    /// The next thing that it made; `None` once nothing more comes.
    pub(crate) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.lines).take(LINE_BYTES_MAX);
            let read = bounded.read_until(b'\n', &mut line);
            match tokio::time::timeout_at(self.deadline, read).await {
                Ok(Ok(0)) => return Ok(None),
                Ok(Ok(_)) => {}
                Ok(Err(fault)) => return Err(Failure::Later(format!("a worker's output: {fault}"))),
                Err(_) => {
                    let text = "it took too long to be processed";
                    self.refused = Some(Refusal::new(Code::TooMuchTime, text));
                    return Ok(None);
                }
            }
            match serde_json::from_slice(&line) {
                Ok(Event::Done(done)) => self.cpu = Some(Duration::from_millis(done.cpu_ms)),
                Ok(Event::Refused(refusal)) => self.refused = Some(refusal),
                Ok(event) => return Ok(Some(event)),
                Err(fault) => return Err(Failure::Worker(format!("it said what is no event: {fault}"))),
            }
        }
    }

    /// Whether it did all of its job. A worker that dies without a word has refused.
    pub(crate) async fn end(mut self) -> Result<Result<(), Refusal>, Failure> {
        if self.cpu.is_none() {
            // It has ended, or must.
            let _ = self.child.start_kill();
        }
        let status = self.child.wait().await;
        match (self.refused.take(), self.cpu, status) {
            (Some(refusal), ..) => blamed(refusal),
            (None, Some(_), _) => Ok(Ok(())),
            (None, None, Ok(status)) => blamed(worker::refusal_of(status)),
            (None, None, Err(fault)) => Err(Failure::Later(format!("a worker's end: {fault}"))),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        meters::worker_ended(self.cpu);
    }
}

/// The file's fault is for its client, ours is tried again.
fn blamed(refusal: Refusal) -> Result<Result<(), Refusal>, Failure> {
    match refusal.code {
        Code::Failed => Err(Failure::Worker(refusal.text)),
        _ => Ok(Err(refusal)),
    }
}
