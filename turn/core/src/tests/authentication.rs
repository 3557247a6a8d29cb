//! Who may ask for what.

use std::collections::BTreeSet;

use super::*;
use crate::nonce::Nonces;

fn allocate_as(harness: &mut Harness, client: &Client) -> u16 {
    client.allocate(harness).code()
}

fn with(client: &Client, credentials: Credentials) -> Client {
    Client { credentials, ..client.clone() }
}

#[test]
fn the_challenge_names_realm_and_nonce() {
    let mut harness = Harness::new(config());
    let path = ClientPath::new(addr("203.0.113.9:1"), ListenerId(0));
    let answer = harness.client(path, &bare_allocate(1)).unwrap();
    let message = answer.message();
    assert_eq!(answer.code(), 401);
    assert_eq!(message.attribute(attr::REALM), Some(REALM.as_bytes()));
    assert!(message.attribute(attr::NONCE).unwrap().starts_with(b"obMatJos2gAAA"));
    assert!(!message.has_integrity());
}

#[test]
fn integrity_without_the_rest_is_400() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let id = harness.transaction();
    for missing in [attr::USERNAME, attr::REALM, attr::NONCE] {
        let mut data = Vec::new();
        let mut writer = MessageWriter::new(&mut data, Class::Request, Method::ALLOCATE, &id);
        for (kind, value) in [
            (attr::USERNAME, client.credentials.username.as_bytes()),
            (attr::REALM, REALM.as_bytes()),
            (attr::NONCE, &client.nonce[..]),
        ] {
            if kind != missing {
                writer = writer.attribute(kind, value);
            }
        }
        writer.integrity(&client.key()).finish();
        assert_eq!(harness.client(client.path, &data).unwrap().code(), 400);
    }
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn success_and_errors_are_signed() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let answer = client.allocate(&mut harness);
    assert!(answer.message().verify(&client.key()));
    assert_eq!(answer.message().xor_address(attr::XOR_MAPPED_ADDRESS), Some(client.path.client));
    let refused = client.permit(&mut harness, &[addr("10.0.0.1:1")]);
    assert!(refused.code() == 403 && refused.message().verify(&client.key()));
}

#[test]
fn case_10_expired_username() {
    let mut harness = Harness::new(config());
    let mut client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.credentials = mint(&secret(), "alice", Duration::from_secs(UNIX + 100));
    assert_eq!(allocate_as(&mut harness, &client), 0);
    harness.advance(101);
    assert_eq!(client.refresh(&mut harness, 600).code(), 0, "a live allocation goes on");
    let mut late = Client::new(&mut harness, "203.0.113.9:2", "alice");
    late.credentials = client.credentials.clone();
    assert_eq!(allocate_as(&mut harness, &late), 401);
    for seconds in [0, UNIX, UNIX + 101] {
        late.credentials = mint(&secret(), "alice", Duration::from_secs(seconds));
        assert_eq!(allocate_as(&mut harness, &late), 401);
    }
}

#[test]
fn case_11_quota_of_a_user() {
    let mut config = config();
    config.limits.allocations_per_user = 3;
    let mut harness = Harness::new(config);
    let clients: Vec<_> =
        (1..=4).map(|port| Client::new(&mut harness, &format!("203.0.113.9:{port}"), "alice")).collect();
    let codes: Vec<_> = clients.iter().map(|client| allocate_as(&mut harness, client)).collect();
    assert_eq!(codes, [0, 0, 0, 486]);
    // Another expiry is the same user; another user is not.
    let again = with(&clients[3], mint(&secret(), "alice", Duration::from_secs(UNIX + 9_999)));
    assert_eq!(allocate_as(&mut harness, &again), 486);
    let other = with(&clients[3], mint(&secret(), "bob", Duration::from_secs(UNIX + 9_999)));
    assert_eq!(allocate_as(&mut harness, &other), 0);
    assert_eq!(clients[0].refresh(&mut harness, 0).code(), 0);
    let fifth = Client::new(&mut harness, "203.0.113.9:5", "alice");
    assert_eq!(allocate_as(&mut harness, &fifth), 0);
}

#[test]
fn case_12_nonce_of_another_address() {
    let mut harness = Harness::new(config());
    let a = Client::new(&mut harness, "203.0.113.9:1", "alice");
    for address in ["203.0.113.9:2", "203.0.113.10:1", "[2001:db8::1]:1"] {
        let mut b = Client::new(&mut harness, address, "alice");
        let own = std::mem::replace(&mut b.nonce, a.nonce.clone());
        let answer = b.allocate(&mut harness);
        assert_eq!(answer.code(), 438);
        assert!(!answer.nonce().is_empty());
        assert_eq!(harness.state(), [0; 6]);
        b.nonce = own;
        assert_eq!(allocate_as(&mut harness, &b), 0);
        b.refresh(&mut harness, 0);
    }
}

#[test]
fn nonces_grow_stale_and_cannot_be_made() {
    let mut harness = Harness::new(config());
    let mut client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    assert_eq!(allocate_as(&mut harness, &client), 0);
    harness.advance(590);
    client.refresh(&mut harness, 3600);
    harness.advance(3600 - 590 + 1);
    let answer = client.refresh(&mut harness, 600);
    assert_eq!(answer.code(), 438);
    client.nonce = answer.nonce();
    assert_eq!(client.refresh(&mut harness, 600).code(), 0);
    for at in 0..client.nonce.len() {
        let mut forged = client.clone();
        forged.nonce[at] ^= 1;
        assert_eq!(forged.refresh(&mut harness, 600).code(), 438, "byte {at}");
    }
    for nonce in [vec![], b"obMatJos2gAAA".to_vec(), vec![b'A'; 35], vec![0; 800]] {
        let forged = Client { nonce, ..client.clone() };
        assert_eq!(forged.refresh(&mut harness, 600).code(), 438);
    }
}

#[test]
fn case_13_attributes_after_message_integrity_are_ignored() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    // LIFETIME 0 behind the seal, put there by somebody on the path.
    let id = harness.transaction();
    let mut data = client.build(id, Method::REFRESH, &[lifetime_attr(900)]);
    data.extend_from_slice(&[0, 0x0D, 0, 4, 0, 0, 0, 0]);
    let length = (data.len() - 20) as u16;
    data[2..4].copy_from_slice(&length.to_be_bytes());
    let answer = harness.client(client.path, &data).unwrap();
    assert_eq!((answer.code(), answer.lifetime()), (0, 900));
    assert_eq!(harness.server.stats().allocations, 1);
}

#[test]
fn case_15_another_user_refreshes() {
    let mut harness = Harness::new(config());
    let alice = Client::new(&mut harness, "203.0.113.9:1", "alice");
    alice.allocate(&mut harness);
    let bob = with(&alice, mint(&secret(), "bob", Duration::from_secs(UNIX + 1000)));
    assert_eq!(bob.refresh(&mut harness, 0).code(), 441);
    assert_eq!(bob.permit(&mut harness, &[addr("203.0.113.50:1")]).code(), 441);
    assert_eq!(bob.bind(&mut harness, 0x4000, addr("203.0.113.50:1")).code(), 441);
    assert_eq!(bob.allocate(&mut harness).code(), 437);
    // Without the password it is not even told that.
    let mut forged = bob;
    forged.credentials.password.push('!');
    assert_eq!(forged.refresh(&mut harness, 0).code(), 401);
    assert_eq!(alice.refresh(&mut harness, 600).code(), 0);
}

/// No predictor: over many draws each bit is set about half the time and no value repeats (for ports: as often as
/// chance has it), and each differs from its predecessor's simple successors.
#[test]
fn case_16_nonces_ids_and_ports_are_not_predictable() {
    let n = 100_000_u32;
    // The MAC alone must tell them apart: one time, many addresses.
    let nonces = Nonces::new(&[secret()], Duration::from_secs(60));
    let mut tags = BTreeSet::new();
    for i in 0..n {
        let client =
            SocketAddr::new(IpAddr::from([203, 0, 113, (i / 50_000) as u8]), (i % 50_000) as u16 + 1);
        tags.insert(nonces.issue(client, UNIX).to_vec());
    }
    assert_eq!(tags.len(), n as usize);

    let mut config = config();
    config.limits.allocation_packets_per_second = u64::MAX;
    let mut harness = Harness::new(config);
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.allocate(&mut harness).relayed();
    let peer = addr("203.0.113.50:9");
    client.permit(&mut harness, &[peer]);
    let mut ids = BTreeSet::new();
    let mut ones = [0_u32; 96];
    for _ in 0..n {
        let data = from_peer(&mut harness, relayed, peer, b"x").unwrap();
        let id = Message::parse(&data).unwrap().transaction_id().0;
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(id[bit / 8] >> (bit % 8) & 1);
        }
        ids.insert(id);
    }
    assert_eq!(ids.len(), n as usize);
    // Six standard deviations of a fair coin.
    assert!(ones.iter().all(|count| count.abs_diff(n / 2) < 950), "{ones:?}");

    let mut ports = Vec::new();
    let bob = Client::new(&mut harness, "203.0.113.9:7", "bob");
    for _ in 0..n {
        ports.push(bob.allocate(&mut harness).relayed().port());
        bob.refresh(&mut harness, 0);
    }
    // Of 10,000 ports, five are within two of the one before: 50 in 100,000, and seven standard deviations more.
    let successors = ports.windows(2).filter(|pair| pair[1].abs_diff(pair[0]) <= 2).count();
    assert!(successors < 100, "{successors} of {n} next to the one before");
    let distinct = ports[..10_000].iter().collect::<BTreeSet<_>>().len();
    // 10,000 draws from 10,000 ports leave 1/e of them undrawn.
    assert!((6_100..6_550).contains(&distinct), "{distinct}");
    for half in [&ports[..50_000], &ports[50_000..]] {
        let low = half.iter().filter(|port| **port < 55_000).count();
        assert!(low.abs_diff(25_000) < 700, "{low}");
    }
}

#[test]
fn case_17_strange_usernames_are_inert() {
    let mut harness = Harness::new(config());
    let base = Client::new(&mut harness, "203.0.113.9:1", "alice");
    for user in
        ["%s%n%s%n", "'; DROP TABLE users; --", "\"quoted\"", "nul\0inside", "a:b:c", "", "\u{202e}", "💥"]
    {
        let client = with(&base, mint(&secret(), user, Duration::from_secs(UNIX + 100)));
        assert_eq!(allocate_as(&mut harness, &client), 0, "{user:?}");
        assert_eq!(client.refresh(&mut harness, 0).code(), 0, "{user:?}");
    }
    for username in
        ["alice", ":alice", "-1:alice", "+9999999999:alice", "99999999999999999999999:alice", " 9999999999:a"]
    {
        let password = mint(&secret(), "x", Duration::ZERO).password;
        let client = with(&base, Credentials { username: username.to_owned(), password });
        assert_eq!(allocate_as(&mut harness, &client), 401, "{username:?}");
    }
    let long = mint(&secret(), &"u".repeat(600), Duration::from_secs(UNIX + 100));
    assert_eq!(allocate_as(&mut harness, &with(&base, long)), 401);
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn case_18_hmac_of_another_length() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    for length in [0_usize, 4, 16, 19, 21, 24, 32, 64] {
        let id = harness.transaction();
        let mut data = client.build(id, Method::ALLOCATE, &[udp()]);
        let tag_at = data.len() - 20;
        let mut tag = data.split_off(tag_at);
        tag.resize(length, 0);
        data.extend_from_slice(&tag);
        data.resize(data.len().next_multiple_of(4), 0);
        data[tag_at - 2..tag_at].copy_from_slice(&(length as u16).to_be_bytes());
        let total = (data.len() - 20) as u16;
        data[2..4].copy_from_slice(&total.to_be_bytes());
        assert_eq!(harness.client(client.path, &data).unwrap().code(), 401, "{length}");
    }
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn two_secrets_are_good_at_once() {
    let new = Secret::new(*b"the next secret");
    let config = Config { secrets: vec![new.clone(), secret()], ..config() };
    let mut harness = Harness::new(config);
    let old = Client::new(&mut harness, "203.0.113.9:1", "alice");
    assert_eq!(allocate_as(&mut harness, &old), 0);
    let fresh = Client::new(&mut harness, "203.0.113.9:2", "alice");
    let fresh = with(&fresh, mint(&new, "alice", Duration::from_secs(UNIX + 100)));
    assert_eq!(allocate_as(&mut harness, &fresh), 0);
    let third = with(&fresh, mint(&Secret::new(*b"neither"), "alice", Duration::from_secs(UNIX + 100)));
    assert_eq!(third.refresh(&mut harness, 0).code(), 401);

    // A client with a nonce of the old secret's server goes on through the rotation, and its allocation with it.
    harness.server.set_secrets(vec![new]).unwrap();
    let mut old = old;
    assert_eq!(old.refresh(&mut harness, 600).code(), 0);
    old.path.client = addr("203.0.113.9:3");
    old.renew_nonce(&mut harness);
    assert_eq!(allocate_as(&mut harness, &old), 401);
    assert!(harness.server.set_secrets(vec![]).is_err());
}

#[test]
fn minted_credentials_are_what_others_compute() {
    // coturn's and every REST implementation's: base64(HMAC-SHA1("north", "1700000000:ninefingers")).
    let credentials = mint(&Secret::new(*b"north"), "ninefingers", Duration::from_secs(1_700_000_000));
    assert_eq!(credentials.username, "1700000000:ninefingers");
    assert_eq!(credentials.password, "BolPTOD5PfwR9mBZDLLqyT3MLj4=");
}
