//! H.264 in packetization mode 1 (RFC 6184 §5): where keyframes begin.

const NAL_TYPE_MASK: u8 = 0x1f;
const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
/// FU header's start bit.
const FU_START: u8 = 0x80;

/// Whether an RTP payload begins a keyframe: it holds a sequence parameter set or (the start of) an IDR slice, as a
/// single NAL unit, in an aggregate or in a fragment. An encoder that sends its parameter sets ahead in packets of
/// their own makes this true for both: what begins at the first of them decodes.
pub fn is_keyframe(payload: &[u8]) -> bool {
    let Some((&first, rest)) = payload.split_first() else { return false };
    match first & NAL_TYPE_MASK {
        STAP_A => aggregated(rest).any(begins_keyframe),
        FU_A => rest.first().is_some_and(|&fu| fu & FU_START != 0 && begins_keyframe(fu)),
        _ => begins_keyframe(first),
    }
}

fn begins_keyframe(nal_header: u8) -> bool {
    matches!(nal_header & NAL_TYPE_MASK, SPS | IDR)
}

/// First bytes of the NAL units in a STAP-A, each behind its 16-bit length (RFC 6184 §5.7.1).
fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        let (len, units) = rest.split_first_chunk::<2>()?;
        let (unit, after) = units.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = after;
        unit.first().copied()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        let cases: [(&str, &[u8], bool); 12] = [
            ("empty", &[], false),
            ("SPS", &[0x67, 0x42], true),
            ("IDR slice", &[0x65, 0x88], true),
            ("PPS", &[0x68, 0xce], false),
            ("non-IDR slice", &[0x41, 0x9a], false),
            ("STAP-A with SPS and PPS", &[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68], true),
            ("STAP-A with the IDR second", &[0x78, 0, 1, 0x06, 0, 1, 0x65], true),
            ("STAP-A without", &[0x78, 0, 1, 0x06, 0, 1, 0x41], false),
            ("STAP-A cut short", &[0x78, 0, 9, 0x67], false),
            ("FU-A that starts an IDR", &[0x7c, 0x85, 1], true),
            ("FU-A that continues an IDR", &[0x7c, 0x05, 1], false),
            ("FU-A without a header", &[0x7c], false),
        ];
        for (case, payload, want) in cases {
            assert_eq!(is_keyframe(payload), want, "{case}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(payload in proptest::collection::vec(any::<u8>(), 0..60), stap in any::<bool>()) {
            let mut payload = payload;
            if let (Some(first), true) = (payload.first_mut(), stap) {
                *first = STAP_A;
            }
            let _ = is_keyframe(&payload);
        }
    }
}
