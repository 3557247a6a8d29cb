//! `cargo xtask run`: from a bare checkout to two links that log in as two people.

use std::net::{IpAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::setup::Setup;
use crate::step::{self, say};
use crate::test::cargo;
use crate::{announce, root, server_binary};

/// What makes a developer's server convenient; never the default of `trunkline serve`. Set variables win, and a
/// configuration file stands alone: it may be one for the open internet.
fn demo_settings(has_file: bool) -> Vec<(&'static str, String)> {
    if has_file {
        return Vec::new();
    }
    // One machine is client, relay and SFU at once, so the relay must reach the machine's own addresses.
    let mut peers = vec!["127.0.0.0/8".to_owned(), "::1/128".to_owned()];
    peers.extend(own_address().map(|ip| format!("{ip}/32")));
    let settings = [
        ("TRUNKLINE_SIGNALING__DEMO_LOGINS", "true".to_owned()),
        ("TRUNKLINE_TURN__ALLOW_PEERS", format!("{peers:?}")),
    ];
    settings.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect()
}

/// The address that this machine's default route starts from. Connecting a UDP socket sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Sets up, builds, and becomes the server; `arguments` go to `trunkline serve`.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    Setup::build_packages()?;
    Setup::page()?;
    step::run("the server", &mut cargo(&["build", "--locked", "--bin", "trunkline"]))?;
    let arguments = &absolute(arguments)?;
    let config = announce::config_arguments(arguments);
    let settings = demo_settings(!config.is_empty() || std::env::var_os("TRUNKLINE_CONFIG").is_some());
    for (name, value) in &settings {
        step::note(&format!("{name}={value}"));
    }
    let mut announcer = Command::new(std::env::current_exe()?);
    announcer.arg(announce::COMMAND).args(config).envs(settings.clone()).current_dir(root());
    announcer.spawn()?;

    say("trunkline serve (Ctrl-C stops it)");
    let mut server = Command::new(server_binary());
    server.arg("serve").args(arguments).envs(settings).current_dir(root());
    // This process becomes the server, so that Ctrl-C reaches it and nothing outlives it.
    Err(anyhow::Error::new(server.exec()).context(format!("cannot start {}", server_binary().display())))
}

/// The server starts in the root of the tree: a file that was named from elsewhere must still be found.
fn absolute(arguments: &[String]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for (n, argument) in arguments.iter().enumerate() {
        let path = match argument.strip_prefix("--config=") {
            Some(path) => Some(path),
            None if n > 0 && arguments[n - 1] == "--config" => Some(argument.as_str()),
            None => None,
        };
        let prefix = if argument.starts_with("--config=") { "--config=" } else { "" };
        found.push(match path {
            Some(path) => format!("{prefix}{}", std::path::absolute(path)?.display()),
            None => argument.clone(),
        });
    }
    Ok(found)
}
