//! Denial of service: what strangers and misbehaving users cost. Case 19 needs a process of its own: `tests/memory.rs`.

use super::*;
use crate::DropReason;

#[test]
fn case_20_answers_to_strangers_are_capped_and_small() {
    let mut config = config();
    config.limits.challenges_per_second = 10;
    let mut harness = Harness::new(config);
    let path = |port| ClientPath::new(SocketAddr::new(ip("203.0.113.9"), port), ListenerId(0));
    for round in 1..=3 {
        let answered =
            (1..=100).filter(|port| harness.client(path(*port), &bare_allocate(1)).is_some()).count();
        assert_eq!(answered, 10);
        assert_eq!(harness.drops(DropReason::ChallengeLimited), round * 90);
        harness.advance(1);
    }
    // 438 shares the allowance.
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let stale = Client { nonce: vec![b'x'; 35], ..client };
    let data = stale.build(TransactionId([1; 12]), Method::ALLOCATE, &[udp()]);
    assert_eq!((0..100).filter(|_| harness.client(stale.path, &data).is_some()).count(), 9);

    // A stream cannot be spoofed, and its client would wait in vain for what is not answered.
    let on_stream =
        |port| ClientPath { stream: Some(crate::StreamId { index: 1, generation: 1 }), ..path(port) };
    assert!((1..=100).all(|port| harness.client(on_stream(port), &bare_allocate(1)).is_some()));

    // Binding: at most 1.5 times the request, counted as the IP packets that they are.
    for client in ["203.0.113.9:1", "[2001:db8::1]:1"] {
        let path = ClientPath::new(addr(client), ListenerId(0));
        let headers = if path.client.is_ipv4() { 28 } else { 48 };
        for fingerprint in [false, true] {
            let mut data = Vec::new();
            let writer =
                MessageWriter::new(&mut data, Class::Request, Method::BINDING, &TransactionId([1; 12]));
            if fingerprint {
                writer.fingerprint().finish()
            } else {
                writer.finish()
            };
            let answer = harness.client(path, &data).unwrap();
            assert_eq!(answer.message().xor_address(attr::XOR_MAPPED_ADDRESS), Some(path.client));
            assert!(2 * (headers + answer.data.len()) <= 3 * (headers + data.len()));
        }
    }
}

#[test]
fn case_21_even_ports_do_not_leak() {
    let config = Config { relay_ports: 50_001..=50_008, ..config() };
    let mut harness = Harness::new(config);
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let even = (attr::EVEN_PORT, vec![0]);
    for _ in 0..100_000 {
        let answer = client.request(&mut harness, Method::ALLOCATE, &[udp(), even.clone()]);
        assert_eq!(answer.code(), 0);
        assert_eq!(answer.relayed().port() % 2, 0);
        assert_eq!(client.refresh(&mut harness, 0).code(), 0);
    }
    assert_eq!(harness.state(), [0; 6]);
    // With the R bit each leaves a port behind for 30 s, which counts against the quota: 24 of four pairs.
    let pair = (attr::EVEN_PORT, vec![0x80]);
    let mut codes = [0; 2];
    for round in 0..100_000 {
        let answer = client.request(&mut harness, Method::ALLOCATE, &[udp(), pair.clone()]);
        match answer.code() {
            0 => codes[0] += 1,
            508 => codes[1] += 1,
            code => panic!("{code}"),
        }
        assert_eq!(client.refresh(&mut harness, 0).code(), if answer.code() == 0 { 0 } else { 437 });
        if round % 100 == 99 {
            harness.advance(1);
        }
    }
    // 1,000 s are 34 times 30 s, and the three pairs from 50,002 to 50,007 are had once each time.
    assert!(codes[0] >= 3 * 33 && codes[0] <= 3 * 35, "{codes:?}");
    harness.advance(31);
    assert_eq!(harness.state(), [0; 6]);
    assert_eq!(harness.server.ports.ledger.reservations(), 0);
}

#[test]
fn case_22_connect_and_drop_at_quota_one() {
    let mut config = config();
    config.limits.allocations_per_user = 1;
    let mut harness = Harness::new(config);
    let mut made = 0;
    for port in 1..=500 {
        let client = Client::new(&mut harness, &format!("203.0.113.9:{port}"), "alice");
        made += u32::from(client.allocate(&mut harness).code() == 0);
    }
    assert_eq!(made, 1);
    assert_eq!(harness.state(), [1; 6]);
    harness.advance(601);
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn case_23_caps_on_permissions_and_channels() {
    let mut config = config();
    (config.limits.permissions, config.limits.channels) = (4, 2);
    let mut harness = Harness::new(config);
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    let peer = |n: u8| SocketAddr::from(([203, 0, 113, 100 + n], 9));
    assert_eq!(client.permit(&mut harness, &[peer(1), peer(2), peer(3)]).code(), 0);
    assert_eq!(client.permit(&mut harness, &[peer(4), peer(5)]).code(), 508);
    assert_eq!(client.send(&mut harness, peer(4), b"x"), None, "none installed");
    assert_eq!(client.permit(&mut harness, &[peer(1), peer(4)]).code(), 0);
    assert_eq!(client.permit(&mut harness, &(1..=5).map(peer).collect::<Vec<_>>()).code(), 508);
    assert_eq!(client.bind(&mut harness, 0x4000, peer(9)).code(), 508, "no room for its permission");
    assert_eq!(client.bind(&mut harness, 0x4000, peer(1)).code(), 0);
    assert_eq!(client.bind(&mut harness, 0x4001, peer(2)).code(), 0);
    assert_eq!(client.bind(&mut harness, 0x4002, peer(3)).code(), 508);
    assert_eq!(client.bind(&mut harness, 0x4001, peer(2)).code(), 0, "a refresh needs no room");
    // What has expired makes room.
    harness.advance(301);
    assert_eq!(client.permit(&mut harness, &[peer(5), peer(6), peer(7), peer(8)]).code(), 0);
}

#[test]
fn case_24_malformed_messages_are_dropped() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    let good = client.build(TransactionId([9; 12]), Method::REFRESH, &[lifetime_attr(600)]);
    for length in 0..good.len() {
        assert_eq!(harness.client(client.path, &good[..length]), None);
    }
    for length in [1, 2, 3, 0xFFFC, 0xFFFF] {
        let mut bad = good.clone();
        bad[2..4].copy_from_slice(&u16::to_be_bytes(length));
        assert_eq!(harness.client(client.path, &bad), None);
        let mut bad = good.clone();
        bad[22..24].copy_from_slice(&u16::to_be_bytes(length));
        assert!(harness.client(client.path, &bad).is_none_or(|answer| answer.code() != 0));
    }
    for (method, attributes) in [
        (Method::REFRESH, vec![(attr::LIFETIME, vec![0; 3])]),
        (Method::CREATE_PERMISSION, vec![]),
        (Method::CREATE_PERMISSION, vec![(attr::XOR_PEER_ADDRESS, vec![0; 7])]),
        (Method::CREATE_PERMISSION, vec![(attr::XOR_PEER_ADDRESS, vec![0, 3, 0, 0, 0, 0, 0, 0])]),
        (Method::CHANNEL_BIND, vec![(attr::CHANNEL_NUMBER, vec![0x40, 0])]),
        (Method::CHANNEL_BIND, vec![(attr::CHANNEL_NUMBER, vec![0x40, 0, 0, 0])]),
    ] {
        assert_eq!(
            client.request(&mut harness, method, &attributes).code(),
            400,
            "{method:?} {attributes:?}"
        );
    }
    assert_eq!(harness.server.stats().allocations, 1);
}

#[test]
fn case_25_channel_data_longer_than_its_datagram() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    client.bind(&mut harness, 0x4000, addr("203.0.113.50:9"));
    for data in [&[0x40, 0, 0, 5, 1, 2, 3, 4][..], &[0x40, 0, 0xFF, 0xFF, 1], &[0x40, 0, 0], &[0x40]] {
        let handled = harness.input(Input::Client { path: client.path, data });
        assert_eq!(handled, Handled::Dropped(DropReason::Malformed));
    }
}

#[test]
fn case_27_padding_of_answers_is_zero() {
    let mut harness = Harness::new(Config { realm: "abcde".to_owned(), ..config() });
    let path = ClientPath::new(addr("203.0.113.9:1"), ListenerId(0));
    // Dirty the buffer with other answers first.
    for i in 0..50 {
        let answer = harness.client(path, &bare_allocate(i)).unwrap();
        let mut at = 20;
        while at < answer.data.len() {
            let length = usize::from(u16::from_be_bytes([answer.data[at + 2], answer.data[at + 3]]));
            let end = at + 4 + length;
            at = end.next_multiple_of(4);
            assert!(answer.data[end..at].iter().all(|byte| *byte == 0));
        }
    }
}

#[test]
fn ports_and_slots_run_out_cleanly() {
    let mut config = Config { relay_ports: 50_000..=50_001, ..config() };
    config.limits.allocations = 3;
    let mut harness = Harness::new(config);
    let mut allocate = |port: u16| {
        let client = Client::new(&mut harness, &format!("203.0.113.9:{port}"), "alice");
        let family = if port == 3 || port == 4 {
            client.allocate_v6(&mut harness)
        } else {
            client.allocate(&mut harness)
        };
        family.code()
    };
    assert_eq!([1, 2, 5, 3, 4].map(&mut allocate), [0, 0, 508, 0, 508], "two IPv4 ports; three slots");
    assert_eq!(harness.state()[0], 3);
}

#[test]
fn a_busy_port_is_replaced_and_many_give_508() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    harness.bind_failures = 7;
    assert_eq!(client.allocate(&mut harness).code(), 0);
    assert_eq!(harness.state(), [1; 6]);
    client.refresh(&mut harness, 0);
    harness.bind_failures = 8;
    assert_eq!(client.allocate(&mut harness).code(), 508);
    harness.bind_failures = 0;
    assert_eq!(harness.state(), [0; 6]);
}
