//! VP8's payload descriptor (RFC 7741 §4.2) and the start of its frame header (§4.3, RFC 6386 §9.1).

use crate::rtp::Malformed;

/// A payload descriptor. It borrows nothing: it says where its fields stand in the payload it was parsed from, and
/// in every copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Length of the descriptor in bytes, 1–6.
    pub len: u8,
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S: the payload begins a partition.
    pub start_of_partition: bool,
    /// PID: the partition's index; with S, 0 begins a frame.
    pub partition: u8,
    /// Picture id of 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// Whether the picture id has 15 bits (M).
    pub wide_picture_id: bool,
    /// TL0PICIDX.
    pub tl0_pic_idx: Option<u8>,
    /// TID: temporal layer.
    pub temporal_id: Option<u8>,
    /// Y: the frame depends on the base layer only, so a receiver may join this temporal layer here.
    pub layer_sync: bool,
    /// KEYIDX: temporal key frame index.
    pub key_index: Option<u8>,
}

/// Where the picture id stands, if there is one: behind the two bytes of flags.
const PICTURE_ID_AT: usize = 2;

impl Descriptor {
    /// Parses the descriptor at the start of an RTP payload.
    ///
    /// # Errors
    /// A payload shorter than its descriptor says.
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader { payload, at: 0 };
        let first = reader.byte()?;
        let mut d = Self {
            len: 0,
            non_reference: first & 0x20 != 0,
            start_of_partition: first & 0x10 != 0,
            partition: first & 0x07,
            picture_id: None,
            wide_picture_id: false,
            tl0_pic_idx: None,
            temporal_id: None,
            layer_sync: false,
            key_index: None,
        };
        if first & 0x80 != 0 {
            let flags = reader.byte()?;
            if flags & 0x80 != 0 {
                let high = reader.byte()?;
                d.wide_picture_id = high & 0x80 != 0;
                d.picture_id = Some(if d.wide_picture_id {
                    u16::from(high & 0x7f) << 8 | u16::from(reader.byte()?)
                } else {
                    u16::from(high)
                });
            }
            if flags & 0x40 != 0 {
                d.tl0_pic_idx = Some(reader.byte()?);
            }
            if flags & 0x30 != 0 {
                let byte = reader.byte()?;
                if flags & 0x20 != 0 {
                    d.temporal_id = Some(byte >> 6);
                    d.layer_sync = byte & 0x20 != 0;
                }
                d.key_index = (flags & 0x10 != 0).then_some(byte & 0x1f);
            }
        }
        d.len = reader.at as u8;
        Ok(d)
    }

    /// Whether the payload begins a frame: the first partition's first packet.
    pub fn starts_frame(&self) -> bool {
        self.start_of_partition && self.partition == 0
    }

    /// Writes other numbers into `payload`, the one this descriptor was parsed from or a copy of it. Every field
    /// keeps its size: a 7-bit picture id takes the low 7 bits, and a field that is not there is not made. A payload
    /// shorter than the descriptor is left alone.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0_pic_idx: u8) {
        let Some(descriptor) = payload.get_mut(..usize::from(self.len)) else { return };
        let mut at = PICTURE_ID_AT;
        if self.picture_id.is_some() {
            let [high, low] = picture_id.to_be_bytes();
            if self.wide_picture_id {
                descriptor[at] = high | 0x80;
                descriptor[at + 1] = low;
                at += 2;
            } else {
                descriptor[at] = low & 0x7f;
                at += 1;
            }
        }
        if self.tl0_pic_idx.is_some() {
            descriptor[at] = tl0_pic_idx;
        }
    }
}

/// Whether an RTP payload begins a keyframe: P is 0 in the first byte of the frame header (RFC 7741 §4.3).
pub fn is_keyframe(payload: &[u8]) -> bool {
    keyframe_header(payload).is_some()
}

/// Width and height in pixels of the keyframe that an RTP payload begins (RFC 6386 §9.1: 14 bits each, behind the
/// three-byte frame tag and the start code). `None` for anything else.
pub fn keyframe_size(payload: &[u8]) -> Option<(u16, u16)> {
    match *keyframe_header(payload)?.get(3..10)? {
        [0x9d, 0x01, 0x2a, w0, w1, h0, h1] => {
            Some((u16::from_le_bytes([w0, w1]) & 0x3fff, u16::from_le_bytes([h0, h1]) & 0x3fff))
        }
        _ => None,
    }
}

fn keyframe_header(payload: &[u8]) -> Option<&[u8]> {
    let descriptor = Descriptor::parse(payload).ok()?;
    let frame = payload.get(usize::from(descriptor.len)..)?;
    (descriptor.starts_frame() && frame.first()? & 0x01 == 0).then_some(frame)
}

struct Reader<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.payload.get(self.at).ok_or(Malformed("VP8: payload shorter than its descriptor"))?;
        self.at += 1;
        Ok(byte)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Chromium sends it: X, S; I, L, T, K; a 15-bit picture id; a keyframe of 640 × 360.
    const KEYFRAME: [u8; 16] =
        [0x90, 0xf0, 0x92, 0x34, 0x07, 0x63, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41];

    #[test]
    fn reads_every_field() {
        let d = Descriptor::parse(&KEYFRAME).unwrap();
        assert_eq!((d.len, d.picture_id, d.wide_picture_id), (6, Some(0x1234), true));
        assert_eq!(
            (d.tl0_pic_idx, d.temporal_id, d.layer_sync, d.key_index),
            (Some(7), Some(1), true, Some(3))
        );
        assert!(d.starts_frame() && !d.non_reference);
        assert!(is_keyframe(&KEYFRAME));
        assert_eq!(keyframe_size(&KEYFRAME), Some((640, 360)), "the upper two bits are the scale");
    }

    #[test]
    fn reads_the_short_forms() {
        let bare = Descriptor::parse(&[0x10, 0x00]).unwrap();
        assert_eq!((bare.len, bare.picture_id, bare.tl0_pic_idx, bare.temporal_id), (1, None, None, None));
        assert!(is_keyframe(&[0x10, 0x00]));
        assert_eq!(keyframe_size(&[0x10, 0x00]), None);
        let narrow = Descriptor::parse(&[0xb3, 0x80, 0x7f, 0x01]).unwrap();
        assert_eq!((narrow.len, narrow.picture_id, narrow.wide_picture_id), (3, Some(127), false));
        assert_eq!((narrow.partition, narrow.non_reference, narrow.starts_frame()), (3, true, false));
        let key_only = Descriptor::parse(&[0x90, 0x10, 0xff]).unwrap();
        assert_eq!((key_only.temporal_id, key_only.layer_sync, key_only.key_index), (None, false, Some(31)));
    }

    #[test]
    fn only_the_first_packet_of_a_keyframe_counts() {
        assert!(!is_keyframe(&[0x10, 0x01]), "P is 1: an interframe");
        assert!(!is_keyframe(&[0x00, 0x00]), "S is 0: a later packet");
        assert!(!is_keyframe(&[0x11, 0x00]), "another partition");
        assert!(!is_keyframe(&[0x10]), "no frame header");
    }

    #[test]
    fn truncated_at_every_byte() {
        for len in 0..6 {
            assert!(Descriptor::parse(&KEYFRAME[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn rewrites_in_place() {
        let d = Descriptor::parse(&KEYFRAME).unwrap();
        let mut copy = KEYFRAME;
        d.rewrite(&mut copy, 0x7fff, 0xfe);
        assert_eq!(copy[..7], [0x90, 0xf0, 0xff, 0xff, 0xfe, 0x63, 0x10]);
        assert_eq!(copy[6..], KEYFRAME[6..]);
        let mut narrow = [0x90, 0xc0, 0x05, 0x06, 0xaa];
        let d = Descriptor::parse(&narrow).unwrap();
        d.rewrite(&mut narrow, 0x1ff, 9);
        assert_eq!(narrow, [0x90, 0xc0, 0x7f, 9, 0xaa]);
        let mut tl0_only = [0x90, 0x40, 0x06, 0xaa];
        let d = Descriptor::parse(&tl0_only).unwrap();
        d.rewrite(&mut tl0_only, 0x1ff, 9);
        assert_eq!(tl0_only, [0x90, 0x40, 9, 0xaa]);
        d.rewrite(&mut [], 1, 1);
    }

    proptest! {
        #[test]
        fn rewriting_changes_two_numbers_only(
            mut payload in proptest::collection::vec(any::<u8>(), 0..12), picture in 0u16..0x8000, tl0 in any::<u8>(),
        ) {
            let _ = (is_keyframe(&payload), keyframe_size(&payload));
            if let Ok(before) = Descriptor::parse(&payload) {
                before.rewrite(&mut payload, picture, tl0);
                let after = Descriptor::parse(&payload).unwrap();
                let mask = if before.wide_picture_id { 0x7fff } else { 0x7f };
                let want = Descriptor {
                    picture_id: before.picture_id.map(|_| picture & mask),
                    tl0_pic_idx: before.tl0_pic_idx.map(|_| tl0),
                    ..before
                };
                prop_assert_eq!(after, want);
            }
        }
    }
}
