//! Runs beside the server that `cargo xtask run` became: waits until it is ready, makes two people and their
//! conversation, and prints the links that log in as them.

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::{http, root, server_binary};

/// The hidden command.
pub(crate) const COMMAND: &str = "announce-when-ready";

const PEOPLE: [&str; 2] = ["alice", "bob"];
const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// Those of `serve`'s arguments that say where its configuration is.
pub(crate) fn config_arguments(serve: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = serve.iter();
    while let Some(argument) = rest.next() {
        if argument == "--config" {
            found.push(argument.clone());
            found.extend(rest.next().cloned());
        } else if argument.starts_with("--config=") {
            found.push(argument.clone());
        }
    }
    found
}

/// Waits, prepares, prints. Ends early when the server does.
pub(crate) fn announce(config: &[String]) -> anyhow::Result<()> {
    let server = std::os::unix::process::parent_id();
    let settings = trunkline(&[&["config", "check", "--show"], &borrowed(config)[..]].concat())?;
    let address = listen_address(&settings, "http").context("http.listen is not an address")?;
    if let Some(ops) = listen_address(&settings, "ops") {
        let begun = Instant::now();
        while !http::request(ops, "GET", "/readyz", None, None).is_ok_and(|(status, _)| status == 200) {
            if std::os::unix::process::parent_id() != server {
                return Ok(()); // The server has ended and has said why.
            }
            ensure!(begun.elapsed() < PATIENCE, "the server is not ready after {} s", PATIENCE.as_secs());
            thread::sleep(POLL);
        }
    }
    let mut links = Vec::new();
    for person in PEOPLE {
        let token =
            trunkline(&[&["token", "--ttl", "7d", "--user", person], &borrowed(config)[..]].concat())?;
        links.push((person, token.trim().to_owned()));
    }
    let members = format!("{{\"members\":[\"{}\",\"{}\"]}}", PEOPLE[0], PEOPLE[1]);
    let made = http::request(address, "POST", "/v1/conversations", Some(&links[0].1), Some(&members));
    println!("\n   The page: http://{address}/\n");
    for (person, token) in &links {
        println!("   as {person:<6} http://{address}/#token={token}\n");
    }
    println!("   Open the two links in two browser profiles (or one private window) and call each other.\n");
    match made {
        Ok((200 | 201, _)) => Ok(()),
        Ok((status, body)) => bail!("their conversation could not be made: {status} {body}"),
        Err(error) => Err(error.context("their conversation could not be made")),
    }
}

fn borrowed(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn trunkline(arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(server_binary()).args(arguments).current_dir(root()).output()?;
    ensure!(
        output.status.success(),
        "trunkline {}: {}",
        arguments[0],
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// `listen` of a section of the printed configuration, which the server itself has written: one key a line.
fn listen_address(settings: &str, section: &str) -> Option<SocketAddr> {
    let from = settings.find(&format!("[{section}]"))?;
    let line = settings[from..].lines().find(|line| line.starts_with("listen = "))?;
    line.trim_start_matches("listen = ").trim_matches('"').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_addresses_in_the_printed_configuration() {
        let settings = "[http]\nlisten = \"127.0.0.1:8480\"\n\n[ops]\nlisten = \"off\"\n";
        assert_eq!(listen_address(settings, "http"), Some(SocketAddr::from(([127, 0, 0, 1], 8480))));
        assert_eq!(listen_address(settings, "ops"), None);
    }

    #[test]
    fn hands_on_only_the_configuration() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(config_arguments(&words("--role turn --config a.toml")), ["--config", "a.toml"]);
        assert_eq!(config_arguments(&words("--config=a.toml")), ["--config=a.toml"]);
    }
}
