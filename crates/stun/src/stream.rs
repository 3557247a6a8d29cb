//! Where one message ends and the next begins on a stream (RFC 8489 §6.2.2, RFC 8656 §12.5).

use crate::HEADER_LEN;
use crate::channel::CHANNEL_DATA_HEADER;

/// Bytes that tell how long a frame is.
pub const FRAME_PREFIX: usize = 4;

/// Bytes of the longest frame: a STUN message whose length field has its largest multiple of four. ChannelData is
/// shorter: 4 + 65,535 + 1 of padding.
pub const FRAME_MAX: usize = HEADER_LEN + 0xFFFC;

/// The length of the frame that begins with `prefix`, all of it: a STUN message, or ChannelData with the padding
/// that streams need. `None` when it is neither: then nothing tells where the next frame begins, and the stream
/// is of no more use.
///
/// The channel numbers of RFC 5766 (up to 0x7FFF) are framed too; whether they are served is not decided here.
#[must_use]
pub fn frame_len(prefix: [u8; FRAME_PREFIX]) -> Option<usize> {
    let length = usize::from(u16::from_be_bytes([prefix[2], prefix[3]]));
    match prefix[0] {
        // RFC 8489 §5: the last two bits of the length are zero.
        0..=3 if length.is_multiple_of(4) => Some(HEADER_LEN + length),
        0x40..=0x7F => Some((CHANNEL_DATA_HEADER + length).next_multiple_of(4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_as_long_as_their_headers_say() {
        for (prefix, expected) in [
            // STUN: the length field counts behind the header, in fours.
            ([0x00, 0x01, 0x00, 0x00], Some(20)),
            ([0x00, 0x03, 0x00, 0x08], Some(28)),
            ([0x3F, 0xFF, 0x00, 0x00], None),
            ([0x03, 0xFF, 0xFF, 0xFC], Some(FRAME_MAX)),
            ([0x00, 0x01, 0x00, 0x02], None),
            ([0x00, 0x01, 0xFF, 0xFF], None),
            // ChannelData: padded to four.
            ([0x40, 0x00, 0x00, 0x00], Some(4)),
            ([0x40, 0x00, 0x00, 0x01], Some(8)),
            ([0x4F, 0xFF, 0x00, 0x04], Some(8)),
            ([0x40, 0x01, 0x00, 0x05], Some(12)),
            ([0x40, 0x01, 0xFF, 0xFF], Some(65_540)),
            ([0x7F, 0xFF, 0x00, 0x04], Some(8)),
            // A TLS hello, RTP, reserved.
            ([0x16, 0x03, 0x01, 0x02], None),
            ([0x80, 0x00, 0x00, 0x04], None),
            ([0x04, 0x00, 0x00, 0x04], None),
            ([0xFF, 0xFF, 0xFF, 0xFF], None),
        ] {
            assert_eq!(frame_len(prefix), expected, "{prefix:02x?}");
        }
    }

    #[test]
    fn no_frame_is_empty_or_over_the_bound() {
        for first in 0..=255 {
            for length in 0..=u16::MAX {
                let [c, d] = length.to_be_bytes();
                if let Some(frame) = frame_len([first, 0, c, d]) {
                    assert!((FRAME_PREFIX..=FRAME_MAX).contains(&frame) && frame % 4 == 0);
                }
            }
        }
    }
}
