//! Framing, integrity, and the ICE-lite view; vectors and properties in the sibling modules.

mod properties;
mod rfc5769;
mod rfc8489;

use std::net::SocketAddr;

use crate::{
    AddressFamily, BindingRequest, BindingRequestParams, ChannelData, Class, DataIndicationHeader, IceRole,
    IntegrityKey, Message, MessageWriter, Method, PacketKind, StunError, TransactionId, attr, classify,
    write_binding_error, write_binding_request, write_binding_success,
};

const ID: TransactionId = TransactionId(*b"transaction!");

fn key() -> IntegrityKey {
    IntegrityKey::short_term(b"VOkJxbRl1RmTxUk/WvJxBt")
}

fn check() -> Vec<u8> {
    let mut out = Vec::new();
    let params = BindingRequestParams {
        username: Some("ours:theirs"),
        priority: Some(0x6e00_01ff),
        use_candidate: true,
        role: Some(IceRole::Controlling(7)),
    };
    write_binding_request(&mut out, &ID, &params, Some(&key()));
    out
}

#[test]
fn constants_are_the_librarys() {
    use stun_types::attribute as stun;
    use stun_types::attribute::AttributeStaticType as _;
    use turn_types::attribute as turn;
    for (ours, theirs) in [
        (attr::USERNAME, stun::Username::TYPE),
        (attr::MESSAGE_INTEGRITY, stun::MessageIntegrity::TYPE),
        (attr::ERROR_CODE, stun::ErrorCode::TYPE),
        (attr::UNKNOWN_ATTRIBUTES, stun::UnknownAttributes::TYPE),
        (attr::REALM, stun::Realm::TYPE),
        (attr::NONCE, stun::Nonce::TYPE),
        (attr::MESSAGE_INTEGRITY_SHA256, stun::MessageIntegritySha256::TYPE),
        (attr::PASSWORD_ALGORITHM, stun::PasswordAlgorithm::TYPE),
        (attr::PASSWORD_ALGORITHMS, stun::PasswordAlgorithms::TYPE),
        (attr::USERHASH, stun::Userhash::TYPE),
        (attr::XOR_MAPPED_ADDRESS, stun::XorMappedAddress::TYPE),
        (attr::SOFTWARE, stun::Software::TYPE),
        (attr::ALTERNATE_SERVER, stun::AlternateServer::TYPE),
        (attr::FINGERPRINT, stun::Fingerprint::TYPE),
        (attr::CHANNEL_NUMBER, turn::ChannelNumber::TYPE),
        (attr::LIFETIME, turn::Lifetime::TYPE),
        (attr::XOR_PEER_ADDRESS, turn::XorPeerAddress::TYPE),
        (attr::DATA, turn::Data::TYPE),
        (attr::XOR_RELAYED_ADDRESS, turn::XorRelayedAddress::TYPE),
        (attr::REQUESTED_ADDRESS_FAMILY, turn::RequestedAddressFamily::TYPE),
        (attr::ADDITIONAL_ADDRESS_FAMILY, turn::AdditionalAddressFamily::TYPE),
        (attr::ADDRESS_ERROR_CODE, turn::AddressErrorCode::TYPE),
        (attr::EVEN_PORT, turn::EvenPort::TYPE),
        (attr::REQUESTED_TRANSPORT, turn::RequestedTransport::TYPE),
        (attr::DONT_FRAGMENT, turn::DontFragment::TYPE),
        (attr::RESERVATION_TOKEN, turn::ReservationToken::TYPE),
        (attr::ICMP, turn::Icmp::TYPE),
    ] {
        assert_eq!(ours, theirs.value());
    }
}

#[test]
fn classify_follows_rfc_7983() {
    assert_eq!(classify(&[]), PacketKind::Unknown);
    for first in 0..=255_u8 {
        let mut datagram = [0_u8; 20];
        datagram[0] = first;
        let expected = match first {
            16..=19 => PacketKind::Zrtp,
            20..=63 => PacketKind::Dtls,
            64..=79 => PacketKind::TurnChannel,
            128..=191 => PacketKind::RtpOrRtcp,
            _ => PacketKind::Unknown,
        };
        assert_eq!(classify(&datagram), expected, "{first}");
        datagram[4..8].copy_from_slice(&crate::MAGIC_COOKIE.to_be_bytes());
        if first < 4 {
            assert_eq!(classify(&datagram), PacketKind::Stun, "{first}");
        }
    }
    assert_eq!(classify(&[0, 1, 0, 0, 0x21, 0x12, 0xa4]), PacketKind::Unknown);
}

#[test]
fn check_round_trip() {
    let datagram = check();
    let request = BindingRequest::parse(&datagram).unwrap();
    assert_eq!(request.transaction_id(), ID);
    assert_eq!((request.local_ufrag(), request.remote_ufrag()), ("ours", "theirs"));
    assert_eq!(request.priority(), Some(0x6e00_01ff));
    assert!(request.use_candidate());
    assert_eq!(request.role(), Some(IceRole::Controlling(7)));
    assert_eq!(request.unknown_required().count(), 0);
    assert!(request.verify(&key()));
    assert!(!request.verify(&IntegrityKey::short_term(b"another")));
}

#[test]
fn responses_carry_address_and_error() {
    for mapped in ["192.0.2.1:32853", "[2001:db8::1]:9"].map(|a| a.parse::<SocketAddr>().unwrap()) {
        let mut out = Vec::new();
        write_binding_success(&mut out, &ID, mapped, &key());
        let message = Message::parse(&out).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Success, Method::BINDING));
        assert_eq!(message.xor_address(attr::XOR_MAPPED_ADDRESS), Some(mapped));
        assert!(message.verify(&key()) && message.has_fingerprint());
    }
    let mut out = Vec::new();
    write_binding_success(&mut out, &ID, "[::ffff:192.0.2.1]:5".parse().unwrap(), &key());
    let message = Message::parse(&out).unwrap();
    assert_eq!(message.xor_address(attr::XOR_MAPPED_ADDRESS), Some("192.0.2.1:5".parse().unwrap()));

    let mut out = Vec::new();
    write_binding_error(&mut out, &ID, 487, "Role Conflict", Some(&key()));
    let message = Message::parse(&out).unwrap();
    assert_eq!(message.class(), Class::Error);
    assert_eq!(message.error_code(), Some((487, "Role Conflict")));
    assert!(message.verify(&key()));
}

#[test]
fn messages_share_a_buffer() {
    let mut out = b"kept".to_vec();
    write_binding_error(&mut out, &ID, 400, "Bad Request", None);
    let first = out.len();
    write_binding_error(&mut out, &ID, 401, "Unauthorized", None);
    assert_eq!(&out[..4], b"kept");
    assert_eq!(Message::parse(&out[4..first]).unwrap().error_code().unwrap().0, 400);
    assert_eq!(Message::parse(&out[first..]).unwrap().error_code().unwrap().0, 401);
}

#[test]
fn case_13_attributes_after_message_integrity_are_ignored() {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::BINDING, &ID)
        .attribute(attr::USERNAME, b"a:b")
        .integrity(&key())
        .attribute(attr::USERNAME, b"evil:b")
        .attribute(attr::USE_CANDIDATE, &[])
        .attribute(attr::MESSAGE_INTEGRITY, &[0; 20])
        .fingerprint()
        .finish();
    let request = BindingRequest::parse(&out).unwrap();
    assert_eq!(request.username(), "a:b");
    assert!(!request.use_candidate());
    assert!(request.verify(&key()));
}

#[test]
fn case_18_short_and_long_hmac_fail_verification() {
    let tag = key().sign(&[b""]);
    let tag = tag.as_ref();
    for length in [0, 1, 4, 19, 21, 32, 64] {
        let mut value = tag.to_vec();
        value.resize(length, 0);
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Class::Request, Method::BINDING, &ID)
            .attribute(attr::USERNAME, b"a:b")
            .attribute(attr::MESSAGE_INTEGRITY, &value)
            .finish();
        let message = Message::parse(&out).unwrap();
        assert!(message.has_integrity() && !message.verify(&key()), "{length}");
    }
}

#[test]
fn case_24_odd_lengths_are_refused() {
    let good = check();
    for length in 0..good.len() {
        assert!(Message::parse(&good[..length]).is_err(), "{length}");
    }
    let with_length = |length: u16| {
        let mut bad = good.clone();
        bad[2..4].copy_from_slice(&length.to_be_bytes());
        Message::parse(&bad).unwrap_err()
    };
    assert_eq!(with_length(3), StunError::NotStun);
    assert_eq!(with_length(0xFFFC), StunError::LengthMismatch);
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::BINDING, &ID).attribute(0x7FFF, b"four").finish();
    for oversize in [5_u16, 0xFFFC, 0xFFFF] {
        out[22..24].copy_from_slice(&oversize.to_be_bytes());
        assert_eq!(Message::parse(&out).unwrap_err(), StunError::AttributeOverrun);
    }
}

#[test]
fn case_27_padding_is_zero() {
    let mut out = vec![0xFF; 64];
    out.clear();
    MessageWriter::new(&mut out, Class::Request, Method::BINDING, &ID)
        .attribute(attr::USERNAME, b"abcde")
        .finish();
    assert_eq!(&out[20..], [0, 6, 0, 5, b'a', b'b', b'c', b'd', b'e', 0, 0, 0]);
}

#[test]
fn fingerprint_must_be_right_and_last() {
    let mut bad = check();
    *bad.last_mut().unwrap() ^= 1;
    assert_eq!(Message::parse(&bad).unwrap_err(), StunError::Fingerprint);
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::BINDING, &ID)
        .fingerprint()
        .attribute(attr::PRIORITY, &[0; 4])
        .finish();
    assert_eq!(Message::parse(&out).unwrap_err(), StunError::Fingerprint);
}

#[test]
fn malformed_checks_are_refused() {
    let parse = |username: Option<&[u8]>, kind: u16, value: &[u8]| {
        let mut out = Vec::new();
        let mut writer = MessageWriter::new(&mut out, Class::Request, Method::BINDING, &ID);
        if let Some(username) = username {
            writer = writer.attribute(attr::USERNAME, username);
        }
        writer.attribute(kind, value).finish();
        BindingRequest::parse(&out).unwrap_err()
    };
    assert_eq!(parse(None, attr::PRIORITY, &[0; 4]), StunError::MissingUsername);
    assert_eq!(parse(Some(b"nocolon"), attr::PRIORITY, &[0; 4]), StunError::InvalidUsername);
    assert_eq!(parse(Some(b"\xff:a"), attr::PRIORITY, &[0; 4]), StunError::InvalidUsername);
    assert_eq!(parse(Some(&[b':'; 513]), attr::PRIORITY, &[0; 4]), StunError::InvalidUsername);
    for (kind, value) in [
        (attr::PRIORITY, &[0; 3][..]),
        (attr::USE_CANDIDATE, &[0]),
        (attr::ICE_CONTROLLING, &[0; 4]),
        (attr::ICE_CONTROLLED, &[0; 9]),
    ] {
        assert_eq!(parse(Some(b"a:b"), kind, value), StunError::InvalidAttribute(kind));
    }
    let mut out = Vec::new();
    write_binding_error(&mut out, &ID, 400, "", None);
    assert_eq!(BindingRequest::parse(&out).unwrap_err(), StunError::UnexpectedType);
}

#[test]
fn unknown_required_attributes_are_named() {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::BINDING, &ID)
        .attribute(attr::USERNAME, b"a:b")
        .attribute(0x7777, &[])
        .attribute(0x8777, &[])
        .finish();
    let request = BindingRequest::parse(&out).unwrap();
    assert_eq!(request.unknown_required().collect::<Vec<_>>(), [0x7777]);
    let mut answer = Vec::new();
    MessageWriter::new(&mut answer, Class::Error, Method::BINDING, &ID)
        .error(420, "Unknown Attribute")
        .unknown_attributes(request.unknown_required())
        .finish();
    assert_eq!(Message::parse(&answer).unwrap().attribute(attr::UNKNOWN_ATTRIBUTES), Some(&[0x77, 0x77][..]));
}

#[test]
fn channel_data_framing() {
    assert_eq!(
        ChannelData::parse(&[0x40, 1, 0, 3, 1, 2, 3, 0]),
        Some(ChannelData { channel: 0x4001, payload: &[1, 2, 3] })
    );
    assert_eq!(ChannelData::parse(&[0x40, 1, 0, 4, 1, 2, 3]), None);
    assert_eq!(ChannelData::parse(&[0x40, 1, 0]), None);
    assert_eq!(ChannelData::header(0x4FFE, 0x0102), [0x4F, 0xFE, 1, 2]);
}

#[test]
fn data_indication_wraps_the_payload() {
    for peer in ["192.0.2.1:7", "[2001:db8::1]:8"].map(|a| a.parse::<SocketAddr>().unwrap()) {
        for length in [0, 1, 2, 3, 4, 1200] {
            let header = DataIndicationHeader::new(&ID, peer, length).unwrap();
            let mut out = header.as_bytes().to_vec();
            out.resize(out.len() + length, 0xAA);
            out.resize(out.len() + header.padding(), 0);
            let message = Message::parse(&out).unwrap();
            assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
            assert_eq!(message.xor_address(attr::XOR_PEER_ADDRESS), Some(peer));
            assert_eq!(message.attribute(attr::DATA), Some(&vec![0xAA; length][..]));
        }
        assert_eq!(DataIndicationHeader::new(&ID, peer, 65_535), None);
    }
}

#[test]
fn addresses_that_are_not_xored_and_address_errors() {
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Error, Method::ALLOCATE, &ID)
        .address(attr::ALTERNATE_SERVER, "192.0.2.1:3478".parse().unwrap())
        .address(attr::ALTERNATE_SERVER, "[2001:db8::1]:5349".parse().unwrap())
        .address_error(AddressFamily::V6, 440, "no")
        .finish();
    let values: Vec<_> =
        Message::parse(&out).unwrap().attributes().map(|(_, value)| value.to_vec()).collect();
    let mut v6 = vec![0, 2, 0x14, 0xE5, 0x20, 1, 0x0D, 0xB8];
    v6.resize(19, 0);
    v6.push(1);
    assert_eq!(values, [vec![0, 1, 0x0D, 0x96, 192, 0, 2, 1], v6, b"\x02\0\x04\x28no".to_vec()]);
}

/// What fuzzing found once, and messages that reach far.
#[test]
fn seeds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/codec");
    let mut replayed = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        crate::fuzzing::codec(&std::fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0);
}
