use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn section() -> ReceiveSection {
    ReceiveSection {
        mid: "1".to_owned(),
        ssrc: 7,
        rtx_ssrc: Some(8),
        codecs: vec![CodecMapping { codec: Codec::Vp8, payload_type: 96, rtx_payload_type: Some(97) }],
    }
}

fn packet(sequence: u64, timestamp: u32, keyframe: bool) -> PlainPacket {
    let payload =
        [0x90, 0x80, 0x80 | (sequence >> 8) as u8 & 0x7f, sequence as u8, u8::from(!keyframe), 0, 0];
    PlainPacket {
        sequence,
        timestamp,
        marker: true,
        codec: Codec::Vp8,
        payload: Bytes::copy_from_slice(&payload),
        audio_level: None,
        orientation: None,
        keyframe,
        vp8: crate::codec::vp8::Descriptor::parse(&payload).ok(),
    }
}

fn key(layer: u8, generation: u32) -> StreamKey {
    StreamKey { publisher: ParticipantId(1), track: 0, layer, generation }
}

fn stream(now: Instant) -> Egress {
    let mut egress = Egress::new(&section(), MediaKind::Video, 0, 0x1234_0010, 1_000, now);
    egress.set_source(Some((ParticipantId(1), 0)));
    egress.target = Some(0);
    egress
}

#[test]
fn nothing_is_forwarded_before_a_keyframe() {
    let now = crate::test_clock();
    let mut egress = stream(now);
    assert!(egress.waits_for_keyframe());
    assert_eq!(egress.place(key(0, 0), &packet(5, 0, false), None, now), None);
    let first = egress.place(key(0, 0), &packet(6, 0, true), None, now).unwrap();
    let later = egress.place(key(0, 0), &packet(9, 9_000, false), None, now).unwrap();
    assert_eq!(later.sequence - first.sequence, 3, "what was lost before us stays a gap");
    assert!(!egress.waits_for_keyframe());
}

/// Two jumps of 30,000, the first of which the subscriber never sees, would put its roll-over counter out of step.
#[test]
fn a_publishers_jump_is_not_passed_on() {
    let now = crate::test_clock();
    let mut egress = stream(now);
    let first = egress.place(key(0, 0), &packet(100_000, 0, true), None, now).unwrap();
    let mut last = first.sequence;
    for n in 1..20 {
        let sequence =
            egress.place(key(0, 0), &packet(100_000 + n * 30_000, 0, false), None, now).unwrap().sequence;
        assert_eq!(sequence, last + 1);
        last = sequence;
    }
    let late = egress.place(key(0, 0), &packet(100_000 + 19 * 30_000 - 1, 0, false), None, now);
    assert_eq!(late, None, "what lies in a closed gap has no number");
}

#[test]
fn a_layer_switch_is_exact_in_time_by_the_publishers_clock() {
    let now = crate::test_clock();
    let mut egress = stream(now);
    let second = 1u64 << 32;
    egress.place(key(0, 0), &packet(1, 1_000, true), None, now).unwrap();
    egress.target = Some(1);
    // The layers' timestamps differ by 500,000; both reports are of the same instant but for one second.
    let clocks = (
        ClockReport { ntp: 10 * second, rtp: 1_000, at: now },
        ClockReport { ntp: 11 * second, rtp: 591_000, at: now },
    );
    let at = now + Duration::from_millis(40);
    let mapped = egress.place(key(1, 0), &packet(70, 504_600, true), Some(clocks), at).unwrap();
    assert_eq!(mapped.timestamp, 1_000 + 3_600, "40 ms later on the publisher's clock");
}

#[test]
fn origin_finds_what_was_sent_and_again_gives_the_same_bytes() {
    let now = crate::test_clock();
    let mut egress = stream(now);
    let ids = ExtensionIds::default();
    let mut sent = Vec::new();
    for n in 0..300u64 {
        let layer = (n / 100 % 2) as u8;
        egress.target = Some(layer);
        let packet = packet(65_400 + n, n as u32 * 3_000, n % 100 == 0);
        let mapped = egress.place(key(layer, 0), &packet, None, now).unwrap();
        let mut bytes = Vec::new();
        egress.write(&mut bytes, &mapped, &packet, &ids);
        sent.push((mapped.sequence, packet, bytes));
    }
    for (sequence, packet, bytes) in sent {
        let (stream, incoming, out) = egress.origin(sequence as u16).unwrap();
        assert_eq!((stream.generation, incoming, out), (0, packet.sequence, sequence));
        let mapped = egress.again(out, &packet).unwrap();
        let mut repeated = Vec::new();
        egress.write(&mut repeated, &mapped, &packet, &ids);
        assert_eq!(repeated, bytes);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The publisher's numbers jump.
    Jump {
        layer: u8,
        by: u64,
    },
    /// A packet of a layer, `back` behind the newest, perhaps a keyframe.
    Packet {
        layer: u8,
        back: u64,
        keyframe: bool,
    },
    Target(u8),
    Pause,
    /// The publisher began the layer anew.
    Restart(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2u8, 0..6u64, prop::bool::weighted(0.2)).prop_map(|(layer, back, keyframe)| Step::Packet { layer, back, keyframe }),
        1 => (0..2u8, 900..40_000u64).prop_map(|(layer, by)| Step::Jump { layer, by }),
        1 => (0..2u8).prop_map(Step::Target),
        1 => Just(Step::Pause),
        1 => (0..2u8).prop_map(Step::Restart),
    ]
}

proptest! {
    /// SRTP's duty: one sequence number, one packet, whatever switches and arrives late.
    #[test]
    fn no_sequence_number_is_given_twice(steps in prop::collection::vec(step(), 1..400)) {
        let now = crate::test_clock();
        let mut egress = stream(now);
        let mut newest = [1_000u64, 60_000];
        let mut generation = [0u32; 2];
        let mut arrived = BTreeSet::new();
        let mut given = BTreeMap::new();
        for step in steps {
            match step {
                Step::Target(layer) => egress.target = Some(layer),
                Step::Jump { layer, by } => newest[usize::from(layer)] += by,
                Step::Pause => egress.pause(),
                Step::Restart(layer) => generation[usize::from(layer)] += 1,
                Step::Packet { layer, back, keyframe } => {
                    let l = usize::from(layer);
                    newest[l] += 1;
                    let sequence = newest[l] - back;
                    if !arrived.insert((layer, generation[l], sequence)) {
                        continue; // the ring keeps duplicates out
                    }
                    let packet = packet(sequence, sequence as u32 * 3_000, keyframe);
                    if let Some(mapped) = egress.place(key(layer, generation[l]), &packet, None, now) {
                        let before = given.insert(mapped.sequence, (layer, generation[l], sequence));
                        prop_assert_eq!(before, None, "{} again", mapped.sequence);
                        let origin = egress.origin(mapped.sequence as u16);
                        prop_assert_eq!(origin, Some((key(layer, generation[l]), sequence, mapped.sequence)));
                    }
                }
            }
        }
    }
}
