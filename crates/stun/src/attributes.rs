//! Attribute numbers and the one value format that needs arithmetic: XOR-ed addresses.

use std::net::{IpAddr, SocketAddr};

use stun_types::attribute::XorSocketAddr;

use crate::TransactionId;

/// Attribute types (RFC 8489 §18.3, RFC 8445 §16.1, RFC 8656 §18). Those below 0x8000 must be understood.
#[allow(missing_docs, reason = "each constant is the attribute of that name in the RFC")]
pub mod attr {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000A;
    pub const CHANNEL_NUMBER: u16 = 0x000C;
    pub const LIFETIME: u16 = 0x000D;
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub const DATA: u16 = 0x0013;
    pub const REALM: u16 = 0x0014;
    pub const NONCE: u16 = 0x0015;
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub const EVEN_PORT: u16 = 0x0018;
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub const DONT_FRAGMENT: u16 = 0x001A;
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001C;
    pub const PASSWORD_ALGORITHM: u16 = 0x001D;
    pub const USERHASH: u16 = 0x001E;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
    pub const ALTERNATE_DOMAIN: u16 = 0x8003;
    pub const ICMP: u16 = 0x8004;
    pub const SOFTWARE: u16 = 0x8022;
    pub const ALTERNATE_SERVER: u16 = 0x8023;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802A;
}

/// The family byte of an address attribute (RFC 8489 §14.1, RFC 8656 §18.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressFamily {
    /// 0x01.
    V4,
    /// 0x02.
    V6,
}

impl AddressFamily {
    /// The family with that code, if there is one.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::V4),
            2 => Some(Self::V6),
            _ => None,
        }
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::V4 => 1,
            Self::V6 => 2,
        }
    }

    /// The family of `ip` as it is written: an IPv4-mapped address is IPv6.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// Reads the value of an XOR-…-ADDRESS attribute (RFC 8489 §14.2); `None` when it is malformed.
#[must_use]
pub fn decode_xor_address(value: &[u8], transaction_id: &TransactionId) -> Option<SocketAddr> {
    let family = AddressFamily::from_code(*value.get(1)?)?;
    let port = u16::from_be_bytes([*value.get(2)?, *value.get(3)?]);
    let ip: IpAddr = match family {
        AddressFamily::V4 => <[u8; 4]>::try_from(value.get(4..)?).ok()?.into(),
        AddressFamily::V6 => <[u8; 16]>::try_from(value.get(4..)?).ok()?.into(),
    };
    Some(xor(SocketAddr::new(ip, port), transaction_id))
}

/// The value of an XOR-…-ADDRESS attribute and how many of its bytes count.
pub(crate) fn encode_xor_address(addr: SocketAddr, transaction_id: &TransactionId) -> ([u8; 20], usize) {
    encode_address(xor(addr, transaction_id))
}

/// The value of an attribute with an address that is not XOR-ed, and how many of its bytes count (RFC 8489 §14.1).
pub(crate) fn encode_address(addr: SocketAddr) -> ([u8; 20], usize) {
    let mut value = [0; 20];
    value[1] = AddressFamily::of(addr.ip()).code();
    value[2..4].copy_from_slice(&addr.port().to_be_bytes());
    match addr.ip() {
        IpAddr::V4(ip) => {
            value[4..8].copy_from_slice(&ip.octets());
            (value, 8)
        }
        IpAddr::V6(ip) => {
            value[4..20].copy_from_slice(&ip.octets());
            (value, 20)
        }
    }
}

fn xor(addr: SocketAddr, transaction_id: &TransactionId) -> SocketAddr {
    let mut wide = [0; 16];
    wide[4..].copy_from_slice(&transaction_id.0);
    XorSocketAddr::xor_addr(addr, u128::from_be_bytes(wide).into())
}
