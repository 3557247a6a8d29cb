//! CPU time and memory: rounds in which the tools take turns.

use anyhow::Result;

use crate::common::median;
use crate::ours;
use crate::setup::{Photo, Place};
use crate::tools::{self, Job, Run, Tool, Way};

/// Every way of every tool: a tool's fastest first.
pub(crate) const WAYS: [(Tool, Way); 7] = [
    (Tool::Ours, Way::Chain),
    (Tool::Sharp, Way::Chain),
    (Tool::Sharp, Way::Each),
    (Tool::Vips, Way::Chain),
    (Tool::Vips, Way::Each),
    (Tool::Pillow, Way::Chain),
    (Tool::Pillow, Way::Full),
];

/// What one way of one tool took.
pub(crate) struct Cost {
    pub(crate) tool: Tool,
    pub(crate) way: Way,
    pub(crate) version: String,
    /// CPU time of each photo in milliseconds, all of them in one process: the median of its rounds.
    pub(crate) photos_ms: Vec<f64>,
    /// Peak memory of that process in KiB, the most of all rounds.
    pub(crate) peak_kb: u64,
    /// CPU time of a process for each photo in milliseconds, and its peak memory in KiB. Empty for ways that are not
    /// the fastest.
    pub(crate) alone: Vec<(f64, u64)>,
}

/// Measures all [`WAYS`]. What they made last stays in `out/TOOL-WAY`.
///
/// # Errors
///
/// If any tool fails on any photo.
pub(crate) fn measure(place: &Place, photos: &[Photo], rounds: usize) -> Result<Vec<Cost>> {
    let files: Vec<_> = photos.iter().map(|photo| photo.file.clone()).collect();
    let mut runs: Vec<Vec<Run>> = WAYS.iter().map(|_| Vec::new()).collect();
    for round in 0..=rounds {
        eprintln!("round {round} of {rounds}{}", if round == 0 { " (warms the caches)" } else { "" });
        for turn in 0..WAYS.len() {
            // Whoever begins is another one each time.
            let i = (turn + round) % WAYS.len();
            let (tool, way) = WAYS[i];
            let run = tools::run(tool, place, &Job::new(&files, made_by(place, tool, way), way))?;
            if round > 0 {
                runs[i].push(run);
            }
        }
    }
    let mut alone = alone(place, photos)?;
    Ok(WAYS
        .iter()
        .zip(runs)
        .map(|(&(tool, way), runs)| Cost {
            tool,
            way,
            version: runs[0].version.clone(),
            photos_ms: (0..files.len()).map(|i| median(runs.iter().map(|r| r.photos_ms[i]))).collect(),
            peak_kb: runs.iter().map(|r| r.peak_kb).max().unwrap_or(0),
            alone: if way == Way::Chain { alone.remove(0) } else { Vec::new() },
        })
        .collect())
}

/// Where the results of a way are.
pub(crate) fn made_by(place: &Place, tool: Tool, way: Way) -> std::path::PathBuf {
    place.out(&format!("{}-{way:?}", tool.name()).to_lowercase())
}

/// A process for each photo, of each tool in the order of [`Tool::ALL`].
fn alone(place: &Place, photos: &[Photo]) -> Result<Vec<Vec<(f64, u64)>>> {
    eprintln!("a process for each photo");
    let mut taken = vec![Vec::new(); Tool::ALL.len()];
    for photo in photos {
        for (tool, taken) in Tool::ALL.into_iter().zip(&mut taken) {
            let run = if tool == Tool::Ours {
                ours::in_a_worker(place, &photo.file)?
            } else {
                let files = std::slice::from_ref(&photo.file);
                tools::run(tool, place, &Job::new(files, place.out("alone"), Way::Chain))?
            };
            taken.push((run.cpu_ms, run.peak_kb));
        }
    }
    Ok(taken)
}
