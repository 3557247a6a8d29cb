//! RFC 8489's sample message (appendix B.1, as erratum 6268 corrects it), and what SHA-256 must and must not accept.

use crate::{
    Class, Integrity, IntegrityKey, Message, MessageWriter, Method, PasswordAlgorithm, TransactionId, attr,
};

const USERNAME: &str = "マトリックス";

fn key(algorithm: PasswordAlgorithm, integrity: Integrity, password: &[u8]) -> IntegrityKey {
    IntegrityKey::long_term_with(algorithm, integrity, USERNAME.as_bytes(), b"example.org", password)
}

#[test]
fn appendix_b_1_request() {
    let data = hex::decode(concat!(
        "000100902112a44278ad3433c6ad72c029da412e001e00204a3cf38fef6992bda952c6780417da0f",
        "24819415569e60b205c46e41407f1704001500296f624d61744a6f733241414143662f2f3439396b",
        "39353464364f4c33346f4c394653547679363473410000000014000b6578616d706c652e6f726700",
        "001d000400020000001c0020b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278c",
        "c6518e65",
    ))
    .unwrap();
    let message = Message::parse(&data).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Request, Method::BINDING));
    assert_eq!(message.attribute(attr::USERHASH).map(<[u8]>::len), Some(32));
    assert_eq!(message.attribute(attr::REALM), Some(&b"example.org"[..]));
    let algorithm = message.attribute(attr::PASSWORD_ALGORITHM).and_then(PasswordAlgorithm::from_value);
    assert_eq!(algorithm, Some(PasswordAlgorithm::Sha256));
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    use {Integrity as I, PasswordAlgorithm as P};
    assert!(message.verify(&key(P::Sha256, I::Sha256, b"TheMatrIX")));
    assert!(!message.verify(&key(P::Sha256, I::Sha256, b"TheMatrix")));
    assert!(!message.verify(&key(P::Md5, I::Sha256, b"TheMatrIX")));
    assert!(!message.verify(&key(P::Sha256, I::Sha1, b"TheMatrIX")));
}

#[test]
fn both_attributes_each_cover_what_is_before_them() {
    let sha1 = key(PasswordAlgorithm::Md5, Integrity::Sha1, b"p");
    let sha256 = key(PasswordAlgorithm::Md5, Integrity::Sha256, b"p");
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, &TransactionId([3; 12]))
        .attribute(attr::USERNAME, b"a")
        .integrity(&sha1)
        .integrity(&sha256)
        .fingerprint()
        .finish();
    let message = Message::parse(&out).unwrap();
    assert_eq!(message.integrity(), Some(Integrity::Sha256));
    assert!(message.verify(&sha1) && message.verify(&sha256) && message.has_fingerprint());
    assert_eq!(message.attributes().count(), 1);
    // In the other order the classic one lies behind the seal.
    let mut out = Vec::new();
    MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, &TransactionId([3; 12]))
        .integrity(&sha256)
        .integrity(&sha1)
        .finish();
    let message = Message::parse(&out).unwrap();
    assert!(message.verify(&sha256) && !message.verify(&sha1));
}

#[test]
fn truncated_tags_do_not_verify() {
    let sha256 = key(PasswordAlgorithm::Sha256, Integrity::Sha256, b"p");
    let mut whole = Vec::new();
    MessageWriter::new(&mut whole, Class::Request, Method::ALLOCATE, &TransactionId([3; 12]))
        .integrity(&sha256)
        .finish();
    let tag = &whole[24..];
    assert_eq!(tag.len(), 32);
    for length in [0, 16, 20, 28] {
        let mut out = Vec::new();
        MessageWriter::new(&mut out, Class::Request, Method::ALLOCATE, &TransactionId([3; 12]))
            .attribute(attr::MESSAGE_INTEGRITY_SHA256, &tag[..length])
            .finish();
        assert!(!Message::parse(&out).unwrap().verify(&sha256), "{length}");
    }
}
