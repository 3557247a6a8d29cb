//! What a fuzzer calls: any bytes through everything that reads bytes. A panic is a bug, and so is a message that
//! reads otherwise than it was written.

use std::net::SocketAddr;

use crate::{
    BindingRequest, ChannelData, Class, DataIndicationHeader, IntegrityKey, Message, MessageWriter, attr,
    classify,
};

/// Reads `data` as a datagram in every way; what can be read is written again and must read the same.
#[allow(clippy::panic, reason = "the fuzzer's finding")]
pub fn codec(data: &[u8]) {
    let _ = classify(data);
    if let Some(message) = ChannelData::parse(data) {
        assert!(message.payload.len() + 4 <= data.len());
    }
    if let Ok(check) = BindingRequest::parse(data) {
        assert_eq!(check.username().len(), check.local_ufrag().len() + 1 + check.remote_ufrag().len());
        let _ = check.unknown_required().count();
    }
    let Ok(message) = Message::parse(data) else { return };
    let key = IntegrityKey::short_term(b"password");
    let _ = (message.verify(&key), message.error_code(), message.integrity());
    let _ = message.xor_address(attr::XOR_PEER_ADDRESS);
    let mut out = b"kept".to_vec();
    let id = message.transaction_id();
    let mut writer = MessageWriter::new(&mut out, message.class(), message.method(), &id);
    for (kind, value) in message.attributes() {
        writer = writer.attribute(kind, value);
    }
    let length = writer.integrity(&key).fingerprint().finish();
    let Ok(again) = Message::parse(&out[4..]) else { panic!("what was written does not parse") };
    assert_eq!(
        (again.class(), again.method(), again.transaction_id()),
        (message.class(), message.method(), id)
    );
    // The longest message leaves no room for the attributes that were added.
    if length < 65_000 {
        assert!(again.attributes().eq(message.attributes()));
        assert!(again.verify(&key) && again.has_fingerprint());
    }
    let peer = SocketAddr::from(([192, 0, 2, 1], id.0[0].into()));
    if let Some(header) = DataIndicationHeader::new(&id, peer, data.len()) {
        let mut out = header.as_bytes().to_vec();
        out.extend_from_slice(data);
        out.resize(out.len() + header.padding(), 0);
        let Ok(wrapped) = Message::parse(&out) else { panic!("a Data indication does not parse") };
        assert_eq!(wrapped.class(), Class::Indication);
        assert_eq!(wrapped.attribute(attr::DATA), Some(data));
        assert_eq!(wrapped.xor_address(attr::XOR_PEER_ADDRESS), Some(peer));
    }
}
