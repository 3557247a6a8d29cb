//! Which peers may be reached: the guard against server-side request forgery through the relay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

/// An inclusive range of addresses of one family. Parsed from `10.0.0.0/8`, `192.0.2.7` or
/// `2001:db8::5-2001:db8::1:7`: a range need not be aligned to a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

/// A range that cannot be read. The operator's fault: refuse to start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address, a CIDR prefix or a range of addresses in rising order")]
pub struct RangeError {
    text: String,
}

impl IpRange {
    /// The range, or `None` when the ends are of two families or in falling order.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// Whether `ip` lies in the range, as it is written: a mapped address is not its IPv4 one.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.first.is_ipv4() == ip.is_ipv4() && self.first <= ip && ip <= self.last
    }
}

impl From<IpNet> for IpRange {
    fn from(net: IpNet) -> Self {
        Self { first: net.network(), last: net.broadcast() }
    }
}

impl From<IpAddr> for IpRange {
    fn from(ip: IpAddr) -> Self {
        Self { first: ip, last: ip }
    }
}

impl FromStr for IpRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let error = || RangeError { text: text.to_owned() };
        if let Some((first, last)) = text.split_once('-') {
            let first = first.trim().parse().map_err(|_| error())?;
            let last = last.trim().parse().map_err(|_| error())?;
            return Self::new(first, last).ok_or_else(error);
        }
        let text = text.trim();
        if text.contains('/') {
            return text.parse::<IpNet>().map(Self::from).map_err(|_| error());
        }
        text.parse::<IpAddr>().map(Self::from).map_err(|_| error())
    }
}

/// Refused whatever the operator allows, because no peer has such an address: "this host" (which Linux sends to
/// itself), multicast, reserved with broadcast, unspecified, and IPv4-mapped (an IPv4 peer by a side door).
const NEVER: [(IpAddr, IpAddr); 6] = [
    v4([0, 0, 0, 0], [0, 255, 255, 255]),
    v4([224, 0, 0, 0], [239, 255, 255, 255]),
    v4([240, 0, 0, 0], [255, 255, 255, 255]),
    v6([0; 8], [0; 8]),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], [0xffff; 8]),
    v6([0, 0, 0, 0, 0, 0xffff, 0, 0], [0, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff]),
];

/// Refused unless allowed (RFC 6890's special-purpose registries, and the translation prefixes).
const BY_DEFAULT: [(IpAddr, IpAddr); 20] = [
    v4([10, 0, 0, 0], [10, 255, 255, 255]),
    v4([100, 64, 0, 0], [100, 127, 255, 255]),
    v4([127, 0, 0, 0], [127, 255, 255, 255]),
    v4([169, 254, 0, 0], [169, 254, 255, 255]),
    v4([172, 16, 0, 0], [172, 31, 255, 255]),
    v4([192, 0, 0, 0], [192, 0, 0, 255]),
    v4([192, 88, 99, 0], [192, 88, 99, 255]),
    v4([192, 168, 0, 0], [192, 168, 255, 255]),
    v4([198, 18, 0, 0], [198, 19, 255, 255]),
    // Loopback and the deprecated IPv4-compatible addresses (RFC 4291 §2.5.5.1).
    v6([0, 0, 0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0, 0xffff, 0xffff]),
    // IPv4-translated (RFC 2765 §2.1).
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], [0, 0, 0, 0, 0xffff, 0, 0xffff, 0xffff]),
    // NAT64: well-known and local-use prefixes (RFC 6052 §2.1, RFC 8215).
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], [0x64, 0xff9b, 0, 0, 0, 0, 0xffff, 0xffff]),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], [0x64, 0xff9b, 1, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]),
    // Discard-only (RFC 6666).
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], [0x100, 0, 0, 0, 0xffff, 0xffff, 0xffff, 0xffff]),
    // Teredo (RFC 4380) and 6to4 (RFC 3056).
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], [0x2001, 0, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]),
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], [0x2002, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]),
    // Segment routing (RFC 9602).
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], [0x5f00, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]),
    // Unique local, link-local, the deprecated site-local.
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], [0xfdff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], [0xfebf, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], [0xfeff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff]),
];

const fn v4(a: [u8; 4], b: [u8; 4]) -> (IpAddr, IpAddr) {
    (IpAddr::V4(Ipv4Addr::new(a[0], a[1], a[2], a[3])), IpAddr::V4(Ipv4Addr::new(b[0], b[1], b[2], b[3])))
}

const fn v6(a: [u16; 8], b: [u16; 8]) -> (IpAddr, IpAddr) {
    (
        IpAddr::V6(Ipv6Addr::new(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7])),
        IpAddr::V6(Ipv6Addr::new(b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7])),
    )
}

fn within(ranges: &[(IpAddr, IpAddr)], ip: IpAddr) -> bool {
    ranges.iter().any(|(first, last)| IpRange { first: *first, last: *last }.contains(ip))
}

/// Decides about peers. In order: addresses that no peer has are refused; so is what the operator denies, and what
/// carries a refused IPv4 address inside; what the operator allows is permitted; the built-in list and the host's
/// own addresses are refused; the rest is permitted.
///
/// ```
/// use trunkline_turn_core::PeerPolicy;
///
/// let policy = PeerPolicy::new(&["10.1.0.0/16".parse()?], &["10.1.2.3".parse()?], &[]);
/// assert!(policy.permits("10.1.0.9".parse().unwrap()));
/// assert!(!policy.permits("10.1.2.3".parse().unwrap()));
/// assert!(!policy.permits("10.2.0.1".parse().unwrap()));
/// # Ok::<(), trunkline_turn_core::RangeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PeerPolicy {
    allow: Vec<IpRange>,
    deny: Vec<IpRange>,
    own: Vec<IpAddr>,
}

impl PeerPolicy {
    /// A policy on top of the built-in list. `own` are the host's addresses.
    #[must_use]
    pub fn new(allow: &[IpRange], deny: &[IpRange], own: &[IpAddr]) -> Self {
        let own = own.iter().filter(|ip| !ip.is_unspecified()).map(IpAddr::to_canonical).collect();
        Self { allow: allow.to_vec(), deny: deny.to_vec(), own }
    }

    /// Whether packets may be sent to `ip` and taken from it.
    #[must_use]
    pub fn permits(&self, ip: IpAddr) -> bool {
        if within(&NEVER, ip) || self.deny.iter().any(|range| range.contains(ip)) {
            return false;
        }
        if let IpAddr::V6(ip) = ip
            && !embedded_v4(ip).into_iter().flatten().all(|inner| self.permits(inner.into()))
        {
            return false;
        }
        self.allow.iter().any(|range| range.contains(ip))
            || !(within(&BY_DEFAULT, ip) || self.own.contains(&ip))
    }
}

/// The IPv4 addresses that a translator would take out of `ip`: even where the operator allows a translation
/// prefix, it must not lead to a refused address.
fn embedded_v4(ip: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let octets = ip.octets();
    let at = |i: usize| Ipv4Addr::new(octets[i], octets[i + 1], octets[i + 2], octets[i + 3]);
    match ip.segments() {
        // NAT64, IPv4-translated.
        [0x64, 0xff9b, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => [Some(at(12)), None],
        // 6to4.
        [0x2002, ..] => [Some(at(2)), None],
        // Teredo: the server, and the client with its bits inverted.
        [0x2001, 0, ..] => [Some(at(4)), Some(Ipv4Addr::from_bits(!at(12).to_bits()))],
        // IPv4-compatible, but for ::1, which is loopback and in the list.
        [0, 0, 0, 0, 0, 0, ..] if !ip.is_loopback() => [Some(at(12)), None],
        _ => [None, None],
    }
}
