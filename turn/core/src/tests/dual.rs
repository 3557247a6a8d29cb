//! ADDITIONAL-ADDRESS-FAMILY: one allocation, a relay of each family (RFC 8656 §§7.2, 8.2).

use super::*;
use crate::DropReason;

const V4_PEER: &str = "203.0.113.50:9";
const V6_PEER: &str = "[2001:db8::50]:9";

fn family(kind: u16, code: u8) -> (u16, Vec<u8>) {
    (kind, vec![code, 0, 0, 0])
}

fn dual() -> (Harness, Client, Vec<SocketAddr>) {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.allocate_dual(&mut harness).all_relayed();
    (harness, client, relayed)
}

#[test]
fn both_families_by_permission_and_channel() {
    let (mut harness, client, relayed) = dual();
    assert_eq!(relayed.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [ip(RELAY_V4), ip(RELAY_V6)]);
    assert_eq!(harness.state(), [1, 1, 1, 2, 2, 2]);
    assert!(harness.relays.iter().all(|(relay, _)| relay.index() < 2), "below twice the allocations");
    let (v4, v6) = (addr(V4_PEER), addr(V6_PEER));
    assert_eq!(client.permit(&mut harness, &[v4, v6]).code(), 0);
    assert_eq!(client.send(&mut harness, v4, b"four"), Some(b"four".to_vec()));
    assert_eq!(client.send(&mut harness, v6, b"six"), Some(b"six".to_vec()));
    assert!(from_peer(&mut harness, relayed[0], v4, b"x").is_some());
    assert!(from_peer(&mut harness, relayed[1], v6, b"x").is_some());
    assert_eq!(from_peer(&mut harness, relayed[0], v6, b"x"), None, "on the wrong relay");
    assert_eq!(harness.drops(DropReason::InvalidPeer), 1);
    assert_eq!(client.bind(&mut harness, 0x4000, v4).code(), 0);
    assert_eq!(client.bind(&mut harness, 0x4001, v6).code(), 0);
    assert_eq!(client.bind(&mut harness, 0x4001, v4).code(), 400);
    assert_eq!(client.channel(&mut harness, 0x4001, v6, b"x"), Some(b"x".to_vec()));
    assert_eq!(from_peer(&mut harness, relayed[1], v6, b"six"), Some(b"\x40\x01\0\x03six".to_vec()));
    client.refresh(&mut harness, 0);
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn a_refresh_may_mean_one_family() {
    let (mut harness, client, relayed) = dual();
    let refresh = |harness: &mut Harness, seconds, code| {
        let attributes = [lifetime_attr(seconds), family(attr::REQUESTED_ADDRESS_FAMILY, code)];
        client.request(harness, Method::REFRESH, &attributes).code()
    };
    client.permit(&mut harness, &[addr(V4_PEER), addr(V6_PEER)]);
    assert_eq!(refresh(&mut harness, 3000, 1), 0);
    harness.advance(600);
    assert_eq!(harness.relays.iter().map(|(_, addr)| *addr).collect::<Vec<_>>(), [relayed[0]]);
    assert_eq!(harness.state(), [1; 6], "IPv6 has expired, IPv4 has not");
    assert_eq!(client.permit(&mut harness, &[addr(V6_PEER)]).code(), 443);
    assert_eq!(client.send(&mut harness, addr(V6_PEER), b"x"), None);
    assert_eq!(refresh(&mut harness, 600, 2), 443);
    assert_eq!(refresh(&mut harness, 600, 3), 440);
    assert_eq!(refresh(&mut harness, 0, 1), 0);
    assert_eq!(harness.state(), [0; 6], "the last relay takes the allocation with it");
    assert_eq!(refresh(&mut harness, 0, 1), 437);
}

#[test]
fn one_half_can_be_deleted() {
    let (mut harness, client, relayed) = dual();
    client.permit(&mut harness, &[addr(V4_PEER), addr(V6_PEER)]);
    let attributes = [lifetime_attr(0), family(attr::REQUESTED_ADDRESS_FAMILY, 1)];
    let answer = client.request(&mut harness, Method::REFRESH, &attributes);
    assert_eq!((answer.code(), answer.lifetime()), (0, 0));
    assert_eq!(harness.relays.iter().map(|(_, addr)| *addr).collect::<Vec<_>>(), [relayed[1]]);
    assert_eq!(client.send(&mut harness, addr(V4_PEER), b"x"), None);
    assert_eq!(client.send(&mut harness, addr(V6_PEER), b"x"), Some(b"x".to_vec()));
    assert_eq!(client.refresh(&mut harness, 900).code(), 0, "without a family: what is left");
}

#[test]
fn half_of_it_with_the_reason() {
    // The socket of one family cannot be had, whichever: eight ports are tried.
    for (failing, code) in [(AddressFamily::V4, 1_u8), (AddressFamily::V6, 2)] {
        let mut harness = Harness::new(config());
        let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
        let id = harness.transaction();
        let data = client.build(id, Method::ALLOCATE, &[udp(), family(attr::ADDITIONAL_ADDRESS_FAMILY, 2)]);
        let _ = harness.server.handle(Input::Client { path: client.path, data: &data }, harness.now);
        let mut answers = Vec::new();
        let mut binds = 0;
        loop {
            let (relay, bound) = match harness.server.poll_output() {
                Output::BindRelay { relay, family, .. } => (relay, family != failing),
                Output::Transmit { path, data } => {
                    answers.push(Answer { path, data: data.to_vec() });
                    continue;
                }
                Output::Timeout(_) => break,
                _ => continue,
            };
            binds += 1;
            let _ = harness.server.handle(Input::RelayBound { relay, bound }, harness.now);
        }
        assert_eq!((binds, answers.len()), (9, 1));
        let answer = &answers[0];
        assert_eq!((answer.code(), answer.all_relayed().len()), (0, 1));
        assert_ne!(AddressFamily::of(answer.relayed().ip()), failing);
        let expected = [&[code, 0, 5, 8], &b"Insufficient Capacity"[..]].concat();
        assert_eq!(answer.message().attribute(attr::ADDRESS_ERROR_CODE), Some(&expected[..]));
        assert_eq!(harness.state()[..5], [1; 5]);
        assert_eq!(harness.client(client.path, &data).as_ref(), Some(answer), "the same when repeated");
    }
}

#[test]
fn neither_half() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    harness.bind_failures = 16;
    assert_eq!(client.allocate_dual(&mut harness).code(), 508);
    assert_eq!(harness.state(), [0; 6]);
    assert_eq!(harness.events, []);

    // Ports of one family are gone, then of both.
    let mut harness = Harness::new(Config { relay_ports: 50_000..=50_000, ..config() });
    Client::new(&mut harness, "203.0.113.9:1", "alice").allocate(&mut harness);
    let second = Client::new(&mut harness, "203.0.113.9:2", "alice");
    let answer = second.allocate_dual(&mut harness);
    assert_eq!(answer.relayed().ip(), ip(RELAY_V6));
    assert_eq!(answer.message().attribute(attr::ADDRESS_ERROR_CODE).unwrap()[..4], [1, 0, 5, 8]);
    let third = Client::new(&mut harness, "203.0.113.9:3", "alice");
    assert_eq!(third.allocate_dual(&mut harness).code(), 508);
}

#[test]
fn what_a_dual_allocation_cannot_be() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let mut allocate =
        |attributes: Vec<(u16, Vec<u8>)>| client.request(&mut harness, Method::ALLOCATE, &attributes).code();
    let additional = |code| family(attr::ADDITIONAL_ADDRESS_FAMILY, code);
    assert_eq!(allocate(vec![udp(), additional(1)]), 400);
    assert_eq!(allocate(vec![udp(), additional(3)]), 440);
    assert_eq!(allocate(vec![udp(), (attr::ADDITIONAL_ADDRESS_FAMILY, vec![2])]), 400);
    assert_eq!(allocate(vec![udp(), additional(2), (attr::EVEN_PORT, vec![0x80])]), 400);
    let answer =
        client.request(&mut harness, Method::ALLOCATE, &[udp(), additional(2), (attr::EVEN_PORT, vec![0])]);
    assert!(answer.all_relayed().iter().all(|relayed| relayed.port() % 2 == 0));
    assert_eq!(answer.all_relayed().len(), 2);
}
