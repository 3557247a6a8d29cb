//! What the benches of photos and of relaying share: medians, the load beside them, and the place in docs/performance.md.

use std::path::Path;

use anyhow::{Context as _, Result};

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// How busy the machine is: processes that want to run, averaged over a minute.
pub(crate) fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// Puts `text` into docs/performance.md, in place of what `bench` measured last.
///
/// # Errors
///
/// If the place for it is not marked there.
pub(crate) fn save(bench: &str, text: &str) -> Result<()> {
    let mark = |end: &str| format!("<!-- cargo bench --bench {bench} -- --save: {end} -->\n");
    let (begin, end) = (mark("begin"), mark("end"));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let old = std::fs::read_to_string(&file)?;
    let (before, rest) = old.split_once(&begin).context("docs/performance.md has no place for it")?;
    let (_, after) = rest.split_once(&end).context("docs/performance.md has no end of the place for it")?;
    Ok(std::fs::write(&file, format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))?)
}
