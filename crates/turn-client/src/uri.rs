//! `turn:` and `turns:` URIs (RFC 7065).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// What carries TURN between client and server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream in clear.
    Tcp,
    /// A stream in TLS.
    Tls,
}

/// Where a TURN server is and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnUri {
    /// A name, or an address without brackets.
    pub host: String,
    /// 3478 for `turn`, 5349 for `turns`, unless said otherwise (RFC 7065 §3.2).
    pub port: u16,
    /// UDP unless said otherwise; TLS for `turns`.
    pub transport: Transport,
}

/// A text that is no TURN URI, or one that we cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// Neither `turn:` nor `turns:`.
    #[error("it must begin with turn: or turns:, as in turn:relay.example:3478?transport=udp")]
    Scheme,
    /// No host, or a character that none has.
    #[error("it has no usable host; an IPv6 address stands in brackets: turn:[2001:db8::1]:3478")]
    Host,
    /// The port is not 1–65535.
    #[error("the port must be 1 to 65535")]
    Port,
    /// Something else than `?transport=udp` or `?transport=tcp`.
    #[error("after the port there may only be ?transport=udp or ?transport=tcp")]
    Transport,
    /// `turns:…?transport=udp`.
    #[error("turns: over UDP is DTLS, which is not supported: use ?transport=tcp, or leave it out")]
    Dtls,
}

impl FromStr for TurnUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let (scheme, rest) = text.split_once(':').ok_or(UriError::Scheme)?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "turn" => false,
            "turns" => true,
            _ => return Err(UriError::Scheme),
        };
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let transport = match (secure, query) {
            (false, None | Some("transport=udp")) => Transport::Udp,
            (false, Some("transport=tcp")) => Transport::Tcp,
            (true, None | Some("transport=tcp")) => Transport::Tls,
            (true, Some("transport=udp")) => return Err(UriError::Dtls),
            _ => return Err(UriError::Transport),
        };
        let (host, port) = split_port(place)?;
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or(UriError::Port)?,
            None if secure => 5349,
            None => 3478,
        };
        Ok(Self { host: host.to_owned(), port, transport })
    }
}

fn split_port(place: &str) -> Result<(&str, Option<&str>), UriError> {
    if let Some(rest) = place.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UriError::Host)?;
        host.parse::<Ipv6Addr>().map_err(|_| UriError::Host)?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(UriError::Host),
        };
    }
    let (host, port) = match place.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (place, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if host.is_empty() || !host.chars().all(fits) {
        return Err(UriError::Host);
    }
    Ok((host, port))
}

impl fmt::Display for TurnUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, query) = match self.transport {
            Transport::Udp => ("turn", "?transport=udp"),
            Transport::Tcp => ("turn", "?transport=tcp"),
            Transport::Tls => ("turns", ""),
        };
        match self.host.parse() {
            Ok(IpAddr::V6(ip)) => write!(f, "{scheme}:[{ip}]:{}{query}", self.port),
            _ => write!(f, "{scheme}:{}:{}{query}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_as_rfc_7065_writes_them() {
        for (text, shown) in [
            ("turn:relay.example", "turn:relay.example:3478?transport=udp"),
            ("turn:relay.example:443?transport=tcp", "turn:relay.example:443?transport=tcp"),
            ("turns:relay.example", "turns:relay.example:5349"),
            ("TURNS:relay.example:443?transport=tcp", "turns:relay.example:443"),
            ("turn:[2001:db8::1]", "turn:[2001:db8::1]:3478?transport=udp"),
            ("turn:192.0.2.1:80?transport=udp", "turn:192.0.2.1:80?transport=udp"),
        ] {
            let uri: TurnUri = text.parse().unwrap();
            assert_eq!(uri.to_string(), shown);
            assert_eq!(uri.to_string().parse(), Ok(uri));
        }
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        for (text, error) in [
            ("relay.example", UriError::Scheme),
            ("stun:relay.example", UriError::Scheme),
            ("turn:", UriError::Host),
            ("turn://relay.example", UriError::Host),
            ("turn:2001:db8::1", UriError::Port),
            ("turn:[2001:db8::1", UriError::Host),
            ("turn:relay.example:0", UriError::Port),
            ("turn:relay.example:70000", UriError::Port),
            ("turn:relay.example?transport=sctp", UriError::Transport),
            ("turns:relay.example?transport=udp", UriError::Dtls),
        ] {
            assert_eq!(text.parse::<TurnUri>(), Err(error), "{text}");
        }
    }
}
