//! The result as tables that both a terminal and docs/performance.md show.

use std::fmt::Write as _;
use std::time::SystemTime;

use crate::Cost;
use crate::common::median;
use crate::load::Shape;
use crate::memory::{self, Allocations};

pub(crate) fn tables(
    version: &str,
    rounds: usize,
    busy: f64,
    costs: &[Cost],
    allocations: &[Allocations],
) -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let mut text = format!(
        "Medians of {rounds} rounds in turn; the ratio is the median of the rounds' own, with the lowest and the highest. \
         {cores} cores, load {busy:.1}, {}.\n\n",
        &today[..10]
    );
    let _ = writeln!(
        text,
        "| CPU ns a relayed packet | Trunkline | coturn {version} | ratio |\n|---|---|---|---|"
    );
    for cost in costs {
        let Shape { framing, payload_bytes, flight } = cost.shape;
        let name = format!("{}, {payload_bytes} B, {}", framing.name(), flight.name());
        text += &row(&name, &cost.ours, &cost.theirs, 0);
    }
    if !allocations.is_empty() {
        let _ =
            writeln!(text, "\n| An allocation | Trunkline | coturn {version} | ratio |\n|---|---|---|---|");
    }
    for Allocations { count, ours, theirs } in allocations {
        let kb = |costs: &[memory::Cost]| costs.iter().map(|cost| cost.bytes / 1e3).collect::<Vec<_>>();
        let cpu = |costs: &[memory::Cost]| costs.iter().map(|cost| cost.cpu_us).collect::<Vec<_>>();
        text += &row(&format!("kB of memory each, of {count}, with a channel"), &kb(ours), &kb(theirs), 2);
        text += &row(&format!("CPU µs to make one, of {count}"), &cpu(ours), &cpu(theirs), 1);
    }
    text
}

fn row(name: &str, ours: &[f64], theirs: &[f64], digits: usize) -> String {
    let mut ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
    ratios.sort_by(f64::total_cmp);
    let (lowest, highest) = (ratios.first().unwrap_or(&0.0), ratios.last().unwrap_or(&0.0));
    format!(
        "| {name} | {:.digits$} | {:.digits$} | **{:.2}** ({lowest:.2} … {highest:.2}) |\n",
        median(ours.iter().copied()),
        median(theirs.iter().copied()),
        median(ratios.iter().copied()),
    )
}
