//! ChannelData framing (RFC 8656 §12.4).

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
