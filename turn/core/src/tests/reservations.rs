//! EVEN-PORT and RESERVATION-TOKEN (RFC 8656 §7.2).

use super::*;

fn pair() -> (u16, Vec<u8>) {
    (attr::EVEN_PORT, vec![0x80])
}

fn redeem(harness: &mut Harness, client: &Client, token: &[u8]) -> Answer {
    client.request(harness, Method::ALLOCATE, &[udp(), (attr::RESERVATION_TOKEN, token.to_vec())])
}

#[test]
fn the_next_port_is_held_for_who_reserved_it() {
    let mut harness = Harness::new(Config { relay_ports: 50_000..=50_003, ..config() });
    let rtp = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let rtcp = Client::new(&mut harness, "203.0.113.9:2", "alice");
    let mallory = Client::new(&mut harness, "203.0.113.66:1", "mallory");
    let id = harness.transaction();
    let data = rtp.build(id, Method::ALLOCATE, &[udp(), pair()]);
    let answer = harness.client(rtp.path, &data).unwrap();
    let (even, token) = (answer.relayed(), answer.token().unwrap());
    assert_eq!((even.port() % 2, token.len()), (0, 8));
    assert_eq!(harness.client(rtp.path, &data), Some(answer), "the same token when repeated");
    assert_eq!(redeem(&mut harness, &mallory, &token).code(), 508, "another's token");
    let mut wrong = token.clone();
    wrong[7] ^= 1;
    assert_eq!(redeem(&mut harness, &rtcp, &wrong).code(), 508);
    assert_eq!(redeem(&mut harness, &rtcp, &token[..7]).code(), 400);
    // Everybody else gets other ports.
    assert_eq!(mallory.request(&mut harness, Method::ALLOCATE, &[udp(), pair()]).code(), 0);
    let other = Client::new(&mut harness, "203.0.113.66:2", "mallory");
    assert_eq!(other.allocate(&mut harness).code(), 508);
    let answer = redeem(&mut harness, &rtcp, &token);
    assert_eq!(answer.relayed(), SocketAddr::new(even.ip(), even.port() + 1));
    assert_eq!(redeem(&mut harness, &other, &token).code(), 508, "once only");
    rtp.refresh(&mut harness, 0);
    rtcp.refresh(&mut harness, 0);
    mallory.refresh(&mut harness, 0);
    harness.advance(31);
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn a_token_lasts_thirty_seconds() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let second = Client::new(&mut harness, "203.0.113.9:2", "alice");
    let reserve = |harness: &mut Harness| {
        client.refresh(harness, 0);
        client.request(harness, Method::ALLOCATE, &[udp(), pair()]).token().unwrap()
    };
    let token = reserve(&mut harness);
    harness.advance(29);
    assert_eq!(redeem(&mut harness, &second, &token).code(), 0);
    second.refresh(&mut harness, 0);
    let token = reserve(&mut harness);
    let deadline = harness.now + Duration::from_secs(1);
    assert_eq!(
        harness.server.poll_output(),
        Output::Timeout(Some(deadline)),
        "the first token's, used or not"
    );
    harness.advance(30);
    assert_eq!(redeem(&mut harness, &second, &token).code(), 508);
    assert_eq!(harness.server.ports.ledger.reservations(), 0);
    assert_eq!(harness.state(), [1; 6]);
}

#[test]
fn a_reservation_counts_against_the_quota_and_survives_its_allocation() {
    let mut config = config();
    config.limits.allocations_per_user = 2;
    let mut harness = Harness::new(config);
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let second = Client::new(&mut harness, "203.0.113.9:2", "alice");
    let answer = client.request(&mut harness, Method::ALLOCATE, &[udp(), pair()]);
    assert_eq!(second.allocate(&mut harness).code(), 486);
    client.refresh(&mut harness, 0);
    assert_eq!(harness.state(), [0, 0, 1, 0, 1, 0], "the user and the port held");
    assert_eq!(redeem(&mut harness, &second, &answer.token().unwrap()).code(), 0);
    assert_eq!(client.allocate(&mut harness).code(), 0);
    assert_eq!(client.refresh(&mut harness, 0).code(), 0);
    assert_eq!(client.request(&mut harness, Method::ALLOCATE, &[udp(), pair()]).code(), 486);
    assert_eq!(harness.state(), [1; 6], "what was refused holds nothing");
}

#[test]
fn failed_sockets_give_back_both_ports() {
    let mut harness = Harness::new(Config { relay_ports: 50_000..=50_003, ..config() });
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    harness.bind_failures = 1;
    let answer = client.request(&mut harness, Method::ALLOCATE, &[udp(), pair()]);
    let token = answer.token().unwrap();
    assert_eq!(harness.state()[4], 2);
    // The reserved port's socket is another's by now: there is no other port that would do.
    let second = Client::new(&mut harness, "203.0.113.9:2", "alice");
    harness.bind_failures = 1;
    assert_eq!(redeem(&mut harness, &second, &token).code(), 508);
    assert_eq!(harness.state(), [1; 6]);
    client.refresh(&mut harness, 0);
    harness.bind_failures = 8;
    assert_eq!(client.request(&mut harness, Method::ALLOCATE, &[udp(), pair()]).code(), 508);
    assert_eq!(harness.state(), [0; 6]);
}

#[test]
fn no_pair_left() {
    let mut harness = Harness::new(Config { relay_ports: 50_001..=50_002, ..config() });
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let answer = client.request(&mut harness, Method::ALLOCATE, &[udp(), pair()]);
    assert_eq!(answer.code(), 508, "50,002 is even, but 50,003 is not ours");
    let answer = client.request(&mut harness, Method::ALLOCATE, &[udp(), (attr::EVEN_PORT, vec![0])]);
    assert_eq!((answer.relayed().port(), answer.token()), (50_002, None));
    assert_eq!(client.refresh(&mut harness, 0).code(), 0);
    for malformed in [vec![], vec![0, 0]] {
        let attributes = [udp(), (attr::EVEN_PORT, malformed)];
        assert_eq!(client.request(&mut harness, Method::ALLOCATE, &attributes).code(), 400);
    }
}

#[test]
fn ipv6_pairs() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let family = (attr::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
    let answer = client.request(&mut harness, Method::ALLOCATE, &[udp(), family, pair()]);
    let second = Client::new(&mut harness, "203.0.113.9:2", "alice");
    let next = redeem(&mut harness, &second, &answer.token().unwrap()).relayed();
    assert_eq!(next, SocketAddr::new(ip(RELAY_V6), answer.relayed().port() + 1));
}
