//! Several servers with one ledger.

use super::*;
use crate::{ConfigError, Ledger};

fn two(edit: impl Fn(&mut Config)) -> [Harness; 2] {
    let mut config = Config { relay_ports: 50_000..=50_007, ..config() };
    edit(&mut config);
    let (ledger, now) = (Arc::<Ledger>::default(), origin());
    [0, 1].map(|index| Harness::shard(config.part(index, 2).unwrap(), Arc::clone(&ledger), index as u8, now))
}

#[test]
fn parts_cover_the_ports_once_and_tear_no_pair() {
    for range in [1..=65_535, 50_000..=50_007, 50_001..=50_008, 50_001..=50_007, 50_000..=50_010_u16] {
        for shards in 1..=4 {
            let config = Config { relay_ports: range.clone(), ..config() };
            let mut next = u32::from(*range.start());
            for index in 0..shards {
                let part = config.part(index, shards).unwrap().relay_ports;
                assert_eq!(u32::from(*part.start()), next, "{range:?} {shards}");
                assert!(part.start() <= part.end());
                assert!(index == 0 || part.start().is_multiple_of(2));
                next = u32::from(*part.end()) + 1;
            }
            assert_eq!(next, u32::from(*range.end()) + 1);
        }
    }
    let config = Config { relay_ports: 50_000..=50_007, ..config() };
    assert_eq!(config.part(0, 5).unwrap_err(), ConfigError::Shards(5));
    assert_eq!(config.part(2, 2).unwrap_err(), ConfigError::Shards(2));
    let mut config = config;
    config.limits.total_bytes_per_second = Some(1_000_000);
    assert_eq!(config.part(1, 4).unwrap().limits.total_bytes_per_second, Some(250_000));
}

#[test]
fn a_quota_holds_across_shards() {
    let [mut a, mut b] = two(|config| config.limits.allocations_per_user = 2);
    let on_a = Client::new(&mut a, "203.0.113.9:1", "alice");
    let on_b: Vec<_> =
        (2..=3).map(|port| Client::new(&mut b, &format!("203.0.113.9:{port}"), "alice")).collect();
    assert_eq!(on_a.allocate(&mut a).code(), 0);
    assert_eq!(on_b[0].allocate(&mut b).code(), 0);
    assert_eq!(on_b[1].allocate(&mut b).code(), 486);
    on_a.refresh(&mut a, 0);
    assert_eq!(on_b[1].allocate(&mut b).code(), 0);
}

#[test]
fn a_nonce_is_good_at_every_shard() {
    let [mut a, mut b] = two(|_| ());
    let client = Client::new(&mut a, "203.0.113.9:1", "alice");
    assert_eq!(client.allocate(&mut b).code(), 0);
}

#[test]
fn a_reserved_port_can_be_asked_for_at_another_shard_and_comes_home() {
    let [mut a, mut b] = two(|_| ());
    let on_a = Client::new(&mut a, "203.0.113.9:1", "alice");
    let on_b = Client::new(&mut b, "203.0.113.9:2", "alice");
    // Again and again: were one port lost each time, the four of the shard would not last.
    for _ in 0..20 {
        let pair = [udp(), (attr::EVEN_PORT, vec![0x80])];
        let answer = on_a.request(&mut a, Method::ALLOCATE, &pair);
        let token = answer.token().unwrap();
        let redeemed =
            on_b.request(&mut b, Method::ALLOCATE, &[udp(), (attr::RESERVATION_TOKEN, token)]).relayed();
        assert_eq!(redeemed.port(), answer.relayed().port() + 1);
        assert_eq!(on_b.refresh(&mut b, 0).code(), 0);
        assert_eq!(on_a.refresh(&mut a, 0).code(), 0);
    }
    a.advance(31);
    let clients: Vec<_> =
        (1..=4).map(|port| Client::new(&mut a, &format!("203.0.113.8:{port}"), "alice")).collect();
    assert!(clients.iter().all(|client| client.allocate(&mut a).code() == 0), "all four ports are free");
    assert_eq!(a.server.ports.ledger.reservations(), 0);
}
