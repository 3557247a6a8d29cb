//! `trunkline turn check`: what of a TURN server works from where the operator stands, one line a check, with the reason
//! and advice where something does not.
//!
//! It speaks as any client does, knows nothing of the server but its URI, and so it works on other people's servers too.

mod allocation;
mod probe;
mod report;
#[cfg(test)]
mod tests;
mod tls;

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::Args;
use trunkline_turn_client::{LongTerm, TurnUri};

pub(crate) use report::Report;

/// How long a credential that is minted for the check is good: longer than the check takes, and no longer.
const CREDENTIAL_TTL: Duration = Duration::from_secs(600);

/// What `--help` says after the options.
pub(crate) const HELP: &str = "\
What is checked, in this order, for each URI and for each address family that its name has:
  resolve      the name has addresses
  connect      TCP and TLS: the port is open (UDP says nothing before the first answer)
  tls          the handshake; certificate: trusted, for this name, days left; ALPN stun.turn (RFC 7443)
  binding      STUN answers, and says from which address it sees you
  challenge    Allocate without credentials is answered 401, with realm and nonce; is SHA-256 offered (RFC 8489)
  allocate     the credential opens an allocation; needs one of the options below
  address      others can reach the relayed address: not a private one unless the server itself has one
  policy       127.0.0.1, 10.0.0.1, 169.254.169.254 and ::1 are refused as peers: nobody gets behind your firewall;
               those of a family that cannot be relayed are not tried
  relay        packets go there and back, as indications and as ChannelData: between two allocations, or, where the relay
               refuses itself as a peer, between an allocation and this machine
  family       whether the other address family can be relayed too (for information)
  sha-256      a credential opens an allocation by SHA-256 too, where that is offered

Credentials, one of:
  --secret-file FILE, --secret TEXT    the secret that signaling and relays share (turn.secrets): a credential is minted
  --config FILE                        the same, taken from a server's own configuration (run it as the server's user)
  --username NAME --password TEXT      a fixed one, as from iceServers
Other users of the machine can see command lines: prefer a file.

Examples:
  trunkline turn check turn:relay.example:3478
  trunkline turn check --secret-file /etc/trunkline/turn-secret \\
      'turn:relay.example:3478?transport=udp' 'turn:relay.example:3478?transport=tcp' turns:relay.example:443
  trunkline turn check --config /etc/trunkline.toml --json turns:relay.example:443
  trunkline turn check --secret-file s --allow-peer 127.0.0.1 turn:127.0.0.1:3478    a relay on this machine

Run it from outside: from the server's own network it proves little. The exit code is 0 only if all of it works.";

/// The arguments of `trunkline turn check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// What to check, as in `iceServers`: turn:HOST[:PORT][?transport=udp|tcp] or turns:HOST[:PORT].
    #[arg(required = true, value_name = "URI")]
    uris: Vec<TurnUri>,
    /// A file with the shared secret alone.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secret", "config", "username"])]
    secret_file: Option<PathBuf>,
    /// The shared secret.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["config", "username"])]
    secret: Option<String>,
    /// A server's configuration, for its secret.
    #[arg(long, value_name = "FILE", conflicts_with = "username")]
    config: Option<PathBuf>,
    /// Whose allocations these are; quotas count by it.
    #[arg(long, value_name = "NAME", default_value = "turn-check")]
    user: String,
    /// The user name of a fixed credential.
    #[arg(long, value_name = "NAME", requires = "password")]
    username: Option<String>,
    /// Its password.
    #[arg(long, value_name = "TEXT", requires = "username")]
    password: Option<String>,
    /// A peer that the policy is meant to let through, such as a laboratory's own; may be given more than once.
    #[arg(long = "allow-peer", value_name = "IP")]
    allowed_peers: Vec<IpAddr>,
    /// Trust the certificates in this PEM file instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// How long each answer may take.
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = humantime::parse_duration)]
    patience: Duration,
    /// Print JSON instead of lines.
    #[arg(long)]
    json: bool,
}

/// What to check, with everything read and minted.
pub(crate) struct Ask {
    uris: Vec<TurnUri>,
    credentials: Option<LongTerm>,
    allowed_peers: Vec<IpAddr>,
    ca: Option<PathBuf>,
    patience: Duration,
}

impl CheckArgs {
    /// The configuration to take the secret from, if one was named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Checks and prints. `configured` is the secret of [`CheckArgs::config`].
    ///
    /// # Errors
    /// What was asked cannot be checked at all: a file cannot be read, standard output is closed.
    pub(crate) fn run(self, configured: Option<&str>) -> anyhow::Result<ExitCode> {
        let json = self.json;
        let report = self.ask(configured)?.check();
        let text = match json {
            true => serde_json::to_string_pretty(&report)? + "\n",
            false => report.to_string(),
        };
        std::io::stdout().lock().write_all(text.as_bytes()).context("cannot write to standard output")?;
        Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn ask(self, configured: Option<&str>) -> anyhow::Result<Ask> {
        let secret = match (&self.secret_file, &self.secret) {
            (Some(file), _) => Some(read_secret(file)?),
            (None, Some(secret)) => Some(secret.clone()),
            (None, None) => configured.map(str::to_owned),
        };
        let credentials = match (self.username, self.password, secret) {
            (Some(username), Some(password), _) => Some(LongTerm { username, password }),
            (_, _, Some(secret)) => Some(mint(&secret, &self.user)),
            _ => None,
        };
        if self.patience.is_zero() {
            bail!("--patience must be longer than nothing");
        }
        Ok(Ask {
            uris: self.uris,
            credentials,
            allowed_peers: self.allowed_peers,
            ca: self.ca,
            patience: self.patience,
        })
    }
}

impl Ask {
    /// Checks all of it, one after the other.
    pub(crate) fn check(&self) -> Report {
        Report::new(self.uris.iter().map(|uri| probe::server(self, uri)).collect())
    }
}

fn read_secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let secret = text.trim();
    if secret.is_empty() || secret.contains('\n') {
        bail!("{} must hold one secret, on one line", file.display());
    }
    Ok(secret.to_owned())
}

/// As signaling mints for the clients of a call.
fn mint(secret: &str, user: &str) -> LongTerm {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let secret = trunkline_turn::Secret::new(secret.as_bytes());
    let trunkline_turn::Credentials { username, password } =
        trunkline_turn::mint(&secret, user, now + CREDENTIAL_TTL);
    LongTerm { username, password }
}
