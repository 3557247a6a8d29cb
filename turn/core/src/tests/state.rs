//! Life of allocations, permissions and channels.

use super::*;
use crate::DropReason;

#[test]
fn case_31_retransmitted_allocate() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let id = harness.transaction();
    let data = client.build(id, Method::ALLOCATE, &[udp(), lifetime_attr(1200)]);
    let first = harness.client(client.path, &data).unwrap();
    assert_eq!((first.code(), first.lifetime()), (0, 1200));
    harness.advance(3);
    assert_eq!(harness.client(client.path, &data).unwrap(), first);
    assert_eq!(client.allocate(&mut harness).code(), 437);
    assert_eq!(harness.state(), [1; 6]);
}

#[test]
fn an_allocate_is_answered_when_the_socket_is_open() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let id = harness.transaction();
    let data = client.build(id, Method::ALLOCATE, &[udp()]);
    let input = Input::Client { path: client.path, data: &data };
    assert_eq!(harness.server.handle(input, harness.now), Handled::Done);
    let Output::BindRelay { relay, family: AddressFamily::V4, port } = harness.server.poll_output() else {
        panic!()
    };
    assert!(matches!(harness.server.poll_output(), Output::Timeout(Some(_))));
    assert_eq!(harness.server.handle(input, harness.now), Handled::Dropped(DropReason::AllocationPending));
    let _ = harness.server.handle(Input::RelayBound { relay, bound: true }, harness.now);
    let Output::Transmit { data, .. } = harness.server.poll_output() else { panic!() };
    assert_eq!(Message::parse(data).unwrap().xor_address(attr::XOR_RELAYED_ADDRESS).unwrap().port(), port);
}

#[test]
fn case_32_channel_numbers_out_of_range() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    let peer = addr("203.0.113.50:9");
    for number in [0, 0x3FFF, 0x5000, 0x7FFF, 0x8000, 0xFFFF] {
        assert_eq!(client.bind(&mut harness, number, peer).code(), 400, "{number:#x}");
    }
    assert_eq!(client.bind(&mut harness, 0x4000, peer).code(), 0);
    assert_eq!(client.bind(&mut harness, 0x4FFF, addr("203.0.113.50:10")).code(), 0);

    let mut harness = Harness::new(Config { legacy_channels: true, ..config() });
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    assert_eq!(client.bind(&mut harness, 0x7FFF, peer).code(), 0);
    assert_eq!(client.channel(&mut harness, 0x7FFF, peer, b"old"), Some(b"old".to_vec()));
    assert_eq!(client.bind(&mut harness, 0x8000, addr("203.0.113.50:10")).code(), 400);
}

#[test]
fn case_33_channel_and_peer_are_one_to_one() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    let (a, b) = (addr("203.0.113.50:9"), addr("203.0.113.50:10"));
    assert_eq!(client.bind(&mut harness, 0x4000, a).code(), 0);
    assert_eq!(client.bind(&mut harness, 0x4000, b).code(), 400);
    assert_eq!(client.bind(&mut harness, 0x4001, a).code(), 400);
    assert_eq!(client.bind(&mut harness, 0x4000, a).code(), 0);
    assert_eq!(client.channel(&mut harness, 0x4000, a, b"x"), Some(b"x".to_vec()));
    harness.advance(590);
    assert_eq!(client.refresh(&mut harness, 600).code(), 0);
    harness.advance(11);
    assert_eq!(client.bind(&mut harness, 0x4000, b).code(), 0, "free again after it expired");
}

#[test]
fn case_34_data_refreshes_neither_permission_nor_channel() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.request(&mut harness, Method::ALLOCATE, &[udp(), lifetime_attr(3600)]).relayed();
    let (with_channel, permitted) = (addr("203.0.113.50:9"), addr("203.0.113.51:9"));
    assert_eq!(client.bind(&mut harness, 0x4000, with_channel).code(), 0);
    assert_eq!(client.permit(&mut harness, &[permitted]).code(), 0);
    for second in 1..700 {
        harness.advance(1);
        let alive = |limit| second < limit;
        assert_eq!(client.send(&mut harness, permitted, b"x").is_some(), alive(300), "{second}");
        assert_eq!(from_peer(&mut harness, relayed, permitted, b"x").is_some(), alive(300), "{second}");
        assert_eq!(from_peer(&mut harness, relayed, with_channel, b"x").is_some(), alive(300), "{second}");
        assert_eq!(
            client.channel(&mut harness, 0x4000, with_channel, b"x").is_some(),
            alive(600),
            "{second}"
        );
    }
}

#[test]
fn case_35_families() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let family = |kind, code| (kind, vec![code, 0, 0, 0]);
    let (requested, additional) = (attr::REQUESTED_ADDRESS_FAMILY, attr::ADDITIONAL_ADDRESS_FAMILY);
    let token = (attr::RESERVATION_TOKEN, vec![0; 8]);
    let mut allocate =
        |attributes: Vec<(u16, Vec<u8>)>| client.request(&mut harness, Method::ALLOCATE, &attributes).code();
    assert_eq!(allocate(vec![udp(), family(requested, 2), token.clone()]), 400);
    assert_eq!(allocate(vec![udp(), family(additional, 2), token.clone()]), 400);
    assert_eq!(allocate(vec![udp(), (attr::EVEN_PORT, vec![0]), token.clone()]), 400);
    assert_eq!(allocate(vec![udp(), family(requested, 1), family(additional, 2)]), 400);
    assert_eq!(allocate(vec![udp(), token]), 508, "no such token");
    assert_eq!(allocate(vec![udp(), family(requested, 3)]), 440);
    assert_eq!(allocate(vec![]), 400);
    assert_eq!(allocate(vec![(attr::REQUESTED_TRANSPORT, vec![6, 0, 0, 0])]), 442);
    assert_eq!(allocate(vec![(attr::REQUESTED_TRANSPORT, vec![17])]), 400);
    assert_eq!(allocate(vec![udp(), (attr::DONT_FRAGMENT, vec![])]), 420);
    assert_eq!(allocate(vec![udp(), family(requested, 1)]), 0);

    let v6 = addr("[2001:db8::50]:9");
    assert_eq!(client.permit(&mut harness, &[v6]).code(), 443);
    assert_eq!(client.bind(&mut harness, 0x4000, v6).code(), 443);
    assert_eq!(client.send(&mut harness, v6, b"x"), None);
    let refresh = [family(requested, 2), lifetime_attr(600)];
    assert_eq!(client.request(&mut harness, Method::REFRESH, &refresh).code(), 443);

    // Half a dual allocation: the answer says which half is missing, and why.
    let mut harness = Harness::new(Config { relay_v6: None, ..config() });
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    assert_eq!(client.allocate_v6(&mut harness).code(), 440);
    let answer = client.allocate_dual(&mut harness);
    assert_eq!(answer.code(), 0);
    assert_eq!(answer.all_relayed(), [harness.relays[0].1]);
    let expected = b"\x02\0\x04\x28Address Family not Supported";
    assert_eq!(answer.message().attribute(attr::ADDRESS_ERROR_CODE), Some(&expected[..]));
}

#[test]
fn case_36_lifetime_zero_twice() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    let answer = client.refresh(&mut harness, 0);
    assert_eq!((answer.code(), answer.lifetime()), (0, 0));
    assert_eq!(client.refresh(&mut harness, 0).code(), 437);
    assert_eq!(harness.state(), [0; 6]);
    assert_eq!(client.permit(&mut harness, &[addr("203.0.113.50:9")]).code(), 437);
    assert_eq!(client.bind(&mut harness, 0x4000, addr("203.0.113.50:9")).code(), 437);
}

#[test]
fn lifetimes_are_clamped_and_kept() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    assert_eq!(client.allocate(&mut harness).lifetime(), 600);
    for (asked, given) in [(1, 600), (601, 601), (3600, 3600), (u32::MAX, 3600)] {
        assert_eq!(client.refresh(&mut harness, asked).lifetime(), given);
    }
    assert_eq!(client.refresh(&mut harness, 1).lifetime(), 600);
    let deadline = harness.now + Duration::from_secs(600);
    assert_eq!(harness.server.poll_output(), Output::Timeout(Some(deadline)));
    harness.advance(599);
    assert_eq!(harness.state(), [1; 6]);
    harness.advance(1);
    assert_eq!(harness.state(), [0; 6]);
    assert_eq!(client.refresh(&mut harness, 600).code(), 437);
}

#[test]
fn an_expired_allocation_is_gone_before_the_timer_says_so() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.allocate(&mut harness).relayed();
    let peer = addr("203.0.113.50:9");
    client.permit(&mut harness, &[peer]);
    harness.now += Duration::from_secs(600);
    assert_eq!(client.send(&mut harness, peer, b"x"), None);
    assert_eq!(harness.state(), [0; 6]);
    assert_eq!(client.allocate(&mut harness).code(), 0);
    assert_ne!(harness.relays[0].1, relayed);
}

#[test]
fn the_same_client_on_two_listeners_or_addresses_has_two_allocations() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let mut other = client.clone();
    other.path.listener = ListenerId(1);
    assert_eq!(client.allocate(&mut harness).code(), 0);
    assert_eq!(other.allocate(&mut harness).code(), 0);
    other.path.local_ip = Some(ip("192.0.2.1"));
    assert_eq!(other.allocate(&mut harness).code(), 0);
    assert_eq!(harness.state()[0], 3);
}
