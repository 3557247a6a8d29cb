//! PASSWORD-ALGORITHMS and MESSAGE-INTEGRITY-SHA256 (RFC 8489 §9.2).

use trunkline_stun::{Integrity, IntegrityKey, PasswordAlgorithm};

use super::*;

const OFFERED: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

fn client_with(harness: &mut Harness, algorithm: Option<PasswordAlgorithm>) -> Client {
    Client { algorithm, ..Client::new(harness, "203.0.113.9:1", "alice") }
}

/// A signed Allocate with those two attributes, as somebody on the path may have left them.
fn allocate_with(
    harness: &mut Harness,
    client: &Client,
    algorithms: Option<&[u8]>,
    algorithm: Option<&[u8]>,
    key: &IntegrityKey,
) -> Answer {
    let id = harness.transaction();
    let mut data = Vec::new();
    let mut writer = MessageWriter::new(&mut data, Class::Request, Method::ALLOCATE, &id)
        .attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(attr::USERNAME, client.credentials.username.as_bytes())
        .attribute(attr::REALM, REALM.as_bytes())
        .attribute(attr::NONCE, &client.nonce);
    if let Some(algorithms) = algorithms {
        writer = writer.attribute(attr::PASSWORD_ALGORITHMS, algorithms);
    }
    if let Some(algorithm) = algorithm {
        writer = writer.attribute(attr::PASSWORD_ALGORITHM, algorithm);
    }
    writer.integrity(key).finish();
    harness.client(client.path, &data).unwrap()
}

#[test]
fn challenges_offer_sha256_first() {
    let mut harness = Harness::new(config());
    let client = client_with(&mut harness, None);
    let challenge = harness.client(client.path, &bare_allocate(1)).unwrap();
    assert_eq!(challenge.message().attribute(attr::PASSWORD_ALGORITHMS), Some(&OFFERED[..]));
    assert!(challenge.nonce().starts_with(b"obMatJos2gAAA"), "bit 0 of the features, and no other");
    let stale = Client { nonce: vec![b'x'; 35], ..client };
    let answer = stale.allocate(&mut harness);
    assert_eq!(answer.code(), 438);
    assert_eq!(answer.message().attribute(attr::PASSWORD_ALGORITHMS), Some(&OFFERED[..]));
}

#[test]
fn answers_are_signed_as_the_request_was_made() {
    for (algorithm, integrity) in [
        (None, Integrity::Sha1),
        (Some(PasswordAlgorithm::Md5), Integrity::Sha256),
        (Some(PasswordAlgorithm::Sha256), Integrity::Sha256),
    ] {
        let mut harness = Harness::new(config());
        let client = client_with(&mut harness, algorithm);
        let peer = addr("203.0.113.50:9");
        for answer in [
            client.allocate(&mut harness),
            client.permit(&mut harness, &[peer]),
            client.bind(&mut harness, 0x4000, peer),
            client.refresh(&mut harness, 900),
            client.permit(&mut harness, &[addr("10.0.0.1:1")]),
            client.refresh(&mut harness, 0),
            client.refresh(&mut harness, 0),
        ] {
            assert_eq!(answer.message().integrity(), Some(integrity), "{algorithm:?}");
            assert!(answer.message().verify(&client.key()), "{algorithm:?}");
            for absent in [attr::REALM, attr::NONCE, attr::USERNAME, attr::USERHASH] {
                assert_eq!(answer.message().attribute(absent), None);
            }
        }
    }
}

#[test]
fn an_allocation_outlives_its_secret_under_every_algorithm() {
    let mut harness = Harness::new(config());
    let mut client = client_with(&mut harness, None);
    client.allocate(&mut harness);
    harness.server.set_secrets(vec![Secret::new(*b"the next secret")]).unwrap();
    client.renew_nonce(&mut harness);
    for algorithm in [Some(PasswordAlgorithm::Sha256), Some(PasswordAlgorithm::Md5), None] {
        client.algorithm = algorithm;
        assert_eq!(client.refresh(&mut harness, 600).code(), 0, "{algorithm:?}");
    }
}

#[test]
fn case_14_password_algorithms_stripped_or_altered() {
    let mut harness = Harness::new(config());
    let client = client_with(&mut harness, Some(PasswordAlgorithm::Sha256));
    let md5 = Client { algorithm: Some(PasswordAlgorithm::Md5), ..client.clone() };
    let (sha256, md5) = (client.key(), md5.key());
    let (of_md5, of_sha256) = (PasswordAlgorithm::Md5.value(), PasswordAlgorithm::Sha256.value());
    let only_md5 = [0, 1, 0, 0];
    let reordered = [0, 1, 0, 0, 0, 2, 0, 0];
    let longer = [0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0];
    for (algorithms, algorithm, key) in [
        // Stripped: one without the other.
        (None, Some(&of_sha256[..]), &sha256),
        (None, Some(&of_md5), &md5),
        (Some(&OFFERED[..]), None, &sha256),
        (Some(&OFFERED), None, &md5),
        // Altered: not what we sent, whatever the client made of it.
        (Some(&only_md5), Some(&of_md5), &md5),
        (Some(&reordered), Some(&of_md5), &md5),
        (Some(&reordered), Some(&of_sha256), &sha256),
        (Some(&longer), Some(&of_sha256), &sha256),
        (Some(&[]), Some(&of_sha256), &sha256),
        (Some(&[0, 2]), Some(&of_sha256), &sha256),
        // Chosen: nothing that we offered.
        (Some(&OFFERED), Some(&[0, 3, 0, 0]), &sha256),
        (Some(&OFFERED), Some(&[0, 0, 0, 0]), &sha256),
        (Some(&OFFERED), Some(&[0, 2]), &sha256),
        (Some(&OFFERED), Some(&[0, 2, 0, 4, 1, 2, 3, 4]), &sha256),
    ] {
        let answer = allocate_with(&mut harness, &client, algorithms, algorithm, key);
        assert_eq!(answer.code(), 400, "{algorithms:?} {algorithm:?}");
        assert!(!answer.message().has_integrity(), "nothing was proven");
        assert_eq!(answer.message().attribute(attr::NONCE), None);
    }
    // Both stripped is a classic request: it does not verify unless it was made as one.
    assert_eq!(allocate_with(&mut harness, &client, None, None, &sha256).code(), 401);
    assert_eq!(harness.state(), [0; 6]);
    let answer = allocate_with(&mut harness, &client, Some(&OFFERED), Some(&of_sha256), &sha256);
    assert_eq!(answer.code(), 0);
}

#[test]
fn the_wrong_algorithm_or_attribute_does_not_verify() {
    let mut harness = Harness::new(config());
    let client = client_with(&mut harness, Some(PasswordAlgorithm::Sha256));
    let Credentials { username, password } = &client.credentials;
    let key = |algorithm, integrity| {
        let (username, realm) = (username.as_bytes(), REALM.as_bytes());
        IntegrityKey::long_term_with(algorithm, integrity, username, realm, password.as_bytes())
    };
    use {Integrity as I, PasswordAlgorithm as P};
    let chosen = |algorithm: Option<P>| algorithm.map(P::value);
    for (algorithm, key, code) in [
        (Some(P::Sha256), key(P::Md5, I::Sha256), 401),
        (Some(P::Md5), key(P::Sha256, I::Sha256), 401),
        (None, key(P::Sha256, I::Sha1), 401),
        // RFC 8489 §9.2.4: the SHA-256 attribute is verified if it is there, whatever the key was derived by.
        (None, key(P::Md5, I::Sha256), 0),
    ] {
        let chosen = chosen(algorithm);
        let offered = chosen.map(|_| &OFFERED[..]);
        let answer =
            allocate_with(&mut harness, &client, offered, chosen.as_ref().map(|value| &value[..]), &key);
        assert_eq!(answer.code(), code, "{algorithm:?} {:?}", key.integrity());
    }
}

/// A request with both attributes is judged by the stronger one, and what lies between them does not count.
#[test]
fn both_integrity_attributes() {
    let mut harness = Harness::new(config());
    let client = client_with(&mut harness, Some(PasswordAlgorithm::Sha256));
    client.allocate(&mut harness);
    let Credentials { username, password } = &client.credentials;
    let (name, realm) = (username.as_bytes(), REALM.as_bytes());
    let sha1 = IntegrityKey::long_term_with(
        PasswordAlgorithm::Sha256,
        Integrity::Sha1,
        name,
        realm,
        password.as_bytes(),
    );
    let mut refresh = |first: &IntegrityKey, second: &IntegrityKey| {
        let id = harness.transaction();
        let mut data = Vec::new();
        MessageWriter::new(&mut data, Class::Request, Method::REFRESH, &id)
            .attribute_u32(attr::LIFETIME, 900)
            .attribute(attr::USERNAME, name)
            .attribute(attr::REALM, realm)
            .attribute(attr::NONCE, &client.nonce)
            .attribute(attr::PASSWORD_ALGORITHMS, &OFFERED)
            .attribute(attr::PASSWORD_ALGORITHM, &[0, 2, 0, 0])
            .integrity(first)
            .attribute_u32(attr::LIFETIME, 0)
            .integrity(second)
            .fingerprint()
            .finish();
        let answer = harness.client(client.path, &data).unwrap();
        (answer.code(), answer.message().attribute_u32(attr::LIFETIME))
    };
    let wrong = IntegrityKey::short_term(b"wrong");
    assert_eq!(refresh(&sha1, &client.key()), (0, Some(900)));
    assert_eq!(refresh(&wrong, &client.key()), (0, Some(900)));
    let wrong_sha256 =
        IntegrityKey::long_term_with(PasswordAlgorithm::Sha256, Integrity::Sha256, name, realm, b"wrong");
    assert_eq!(refresh(&sha1, &wrong_sha256), (401, None));
}

#[test]
fn a_userhash_names_nobody() {
    let mut harness = Harness::new(config());
    let client = client_with(&mut harness, None);
    let id = harness.transaction();
    let mut data = Vec::new();
    MessageWriter::new(&mut data, Class::Request, Method::ALLOCATE, &id)
        .attribute(attr::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
        .attribute(attr::USERHASH, &[7; 32])
        .attribute(attr::REALM, REALM.as_bytes())
        .attribute(attr::NONCE, &client.nonce)
        .integrity(&client.key())
        .finish();
    assert_eq!(harness.client(client.path, &data).unwrap().code(), 401);
}

#[test]
fn a_truncated_sha256_is_401() {
    let mut harness = Harness::new(config());
    let client = client_with(&mut harness, Some(PasswordAlgorithm::Sha256));
    for length in [0_usize, 4, 16, 20, 28, 36, 64] {
        let id = harness.transaction();
        let mut data = client.build(id, Method::ALLOCATE, &[udp()]);
        let tag_at = data.len() - 32;
        let mut tag = data.split_off(tag_at);
        tag.resize(length, 0);
        data.extend_from_slice(&tag);
        data[tag_at - 2..tag_at].copy_from_slice(&(length as u16).to_be_bytes());
        let total = (data.len() - 20) as u16;
        data[2..4].copy_from_slice(&total.to_be_bytes());
        assert_eq!(harness.client(client.path, &data).unwrap().code(), 401, "{length}");
    }
}
