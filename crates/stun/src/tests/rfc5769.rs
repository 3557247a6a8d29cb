//! RFC 5769's sample messages: each must verify with its password, fail with another, and read as described.

use crate::{BindingRequest, Class, IceRole, IntegrityKey, Message, Method, attr};

const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

#[test]
fn section_2_1_request() {
    let data = hex::decode(concat!(
        "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74",
        "002400046e0001ff80290008932ff9b151263b36000600096576746a3a6836765920202000080014",
        "9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf",
    ))
    .unwrap();
    let request = BindingRequest::parse(&data).unwrap();
    assert_eq!(request.transaction_id().0[..], data[8..20]);
    assert_eq!((request.local_ufrag(), request.remote_ufrag()), ("evtj", "h6vY"));
    assert_eq!(request.priority(), Some(0x6e00_01ff));
    assert_eq!(request.role(), Some(IceRole::Controlled(0x932f_f9b1_5126_3b36)));
    assert!(!request.use_candidate());
    assert_eq!(request.message().attribute(attr::SOFTWARE), Some(&b"STUN test client"[..]));
    assert!(request.message().has_fingerprint());
    assert!(request.verify(&IntegrityKey::short_term(PASSWORD)));
    assert!(!request.verify(&IntegrityKey::short_term(b"VOkJxbRl1RmTxUk/WvJxBT")));
}

#[test]
fn section_2_2_ipv4_response() {
    response(
        concat!(
            "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200008",
            "0001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96",
        ),
        "192.0.2.1:32853",
    );
}

#[test]
fn section_2_3_ipv6_response() {
    response(
        concat!(
            "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f722000200014",
            "0002a1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275",
            "bfe3ed4180280004c8fb0b4c",
        ),
        "[2001:db8:1234:5678:11:2233:4455:6677]:32853",
    );
}

fn response(data: &str, mapped: &str) {
    let data = hex::decode(data).unwrap();
    let message = Message::parse(&data).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Success, Method::BINDING));
    assert_eq!(message.xor_address(attr::XOR_MAPPED_ADDRESS), Some(mapped.parse().unwrap()));
    assert_eq!(message.attribute(attr::SOFTWARE), Some(&b"test vector"[..]));
    assert!(message.has_fingerprint());
    assert!(message.verify(&IntegrityKey::short_term(PASSWORD)));
    assert!(!message.verify(&IntegrityKey::short_term(b"")));
}

#[test]
fn section_2_4_long_term_request() {
    let data = hex::decode(concat!(
        "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe3",
        "82b900000015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b",
        "6578616d706c652e6f72670000080014f67024656dd64a3e02b8e0712e85c9a28ca89666",
    ))
    .unwrap();
    let message = Message::parse(&data).unwrap();
    let username = "マトリックス";
    assert_eq!(message.attribute(attr::USERNAME), Some(username.as_bytes()));
    assert_eq!(message.attribute(attr::REALM), Some(&b"example.org"[..]));
    assert_eq!(message.attribute(attr::NONCE), Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..]));
    // "The<U+00AD>M<U+00AA>tr<U+2168>" after SASLprep.
    let key = IntegrityKey::long_term(username.as_bytes(), b"example.org", b"TheMatrIX");
    assert!(message.verify(&key));
    assert!(!message.verify(&IntegrityKey::long_term(username.as_bytes(), b"example.com", b"TheMatrIX")));
}
