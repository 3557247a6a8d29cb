//! Nothing panics, what is written reads back, and `stun-types` agrees with us.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;
use stun_types::message as reference;

use crate::{
    BindingRequest, BindingRequestParams, ChannelData, Class, IceRole, IntegrityKey, Message, MessageWriter,
    Method, StunError, TransactionId, attr, classify, decode_xor_address, write_binding_request,
};

/// What the reference may see that we refuse on purpose: it reads past the header's length and lets bytes follow
/// FINGERPRINT. All else must be judged alike.
fn stricter_on_purpose(error: StunError) -> bool {
    matches!(error, StunError::NotStun | StunError::LengthMismatch | StunError::Fingerprint)
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let attribute = (prop_oneof![0..0x30_u16, 0x8000..0x8030_u16], prop::collection::vec(any::<u8>(), 0..40));
    (any::<[u8; 12]>(), 0..0x1000_u16, prop::collection::vec(attribute, 0..6), any::<bool>(), any::<bool>())
        .prop_map(|(id, method, attributes, integrity, fingerprint)| {
            let mut out = Vec::new();
            let mut writer = MessageWriter::new(&mut out, Class::Request, Method(method), &TransactionId(id));
            for (kind, value) in &attributes {
                writer = writer.attribute(*kind, value);
            }
            if integrity {
                writer = writer.integrity(&IntegrityKey::short_term(b"password"));
            }
            if fingerprint {
                writer = writer.fingerprint();
            }
            writer.finish();
            out
        })
}

fn exercise(datagram: &[u8]) {
    let _ = classify(datagram);
    let _ = ChannelData::parse(datagram);
    let _ = BindingRequest::parse(datagram).map(|request| request.unknown_required().count());
    if let Ok(message) = Message::parse(datagram) {
        let _ = message.attributes().count();
        let _ = message.error_code();
        let _ = message.xor_address(attr::XOR_PEER_ADDRESS);
        let _ = message.verify(&IntegrityKey::short_term(b"password"));
    }
}

proptest! {
    #[test]
    fn the_fuzz_target_holds(datagram in message()) {
        crate::fuzzing::codec(&datagram);
    }

    #[test]
    fn parse_never_panics(datagram in prop::collection::vec(any::<u8>(), 0..600)) {
        exercise(&datagram);
    }

    #[test]
    fn parse_never_panics_on_mutations(
        mut datagram in message(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        keep in any::<prop::sample::Index>(),
    ) {
        for (at, byte) in edits {
            let at = at.index(datagram.len());
            datagram[at] = byte;
        }
        exercise(&datagram);
        exercise(&datagram[..keep.index(datagram.len() + 1)]);
    }

    #[test]
    fn the_reference_agrees(
        mut datagram in message(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for (at, byte) in edits {
            let at = at.index(datagram.len());
            datagram[at] = byte;
        }
        let credentials = reference::ShortTermCredentials::new("password".to_owned()).into();
        match (Message::parse(&datagram), reference::Message::from_bytes(&datagram)) {
            (Ok(ours), Ok(theirs)) => {
                prop_assert_eq!(ours.method().0, theirs.method().value());
                prop_assert_eq!(ours.class() == Class::Request, theirs.has_class(reference::MessageClass::Request));
                // SHA-256 is the reference's first choice and not ours to check here.
                if ours.has_integrity() && theirs.raw_attribute(attr::MESSAGE_INTEGRITY_SHA256.into()).is_none() {
                    let verified = ours.verify(&IntegrityKey::short_term(b"password"));
                    prop_assert_eq!(verified, theirs.validate_integrity(&credentials).is_ok());
                }
            }
            // Behind an integrity attribute or FINGERPRINT the reference stops looking; a broken one there is broken to us.
            (Err(StunError::AttributeOverrun), Ok(theirs)) => prop_assert!(
                [attr::MESSAGE_INTEGRITY, attr::MESSAGE_INTEGRITY_SHA256, attr::FINGERPRINT]
                    .iter()
                    .any(|kind| theirs.has_attribute((*kind).into()))
            ),
            (Err(error), Ok(_)) => prop_assert!(stricter_on_purpose(error), "{}", error),
            (Ok(_), Err(error)) => prop_assert!(false, "reference refuses: {}", error),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn checks_round_trip(
        id: [u8; 12],
        local in "[a-zA-Z0-9+/]{1,40}",
        remote in "[a-zA-Z0-9+/]{1,40}",
        priority: Option<u32>,
        use_candidate: bool,
        tie: Option<u64>,
    ) {
        let username = format!("{local}:{remote}");
        let role = tie.map(IceRole::Controlling);
        let params = BindingRequestParams { username: Some(&username), priority, use_candidate, role };
        let key = IntegrityKey::short_term(local.as_bytes());
        let mut out = Vec::new();
        write_binding_request(&mut out, &TransactionId(id), &params, Some(&key));
        let request = BindingRequest::parse(&out).unwrap();
        prop_assert_eq!(request.transaction_id(), TransactionId(id));
        prop_assert_eq!(request.local_ufrag(), local);
        prop_assert_eq!(request.remote_ufrag(), remote);
        prop_assert_eq!(request.priority(), priority);
        prop_assert_eq!(request.use_candidate(), use_candidate);
        prop_assert_eq!(request.role(), role);
        prop_assert!(request.verify(&key));
    }

    #[test]
    fn a_flipped_bit_fails_verification(id: [u8; 12], at: prop::sample::Index, bit in 0..8) {
        let key = IntegrityKey::short_term(b"password");
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Class::Request, Method::BINDING, &TransactionId(id))
            .attribute(attr::USERNAME, b"abcd:efgh")
            .integrity(&key)
            .finish();
        let at = at.index(out.len());
        out[at] ^= 1_u8 << bit;
        prop_assert!(!Message::parse(&out).is_ok_and(|message| message.verify(&key)));
    }

    #[test]
    fn addresses_round_trip(id: [u8; 12], ip: IpAddr, port: u16) {
        let addr = SocketAddr::new(ip, port);
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Class::Success, Method::ALLOCATE, &TransactionId(id))
            .xor_address(attr::XOR_RELAYED_ADDRESS, addr)
            .finish();
        let message = Message::parse(&out).unwrap();
        prop_assert_eq!(message.xor_address(attr::XOR_RELAYED_ADDRESS), Some(addr));
        let value = message.attribute(attr::XOR_RELAYED_ADDRESS).unwrap();
        prop_assert_eq!(decode_xor_address(&value[..value.len() - 1], &TransactionId(id)), None);
    }
}
