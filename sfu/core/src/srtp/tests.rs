//! Properties of a sealing and an opening end under the same keys.

use proptest::prelude::*;

use super::replay::{ReplayWindow, WINDOW};
use super::{SrtpDrop, SrtpInbound, SrtpOutbound, SrtpProfile, SrtpSealError};

const PROFILES: [SrtpProfile; 3] =
    [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::Aes128CmHmacSha1_80];

fn pair(profile: SrtpProfile) -> (SrtpOutbound, SrtpInbound) {
    let key: Vec<u8> = (1..=profile.key_len() as u8).collect();
    let salt: Vec<u8> = (101..101 + profile.salt_len() as u8).collect();
    (SrtpOutbound::new(profile, &key, &salt).unwrap(), SrtpInbound::new(profile, &key, &salt).unwrap())
}

fn rtp(ssrc: u32, seq: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&seq.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 9]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

fn rtcp(ssrc: u32, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

/// The packet with extended sequence number `extended`, whose payload says so.
fn sealed(outbound: &SrtpOutbound, ssrc: u32, extended: u64) -> Vec<u8> {
    let mut packet = rtp(ssrc, extended as u16, &extended.to_be_bytes());
    outbound.protect_rtp(&mut packet, 0, 12, (extended >> 16) as u32).unwrap();
    packet
}

fn open(inbound: &mut SrtpInbound, packet: &[u8]) -> Result<u64, SrtpDrop> {
    let mut packet = packet.to_vec();
    let len = inbound.unprotect_rtp(&mut packet, 12)?;
    assert_eq!(len, 20);
    Ok(u64::from_be_bytes(packet[12..20].try_into().unwrap()))
}

#[test]
fn wrong_lengths_of_keys_are_refused() {
    for profile in PROFILES {
        let (key, salt) = (vec![0; profile.key_len()], vec![0; profile.salt_len()]);
        assert!(SrtpInbound::new(profile, &key[1..], &salt).is_none());
        assert!(SrtpOutbound::new(profile, &key, &salt[1..]).is_none());
    }
}

#[test]
fn a_replay_is_refused_and_a_packet_behind_the_window_is_too_old() {
    for profile in PROFILES {
        let (outbound, mut inbound) = pair(profile);
        let first = sealed(&outbound, 7, 5);
        assert_eq!(open(&mut inbound, &first), Ok(5));
        assert_eq!(open(&mut inbound, &first), Err(SrtpDrop::Replayed));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 7, 5 + WINDOW - 1)), Ok(5 + WINDOW - 1));
        assert_eq!(open(&mut inbound, &first), Err(SrtpDrop::Replayed));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 7, 6)), Ok(6));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 7, 5 + WINDOW)), Ok(5 + WINDOW));
        assert_eq!(open(&mut inbound, &first), Err(SrtpDrop::TooOld));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 7, 5 + 20 * WINDOW)), Ok(5 + 20 * WINDOW));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 7, 5 + WINDOW + 1)), Err(SrtpDrop::TooOld));
    }
}

#[test]
fn roll_over_with_loss_and_reordering() {
    for profile in PROFILES {
        let (outbound, mut inbound) = pair(profile);
        // In order to 65,534; 65,535 is late; zero of the next round is lost.
        for extended in [65_530, 65_534, 65_537, 65_535, 65_538, 65_533] {
            assert_eq!(open(&mut inbound, &sealed(&outbound, 1, extended)), Ok(extended), "{extended}");
        }
        assert_eq!(open(&mut inbound, &sealed(&outbound, 1, 65_535)), Err(SrtpDrop::Replayed));
        // A gap of nearly half the sequence space is survived, as is the next roll-over.
        for extended in [65_538 + 32_767, 131_071, 131_073, 131_072] {
            assert_eq!(open(&mut inbound, &sealed(&outbound, 1, extended)), Ok(extended), "{extended}");
        }
        // What belongs before the very first packet is no packet at all.
        let (outbound, mut inbound) = pair(profile);
        assert_eq!(open(&mut inbound, &sealed(&outbound, 1, 3)), Ok(3));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 1, 65_535)), Err(SrtpDrop::TooOld));
    }
}

#[test]
fn forged_packets_make_no_state_and_ssrcs_are_bounded() {
    for profile in PROFILES {
        let (mut outbound, inbound) = pair(profile);
        let mut inbound = inbound.with_max_ssrcs(3);
        for ssrc in 0..10_000 {
            let mut forged = rtp(ssrc, 1, &[0; 40]);
            assert_eq!(inbound.unprotect_rtp(&mut forged, 12), Err(SrtpDrop::BadTag));
            let mut forged = rtcp(ssrc, &[0xff; 40]);
            assert_eq!(inbound.unprotect_rtcp(&mut forged), Err(SrtpDrop::BadTag));
        }
        assert_eq!(inbound.ssrcs(), (0, 0));
        for ssrc in 0..5u32 {
            let full = ssrc >= 3;
            let opened = open(&mut inbound, &sealed(&outbound, ssrc, 9));
            assert_eq!(opened, if full { Err(SrtpDrop::TooManySsrcs) } else { Ok(9) });
            let mut packet = rtcp(ssrc, &[1, 2, 3, 4]);
            outbound.protect_rtcp(&mut packet, 0).unwrap();
            let opened = inbound.unprotect_rtcp(&mut packet);
            assert_eq!(opened, if full { Err(SrtpDrop::TooManySsrcs) } else { Ok(12) });
        }
        assert_eq!(inbound.ssrcs(), (3, 3));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 0, 10)), Ok(10), "known SSRCs go on");
    }
}

#[test]
fn a_forgery_does_not_move_the_window() {
    for profile in PROFILES {
        let (outbound, mut inbound) = pair(profile);
        assert_eq!(open(&mut inbound, &sealed(&outbound, 1, 100)), Ok(100));
        let mut forged = sealed(&outbound, 1, 30_000);
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(open(&mut inbound, &forged), Err(SrtpDrop::BadTag));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 1, 101)), Ok(101));
        assert_eq!(open(&mut inbound, &sealed(&outbound, 1, 99)), Ok(99));
    }
}

#[test]
fn short_packets_are_dropped_not_read_past() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        for len in 0..12 + profile.tag_len() {
            assert_eq!(inbound.unprotect_rtp(&mut vec![0x80; len], 12), Err(SrtpDrop::Short));
        }
        for len in 0..12 + profile.tag_len() {
            assert_eq!(inbound.unprotect_rtcp(&mut vec![0x80; len]), Err(SrtpDrop::Short));
        }
        let mut packet = rtp(1, 1, &[0; 100]);
        assert_eq!(inbound.unprotect_rtp(&mut packet, 11), Err(SrtpDrop::Short));
        assert_eq!(inbound.unprotect_rtp(&mut packet, 112 - profile.tag_len() + 1), Err(SrtpDrop::Short));
        let mut arena = vec![9; 5];
        arena.extend_from_slice(&[0x80; 12]);
        assert_eq!(outbound.protect_rtp(&mut arena, 5, 13, 0), Err(SrtpSealError::Short));
        assert_eq!(arena, [9; 5], "nothing unsealed stays");
        arena.extend_from_slice(&[0x80; 7]);
        assert_eq!(outbound.protect_rtcp(&mut arena, 5), Err(SrtpSealError::Short));
        assert_eq!(arena, [9; 5]);
        assert_eq!(outbound.protect_rtcp(&mut arena, 6), Err(SrtpSealError::Short));
        assert_eq!(arena, [9; 5]);
    }
}

#[test]
fn rtcp_indices_are_used_once_and_run_out() {
    for profile in PROFILES {
        let (mut outbound, mut inbound) = pair(profile);
        let mut packets = Vec::new();
        for _ in 0..300 {
            let mut packet = rtcp(1, &[1, 2, 3, 4]);
            outbound.protect_rtcp(&mut packet, 0).unwrap();
            packets.push(packet);
        }
        packets.swap(10, 20);
        for packet in &packets {
            assert_eq!(inbound.unprotect_rtcp(&mut packet.clone()), Ok(12));
        }
        for packet in &packets {
            assert_eq!(inbound.unprotect_rtcp(&mut packet.clone()), Err(SrtpDrop::Replayed));
        }
        outbound.set_rtcp_index((1 << 31) - 1);
        let mut packet = rtcp(1, &[]);
        outbound.protect_rtcp(&mut packet, 0).unwrap();
        assert_eq!(inbound.unprotect_rtcp(&mut packet), Ok(8));
        let mut packet = rtcp(1, &[]);
        assert_eq!(outbound.protect_rtcp(&mut packet, 0), Err(SrtpSealError::KeysUsedUp));
        assert!(packet.is_empty());
    }
}

/// A set of all indices ever seen, to judge the ring by.
#[derive(Default)]
struct Model {
    seen: std::collections::BTreeSet<u64>,
}

impl Model {
    fn check(&self, index: u64) -> Result<(), SrtpDrop> {
        let Some(highest) = self.seen.last() else { return Ok(()) };
        if index + WINDOW <= *highest {
            return Err(SrtpDrop::TooOld);
        }
        if self.seen.contains(&index) { Err(SrtpDrop::Replayed) } else { Ok(()) }
    }
}

fn profiles() -> impl Strategy<Value = SrtpProfile> {
    prop::sample::select(PROFILES.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_sealed_opens(
        profile in profiles(),
        ssrc: u32,
        extended in 0u64..0x8000,
        extra_header in 0usize..20,
        payload in prop::collection::vec(any::<u8>(), 0..1500),
        front in prop::collection::vec(any::<u8>(), 0..50),
    ) {
        let (mut outbound, mut inbound) = pair(profile);
        let header_len = 12 + extra_header.min(payload.len());
        let plain = rtp(ssrc, extended as u16, &payload);
        let mut arena = front.clone();
        arena.extend_from_slice(&plain);
        outbound.protect_rtp(&mut arena, front.len(), header_len, 0).unwrap();
        prop_assert_eq!(&arena[..front.len()], &front[..]);
        prop_assert_eq!(&arena[front.len()..][..header_len], &plain[..header_len]);
        prop_assert_eq!(arena.len(), front.len() + plain.len() + outbound.tag_len());
        let packet = &mut arena[front.len()..];
        let len = inbound.unprotect_rtp(packet, header_len).unwrap();
        prop_assert_eq!(&packet[..len], &plain[..]);

        let plain = rtcp(ssrc, &payload);
        let mut arena = front.clone();
        arena.extend_from_slice(&plain);
        outbound.protect_rtcp(&mut arena, front.len()).unwrap();
        let packet = &mut arena[front.len()..];
        let len = inbound.unprotect_rtcp(packet).unwrap();
        prop_assert_eq!(&packet[..len], &plain[..]);
    }

    #[test]
    fn any_flipped_bit_is_refused(
        profile in profiles(),
        payload in prop::collection::vec(any::<u8>(), 0..200),
        at: prop::sample::Index,
        bit in 0u8..8,
        is_rtcp: bool,
    ) {
        let (mut outbound, mut inbound) = pair(profile);
        let mut packet = if is_rtcp { rtcp(3, &payload) } else { rtp(3, 77, &payload) };
        if is_rtcp {
            outbound.protect_rtcp(&mut packet, 0).unwrap();
        } else {
            outbound.protect_rtp(&mut packet, 0, 12, 0).unwrap();
        }
        let intact = packet.clone();
        let at = at.index(packet.len());
        packet[at] ^= 1 << bit;
        let opened = if is_rtcp { inbound.unprotect_rtcp(&mut packet) } else { inbound.unprotect_rtp(&mut packet, 12) };
        prop_assert!(matches!(opened, Err(SrtpDrop::BadTag | SrtpDrop::Unencrypted)), "{opened:?}");
        prop_assert_eq!(inbound.ssrcs(), (0, 0));
        let mut packet = intact;
        let opened = if is_rtcp { inbound.unprotect_rtcp(&mut packet) } else { inbound.unprotect_rtp(&mut packet, 12) };
        prop_assert!(opened.is_ok());
    }

    #[test]
    fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), header_len in 0usize..400, profile in profiles()) {
        let (_, mut inbound) = pair(profile);
        prop_assert!(inbound.unprotect_rtp(&mut bytes.clone(), header_len).is_err());
        let mut bytes = bytes;
        prop_assert!(inbound.unprotect_rtcp(&mut bytes).is_err());
    }

    /// Loss, duplication and reordering within the window, over several roll-overs: everything opens once.
    #[test]
    fn streams_survive_the_network(
        profile in profiles(),
        start in 0u64..0x8000,
        strides in prop::collection::vec(1u64..3000, 1..150),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), 1usize..4), 0..60),
    ) {
        let (outbound, mut inbound) = pair(profile);
        let mut order: Vec<u64> = Vec::new();
        let mut next = start;
        for stride in strides {
            // Mostly dense runs, with jumps between them.
            order.extend(next..next + 3);
            next += 3 + stride;
        }
        // The receiver must hear something of the first round first, and what overtakes must stay in the window.
        for (at, distance) in swaps {
            let at = 1 + at.index(order.len() - 1);
            let other = (at + distance).min(order.len() - 1);
            if order[at.min(other)].abs_diff(order[at.max(other)]) < WINDOW / 8 {
                order.swap(at, other);
            }
        }
        let mut model = Model::default();
        for extended in order {
            let packet = sealed(&outbound, 5, extended);
            match model.check(extended) {
                Ok(()) => prop_assert_eq!(open(&mut inbound, &packet), Ok(extended)),
                Err(reason) => prop_assert_eq!(open(&mut inbound, &packet), Err(reason)),
            }
            model.seen.insert(extended);
            prop_assert_eq!(open(&mut inbound, &packet), Err(model.check(extended).unwrap_err()));
        }
    }

    #[test]
    fn the_window_agrees_with_a_set(
        first in 0u64..100_000,
        steps in prop::collection::vec((-2_000i64..2_500, 0u8..4), 1..400),
    ) {
        let mut window = ReplayWindow::new(first);
        let mut model = Model::default();
        model.seen.insert(first);
        let mut at = first;
        for (step, shrink) in steps {
            let index = at.saturating_add_signed(step >> (4 * shrink.min(2)));
            prop_assert_eq!(window.check(index), model.check(index), "{} after {}", index, at);
            if window.check(index).is_ok() {
                window.accept(index);
                model.seen.insert(index);
                at = at.max(index);
            }
        }
    }

    /// RFC 3711 §3.3.1: whatever lies within half the sequence space of the newest packet is estimated right.
    #[test]
    fn the_estimate_is_the_closest_index(highest in 0u64..(1 << 40), offset in -0x7fffi64..0x8000) {
        let window = ReplayWindow::new(highest);
        match highest.checked_add_signed(offset) {
            Some(index) => prop_assert_eq!(window.estimate(index as u16), Some(index)),
            None => prop_assert_eq!(window.estimate((highest as i64 + offset) as u16), None),
        }
    }
}

#[test]
fn the_last_index_of_a_key_is_the_last() {
    let window = ReplayWindow::new((1 << 48) - 1);
    assert_eq!(window.estimate(0xffff), Some((1 << 48) - 1));
    assert_eq!(window.estimate(0), None);
}
