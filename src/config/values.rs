//! What a configuration value can be: types that cannot hold a wrong one.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use trunkline_turn::IpRange;

/// Reads from and writes as the text form of the type: what a person types in the file.
macro_rules! textual {
    ($($name:ident),+) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(|error: String| de::Error::custom(error))
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

textual!(Span, Size, Bind, TcpBind, ExternalIp, ExternalIp6, PeerRange, Advertised, Ports, LogFilter);

/// A length of time, written as `500ms`, `60s`, `12h` or `1day`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    pub(super) const fn secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|error| format!("`{text}` is not a length of time such as \"60s\" or \"12h\": {error}"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// An amount of bytes, written as `64 MiB`, `2 GiB` or `1000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Size {
    pub(super) const fn mib(mebibytes: u64) -> Self {
        Self(mebibytes << 20)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), *factor)))
            .unwrap_or((text, 1));
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let bytes =
            number.parse::<u64>().ok().filter(|_| digits).and_then(|number| number.checked_mul(factor));
        // What the database counts in.
        let bytes = bytes.filter(|bytes| i64::try_from(*bytes).is_ok());
        bytes
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not an amount of bytes such as \"64 MiB\" or \"1000\""))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((unit, factor)) => write!(f, "{} {unit}", self.0 / factor),
            None => self.0.fmt(f),
        }
    }
}

/// Where to listen, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bind {
    /// Nothing listens.
    Off,
    /// This address; port 0 takes any free one, told in the `ready` log line.
    On(SocketAddr),
}

impl FromStr for Bind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::On).map_err(|_| {
            format!("`{text}` is neither \"off\" nor an address with a port such as \"127.0.0.1:9480\"")
        })
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(address) => address.fmt(f),
        }
    }
}

/// Where to listen for TCP, beside a UDP address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpBind {
    /// Nothing listens.
    Off,
    /// The UDP address and port.
    Same,
    /// This address.
    On(SocketAddr),
}

impl TcpBind {
    /// The address, given that of UDP.
    #[must_use]
    pub fn beside(self, udp: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::Same => Some(udp),
            Self::On(address) => Some(address),
        }
    }
}

impl FromStr for TcpBind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "same" => Ok(Self::Same),
            text => text.parse().map(Self::On).map_err(|_| {
                format!(
                    "`{text}` is neither \"off\", \"same\" nor an address with a port such as \"0.0.0.0:443\""
                )
            }),
        }
    }
}

impl fmt::Display for TcpBind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Same => f.write_str("same"),
            Self::On(address) => address.fmt(f),
        }
    }
}

/// An IPv6 address of this machine, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalIp6 {
    /// None.
    Off,
    /// This one.
    Is(Ipv6Addr),
}

impl FromStr for ExternalIp6 {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::Is).map_err(|_| format!("`{text}` is neither \"off\" nor an IPv6 address"))
    }
}

impl fmt::Display for ExternalIp6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Is(ip) => ip.fmt(f),
        }
    }
}

/// Addresses behind the relay: `10.0.0.0/8`, `192.0.2.7` or `192.0.2.5-192.0.2.9`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRange {
    text: String,
    range: IpRange,
}

impl PeerRange {
    /// The addresses.
    #[must_use]
    pub fn range(&self) -> IpRange {
        self.range
    }
}

impl FromStr for PeerRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.parse().map_err(|error: trunkline_turn::RangeError| error.to_string())?;
        Ok(Self { text: text.to_owned(), range })
    }
}

impl fmt::Display for PeerRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The address that others reach this machine at, or `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternalIp {
    /// The listening address, and for a wildcard the address that the machine's default route starts from.
    Auto,
    /// This one: needed behind a 1:1 NAT, as in most clouds.
    Is(IpAddr),
}

impl FromStr for ExternalIp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse().map(Self::Is).map_err(|_| format!("`{text}` is neither \"auto\" nor an IP address"))
    }
}

impl fmt::Display for ExternalIp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Is(ip) => ip.fmt(f),
        }
    }
}

/// An address that media candidates show: an IP address, with a port only where a forwarder changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// What clients send to.
    pub ip: IpAddr,
    /// `None`: the port that the SFU listens on.
    pub port: Option<u16>,
}

impl Advertised {
    /// The whole address, given the port that is listened on.
    #[must_use]
    pub fn with_port(self, listening: u16) -> SocketAddr {
        SocketAddr::new(self.ip, self.port.unwrap_or(listening))
    }
}

impl FromStr for Advertised {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ip) = text.parse() {
            return Ok(Self { ip, port: None });
        }
        text.parse::<SocketAddr>()
            .map(|address| Self { ip: address.ip(), port: Some(address.port()) })
            .map_err(|_| format!("`{text}` is not an IP address, with or without a port"))
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            None => self.ip.fmt(f),
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
        }
    }
}

/// A range of UDP ports, both ends included, written as `49152-65535`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a range of ports such as \"49152-65535\"");
        let (first, last) = text.split_once('-').ok_or_else(wrong)?;
        let (first, last) =
            (first.trim().parse().map_err(|_| wrong())?, last.trim().parse().map_err(|_| wrong())?);
        if first == 0 || first > last {
            return Err(wrong());
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// What is logged, as `tracing-subscriber` reads it: `info`, or `warn,trunkline_sfu=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// The directives, which have been parsed once already.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LogFilter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        tracing_subscriber::EnvFilter::try_new(text)
            .map(|_| Self(text.to_owned()))
            .map_err(|error| format!("`{text}` is not a log filter such as \"info\": {error}"))
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people: one line, coloured on a terminal.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Something that must not be seen: neither `Debug` nor writing it out shows it.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps what must not be seen.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself: for the code that signs or checks with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether none was given, so that one is generated.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "\"\"" } else { "[redacted]" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.is_empty() { "" } else { "[redacted]" })
    }
}
