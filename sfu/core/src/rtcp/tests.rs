use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn only(bytes: &[u8]) -> Packet<'_> {
    let mut packets = Compound::new(bytes);
    let packet = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    packet
}

#[test]
fn is_told_from_rtp_by_payload_type() {
    assert!(is_rtcp(&[0x80, 200, 0, 1, 0, 0, 0, 0]));
    assert!(is_rtcp(&[0x81, 206, 0, 1, 0, 0, 0, 0]));
    assert!(!is_rtcp(&[0x80, 96, 0, 1, 0, 0, 0, 0]));
    assert!(!is_rtcp(&[0x80, 0x80 | 96, 0, 1, 0, 0, 0, 0]), "96 with the marker is 224");
    assert!(!is_rtcp(&[0x00, 200, 0, 1, 0, 0, 0, 0]));
    assert!(!is_rtcp(&[0x80, 200]));
}

#[test]
fn reads_a_sender_report_by_the_byte() {
    let bytes = [
        0x81, 0xc8, 0x00, 0x0c, 0x90, 0x2f, 0x9e, 0x2e, 0xda, 0x8b, 0xd1, 0xfc, 0xdd, 0xdd, 0xa0, 0x5a, 0xaa,
        0xf4, 0xed, 0xd5, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x02, 0xbc, 0x5e, 0x9a, 0x40, 0x40, 0xff,
        0xff, 0xfe, 0x00, 0x00, 0x46, 0xe1, 0x00, 0x00, 0x01, 0x11, 0x09, 0xf3, 0x64, 0x32, 0x00, 0x02, 0x4a,
        0x79,
    ];
    let Packet::SenderReport(report) = only(&bytes) else { panic!("not an SR") };
    assert_eq!((report.ssrc, report.ntp), (0x902f_9e2e, 0xda8b_d1fc_dddd_a05a));
    assert_eq!((report.rtp_timestamp, report.packets, report.octets), (0xaaf4_edd5, 1, 2));
    let block = ReportBlock {
        ssrc: 0xbc5e_9a40,
        fraction_lost: 0x40,
        cumulative_lost: -2,
        highest_sequence: 0x46e1,
        jitter: 273,
        last_sr: 0x09f3_6432,
        delay_since_last_sr: 150_137,
    };
    assert_eq!(report.blocks().collect::<Vec<_>>(), [block]);
    let mut written = Vec::new();
    let info = SenderInfo {
        ssrc: report.ssrc,
        ntp: report.ntp,
        rtp_timestamp: report.rtp_timestamp,
        packets: 1,
        octets: 2,
    };
    write_sender_report(&mut written, &info, &[block]);
    assert_eq!(written, bytes);
}

#[test]
fn a_compound_is_read_packet_by_packet() {
    let mut bytes = Vec::new();
    write_receiver_report(&mut bytes, 1, &[]);
    write_sdes_cname(&mut bytes, 1, "ab");
    write_sdes_cname(&mut bytes, 1, "trunkline");
    write_pli(&mut bytes, 1, 7);
    write_fir(&mut bytes, 1, 8, 3);
    write_bye(&mut bytes, &[5, 6]);
    bytes.extend_from_slice(&[0x80, 204, 0, 1, 0, 0, 0, 1]); // APP
    let packets: Vec<_> = Compound::new(&bytes).map(Result::unwrap).collect();
    let [
        Packet::ReceiverReport(rr),
        Packet::SourceDescription,
        Packet::SourceDescription,
        Packet::Pli(pli),
        Packet::Fir(fir),
        Packet::Bye(bye),
        Packet::Unknown { packet_type: 204, format: 0 },
    ] = &packets[..]
    else {
        panic!("{packets:?}")
    };
    assert_eq!((rr.ssrc, rr.blocks().count()), (1, 0));
    assert_eq!((pli.sender_ssrc, pli.media_ssrc), (1, 7));
    assert_eq!(fir.entries().collect::<Vec<_>>(), [FirEntry { ssrc: 8, sequence: 3 }]);
    assert_eq!(bye.ssrcs().collect::<Vec<_>>(), [5, 6]);
}

#[test]
fn sdes_ends_with_a_null_at_least() {
    let mut bytes = Vec::new();
    write_sdes_cname(&mut bytes, 0x0102_0304, "ab");
    assert_eq!(bytes, [0x81, 202, 0, 3, 1, 2, 3, 4, 1, 2, b'a', b'b', 0, 0, 0, 0]);
}

#[test]
fn malformed_packets_end_the_compound() {
    let good = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
    for (case, bytes) in [
        ("version", vec![0x41, 206, 0, 0]),
        ("length passes the end", vec![0x81, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2]),
        ("shorter than a header", vec![0x81, 206]),
        ("feedback without a media SSRC", vec![0x81, 206, 0, 1, 0, 0, 0, 1]),
        ("report blocks missing", vec![0x81, 201, 0, 1, 0, 0, 0, 1]),
        ("sender info missing", vec![0x80, 200, 0, 1, 0, 0, 0, 1]),
        ("BYE's SSRCs missing", vec![0x82, 203, 0, 1, 0, 0, 0, 1]),
        ("padding count 0", vec![0xa1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0]),
        ("padding longer than the packet", vec![0xa1, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 200]),
        ("padding before the last packet", [&[0xa0, 201, 0, 2, 0, 0, 0, 1, 0, 0, 0, 4][..], &good].concat()),
    ] {
        let results: Vec<_> = Compound::new(&bytes).map(|p| p.is_ok()).collect();
        assert_eq!(results, [false], "{case}");
    }
    let padded = [0xa1, 206, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 4];
    assert!(matches!(only(&padded), Packet::Pli(_)));
}

#[test]
fn nack_packs_across_the_wrap() {
    let mut bytes = Vec::new();
    write_nack(&mut bytes, 1, 2, &[65_534, 65_535, 14, 15, 100]);
    assert_eq!(bytes[12..], [0xff, 0xfe, 0x80, 0x01, 0, 15, 0, 0, 0, 100, 0, 0]);
    let Packet::Nack(nack) = only(&bytes) else { panic!("not a NACK") };
    assert_eq!((nack.sender_ssrc, nack.media_ssrc), (1, 2));
    assert_eq!(nack.lost().collect::<Vec<_>>(), [65_534, 65_535, 14, 15, 100]);
    bytes.clear();
    write_nack(&mut bytes, 1, 2, &[]);
    assert!(bytes.is_empty());
    let many: Vec<u16> = (0..600).map(|n| n * 20).collect();
    write_nack(&mut bytes, 1, 2, &many);
    let packets: Vec<_> = Compound::new(&bytes).map(Result::unwrap).collect();
    assert_eq!(packets.len(), 3);
    let read: Vec<u16> = packets
        .iter()
        .flat_map(|p| match p {
            Packet::Nack(nack) => nack.lost(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(read, many);
}

#[test]
fn remb_is_recognised() {
    let bytes = [
        0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x1a, 0x20, 0xdf, 0x48, 0x74,
        0x6e, 0x16,
    ];
    let Packet::Remb(remb) = only(&bytes) else { panic!("not REMB") };
    assert_eq!(remb.bit_rate, 0x220df << 6);
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn feedback(bytes: &[u8]) -> TransportFeedback<'_> {
    match only(bytes) {
        Packet::TransportFeedback(feedback) => feedback,
        other => panic!("{other:?}"),
    }
}

/// The packet that Pion reads in its own test of this format (pion/rtcp, transportlayercc_test.go).
#[test]
fn transport_feedback_as_captured() {
    let bytes = [
        0xaf, 0xcd, 0x00, 0x05, 0xfa, 0x17, 0xfa, 0x17, 0x43, 0x03, 0x2f, 0xa0, 0x00, 0x99, 0x00, 0x01, 0x3d,
        0xe8, 0x02, 0x17, 0x20, 0x01, 0x94, 0x01,
    ];
    let f = feedback(&bytes);
    assert_eq!((f.sender_ssrc, f.media_ssrc), (0xfa17_fa17, 0x4303_2fa0));
    assert_eq!((f.base_sequence, f.status_count), (153, 1));
    assert_eq!((f.reference_time, f.feedback_count), (4_057_090, 23));
    let ticks = 4_057_090 * 256 + 0x94;
    assert_eq!(f.statuses().collect::<Vec<_>>(), [Status { sequence: 153, arrival_ticks: Some(ticks) }]);

    let arrival = Duration::from_micros(250 * ticks as u64);
    let mut written = Vec::new();
    let covered =
        write_transport_feedback(&mut written, 0xfa17_fa17, 0x4303_2fa0, 23, &[(153, Some(arrival))]);
    assert_eq!((covered, &written[..]), (1, &bytes[..]));
}

#[test]
fn transport_feedback_chunks_by_the_byte() {
    type Case = (&'static str, Vec<Option<u64>>, &'static [u8], &'static [u8]);
    let cases: [Case; 5] = [
        ("a run of small deltas", (0..20).map(|n| Some(128 + n)).collect(), &[0x20, 20], &[0, 4, 4]),
        ("a run in the end", vec![Some(128), Some(128)], &[0x20, 2], &[0, 0]),
        ("one-bit vector", vec![Some(128), None, Some(129)], &[0b1010_1000, 0], &[0, 4]),
        ("two-bit vector", vec![Some(128), None, Some(300)], &[0b1101_0010, 0], &[0, 0x02, 0xb0]),
        ("arrived out of order", vec![Some(190), Some(128)], &[0b1101_1000, 0], &[248, 0xff, 0x08]),
    ];
    for (case, arrivals, chunks, deltas) in cases {
        let statuses: Vec<_> = arrivals.iter().zip(10..).map(|(at, s)| (s, at.map(ms))).collect();
        let mut bytes = Vec::new();
        assert_eq!(write_transport_feedback(&mut bytes, 1, 2, 0, &statuses), statuses.len(), "{case}");
        assert_eq!(bytes[12..20], [0, 10, 0, statuses.len() as u8, 0, 0, 2, 0], "{case}");
        assert!(bytes[20..].starts_with(chunks), "{case}: {:x?}", &bytes[20..]);
        assert!(bytes[20 + chunks.len()..].starts_with(deltas), "{case}: {:x?}", &bytes[20..]);
    }
}

#[test]
fn transport_feedback_splits_where_it_must() {
    let mut bytes = Vec::new();
    assert_eq!(write_transport_feedback(&mut bytes, 1, 2, 0, &[(5, None), (6, None)]), 2, "nothing arrived");
    assert!(bytes.is_empty());
    let far = [(5, Some(ms(0))), (6, Some(ms(9_000)))];
    assert_eq!(write_transport_feedback(&mut bytes, 1, 2, 0, &far), 1, "a step of over 8.19 s");
    assert_eq!(feedback(&bytes).statuses().count(), 1);
    bytes.clear();
    let jump = [(5, Some(ms(0))), (60_000, Some(ms(1)))];
    assert_eq!(write_transport_feedback(&mut bytes, 1, 2, 0, &jump), 1, "a jump in sequence");
    bytes.clear();
    let late = [(5, None), (600, Some(ms(1)))];
    assert_eq!(write_transport_feedback(&mut bytes, 1, 2, 0, &late), 1, "progress, though nothing is told");
    bytes.clear();
    let many: Vec<_> = (0..2_000).map(|s| (s, Some(ms(100 * (s % 2))))).collect();
    assert_eq!(write_transport_feedback(&mut bytes, 1, 2, 0, &many), 500);
    assert!(bytes.len() < 1_200, "{} bytes", bytes.len());
}

#[test]
fn transport_feedback_that_lies_is_refused() {
    let whole = [0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 1, 0, 0, 2, 0, 0x20, 1, 0x94, 0];
    assert_eq!(feedback(&whole).status_count, 1);
    let mut more = whole;
    more[15] = 9; // nine statuses, and after the run the deltas read as a chunk: too few
    assert!(Compound::new(&more).next().unwrap().is_err());
    let mut large = whole;
    large[20..22].copy_from_slice(&[0x40, 9]);
    large[15] = 9;
    assert!(Compound::new(&large).next().unwrap().is_err(), "nine large deltas in two bytes");
}

proptest! {
    #[test]
    fn reading_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 199u8..208) {
        if let [first, second, ..] = &mut bytes[..] {
            (*first, *second) = (*first & 0x3f | 0x80, kind);
        }
        let words = (bytes.len() / 4).saturating_sub(1) as u16;
        if bytes.len() >= 4 && bytes[3] & 1 == 0 {
            bytes[2..4].copy_from_slice(&words.to_be_bytes());
        }
        for packet in Compound::new(&bytes).flatten() {
            match packet {
                Packet::SenderReport(r) => prop_assert!(r.blocks().count() <= 31),
                Packet::ReceiverReport(r) => prop_assert!(r.blocks().count() <= 31),
                Packet::Bye(b) => prop_assert!(b.ssrcs().count() <= 31),
                Packet::Nack(n) => prop_assert!(n.lost().count() <= bytes.len() / 4 * 17),
                Packet::Fir(f) => prop_assert!(f.entries().count() <= bytes.len() / 8),
                Packet::TransportFeedback(f) => {
                    prop_assert_eq!(f.statuses().count(), usize::from(f.status_count));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn nacks_come_back(start in any::<u16>(), steps in proptest::collection::vec(1u16..40, 1..400)) {
        let mut at = start;
        let lost: Vec<u16> = steps.iter().map(|step| { at = at.wrapping_add(*step); at }).collect();
        let mut bytes = Vec::new();
        write_nack(&mut bytes, 1, 2, &lost);
        let read: Vec<u16> = Compound::new(&bytes)
            .filter_map(|p| match p { Ok(Packet::Nack(nack)) => Some(nack.lost()), _ => None })
            .flatten()
            .collect();
        prop_assert_eq!(read, lost);
    }

    #[test]
    fn transport_feedback_comes_back(
        base in 0u64..200_000,
        start_ms in 0u64..100_000_000,
        steps in proptest::collection::vec((1u64..4, proptest::option::of(-90_000i64..400_000)), 1..900),
    ) {
        let mut at = Duration::from_millis(start_ms) + Duration::from_secs(100);
        let mut sequence = base;
        let statuses: Vec<(u64, Option<Duration>)> = steps
            .iter()
            .map(|(step, us)| {
                sequence += step;
                let arrival = us.map(|us| {
                    let moved = at.as_micros() as i64 + us;
                    at = Duration::from_micros(moved.max(0) as u64);
                    at
                });
                (sequence, arrival)
            })
            .collect();
        let mut rest = &statuses[..];
        let mut read = Vec::new();
        while !rest.is_empty() {
            let mut bytes = Vec::new();
            let covered = write_transport_feedback(&mut bytes, 1, 2, 7, rest);
            prop_assert!(covered >= 1 && bytes.len() <= 1_200);
            if !bytes.is_empty() {
                let f = feedback(&bytes);
                for (sequence, status) in (rest[0].0..).zip(f.statuses()) {
                    prop_assert_eq!(status.sequence, sequence as u16);
                    if let Some(ticks) = status.arrival_ticks {
                        read.push((sequence, ticks));
                    }
                }
            }
            rest = &rest[covered..];
        }
        let period = 1i64 << 32;
        let sent: Vec<_> = statuses
            .iter()
            .filter_map(|(s, at)| at.map(|at| (*s, at.as_micros() as i64 / 250)))
            .collect();
        prop_assert_eq!(read.len(), sent.len());
        for ((s, ticks), (want_s, want)) in read.iter().zip(&sent) {
            prop_assert_eq!(s, want_s);
            prop_assert_eq!(ticks.rem_euclid(period), want.rem_euclid(period));
        }
    }

    #[test]
    fn reports_come_back(
        blocks in proptest::collection::vec(
            (any::<u32>(), any::<u8>(), -0x80_0000i32..0x80_0000, any::<u32>(), any::<u32>(), any::<u32>()), 0..70),
    ) {
        let blocks: Vec<ReportBlock> = blocks
            .into_iter()
            .map(|(ssrc, fraction_lost, cumulative_lost, highest_sequence, jitter, last_sr)| ReportBlock {
                ssrc, fraction_lost, cumulative_lost, highest_sequence, jitter, last_sr,
                delay_since_last_sr: last_sr ^ jitter,
            })
            .collect();
        let mut bytes = Vec::new();
        write_receiver_report(&mut bytes, 9, &blocks);
        let read: Vec<ReportBlock> = Compound::new(&bytes)
            .filter_map(|p| match p { Ok(Packet::ReceiverReport(r)) => Some(r.blocks()), _ => None })
            .flatten()
            .collect();
        prop_assert_eq!(read, blocks);
    }
}
