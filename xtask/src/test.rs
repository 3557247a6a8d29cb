//! `cargo xtask test`: everything CI does, in an order that fails early on what is cheap.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};

use crate::counts::Counts;
use crate::setup::Setup;
use crate::step::{self, note, say, seconds};
use crate::{root, server_binary};

/// One step: what sets it up, and what it does with the arguments after `--`.
struct Step {
    name: &'static str,
    setup: fn() -> anyhow::Result<()>,
    run: fn(&[String]) -> anyhow::Result<Counts>,
}

const STEPS: [Step; 6] = [
    Step { name: "fmt", setup: || Ok(()), run: fmt },
    Step { name: "deny", setup: set_up_deny, run: deny },
    Step { name: "clippy", setup: Setup::build_packages, run: clippy },
    Step { name: "rust", setup: set_up_rust, run: rust },
    Step { name: "web", setup: Setup::page, run: web },
    Step { name: "interop", setup: set_up_interop, run: interop },
];

/// Runs all steps, or those named by `--only`, to the end, and then says what passed and failed.
pub(crate) fn test(arguments: &[String]) -> anyhow::Result<()> {
    let begun = Instant::now();
    let (chosen, rest) = choose(arguments)?;
    if chosen.len() == STEPS.len() {
        Setup::everything()?;
    } else {
        for step in &chosen {
            (step.setup)()?;
        }
    }
    let mut total = Counts::default();
    let mut table = Vec::new();
    for step in &chosen {
        say(&format!("test: {}", step.name));
        let step_begun = Instant::now();
        let counts = (step.run)(rest).unwrap_or_else(|error| {
            note(&format!("{error:#}"));
            Counts::of_check(false)
        });
        let line = format!(
            "{:<8} {:>5} passed {:>3} failed  {:>7}",
            step.name,
            counts.passed,
            counts.failed,
            seconds(step_begun.elapsed())
        );
        note(&line);
        table.push(line);
        total += counts;
    }
    say(&format!("all of it, in {}", seconds(begun.elapsed())));
    table.iter().for_each(|line| note(line));
    println!("\n{} passed, {} failed", total.passed, total.failed);
    ensure!(total.failed == 0, "{} failed", total.failed);
    ensure!(total.passed > 0, "nothing ran");
    Ok(())
}

fn choose(arguments: &[String]) -> anyhow::Result<(Vec<&'static Step>, &[String])> {
    let split = arguments.iter().position(|argument| argument == "--").unwrap_or(arguments.len());
    let (options, rest) = (&arguments[..split], arguments.get(split + 1..).unwrap_or_default());
    let mut only = Vec::new();
    let mut words = options.iter();
    while let Some(word) = words.next() {
        let name = match word.as_str() {
            "--only" => words.next().context("--only wants a step's name")?,
            other => other.strip_prefix("--only=").with_context(|| format!("unknown option `{other}`"))?,
        };
        match STEPS.iter().find(|step| step.name == name) {
            Some(step) => only.push(step),
            None => bail!("no step is called `{name}`; `cargo xtask help` lists them"),
        }
    }
    ensure!(rest.is_empty() || only.len() == 1, "arguments after -- want exactly one --only");
    Ok((if only.is_empty() { STEPS.iter().collect() } else { only }, rest))
}

pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    cargo
}

fn check(mut command: Command) -> anyhow::Result<Counts> {
    Ok(Counts::of_check(step::watch(&mut command, |_| {})?))
}

fn fmt(_: &[String]) -> anyhow::Result<Counts> {
    check(cargo(&["fmt", "--all", "--check"]))
}

fn clippy(_: &[String]) -> anyhow::Result<Counts> {
    check(cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn set_up_deny() -> anyhow::Result<()> {
    Setup::system_packages()?;
    Setup::python()
}

fn deny(_: &[String]) -> anyhow::Result<Counts> {
    let deny = |arguments: &[&str]| {
        let mut deny = Command::new(Setup::tool("cargo-deny"));
        deny.arg("--locked").args(arguments).current_dir(root());
        deny
    };
    let mut counts = check(deny(&["check", "licenses", "bans", "sources"]))?;
    note("the database of advisories:");
    if step::watch(&mut deny(&["fetch", "db"]), |_| {})? {
        counts += check(deny(&["check", "--disable-fetch", "advisories"]))?;
    } else {
        note("SKIPPED: advisories were not checked, because their database cannot be reached from here");
    }
    Ok(counts)
}

/// The blob store's and the media store's tests start a real S3 server.
fn set_up_rust() -> anyhow::Result<()> {
    Setup::build_packages()?;
    Setup::system_packages()?;
    Setup::python()
}

fn rust(filter: &[String]) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let mut command = cargo(&["test", "--locked", "--workspace", "--no-fail-fast", "--"]);
    let succeeded = step::watch(command.args(filter), |line| counts.see_cargo(line))?;
    Ok(at_least_one_failure(counts, succeeded))
}

fn web(_: &[String]) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let mut command = Command::new("npm");
    command.arg("test").current_dir(root().join("web"));
    let succeeded = step::watch(&mut command, |line| counts.see_node(line))?;
    Ok(at_least_one_failure(counts, succeeded))
}

fn set_up_interop() -> anyhow::Result<()> {
    Setup::everything()?;
    // What `rust` builds, and not the server alone: that would have fewer features, and much would be built twice.
    step::run("the server", &mut cargo(&["test", "--locked", "--workspace", "--no-run"]))
}

fn interop(files: &[String]) -> anyhow::Result<Counts> {
    ensure!(server_binary().exists(), "the server has not been built");
    let folder = root().join("tests/interop");
    let mut tests: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".test.mjs")
                && (files.is_empty() || files.iter().any(|file| name.starts_with(file)))
        })
        .collect();
    tests.sort();
    ensure!(!tests.is_empty(), "no test file of tests/interop is called so");
    let mut counts = Counts::default();
    // One file at a time: two cores carry one call with two browsers, not two.
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-concurrency=1"])
        .args(&tests)
        .current_dir(&folder)
        .env("TRUNKLINE_BINARY", server_binary())
        .env("TRUNKLINE_PYTHON", Setup::tool("python"))
        .env("TRUNKLINE_WEED", Setup::tool("weed"));
    let succeeded = step::watch(&mut command, |line| counts.see_node(line))?;
    Ok(at_least_one_failure(counts, succeeded))
}

/// A runner that failed without counting a failure (it did not compile, it crashed) is one.
fn at_least_one_failure(mut counts: Counts, succeeded: bool) -> Counts {
    if !succeeded && counts.failed == 0 {
        counts.failed = 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(arguments: &str) -> anyhow::Result<(Vec<&'static str>, usize)> {
        let words: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        let (steps, rest) = choose(&words)?;
        Ok((steps.iter().map(|step| step.name).collect(), rest.len()))
    }

    #[test]
    fn steps_are_chosen_by_name() {
        assert_eq!(names("").unwrap().0.len(), STEPS.len());
        assert_eq!(names("--only web --only=fmt").unwrap(), (vec!["web", "fmt"], 0));
        assert_eq!(names("--only interop -- call relay").unwrap(), (vec!["interop"], 2));
        names("--only nothing").unwrap_err();
        names("--quick").unwrap_err();
        names("-- call").unwrap_err();
    }
}
