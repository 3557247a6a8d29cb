//! The pipelines that are compared, each in a process of its own that tells what it took.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::setup::Place;

/// Long edges of the variants in pixels, as the media store makes them by default.
pub(crate) const SIZES: [u32; 3] = [320, 1280, 2048];

/// A pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Ours,
    Sharp,
    Vips,
    Pillow,
}

impl Tool {
    pub(crate) const ALL: [Tool; 4] = [Tool::Ours, Tool::Sharp, Tool::Vips, Tool::Pillow];
    pub(crate) const OTHERS: [Tool; 3] = [Tool::Sharp, Tool::Vips, Tool::Pillow];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Tool::Ours => "Trunkline",
            Tool::Sharp => "sharp",
            Tool::Vips => "libvips",
            Tool::Pillow => "Pillow",
        }
    }

    /// Of its encoder, where nobody says otherwise.
    pub(crate) const fn default_quality(self) -> u8 {
        match self {
            Tool::Ours | Tool::Sharp => 80,
            Tool::Vips | Tool::Pillow => 75,
        }
    }
}

/// How a pipeline comes from one file to several variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    /// The largest from the file, each other one from the next larger one: the fastest of every tool.
    Chain,
    /// Each from the file, decoded by a scale of its own.
    Each,
    /// The whole picture decoded once, each resized from it.
    Full,
    /// No pipeline: the neutral reference.
    Neutral,
}

/// What one process is to do. The scripts beside this file read the same JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) files: Vec<PathBuf>,
    /// A folder; the variants of `x.jpg` are `x/320.jpg` and so on in it.
    pub(crate) out: PathBuf,
    pub(crate) way: Way,
    pub(crate) sizes: Vec<u32>,
    /// None: the tool's default.
    pub(crate) quality: Option<u8>,
    /// PNG instead of JPEG.
    pub(crate) lossless: bool,
    /// For the neutral reference: width and height of what is wanted of each photo, in pixels.
    #[serde(default)]
    pub(crate) sides: BTreeMap<String, Vec<(u32, u32)>>,
}

impl Job {
    pub(crate) fn new(files: &[PathBuf], out: PathBuf, way: Way) -> Job {
        let (files, sizes) = (files.to_vec(), SIZES.to_vec());
        Job { files, out, way, sizes, quality: None, lossless: false, sides: BTreeMap::new() }
    }
}

/// What a process told of itself.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// CPU time of each photo in milliseconds, in the order of the job.
    pub(crate) photos_ms: Vec<f64>,
    /// CPU time of the whole process in milliseconds, its start included.
    pub(crate) cpu_ms: f64,
    /// Most memory that was resident at a time, in KiB.
    pub(crate) peak_kb: u64,
    /// Of the tool.
    pub(crate) version: String,
}

/// A line that a process prints: for each photo, then one for itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Line {
    Photo { file: String, cpu_ms: f64 },
    Process { cpu_ms: f64, peak_kb: u64, version: String },
}

/// Runs `job` in a process of `tool`, on one core as far as the tool can be told.
///
/// # Errors
///
/// If it cannot be started, fails, or does not tell all that it should.
pub(crate) fn run(tool: Tool, place: &Place, job: &Job) -> Result<Run> {
    let text = talk(&mut command(tool, place)?, &serde_json::to_string(job)?)
        .with_context(|| format!("{} ({:?})", tool.name(), job.way))?;
    let mut photos_ms = Vec::new();
    for line in text.lines() {
        match serde_json::from_str(line).with_context(|| format!("{} printed {line:?}", tool.name()))? {
            Line::Photo { cpu_ms, .. } => photos_ms.push(cpu_ms),
            Line::Process { cpu_ms, peak_kb, version } if photos_ms.len() == job.files.len() => {
                return Ok(Run { photos_ms, cpu_ms, peak_kb, version });
            }
            Line::Process { .. } => break,
        }
    }
    bail!("{} told of {} photos of {}", tool.name(), photos_ms.len(), job.files.len())
}

fn command(tool: Tool, place: &Place) -> Result<Command> {
    let script = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/photo").join(name);
    let mut command = match tool {
        Tool::Ours => {
            let mut command = Command::new(std::env::current_exe()?);
            command.arg(crate::CHILD);
            command
        }
        Tool::Sharp => {
            let mut command = Command::new("node");
            command.arg(script("sharp.mjs")).current_dir(place.node());
            command
        }
        Tool::Vips | Tool::Pillow => {
            let mut command = Command::new(place.python());
            command.arg(script("photo.py")).arg(if tool == Tool::Vips { "vips" } else { "pillow" });
            command
        }
    };
    command.env("VIPS_CONCURRENCY", "1");
    Ok(command)
}

/// Starts `command`, writes `input` to it and gives what it prints.
///
/// # Errors
///
/// If it cannot be started or fails: then with what it wrote to standard error.
pub(crate) fn talk(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{:?} cannot be started", command.get_program()))?;
    // All of it is read before anything is printed, or the process has failed and tells why.
    let sent = child.stdin.take().expect("piped above").write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{:?}: {}\n{}", command.get_program(), output.status, String::from_utf8_lossy(&output.stderr));
    }
    sent?;
    Ok(String::from_utf8(output.stdout)?)
}
