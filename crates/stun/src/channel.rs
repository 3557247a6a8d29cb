//! What relayed bytes are wrapped in: ChannelData (RFC 8656 §12.4) and the Data indication (§11.4).

use std::net::SocketAddr;

use crate::attributes::encode_xor_address;
use crate::message::join_type;
use crate::{Class, HEADER_LEN, MAGIC_COOKIE, Method, TransactionId, attr};

/// The lowest channel number (RFC 8656 §12).
pub const CHANNEL_MIN: u16 = 0x4000;
/// The highest channel number (RFC 8656 §12); 0x5000–0xFFFF are reserved.
pub const CHANNEL_MAX: u16 = 0x4FFF;
/// Bytes before the payload: number and length.
pub const CHANNEL_DATA_HEADER: usize = 4;

/// A ChannelData message, borrowed from its datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// The channel, as sent: the first byte makes it 0x4000–0x4FFF when [`crate::classify`] said `TurnChannel`.
    pub channel: u16,
    /// The application's bytes; padding behind them is not part of it.
    pub payload: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Reads one message from one datagram. `None` when it is shorter than its header says.
    ///
    /// Bytes behind the payload are padding, which UDP does not need but some clients send (RFC 8656 §12.5).
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, rest) = datagram.split_first_chunk::<CHANNEL_DATA_HEADER>()?;
        let channel = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        Some(Self { channel, payload: rest.get(..length)? })
    }

    /// The header of a message of `length` payload bytes, to be sent before them.
    #[must_use]
    pub fn header(channel: u16, length: u16) -> [u8; CHANNEL_DATA_HEADER] {
        let ([a, b], [c, d]) = (channel.to_be_bytes(), length.to_be_bytes());
        [a, b, c, d]
    }
}

/// Everything of a Data indication that comes before the payload, which is its last attribute's value.
///
/// Follow it with the payload and [`padding`](Self::padding) zero bytes. No buffer is needed, so that a relay can
/// send header and payload from two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataIndicationHeader {
    bytes: [u8; Self::MAX],
    length: u8,
    padding: u8,
}

impl DataIndicationHeader {
    /// The longest: STUN header, XOR-PEER-ADDRESS of an IPv6 peer, DATA's own header.
    pub const MAX: usize = HEADER_LEN + 24 + 4;

    /// The header for `payload_length` bytes from `peer`; `None` when the message would exceed its length field.
    #[must_use]
    pub fn new(transaction_id: &TransactionId, peer: SocketAddr, payload_length: usize) -> Option<Self> {
        let (address, address_length) = encode_xor_address(peer, transaction_id);
        let data_at = HEADER_LEN + 4 + address_length;
        let padded = payload_length.next_multiple_of(4);
        let length = u16::try_from(data_at + 4 + padded - HEADER_LEN).ok()?;
        let data_length = u16::try_from(payload_length).ok()?;
        let mut bytes = [0; Self::MAX];
        bytes[..2].copy_from_slice(&join_type(Class::Indication, Method::DATA).to_be_bytes());
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
        bytes[8..HEADER_LEN].copy_from_slice(&transaction_id.0);
        bytes[20..22].copy_from_slice(&attr::XOR_PEER_ADDRESS.to_be_bytes());
        bytes[23] = address_length as u8;
        bytes[24..24 + address_length].copy_from_slice(&address[..address_length]);
        bytes[data_at..data_at + 2].copy_from_slice(&attr::DATA.to_be_bytes());
        bytes[data_at + 2..data_at + 4].copy_from_slice(&data_length.to_be_bytes());
        Some(Self { bytes, length: (data_at + 4) as u8, padding: (padded - payload_length) as u8 })
    }

    /// The bytes before the payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// How many zero bytes follow the payload, 0–3.
    #[must_use]
    pub fn padding(&self) -> usize {
        usize::from(self.padding)
    }
}
