//! The configuration: one TOML file, overridden by the environment, everything defaulted.
//!
//! [`Config::load`] reads the file if there is one, lays `TRUNKLINE_SECTION__KEY` variables over it, refuses what it
//! does not know, and checks what belongs together. Every key with its unit and effect stands in
//! `docs/trunkline.example.toml`, which a test holds equal to the defaults here.

mod keys;
mod media;
#[cfg(test)]
mod tests;
mod turn;
mod values;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;

pub use media::{BlobPlace, Media};
pub use turn::Turn;
pub use values::{
    Advertised, Bind, ExternalIp, ExternalIp6, LogFilter, LogFormat, PeerRange, Ports, Secret, Size, Span,
    TcpBind,
};

/// A shared secret shorter than this is refused: HMAC-SHA-256 wants a key as long as its output (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;

/// Everything that can be set. `Config::default()` serves a developer's own machine.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// The public port: page, API, WebSocket.
    pub http: Http,
    /// The operator's port: metrics, health.
    pub ops: Ops,
    /// Who may connect.
    pub auth: Auth,
    /// Where things are kept.
    pub data: Data,
    /// Conversations and calls.
    pub signaling: Signaling,
    /// Media.
    pub sfu: Sfu,
    /// Relaying for networks that allow nothing else.
    pub turn: Turn,
    /// Photos, voice notes and files.
    pub media: Media,
    /// What is logged.
    pub log: Log,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Http {
    /// TCP address and port of the page, the API and the WebSocket.
    pub listen: SocketAddr,
}

/// `[ops]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Ops {
    /// TCP address and port of `/metrics`, `/healthz` and `/readyz`, or `off`. Never a public address: it has no login.
    pub listen: Bind,
}

/// `[auth]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Auth {
    /// The HS256 key shared with whoever mints tokens. Empty: generated, and kept in the data directory.
    pub jwt_key: Secret,
    /// What a chat server shows to act for users over REST. Empty: none can.
    pub server_key: Secret,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Data {
    /// The folder of the database and of generated secrets; made with mode 0700.
    pub dir: PathBuf,
}

/// `[signaling]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Signaling {
    /// How long a call rings before it counts as missed.
    pub ring_time: Span,
    /// How long a call outlives the last sign of its media.
    pub lease: Span,
    /// Whether `POST /v1/demo/login` gives anyone a token for any name. For demonstrations only.
    pub demo_logins: bool,
    /// Messages a second that one device may send.
    pub sends_per_second: u32,
    /// Members of one conversation.
    pub members: u32,
    /// How long messages are kept, and what they refer to, unless their conversation says otherwise; 0: for ever.
    pub retention: Span,
    /// Live sessions of this process.
    pub sessions: u32,
}

/// `[sfu]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Sfu {
    /// The one UDP address and port of all media.
    pub listen: SocketAddr,
    /// Addresses shown in candidates. Empty: the listening address, and for a wildcard what the machine detects.
    pub advertise: Vec<Advertised>,
    /// Media threads; 0: one a core.
    pub shards: u16,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// What is logged.
    pub level: LogFilter,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8480)) }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self { listen: Bind::On(SocketAddr::from(([127, 0, 0, 1], 9480))) }
    }
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: PathBuf::from(".trunkline") }
    }
}

impl Default for Signaling {
    fn default() -> Self {
        Self {
            ring_time: Span::secs(60),
            lease: Span::secs(45),
            demo_logins: false,
            sends_per_second: 20,
            members: 256,
            retention: Span::secs(0),
            sessions: 50_000,
        }
    }
}

impl Default for Sfu {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([0, 0, 0, 0], 3480)), advertise: Vec::new(), shards: 0 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".parse().expect("a constant that parses") }
    }
}

/// Why a configuration was refused, in words for the person who wrote it. No secret stands in it.
#[derive(Debug)]
pub struct ConfigError {
    source: Option<PathBuf>,
    text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(path) => write!(f, "{}: {}", path.display(), self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the file (if one is named), then the process's environment.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has a key that is not known, or a value that is not of its type.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        // `vars` would panic on a variable of some other program's that is not UTF-8.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::load_with(file, variables)
    }

    fn load_with(
        file: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = match file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| ConfigError { source: Some(path.to_owned()), text: error.to_string() })?,
        };
        Self::parse(&text, variables).map_err(|text| ConfigError { source: file.map(Path::to_owned), text })
    }

    /// What `text` and `variables` set, over the defaults.
    fn parse(text: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Self, String> {
        let known = Self::default().to_table();
        let mut given: Table = text.parse().map_err(|error| syntax(text, &error))?;
        keys::check_known(&given, &known)?;
        keys::overlay_environment(&mut given, &known, variables)?;
        let mut merged = known;
        keys::overlay(&mut merged, given);
        let config = Self {
            http: section(&mut merged, "http")?,
            ops: section(&mut merged, "ops")?,
            auth: section(&mut merged, "auth")?,
            data: section(&mut merged, "data")?,
            signaling: section(&mut merged, "signaling")?,
            sfu: section(&mut merged, "sfu")?,
            turn: section(&mut merged, "turn")?,
            media: section(&mut merged, "media")?,
            log: section(&mut merged, "log")?,
        };
        config.check()?;
        Ok(config)
    }

    /// Every key with its value, secrets redacted: what `trunkline config check --show` prints.
    #[must_use]
    pub fn to_table(&self) -> Table {
        Table::try_from(self).expect("every field serialises to a TOML value")
    }

    /// What no single type can say.
    fn check(&self) -> Result<(), String> {
        let short = |secret: &Secret| !secret.is_empty() && secret.expose().len() < SECRET_BYTES_MIN;
        if short(&self.auth.jwt_key) {
            return Err(format!("`auth.jwt_key` is shorter than {SECRET_BYTES_MIN} bytes"));
        }
        if short(&self.auth.server_key) {
            return Err(format!("`auth.server_key` is shorter than {SECRET_BYTES_MIN} bytes"));
        }
        for (key, span) in
            [("signaling.ring_time", self.signaling.ring_time), ("signaling.lease", self.signaling.lease)]
        {
            if span.0.as_secs() == 0 {
                return Err(format!("`{key}` must be one second or more"));
            }
        }
        if (1..60).contains(&self.signaling.retention.0.as_secs()) {
            return Err("`signaling.retention` must be \"0s\", or a minute or more".to_owned());
        }
        self.turn.check()?;
        self.media.check()?;
        if self.sfu.advertise.iter().any(|advertised| advertised.ip.is_unspecified()) {
            return Err("`sfu.advertise` has a wildcard address, which no client can send to".to_owned());
        }
        Ok(())
    }
}

/// Where the text is not TOML: the line's number, never the line, which may hold a secret.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
}

/// Takes one section out of the merged table; the error names section and key.
fn section<T: for<'de> Deserialize<'de>>(merged: &mut Table, name: &str) -> Result<T, String> {
    let table = merged.remove(name).and_then(|value| value.try_into::<Table>().ok()).unwrap_or_default();
    for (key, value) in &table {
        // One key at a time, over the defaults, so that the error can name the key without quoting the value.
        let mut probe = Config::default().to_table();
        let mut defaults =
            probe.remove(name).and_then(|value| value.try_into::<Table>().ok()).unwrap_or_default();
        defaults.insert(key.clone(), value.clone());
        if let Err(error) = defaults.try_into::<T>() {
            // The deserialiser quotes what it found.
            let secret = matches!(
                (name, key.as_str()),
                ("auth", "jwt_key" | "server_key")
                    | ("turn", "secrets")
                    | ("media", "secret" | "s3_secret_key")
            );
            return Err(match secret {
                true => format!("`{name}.{key}`: not of the type that docs/trunkline.example.toml shows"),
                false => format!("`{name}.{key}`: {}", error.message()),
            });
        }
    }
    table.try_into().map_err(|error: toml::de::Error| format!("[{name}]: {}", error.message()))
}
