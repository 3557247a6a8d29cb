//! `[turn]`: relaying for networks that allow nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Bind, ExternalIp, ExternalIp6, PeerRange, Ports, SECRET_BYTES_MIN, Secret, Size, Span, TcpBind};

/// The least number of bytes a second that can be a bound: the largest packet must fit.
const RATE_BYTES_MIN: u64 = 65_536;

/// `[turn]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Turn {
    /// UDP address and port of the TURN server.
    pub listen: SocketAddr,
    /// TCP address and port.
    pub listen_tcp: TcpBind,
    /// TCP address and port for TLS.
    pub listen_tls: Bind,
    /// The certificate for TLS, and those between it and the root: PEM. Empty: none.
    pub tls_certificate: PathBuf,
    /// Its key: PEM.
    pub tls_key: PathBuf,
    /// The name that the certificate is for. Empty: clients are not told of TLS.
    pub tls_name: String,
    /// The address that relayed candidates show and that clients are sent to.
    pub external_ip: ExternalIp,
    /// The IPv6 address that IPv6 candidates show besides, one of this machine's.
    pub external_ip6: ExternalIp6,
    /// Threads; 0: one a core.
    pub shards: u16,
    /// What clients are told to use. Empty: this process's own relay, if it has that role.
    pub urls: Vec<String>,
    /// UDP ports that allocations take.
    pub relay_ports: Ports,
    /// The realm of RFC 8489 §9.2.
    pub realm: String,
    /// One, or two while one replaces the other: the first one mints, both are accepted. Empty: generated.
    pub secrets: Vec<Secret>,
    /// How long a minted credential opens allocations.
    pub credential_ttl: Span,
    /// Addresses that may be relayed to although they are private, loopback or this server's own.
    pub allow_peers: Vec<PeerRange>,
    /// Addresses that may not be relayed to in any case.
    pub deny_peers: Vec<PeerRange>,
    /// Whether RFC 5766's channel numbers up to 0x7FFF are accepted.
    pub legacy_channels: bool,
    /// Allocations that one user may hold at a time.
    pub allocations_per_user: u32,
    /// Allocations of this process.
    pub allocations: u32,
    /// Packets a second that one allocation may relay, each way.
    pub allocation_packets: u32,
    /// Bytes a second that one allocation may relay, each way.
    pub allocation_bytes: Size,
    /// Packets a second of the whole relay; 0: no bound.
    pub total_packets: u32,
    /// Bytes a second of the whole relay; 0: no bound.
    pub total_bytes: Size,
    /// New peers a second of one allocation, after the first.
    pub new_peers: u32,
    /// TCP and TLS connections of this process.
    pub connections: u32,
    /// Those of one IPv4 address or IPv6 /64.
    pub connections_per_source: u32,
    /// Where new clients are sent while this process drains.
    pub alternates: Vec<SocketAddr>,
    /// How long live allocations go on after the process is told to stop.
    pub drain_time: Span,
}

impl Default for Turn {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([0, 0, 0, 0], 3478)),
            listen_tcp: TcpBind::Same,
            listen_tls: Bind::Off,
            tls_certificate: PathBuf::new(),
            tls_key: PathBuf::new(),
            tls_name: String::new(),
            external_ip: ExternalIp::Auto,
            external_ip6: ExternalIp6::Off,
            shards: 0,
            urls: Vec::new(),
            relay_ports: Ports { first: 49152, last: 65535 },
            realm: "trunkline".to_owned(),
            secrets: Vec::new(),
            credential_ttl: Span::secs(12 * 3600),
            allow_peers: Vec::new(),
            deny_peers: Vec::new(),
            legacy_channels: false,
            allocations_per_user: 24,
            allocations: 10_000,
            allocation_packets: 10_000,
            allocation_bytes: Size::mib(12),
            total_packets: 0,
            total_bytes: Size::mib(0),
            new_peers: 5,
            connections: 10_000,
            connections_per_source: 500,
            alternates: Vec::new(),
            drain_time: Span::secs(0),
        }
    }
}

impl Turn {
    /// What no single type can say.
    pub(super) fn check(&self) -> Result<(), String> {
        let short = |secret: &Secret| secret.expose().len() < SECRET_BYTES_MIN;
        if self.secrets.iter().any(short) {
            return Err(format!("`turn.secrets` has one shorter than {SECRET_BYTES_MIN} bytes"));
        }
        if self.secrets.len() > 2 {
            return Err("`turn.secrets` holds one, or two while one replaces the other".to_owned());
        }
        if self.realm.is_empty() || self.realm.len() > 127 {
            return Err("`turn.realm` must have 1 to 127 bytes (RFC 8489 §14.9)".to_owned());
        }
        if let Some(url) =
            self.urls.iter().find(|url| !url.starts_with("turn:") && !url.starts_with("turns:"))
        {
            return Err(format!(
                "`turn.urls`: `{url}` is not like \"turn:relay.example:3478?transport=udp\" (RFC 7065)"
            ));
        }
        if self.credential_ttl.0.as_secs() == 0 {
            return Err("`turn.credential_ttl` must be one second or more".to_owned());
        }
        for (key, number) in [
            ("allocations", self.allocations),
            ("allocations_per_user", self.allocations_per_user),
            ("allocation_packets", self.allocation_packets),
            ("new_peers", self.new_peers),
            ("connections", self.connections),
            ("connections_per_source", self.connections_per_source),
        ] {
            if number == 0 {
                return Err(format!("`turn.{key}` must be 1 or more"));
            }
        }
        if self.allocation_bytes.0 < RATE_BYTES_MIN || (1..RATE_BYTES_MIN).contains(&self.total_bytes.0) {
            return Err(format!(
                "`turn.allocation_bytes` and `turn.total_bytes` must be {RATE_BYTES_MIN} a second or more: the largest \
                 packet must fit"
            ));
        }
        if self.listen_tls != Bind::Off {
            for (key, path) in [("tls_certificate", &self.tls_certificate), ("tls_key", &self.tls_key)] {
                if path.as_os_str().is_empty() {
                    return Err(format!("`turn.{key}` is wanted for `turn.listen_tls`: a PEM file"));
                }
            }
        }
        Ok(())
    }
}
