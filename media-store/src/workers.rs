//! Worker processes: photos and voice notes are decoded by programs of their own, one for each, that limit themselves and
//! may die alone.

use std::{ffi::OsString, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::Semaphore,
};
use trunkline_media_pipeline::{
    Code, Refusal,
    worker::{self, Event, Job},
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

    /// Runs one job and hands each event on as it comes. What the worker refuses is given at the end; a worker that
    /// dies without a word has refused too.
    pub(crate) async fn run(
        &self,
        job: &Job,
        mut each: impl AsyncFnMut(Event) -> Result<(), Failure>,
    ) -> Result<Result<(), Refusal>, Failure> {
        let _place = self.places.acquire().await;
        let mut child = self.start(job).await?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::Later("a worker without output".into()))?;
        meters::worker_started();
        let mut lines = BufReader::new(stdout);
        let deadline = tokio::time::Instant::now() + self.time;
        let mut cpu = None;
        let mut refused = None;
        let told = loop {
            let mut line = Vec::new();
            let read = (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            match tokio::time::timeout_at(deadline, read).await {
                Ok(Ok(0)) => break Ok(()),
                Ok(Ok(_)) => {}
                Ok(Err(fault)) => break Err(Failure::Later(format!("a worker's output: {fault}"))),
                Err(_) => {
                    let text = "it took too long to be processed".to_owned();
                    refused = Some(Refusal::new(Code::TooMuchTime, text));
                    break Ok(());
                }
            }
            match serde_json::from_slice(&line) {
                Ok(Event::Done(done)) => cpu = Some(Duration::from_millis(done.cpu_ms)),
                Ok(Event::Refused(refusal)) => refused = Some(refusal),
                Ok(event) => {
                    if let Err(failure) = each(event).await {
                        break Err(failure);
                    }
                }
                Err(fault) => break Err(Failure::Later(format!("a worker said what is no event: {fault}"))),
            }
        };
        if cpu.is_none() {
            // It has ended, or must.
            let _ = child.start_kill();
        }
        let status = child.wait().await;
        meters::worker_ended(cpu);
        told?;
        match (refused, cpu, status) {
            (Some(refusal), ..) => blamed(refusal),
            (None, Some(_), _) => Ok(Ok(())),
            (None, None, Ok(status)) => blamed(worker::refusal_of(status)),
            (None, None, Err(fault)) => Err(Failure::Later(format!("a worker's end: {fault}"))),
        }
    }

    async fn start(&self, job: &Job) -> Result<Child, Failure> {
        let [program, arguments @ ..] = self.command.as_slice() else {
            return Err(Failure::Later("no worker program is configured".into()));
        };
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
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

/// The file's fault is for its client, ours is tried again.
fn blamed(refusal: Refusal) -> Result<Result<(), Refusal>, Failure> {
    match refusal.code {
        Code::Failed => Err(Failure::Worker(refusal.text)),
        _ => Ok(Err(refusal)),
    }
}
