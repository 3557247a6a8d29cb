//! `cargo xtask fuzz`: libFuzzer on stable Rust, for a bounded time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::setup::Setup;
use crate::step::{self, note, say};
use crate::{root, target};

/// The targets of fuzz/Cargo.toml.
const TARGETS: [&str; 2] = ["codec", "sequence"];

/// Seconds for each of them, unless told.
const SECONDS: u64 = 60;

/// Coverage, as cargo-fuzz asks for it. All of it is stable; a sanitizer would not be.
const RUSTFLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0";

/// Bytes of the longest input. Longer ones find little more, slower.
const INPUT_BYTES_MAX: usize = 4_096;
/// Megabytes that a target may take before that counts as a finding: a bound was forgotten.
const MEMORY_MB_MAX: usize = 1_024;
/// Seconds that one input may take before that counts as a finding.
const INPUT_SECONDS_MAX: usize = 10;

/// Builds all targets, and runs them.
pub(crate) fn fuzz(arguments: &[String]) -> anyhow::Result<()> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => run_all(SECONDS),
        ["--repeat", input] => repeat(Path::new(input)),
        [seconds] => run_all(seconds.parse().context("SECONDS is a number")?),
        _ => bail!("fuzz how? `cargo xtask fuzz [SECONDS]`, or `cargo xtask fuzz --repeat INPUT`"),
    }
}

fn run_all(seconds: u64) -> anyhow::Result<()> {
    ensure!(seconds > 0, "SECONDS is 1 or more");
    let binaries = build()?;
    let mut failed = Vec::new();
    for name in TARGETS {
        say(&format!("fuzz: {name}, {seconds} s"));
        let corpus = made(&["corpus", name])?;
        let artifacts = made(&["artifacts", name])?;
        let mut command = Command::new(binaries.join(name));
        command
            // The first folder is the one that libFuzzer adds to.
            .args([&corpus, &root().join("fuzz/seeds").join(name)])
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MB_MAX}"))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .arg("-print_final_stats=1")
            .arg("-verbosity=0");
        if !step::watch(&mut command, |_| {})? {
            note(&format!("found something: see {}", artifacts.display()));
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "found something in {}", failed.join(", "));
    Ok(())
}

/// One input again, by the target whose folder it lies in.
fn repeat(input: &Path) -> anyhow::Result<()> {
    let input = input.canonicalize().with_context(|| format!("{}", input.display()))?;
    let folder = input.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let Some(name) = TARGETS.into_iter().find(|name| *name == folder) else {
        bail!("an input lies in a folder that is called like its target: {}", TARGETS.join(", "));
    };
    step::run(name, Command::new(build()?.join(name)).arg(input))
}

/// The folder with the built targets.
fn build() -> anyhow::Result<PathBuf> {
    Setup::build_packages()?;
    let host = host()?;
    let folder = target().join("fuzz");
    let mut cargo =
        crate::test::cargo(&["build", "--locked", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
    // With a target named, build scripts and macros stay as they are.
    cargo.args(["--target", &host]).env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", RUSTFLAGS);
    step::run("fuzz targets", &mut cargo)?;
    Ok(folder.join(host).join("release"))
}

/// The triple that we run on.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// A folder under target/fuzz/, made if it is missing.
fn made(path: &[&str]) -> anyhow::Result<PathBuf> {
    let folder = path.iter().fold(target().join("fuzz"), |folder, part| folder.join(part));
    std::fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_source_a_binary_and_seeds() {
        let fuzz = root().join("fuzz");
        let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for name in TARGETS {
            assert!(fuzz.join(format!("fuzz_targets/{name}.rs")).is_file(), "{name}");
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(std::fs::read_dir(fuzz.join("seeds").join(name)).unwrap().next().is_some(), "{name}");
        }
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
    }
}
