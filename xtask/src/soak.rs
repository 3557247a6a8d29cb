//! `cargo xtask soak`: the tests that kill things, for longer.

use anyhow::{Context, bail, ensure};

use crate::setup::Setup;
use crate::step;
use crate::test::cargo;

/// Kills of `soak uploads`, unless it is told a number.
const KILLS: u32 = 300;

/// What the upload tests read, to know how often to kill.
const KILLS_VARIABLE: &str = "TRUNKLINE_UPLOAD_KILLS";

/// Runs one of them.
pub(crate) fn soak(arguments: &[String]) -> anyhow::Result<()> {
    match arguments {
        [what] if what == "uploads" => uploads(KILLS),
        [what, kills] if what == "uploads" => uploads(kills.parse().context("KILLS is a number")?),
        _ => bail!("soak what? `cargo xtask soak uploads [KILLS]`"),
    }
}

fn uploads(kills: u32) -> anyhow::Result<()> {
    ensure!(kills > 0, "KILLS is 1 or more");
    Setup::build_packages()?;
    Setup::system_packages()?;
    Setup::python()?;
    let mut command = cargo(&[
        "test",
        "--locked",
        "--workspace",
        "--test",
        "system",
        "--",
        "--nocapture",
        "uploads_survive",
    ]);
    step::run("uploads under SIGKILL", command.env(KILLS_VARIABLE, kills.to_string()))
}
