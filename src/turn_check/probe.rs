//! Getting to a server: its name, its port, TLS, STUN, and what it asks strangers for.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Instant;

use rustls::pki_types::ServerName;
use trunkline_stun::attr;
use trunkline_turn_client::{Client, Failure, Link, Response, TLS_ALPN, Transport, TurnUri};

use super::Ask;
use super::report::{Check, Outcome, Server};
use super::tls;

/// Fewer days left of a certificate than this are worth a word; Let's Encrypt renews at thirty.
const DAYS_LEFT_MIN: i64 = 14;

/// Everything about one URI.
pub(super) fn server(ask: &Ask, uri: &TurnUri) -> Server {
    let mut checks = Vec::new();
    for address in resolve(uri, &mut checks) {
        Probe { ask, uri, address, sha_256: false, checks: &mut checks }.run();
    }
    Server { uri: uri.to_string(), checks }
}

/// One address of each family that the name has.
fn resolve(uri: &TurnUri, checks: &mut Vec<Check>) -> Vec<SocketAddr> {
    if let Ok(ip) = uri.host.parse::<IpAddr>() {
        return vec![SocketAddr::new(ip, uri.port)];
    }
    let found: Vec<SocketAddr> = match (uri.host.as_str(), uri.port).to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(error) => {
            checks.push(Check {
                address: None,
                check: "resolve",
                outcome: Outcome::Failed,
                says: format!("{}: {error}", uri.host),
                advice: Some(
                    "the name needs an A or AAAA record; browsers look for no SRV record, and neither does this"
                        .into(),
                ),
            });
            return vec![];
        }
    };
    let first = |v4: bool| found.iter().copied().find(|address| address.is_ipv4() == v4);
    let chosen: Vec<SocketAddr> = [first(true), first(false)].into_iter().flatten().collect();
    let ips: Vec<String> = chosen.iter().map(|address| address.ip().to_string()).collect();
    let outcome = if chosen.is_empty() { Outcome::Failed } else { Outcome::Ok };
    checks.push(Check { address: None, check: "resolve", outcome, says: ips.join(", "), advice: None });
    chosen
}

/// One address of a server.
pub(super) struct Probe<'a> {
    pub(super) ask: &'a Ask,
    pub(super) uri: &'a TurnUri,
    pub(super) address: SocketAddr,
    /// Whether it was offered.
    pub(super) sha_256: bool,
    pub(super) checks: &'a mut Vec<Check>,
}

impl Probe<'_> {
    fn run(&mut self) {
        let Some(link) = self.connect() else { return };
        let mut client = Client::new(link, None);
        client.set_patience(self.ask.patience);
        let Some(mapped) = self.binding(&mut client) else { return };
        if !self.challenge(&mut client) {
            return;
        }
        match self.ask.credentials {
            Some(_) => self.allocation(client, mapped),
            None => self.skipped(
                "allocate",
                "no credentials given: --secret-file, --config, or --username and --password",
            ),
        }
    }

    pub(super) fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.push(check, Outcome::Ok, says.into(), None);
    }

    pub(super) fn skipped(&mut self, check: &'static str, says: impl Into<String>) {
        self.push(check, Outcome::Skipped, says.into(), None);
    }

    pub(super) fn failed(&mut self, check: &'static str, says: impl Into<String>, advice: &str) {
        let advice = Some(advice.to_owned()).filter(|advice| !advice.is_empty());
        self.push(check, Outcome::Failed, says.into(), advice);
    }

    fn push(&mut self, check: &'static str, outcome: Outcome, says: String, advice: Option<String>) {
        self.checks.push(Check { address: Some(self.address.ip()), check, outcome, says, advice });
    }

    fn connect(&mut self) -> Option<Link> {
        let begun = Instant::now();
        let link = match self.uri.transport {
            Transport::Udp => Link::udp(self.address),
            Transport::Tcp => Link::tcp(self.address, self.ask.patience),
            Transport::Tls => return self.connect_tls(),
        };
        match link {
            Ok(link) => {
                if self.uri.transport == Transport::Tcp {
                    self.ok(
                        "connect",
                        format!("TCP port {} in {} ms", self.address.port(), begun.elapsed().as_millis()),
                    );
                }
                Some(link)
            }
            Err(error) => self.unreachable(&error),
        }
    }

    /// A network that this machine is not on is not the server's fault.
    fn unreachable(&mut self, error: &io::Error) -> Option<Link> {
        let port = self.address.port();
        match error.kind() {
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
                let family = if self.address.is_ipv4() { "IPv4" } else { "IPv6" };
                self.skipped("connect", format!("this machine has no {family}: try from one that has"));
            }
            io::ErrorKind::ConnectionRefused => self.failed(
                "connect",
                format!("nothing listens on TCP port {port}"),
                "does the server listen there for TCP or TLS (its log says at the start), on this address?",
            ),
            io::ErrorKind::TimedOut => {
                self.failed(
                    "connect",
                    format!("no answer from TCP port {port}"),
                    "a firewall drops it: open the port",
                );
            }
            _ => self.failed("connect", error.to_string(), ""),
        }
        None
    }

    fn connect_tls(&mut self) -> Option<Link> {
        let name = match ServerName::try_from(self.uri.host.clone()) {
            Ok(name) => name,
            Err(error) => {
                self.failed("tls", error.to_string(), "");
                return None;
            }
        };
        let (config, witness) = match tls::client(self.ask.ca.as_deref()) {
            Ok(made) => made,
            Err(error) => {
                self.failed("tls", format!("{error:#}"), "");
                return None;
            }
        };
        let begun = Instant::now();
        let link = match Link::tls(self.address, name, config, self.ask.patience) {
            Ok(link) => link,
            // An alert, or something that is not TLS.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.failed(
                    "tls",
                    error.to_string(),
                    "does TLS end here, and not plain TCP (turn:…?transport=tcp)?",
                );
                return None;
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.failed("tls", "closed during the handshake", "has the server a certificate for TLS?");
                return None;
            }
            Err(error) => return self.unreachable(&error),
        };
        let state = link.tls_state()?;
        let version = state.protocol_version().and_then(|version| version.as_str()).unwrap_or("TLS");
        let suite = state.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
        let alpn = state.alpn_protocol() == Some(TLS_ALPN);
        let days = state.peer_certificates().and_then(|chain| tls::days_left(chain.first()?));
        let took = begun.elapsed().as_millis();
        self.ok("tls", format!("{version}, {}, in {took} ms", suite.unwrap_or_default()));
        self.certificate(witness.verdict(), days);
        match alpn {
            true => self.ok("alpn", "stun.turn"),
            false => self.skipped("alpn", "none chosen; clients get along without it (RFC 7443)"),
        }
        Some(link)
    }

    fn certificate(&mut self, verdict: Option<Result<(), rustls::Error>>, days: Option<i64>) {
        let left = days.map(|days| format!("{days} days left")).unwrap_or_default();
        match verdict {
            Some(Ok(())) => {
                self.ok("certificate", format!("trusted, for {}, {left}", self.uri.host));
                if let Some(check) = self.checks.last_mut()
                    && days.is_some_and(|days| days < DAYS_LEFT_MIN)
                {
                    check.advice = Some("renew it soon".into());
                }
            }
            Some(Err(error)) => self.failed("certificate", error.to_string(), tls::advice(&error)),
            None => self.failed("certificate", "none was sent", ""),
        }
    }

    /// Where the server sees us.
    fn binding(&mut self, client: &mut Client) -> Option<SocketAddr> {
        let answer = client.binding().and_then(Response::accepted);
        let mapped = answer.and_then(|answer| Ok((answer.mapped()?, answer)));
        match mapped {
            Ok((mapped, answer)) => {
                let local = client.link().local_addr().map(|local| local.port());
                let nat = match (is_ours(mapped.ip()), local) {
                    (true, Ok(port)) if port == mapped.port() => "no NAT between",
                    _ => "a NAT between",
                };
                let software = answer.message().attribute(attr::SOFTWARE).map(shown).unwrap_or_default();
                let software = if software.is_empty() { software } else { format!("; {software}") };
                let took = answer.took.as_millis();
                self.ok("binding", format!("in {took} ms; it sees you as {mapped}, {nat}{software}"));
                Some(mapped)
            }
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let says = format!("nothing listens on UDP port {}", self.address.port());
                self.failed("binding", says, "is the server running, and listening on this address?");
                None
            }
            Err(Failure::Io(error)) if error.kind() == io::ErrorKind::NetworkUnreachable => {
                self.unreachable(&error);
                None
            }
            Err(Failure::NoAnswer) if client.link().is_datagram() => {
                self.failed(
                    "binding",
                    format!("no answer from UDP port {} in {:?}", self.address.port(), self.ask.patience),
                    "open the port for UDP at the server; if this network blocks UDP, clients here need turn:…?transport=tcp or turns:…:443",
                );
                None
            }
            Err(failure) => {
                self.failed("binding", failure.to_string(), "is it a TURN server that listens there?");
                None
            }
        }
    }

    /// A stranger gets a 401 and nothing else.
    fn challenge(&mut self, client: &mut Client) -> bool {
        let answer = match client.allocate(None) {
            Ok(answer) => answer,
            Err(failure) => {
                self.failed("challenge", failure.to_string(), "");
                return false;
            }
        };
        let message = answer.message();
        match (answer.code(), message.attribute(attr::REALM), message.attribute(attr::NONCE)) {
            (401, Some(realm), Some(nonce)) => {
                let features = if nonce.starts_with(b"obMatJos2") { "with" } else { "without" };
                self.sha_256 = answer.offers_sha_256();
                let sha = if self.sha_256 { "offered" } else { "not offered" };
                let realm = shown(realm);
                self.ok(
                    "challenge",
                    format!(
                        "401, realm \"{realm}\", nonce {features} RFC 8489's security features, SHA-256 {sha}"
                    ),
                );
                true
            }
            (401, ..) => {
                self.failed(
                    "challenge",
                    "401 without REALM or NONCE",
                    "clients cannot authenticate (RFC 8489 §9.2.4)",
                );
                false
            }
            (0, ..) => {
                self.failed(
                    "challenge",
                    "it relays for anybody, without credentials",
                    "an open relay is abused within days: demand credentials",
                );
                false
            }
            (code, ..) => {
                let text =
                    message.error_code().map(|(_, reason)| shown(reason.as_bytes())).unwrap_or_default();
                self.failed("challenge", format!("{code} {text} instead of 401"), "");
                false
            }
        }
    }

    /// Another connection to the same place, without a word about it.
    pub(super) fn connect_again(&self) -> io::Result<Link> {
        match self.uri.transport {
            Transport::Udp => Link::udp(self.address),
            Transport::Tcp => Link::tcp(self.address, self.ask.patience),
            Transport::Tls => {
                let name = ServerName::try_from(self.uri.host.clone()).map_err(io::Error::other)?;
                let (config, _) = tls::client(self.ask.ca.as_deref()).map_err(io::Error::other)?;
                Link::tls(self.address, name, config, self.ask.patience)
            }
        }
    }
}

/// Whether one of this machine's interfaces has that address.
fn is_ours(ip: IpAddr) -> bool {
    std::net::UdpSocket::bind((ip, 0)).is_ok()
}

/// A stranger's text for our terminal.
pub(super) fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).take(127).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_moves_no_cursor() {
        assert_eq!(shown(b"a\x1b[2Jb\r\n"), "a[2Jb");
    }
}
