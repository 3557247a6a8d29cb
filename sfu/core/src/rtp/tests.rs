use proptest::prelude::*;

use super::*;

const FIELDS: Fields =
    Fields { marker: true, payload_type: 96, sequence: 0x1234, timestamp: 0x5566_7788, ssrc: 0x99aa_bbcc };

#[test]
fn reads_a_header_with_csrcs_extensions_and_padding() {
    let mut packet = vec![0xb2, 0xe0, 0x12, 0x34, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc];
    packet.extend_from_slice(&[1, 1, 1, 1, 2, 2, 2, 2]); // CSRCs
    // RFC 8285 §4.2: ids 1 (1 byte) and 3 (2 bytes), one padding byte between, one behind.
    packet.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x10, 0xaa, 0x00, 0x31, 0xbb, 0xcc, 0x00, 0x00]);
    packet.extend_from_slice(&[7, 8, 9, 0, 0, 3]);
    let header = Header::parse(&packet).unwrap();
    assert_eq!((header.marker, header.payload_type, header.sequence), (true, 96, 0x1234));
    assert_eq!((header.timestamp, header.ssrc), (0x5566_7788, 0x99aa_bbcc));
    assert_eq!((header.has_padding, header.header_len), (true, 32));
    let block = header.extension.unwrap();
    assert_eq!((block.profile, block.range()), (0xbede, 24..32));
    let found: Vec<_> = header.extensions(&packet).collect();
    assert_eq!(found, [(1, &[0xaa][..]), (3, &[0xbb, 0xcc][..])]);
    assert_eq!(header.payload(&packet), Ok(&[7, 8, 9][..]));
}

#[test]
fn refuses_what_passes_the_end() {
    let mut packet = vec![0x80; 12];
    assert!(Header::parse(&packet).is_ok());
    assert!(Header::parse(&packet[..11]).is_err());
    packet[0] = 0x40;
    assert!(Header::parse(&packet).is_err(), "version 1");
    packet[0] = 0x81;
    assert!(Header::parse(&packet).is_err(), "one CSRC, not there");
    packet[0] = 0x90;
    assert!(Header::parse(&packet).is_err(), "no extension header");
    packet.extend_from_slice(&[0xbe, 0xde, 0, 1]);
    assert!(Header::parse(&packet).is_err(), "one word of extensions, not there");
    packet.extend_from_slice(&[0; 4]);
    assert!(Header::parse(&packet).is_ok());
}

#[test]
fn padding_counts() {
    assert!(padding_len(&[]).is_err());
    assert!(padding_len(&[1, 2, 0]).is_err(), "zero");
    assert!(padding_len(&[1, 2, 4]).is_err(), "longer than the payload");
    assert_eq!(padding_len(&[1, 2, 3]), Ok(3), "nothing but padding");
    assert_eq!(padding_len(&[1, 2, 1]), Ok(1));
}

fn elements(profile: u16, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut packet = vec![0x90; 12];
    packet.extend_from_slice(&profile.to_be_bytes());
    packet.extend_from_slice(&[0, (bytes.len() / 4) as u8]);
    packet.extend_from_slice(bytes);
    let header = Header::parse(&packet).unwrap();
    header.extensions(&packet).map(|(id, data)| (id, data.to_vec())).collect()
}

#[test]
fn extension_forms() {
    assert_eq!(elements(0xbede, &[0x10, 1, 0xf0, 1, 0x20, 2, 0, 0]), [(1, vec![1])], "id 15 stops");
    assert_eq!(
        elements(0xbede, &[0x10, 1, 0x01, 1, 0x20, 2, 0, 0]),
        [(1, vec![1])],
        "id 0 with a length stops"
    );
    assert_eq!(elements(0xbede, &[0x10, 1, 0x2f, 1]), [(1, vec![1])], "an element that passes the end");
    assert_eq!(
        elements(0x1005, &[1, 0, 0, 15, 2, 8, 9, 0]),
        [(1, vec![]), (15, vec![8, 9])],
        "two-byte form"
    );
    assert_eq!(elements(0x1000, &[1, 3, 0, 0]), [], "two-byte element that passes the end");
    assert_eq!(elements(0xabac, &[0x10, 1, 0, 0]), [], "another profile");
}

#[test]
fn writes_the_one_byte_form() {
    let mut out = vec![0xff];
    let len = write_header(&mut out, &FIELDS, &[(3, b"0"), (5, &[1, 2])]);
    assert_eq!(
        out[1..],
        [
            0x90, 0xe0, 0x12, 0x34, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xbe, 0xde, 0, 2, 0x30,
            b'0', 0x51, 1, 2, 0, 0, 0
        ]
    );
    assert_eq!(len, 24);
}

#[test]
fn rtx_payloads() {
    let mut out = Vec::new();
    write_rtx_osn(&mut out, 0xfffe);
    out.push(7);
    assert_eq!(split_rtx(&out), Some((0xfffe, &[7][..])));
    assert_eq!(split_rtx(&out[..1]), None);
}

#[test]
fn sequences_wrap_and_reorder() {
    let mut extender = SequenceExtender::default();
    assert_eq!(extender.highest(), None);
    assert_eq!(extender.extend(1), 0x1_0001);
    assert_eq!(extender.extend(0xffff), 0xffff, "older than the first");
    assert_eq!(extender.extend(0x8000), 0x1_8000);
    assert_eq!(extender.extend(0xfffe), 0x1_fffe);
    assert_eq!(extender.peek(3), 0x2_0003);
    assert_eq!(extender.extend(0), 0x2_0000);
    assert_eq!(extender.extend(0xffff), 0x1_ffff, "late, across the wrap");
    assert_eq!(extender.highest(), Some(0x2_0000));
    assert!(sequence_newer(0, 0xffff) && !sequence_newer(0xffff, 0) && !sequence_newer(5, 5));
    assert!(timestamp_newer(5, u32::MAX) && !timestamp_newer(5, 5));
    assert_eq!(timestamp_delta(1, u32::MAX), 2);
}

proptest! {
    #[test]
    fn parsing_never_panics(packet in proptest::collection::vec(any::<u8>(), 0..200), version in any::<bool>()) {
        let mut packet = packet;
        if let (Some(first), true) = (packet.first_mut(), version) {
            *first = *first & 0x3f | 0x80;
        }
        if let Ok(header) = Header::parse(&packet) {
            prop_assert!(header.header_len <= packet.len());
            prop_assert!(header.extensions(&packet).count() <= packet.len());
            prop_assert!(header.extensions(&[]).count() == 0, "another packet than its own");
            let _ = header.payload(&packet);
        }
    }

    #[test]
    fn what_is_written_is_read(
        (marker, payload_type, sequence, timestamp, ssrc) in
            (any::<bool>(), 0u8..128, any::<u16>(), any::<u32>(), any::<u32>()),
        extensions in proptest::collection::vec((1u8..=20, proptest::collection::vec(any::<u8>(), 0..20)), 0..6),
        payload in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let fields = Fields { marker, payload_type, sequence, timestamp, ssrc };
        let borrowed: Vec<(u8, &[u8])> = extensions.iter().map(|(id, data)| (*id, &data[..])).collect();
        let mut packet = Vec::new();
        let len = write_header(&mut packet, &fields, &borrowed);
        packet.extend_from_slice(&payload);
        let header = Header::parse(&packet).unwrap();
        prop_assert_eq!(len, header.header_len);
        prop_assert_eq!(len % 4, 0);
        let read = Fields {
            marker: header.marker,
            payload_type: header.payload_type,
            sequence: header.sequence,
            timestamp: header.timestamp,
            ssrc: header.ssrc,
        };
        prop_assert_eq!(read, fields);
        prop_assert_eq!(header.extensions(&packet).collect::<Vec<_>>(), borrowed);
        prop_assert_eq!(header.payload(&packet), Ok(&payload[..]));
    }

    #[test]
    fn extended_numbers_keep_their_order(start in any::<u16>(), steps in proptest::collection::vec(1u16..1000, 1..300)) {
        let mut extender = SequenceExtender::default();
        let mut sequence = start;
        let mut last = extender.extend(sequence);
        for step in steps {
            sequence = sequence.wrapping_add(step);
            let extended = extender.extend(sequence);
            prop_assert_eq!(extended, last + u64::from(step));
            prop_assert_eq!(extended as u16, sequence);
            last = extended;
        }
    }
}
