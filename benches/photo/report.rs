//! The result as tables that both a terminal and docs/performance.md show.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::common::median;
use crate::cost::Cost;
use crate::quality::{Equal, Variants};
use crate::setup::Photo;
use crate::tools::{SIZES, Tool, Way};

/// What a photo of a phone has at least.
const LARGE_MEGAPIXELS: f64 = 8.0;

/// CPU time and memory. `busy` is the load beside us.
pub(crate) fn costs(photos: &[Photo], costs: &[Cost], rounds: usize, busy: f64) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let megapixels: Vec<f64> = photos.iter().map(|photo| photo.megapixels).collect();
    let large: Vec<usize> = (0..photos.len()).filter(|&i| megapixels[i] >= LARGE_MEGAPIXELS).collect();
    let ours = &costs[0];
    let mut text = format!(
        "{} photographs, {:.1} megapixels on average, {} of them of {LARGE_MEGAPIXELS} or more; medians over photographs, \
         {rounds} rounds in turn; {cores} cores, load {busy:.1}, {}.\n\n",
        photos.len(),
        megapixels.iter().sum::<f64>() / photos.len() as f64,
        large.len(),
        &today[..10]
    );
    text += "| | CPU ms a photo | × ours | ≥ 8 MP: CPU ms | × ours | peak MB | a process each: CPU ms | peak MB |\n";
    text += "|---|---|---|---|---|---|---|---|\n";
    for cost in costs {
        let times = |i: &usize| cost.photos_ms[*i] / ours.photos_ms[*i];
        let all: Vec<usize> = (0..photos.len()).collect();
        let of = |which: &[usize], what: &dyn Fn(&usize) -> f64, digits: usize| match which {
            [] => "–".to_owned(),
            _ => format!("{:.digits$}", median(which.iter().map(what))),
        };
        let (alone_ms, alone_mb) = match &cost.alone[..] {
            [] => ("–".to_owned(), "–".to_owned()),
            alone => (
                format!("{:.0}", median(alone.iter().map(|(ms, _)| *ms))),
                format!("{:.0}", megabytes(alone.iter().map(|(_, kb)| *kb).max().unwrap_or(0))),
            ),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.0} | {alone_ms} | {alone_mb} |",
            title(cost),
            of(&all, &|i| cost.photos_ms[*i], 0),
            of(&all, &times, 2),
            of(&large, &|i| cost.photos_ms[*i], 0),
            of(&large, &times, 2),
            megabytes(cost.peak_kb),
        );
    }
    text + "\n"
}

fn megabytes(kb: u64) -> f64 {
    kb as f64 * 1024.0 / 1e6
}

fn title(cost: &Cost) -> String {
    match (cost.tool, cost.way) {
        (Tool::Ours, _) => format!("**{}**", cost.tool.name()),
        (_, Way::Chain) => cost.version.clone(),
        (tool, Way::Full) => format!("{}, decoded whole", tool.name()),
        (tool, _) => format!("{}, each from the file", tool.name()),
    }
}

/// Bytes and scores at the defaults, then bytes at equal scores.
pub(crate) fn bytes(variants: &Variants) -> String {
    let mut text = "At everybody's defaults:\n\n".to_owned();
    text += "| long edge | | kB | SSIMULACRA2, own pixels | neutral |\n|---|---|---|---|---|\n";
    for size in SIZES {
        for tool in Tool::ALL {
            let seen = &variants[&(size, tool)];
            let _ = writeln!(
                text,
                "| {size} | {} | {:.1} | {:.1} | {:.1} |",
                tool.name(),
                median(seen.iter().map(|v| v.bytes / 1e3)),
                median(seen.iter().map(|v| v.score)),
                median(seen.iter().map(|v| v.neutral)),
            );
        }
    }
    text += "\nOur bytes less than theirs at equal SSIMULACRA2 (median; from the worst to the best photograph):\n\n";
    text += "| long edge | than | at our default's score | at their default's score |\n|---|---|---|---|\n";
    let mut ends = (0, 0);
    for size in SIZES {
        for tool in Tool::OTHERS {
            let seen: Vec<Equal> = variants[&(size, tool)].iter().filter_map(|v| v.equal).collect();
            let _ = writeln!(
                text,
                "| {size} | {} | {} | {} |",
                tool.name(),
                less(seen.iter().map(|equal| equal.at_our_score)),
                less(seen.iter().map(|equal| equal.at_their_score))
            );
            ends.0 += seen.iter().filter(|equal| equal.beyond).count();
            ends.1 += seen.len();
        }
    }
    if let (beyond @ 1.., all) = ends {
        let _ = writeln!(
            text,
            "\n{beyond} of {all} comparisons ended at quality 30 or 95 without the score; they count as what that \
             quality gave."
        );
    }
    text
}

/// Ratios as percent less.
fn less(ratios: impl Iterator<Item = f64>) -> String {
    let mut less: Vec<f64> = ratios.map(|ratio| (1.0 - ratio) * 100.0).collect();
    less.sort_by(f64::total_cmp);
    format!("**{:.1} %** ({:.0} … {:.0})", median(less.iter().copied()), less[0], less[less.len() - 1])
}
