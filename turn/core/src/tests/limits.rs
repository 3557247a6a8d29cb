//! Rates, reports, accounting and draining.

use super::*;
use crate::event::EventKind;
use crate::{DropReason, Throttle, Usage};

const SECOND: Duration = Duration::from_secs(1);

fn throttled(harness: &Harness, user: &str, cause: Throttle) -> usize {
    harness.events.iter().filter(|event| **event == (user.to_owned(), EventKind::Throttled(cause))).count()
}

fn peer_at(n: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 100 + n], 9))
}

#[test]
fn case_28_a_token_bucket_exceeded() {
    let mut config = config();
    config.limits.allocation_bytes_per_second = 100_000;
    let mut harness = Harness::new(config);
    let greedy = Client::new(&mut harness, "203.0.113.9:1", "greedy");
    let modest = Client::new(&mut harness, "203.0.113.9:2", "modest");
    let relayed = greedy.allocate(&mut harness).relayed();
    modest.allocate(&mut harness);
    let peer = addr("203.0.113.50:9");
    greedy.bind(&mut harness, 0x4000, peer);
    modest.bind(&mut harness, 0x4000, peer);
    let payload = [1; 1000];
    let passed = |harness: &mut Harness| {
        (0..300).filter(|_| greedy.channel(harness, 0x4000, peer, &payload).is_some()).count()
    };
    assert_eq!(passed(&mut harness), 100);
    assert_eq!(harness.drops(DropReason::AllocationRate), 200);
    assert_eq!(greedy.send(&mut harness, peer, &payload), None);
    // The other direction and the other client have buckets of their own.
    assert!(from_peer(&mut harness, relayed, peer, &payload).is_some());
    assert!((0..50).all(|_| modest.channel(&mut harness, 0x4000, peer, &payload).is_some()));
    harness.now += SECOND / 2;
    assert_eq!(passed(&mut harness), 50);
    let drops = 200 + 1 + 250;
    assert_eq!(harness.server.stats().throttled, [drops, 0, 0]);
    assert_eq!(harness.server.stats().to_peers_packets, 100 + 50 + 50);
}

/// Each of four does what only bounds stop; the fifth's call goes on beside them without the loss of a packet.
#[test]
fn four_misbehave_and_the_fifth_loses_nothing() {
    let mut config = config();
    config.limits.allocations = 16;
    config.limits.allocations_per_user = 4;
    config.limits.allocation_packets_per_second = 1_000;
    let mut harness = Harness::new(config);
    let peer = peer_at(99);
    let mut port = 0;
    let [modest, flooder, scanner, hoarder, prober] = ["modest", "flooder", "scanner", "hoarder", "prober"]
        .map(|user| {
            port += 1;
            Client::new(&mut harness, &format!("203.0.113.9:{port}"), user)
        });
    let relayed = modest.allocate(&mut harness).relayed();
    assert_eq!(modest.bind(&mut harness, 0x4000, peer).code(), 0);
    for client in [&flooder, &scanner, &prober] {
        assert_eq!(client.allocate(&mut harness).code(), 0);
    }
    assert_eq!(flooder.bind(&mut harness, 0x4000, peer).code(), 0);
    let (mut flooded, mut scanned, mut hoarded) = (0, 0, 0);
    // A minute of twenty milliseconds each.
    for tick in 0..3_000_u32 {
        harness.now += SECOND / 50;
        let up = modest.channel(&mut harness, 0x4000, peer, &tick.to_be_bytes());
        assert_eq!(up.as_deref(), Some(&tick.to_be_bytes()[..]), "tick {tick}");
        flooded +=
            (0..200).filter(|_| flooder.channel(&mut harness, 0x4000, peer, &[0; 1200]).is_some()).count();
        let target = SocketAddr::from(([198, 51, (tick >> 8) as u8, tick as u8], 9));
        scanned += usize::from(scanner.permit(&mut harness, &[target]).code() == 0);
        let port = 20_000 + tick % 30_000;
        let another = Client::new(&mut harness, &format!("203.0.113.10:{port}"), "hoarder");
        hoarded += usize::from(another.allocate(&mut harness).code() == 0);
        assert_eq!(prober.send(&mut harness, peer_at(98), b"no permission"), None);
        assert_eq!(prober.permit(&mut harness, &[addr("10.0.0.1:80")]).code(), 403);
        assert!(from_peer(&mut harness, relayed, peer, &tick.to_be_bytes()).is_some(), "tick {tick}");
        if tick % 10_000 == 2_000 {
            assert_eq!(modest.refresh(&mut harness, 600).code(), 0);
        }
    }
    // A second's worth at once, and a thousand a second.
    assert!((60_000..=61_100).contains(&flooded), "{flooded}");
    assert!(scanned <= 64, "{scanned}");
    assert_eq!(hoarded, 4);
    assert_eq!(hoarder.allocate(&mut harness).code(), 486);
}

#[test]
fn the_servers_own_bucket() {
    let mut config = config();
    config.limits.total_packets_per_second = Some(100);
    let mut harness = Harness::new(config);
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.allocate(&mut harness).relayed();
    let peer = addr("203.0.113.50:9");
    client.bind(&mut harness, 0x4000, peer);
    let there = (0..80).filter(|_| client.channel(&mut harness, 0x4000, peer, b"x").is_some()).count();
    let back = (0..80).filter(|_| from_peer(&mut harness, relayed, peer, b"x").is_some()).count();
    assert_eq!((there, back), (80, 20), "both ways together");
    assert_eq!(harness.drops(DropReason::TotalRate), 60);
    assert_eq!(harness.events.len(), 1, "nobody's fault: only that the allocation was made");
    assert_eq!(client.refresh(&mut harness, 600).code(), 0, "requests are not relayed packets");
}

#[test]
fn case_29_new_peers_and_packets_are_throttled_and_reported() {
    let mut config = config();
    // More than the burst: with no more permissions than that, their number is the bound that is met first.
    config.limits.permissions = 64;
    let mut harness = Harness::new(config);
    let client = Client::new(&mut harness, "203.0.113.9:1", "scanner");
    let relayed = client.allocate(&mut harness).relayed();
    // Thirty-two at once, then five a second.
    let codes: Vec<_> = (0..37).map(|n| client.permit(&mut harness, &[peer_at(n)]).code()).collect();
    assert_eq!(codes, [[0; 32].as_slice(), &[508; 5]].concat());
    assert_eq!(client.send(&mut harness, peer_at(32), b"x"), None);
    assert_eq!(client.bind(&mut harness, 0x4000, peer_at(32)).code(), 508);
    assert_eq!(client.bind(&mut harness, 0x4000, peer_at(0)).code(), 0, "a peer that is known is not new");
    assert_eq!(client.permit(&mut harness, &[peer_at(1)]).code(), 0);
    assert_eq!(throttled(&harness, "scanner", Throttle::NewPeers), 1, "reported once, not six times");
    harness.now += SECOND;
    let codes: Vec<_> = (32..39).map(|n| client.permit(&mut harness, &[peer_at(n)]).code()).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 508, 508]);
    harness.now += 60 * SECOND;
    let all = (40..=67).map(peer_at).collect::<Vec<_>>();
    assert_eq!(client.permit(&mut harness, &all).code(), 508, "all or none");
    assert_eq!(throttled(&harness, "scanner", Throttle::NewPeers), 1, "too many, not too fast");
    assert_eq!(harness.server.stats().throttled[Throttle::NewPeers as usize], 8);

    // Ten thousand packets a second, each way.
    let peer = peer_at(0);
    let up = (0..12_000).filter(|_| client.channel(&mut harness, 0x4000, peer, b"x").is_some()).count();
    let down = (0..12_000).filter(|_| from_peer(&mut harness, relayed, peer, b"x").is_some()).count();
    assert_eq!((up, down), (10_000, 10_000));
    assert_eq!(harness.drops(DropReason::AllocationRate), 4_000);
    let reports = [Throttle::ToPeers, Throttle::ToClient].map(|cause| throttled(&harness, "scanner", cause));
    assert_eq!(reports, [1, 0], "one report an allocation and minute");
}

/// Two allocations whose clients hand every packet on to the other's relay: the loop turns as fast as the buckets
/// fill, and no faster.
#[test]
fn case_30_a_relay_looped_through_two_allocations() {
    let own = [RELAY_V4].map(|text| text.parse().unwrap());
    let mut harness = Harness::new(Config { allow_peers: own.to_vec(), ..config() });
    let a = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let b = Client::new(&mut harness, "203.0.113.9:2", "bob");
    let (at_a, at_b) = (a.allocate(&mut harness).relayed(), b.allocate(&mut harness).relayed());
    assert_eq!(a.bind(&mut harness, 0x4000, at_b).code(), 0);
    assert_eq!(b.bind(&mut harness, 0x4000, at_a).code(), 0);
    let mut turns = 0;
    // Ten seconds, in which a loop without bound would turn as often as the processor can.
    for _ in 0..200_000 {
        harness.now += Duration::from_micros(50);
        // From A to B's relay, to B's client; it sends the payload back to A's relay, to A's client, which …
        let Some(payload) = a.channel(&mut harness, 0x4000, at_b, b"round and round") else { continue };
        let Some(data) = from_peer(&mut harness, at_b, at_a, &payload) else { continue };
        let Some(payload) = b.channel(&mut harness, 0x4000, at_a, &data[4..]) else { continue };
        turns += u32::from(from_peer(&mut harness, at_a, at_b, &payload).is_some());
    }
    assert!((100_000..=110_000).contains(&turns), "{turns}");
    assert!(harness.drops(DropReason::AllocationRate) > 80_000);
    assert_eq!(harness.events.iter().filter(|event| event.1 != EventKind::Made).count(), 1);

    // By default the relay's own address is no peer at all.
    let mut harness = Harness::new(config());
    let a = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let at_a = a.allocate(&mut harness).relayed();
    assert_eq!(a.bind(&mut harness, 0x4000, at_a).code(), 403);
}

#[test]
fn allocations_are_accounted() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.allocate(&mut harness).relayed();
    assert_eq!(harness.events, [("alice".to_owned(), EventKind::Made)]);
    let peer = addr("203.0.113.50:9");
    client.bind(&mut harness, 0x4000, peer);
    client.channel(&mut harness, 0x4000, peer, b"12345");
    client.send(&mut harness, peer, b"123");
    client.send(&mut harness, addr("203.0.113.51:9"), b"not permitted");
    from_peer(&mut harness, relayed, peer, b"1234567");
    harness.advance(60);
    harness.events.clear();
    client.refresh(&mut harness, 0);
    let usage = Usage { to_peers_packets: 2, to_peers_bytes: 8, to_client_packets: 1, to_client_bytes: 7 };
    let ended = EventKind::Ended { lasted: 60 * SECOND, usage };
    assert_eq!(harness.events, [("alice".to_owned(), ended)]);
    // One that never came to be is not accounted.
    harness.events.clear();
    harness.bind_failures = 8;
    client.allocate(&mut harness);
    assert_eq!(harness.events, []);
}

#[test]
fn a_mass_expiry_comes_in_portions() {
    let mut config = config();
    config.limits.allocations_per_user = 1000;
    let mut harness = Harness::new(config);
    for port in 1..=600 {
        Client::new(&mut harness, &format!("203.0.113.9:{port}"), "alice").allocate(&mut harness);
    }
    harness.now += 600 * SECOND;
    for left in [344, 88, 0] {
        let _ = harness.input(Input::Timeout);
        assert_eq!(harness.state()[0], left);
        let more = matches!(harness.server.poll_output(), Output::Timeout(Some(at)) if at <= harness.now);
        assert_eq!(more, left > 0);
    }
}

#[test]
fn draining_sends_new_clients_elsewhere() {
    let mut harness = Harness::new(config());
    let old = Client::new(&mut harness, "203.0.113.9:1", "alice");
    old.allocate(&mut harness);
    let [a, b, six] = ["192.0.2.8:3478", "192.0.2.9:3478", "[2001:db8::9]:3479"].map(addr);
    harness.server.set_draining(Some(vec![a, b, six]));
    let alternates = |answer: &Answer| -> Vec<Vec<u8>> {
        let message = answer.message();
        let of_kind = message.attributes().filter(|(kind, _)| *kind == attr::ALTERNATE_SERVER);
        of_kind.map(|(_, value)| value.to_vec()).collect()
    };
    let v4 = |last| vec![0, 1, 0x0D, 0x96, 192, 0, 2, last];
    let mut v6 = vec![0, 2, 0x0D, 0x97, 0x20, 1, 0x0D, 0xB8];
    v6.resize(19, 0);
    v6.push(9);
    let mut chosen = std::collections::BTreeSet::new();
    for port in 2..50 {
        let client = Client::new(&mut harness, &format!("203.0.113.9:{port}"), "alice");
        let answer = client.allocate(&mut harness);
        assert_eq!(answer.code(), 300);
        assert!(answer.message().verify(&client.key()), "RFC 8489 §10: only with integrity");
        let mut alternates = alternates(&answer);
        assert_eq!(alternates.pop(), Some(v6.clone()), "the other family second");
        chosen.extend(alternates);
    }
    assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [v4(8), v4(9)]);
    let six_client = Client::new(&mut harness, "[2001:db8::77]:1", "alice");
    assert_eq!(alternates(&six_client.allocate(&mut harness))[0], v6);
    // Who has no credential learns nothing.
    let stranger = ClientPath::new(addr("203.0.113.10:1"), ListenerId(0));
    assert_eq!(harness.client(stranger, &bare_allocate(1)).unwrap().code(), 401);
    // What lives goes on.
    let peer = addr("203.0.113.50:9");
    assert_eq!(old.refresh(&mut harness, 600).code(), 0);
    assert_eq!(old.bind(&mut harness, 0x4000, peer).code(), 0);
    assert!(old.channel(&mut harness, 0x4000, peer, b"x").is_some());
    assert_eq!(old.allocate(&mut harness).code(), 437);
    assert_eq!(old.refresh(&mut harness, 0).code(), 0);
    assert_eq!(old.allocate(&mut harness).code(), 300);
    harness.server.set_draining(Some(vec![a]));
    assert_eq!(six_client.allocate(&mut harness).code(), 508, "none of its family");
    harness.server.set_draining(Some(vec![]));
    assert_eq!(old.allocate(&mut harness).code(), 508);
    harness.server.set_draining(None);
    assert_eq!(old.allocate(&mut harness).code(), 0);
}

#[test]
fn an_allocation_is_small() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    client.bind(&mut harness, 0x4000, addr("203.0.113.50:9"));
    let index = *harness.server.paths.get(&client.path).unwrap();
    let bytes = harness.server.allocations.get(index).unwrap().bytes();
    assert!(bytes < 1500, "{bytes}");
}
