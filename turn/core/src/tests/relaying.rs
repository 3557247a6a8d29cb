//! The packet path: exact bytes in, exact bytes out.

use super::*;
use crate::{ConfigError, DropReason, Refusal, RelayHeader};

fn relayed_pair() -> (Harness, Client, SocketAddr, SocketAddr) {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.allocate(&mut harness).relayed();
    (harness, client, relayed, addr("203.0.113.50:9"))
}

#[test]
fn send_and_data_indications() {
    let (mut harness, client, relayed, peer) = relayed_pair();
    assert_eq!(relayed.ip(), ip(RELAY_V4));
    assert!((50_000..60_000).contains(&relayed.port()));
    assert_eq!(client.send(&mut harness, peer, b"early"), None);
    assert_eq!(from_peer(&mut harness, relayed, peer, b"early"), None);
    assert_eq!(harness.drops(DropReason::NoPermission), 2);
    assert_eq!(client.permit(&mut harness, &[peer]).code(), 0);
    for length in [0, 1, 2, 3, 4, 5, 1200] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        assert_eq!(client.send(&mut harness, peer, &payload), Some(payload.clone()));
        let data = from_peer(&mut harness, relayed, peer, &payload).unwrap();
        let message = Message::parse(&data).unwrap();
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::DATA));
        assert_eq!(message.xor_address(attr::XOR_PEER_ADDRESS), Some(peer));
        assert_eq!(message.attribute(attr::DATA), Some(&payload[..]));
    }
    // A permission is for the address, whatever the port (RFC 8656 §9).
    assert!(client.send(&mut harness, addr("203.0.113.50:77"), b"x").is_some());
    assert_eq!(client.send(&mut harness, addr("203.0.113.51:9"), b"x"), None);
}

#[test]
fn channel_data_both_ways() {
    let (mut harness, client, relayed, peer) = relayed_pair();
    assert_eq!(client.channel(&mut harness, 0x4001, peer, b"early"), None);
    assert_eq!(harness.drops(DropReason::NoChannel), 1);
    assert_eq!(client.bind(&mut harness, 0x4001, peer).code(), 0);
    for payload in [&b""[..], b"a", b"abc", b"abcd"] {
        assert_eq!(client.channel(&mut harness, 0x4001, peer, payload), Some(payload.to_vec()));
        let mut expected = vec![0x40, 0x01, 0, payload.len() as u8];
        expected.extend_from_slice(payload);
        assert_eq!(from_peer(&mut harness, relayed, peer, payload), Some(expected));
    }
    // Padding that some clients add is not relayed.
    let padded = [0x40, 1, 0, 1, b'x', 0, 0, 0];
    let Handled::Forward(forward) = harness.input(Input::Client { path: client.path, data: &padded }) else {
        panic!()
    };
    assert_eq!((forward.header, forward.payload()), (RelayHeader::Bare, 4..5));
    // Another port of the same address has permission, but no channel.
    let other = from_peer(&mut harness, relayed, addr("203.0.113.50:10"), b"x").unwrap();
    assert_eq!(Message::parse(&other).unwrap().method(), Method::DATA);
    assert_eq!(harness.server.stats().to_peers_bytes, 1 + 3 + 4 + 1);
}

#[test]
fn ipv6_relays() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "[2001:db8::9]:1", "alice");
    let answer = client.allocate_v6(&mut harness);
    assert_eq!(answer.message().xor_address(attr::XOR_MAPPED_ADDRESS), Some(client.path.client));
    let (relayed, peer) = (answer.relayed(), addr("[2001:db8::50]:9"));
    assert_eq!(relayed.ip(), ip(RELAY_V6));
    assert_eq!(client.permit(&mut harness, &[peer]).code(), 0);
    assert_eq!(client.send(&mut harness, peer, b"six"), Some(b"six".to_vec()));
    let data = from_peer(&mut harness, relayed, peer, b"six").unwrap();
    assert_eq!(Message::parse(&data).unwrap().xor_address(attr::XOR_PEER_ADDRESS), Some(peer));
    assert_eq!(client.bind(&mut harness, 0x4000, peer).code(), 0);
    assert_eq!(from_peer(&mut harness, relayed, peer, b"six"), Some(b"\x40\0\0\x03six".to_vec()));
}

#[test]
fn indications_that_cannot_be_honoured_are_dropped() {
    let (mut harness, client, _, peer) = relayed_pair();
    client.permit(&mut harness, &[peer]);
    let id = TransactionId([3; 12]);
    let mut send = |attributes: &[(u16, Vec<u8>)]| {
        let mut data = Vec::new();
        let mut writer = MessageWriter::new(&mut data, Class::Indication, Method::SEND, &id);
        for (kind, value) in attributes {
            writer = writer.attribute(*kind, value);
        }
        writer.finish();
        harness.input(Input::Client { path: client.path, data: &data })
    };
    let (to, data) = (peer_attr(peer, &id), (attr::DATA, b"x".to_vec()));
    assert!(matches!(send(&[to.clone(), data.clone()]), Handled::Forward(_)));
    assert!(matches!(
        send(&[data.clone(), (attr::SOFTWARE, vec![1, 2, 3]), to.clone()]),
        Handled::Forward(_)
    ));
    for (attributes, reason) in [
        (vec![to.clone(), data.clone(), (attr::DONT_FRAGMENT, vec![])], DropReason::UnknownAttribute),
        (vec![data.clone()], DropReason::InvalidPeer),
        (vec![to], DropReason::Malformed),
        (vec![(attr::XOR_PEER_ADDRESS, vec![0; 3]), data.clone()], DropReason::InvalidPeer),
        (vec![peer_attr(addr("203.0.113.50:0"), &id), data], DropReason::InvalidPeer),
    ] {
        assert_eq!(send(&attributes), Handled::Dropped(reason));
    }
}

#[test]
fn strangers_and_late_packets_are_dropped() {
    let (mut harness, client, relayed, peer) = relayed_pair();
    client.bind(&mut harness, 0x4000, peer);
    let stranger =
        Client { path: ClientPath { client: addr("203.0.113.77:1"), ..client.path }, ..client.clone() };
    assert_eq!(stranger.channel(&mut harness, 0x4000, peer, b"x"), None);
    assert_eq!(stranger.send(&mut harness, peer, b"x"), None);
    let relay = harness.relay_of(relayed);
    client.refresh(&mut harness, 0);
    client.allocate(&mut harness);
    assert_eq!(harness.relays[0].0.index(), relay.index(), "the slot is used again");
    let late = harness.input(Input::Peer { relay, from: peer, data: b"x" });
    assert_eq!(late, Handled::Dropped(DropReason::NoAllocation));
    for data in [&[0x10, 0][..], &[0x50, 0, 0, 0], &[0x80; 12], &[]] {
        let handled = harness.input(Input::Client { path: client.path, data });
        assert_eq!(handled, Handled::Dropped(DropReason::NotTurn));
    }
}

#[test]
fn labels_are_in_the_order_of_the_counters() {
    for (index, reason) in DropReason::ALL.into_iter().enumerate() {
        assert_eq!(reason as usize, index, "{}", reason.label());
    }
    for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
        assert_eq!(refusal as usize, index, "{}", refusal.code());
        assert_eq!(refusal.label(), refusal.code().to_string());
    }
}

#[test]
fn configurations_that_cannot_be_served() {
    let refuse = |edit: fn(&mut Config)| {
        let mut config = config();
        edit(&mut config);
        TurnServer::new(config, Arc::default(), [0; 32], origin(), Duration::ZERO).unwrap_err()
    };
    assert_eq!(refuse(|c| c.realm.clear()), ConfigError::Realm);
    assert_eq!(refuse(|c| c.realm = "r".repeat(128)), ConfigError::Realm);
    assert_eq!(refuse(|c| c.secrets.clear()), ConfigError::Secrets);
    assert_eq!(refuse(|c| c.secrets = vec![secret(); 3]), ConfigError::Secrets);
    assert_eq!(refuse(|c| c.secrets = vec![Secret::new(vec![])]), ConfigError::Secrets);
    assert_eq!(refuse(|c| (c.relay_v4, c.relay_v6) = (None, None)), ConfigError::NoRelayAddress);
    assert_eq!(refuse(|c| c.relay_v4 = c.relay_v6), ConfigError::RelayAddress(ip(RELAY_V6)));
    let any = RelayAddress { bind: ip("0.0.0.0"), advertised: ip("0.0.0.0") };
    let refused = |config: Config| config.check().unwrap_err();
    assert_eq!(refused(Config { relay_v4: Some(any), ..config() }), ConfigError::RelayAddress(ip("0.0.0.0")));
    #[allow(clippy::reversed_empty_ranges, reason = "the mistake under test")]
    let reversed = Config { relay_ports: 9..=8, ..config() };
    assert_eq!(refused(reversed), ConfigError::RelayPorts(9, 8));
    assert_eq!(refuse(|c| c.relay_ports = 0..=8), ConfigError::RelayPorts(0, 8));
    assert_eq!(refuse(|c| c.limits.channels = 0), ConfigError::Limit("channels"));
}
