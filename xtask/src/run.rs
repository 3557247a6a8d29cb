//! `cargo xtask run`: from a bare checkout to two links that log in as two people.

use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::setup::Setup;
use crate::step::{self, say};
use crate::{announce, root, server_binary};

/// What makes a developer's server convenient; never the default of `trunkline serve`. Set variables win.
const DEMO_SETTINGS: [(&str, &str); 2] = [
    ("TRUNKLINE_SIGNALING__DEMO_LOGINS", "true"),
    // One machine is client, relay and SFU at once, so the relay must reach the machine's own addresses.
    (
        "TRUNKLINE_TURN__ALLOW_PEERS",
        r#"["127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]"#,
    ),
];

/// Sets up, builds, and becomes the server; `arguments` go to `trunkline serve`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    Setup::page()?;
    build_server()?;
    for (name, value) in DEMO_SETTINGS {
        if std::env::var_os(name).is_none() {
            // The server and the announcer both inherit it.
            step::note(&format!("{name}={value}"));
        }
    }
    let with_demo_settings = |command: &mut Command| {
        for (name, value) in DEMO_SETTINGS {
            if std::env::var_os(name).is_none() {
                command.env(name, value);
            }
        }
    };
    let config = announce::config_arguments(arguments);
    let mut announcer = Command::new(std::env::current_exe()?);
    announcer.arg(announce::COMMAND).args(config).current_dir(root());
    with_demo_settings(&mut announcer);
    announcer.spawn()?;

    say("trunkline serve (Ctrl-C stops it)");
    let mut server = Command::new(server_binary());
    server.arg("serve").args(arguments).current_dir(root());
    with_demo_settings(&mut server);
    // This process becomes the server, so that Ctrl-C reaches it and nothing outlives it.
    Err(anyhow::Error::new(server.exec()).context(format!("cannot start {}", server_binary().display())))
}

/// Builds the one binary, with the features that the whole workspace's build has, so that nothing is built twice.
pub(crate) fn build_server() -> anyhow::Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    step::run(
        "the server",
        Command::new(cargo)
            .args(["build", "--locked", "--workspace", "--bin", "trunkline"])
            .current_dir(root()),
    )
}
