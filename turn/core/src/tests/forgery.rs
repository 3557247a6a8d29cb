//! Server-side request forgery: a denied peer through CreatePermission, ChannelBind and Send.

use super::*;
use crate::{DropReason, IpRange, PeerPolicy};

/// Every way to a peer is refused: 403, 403, and no packet. Packets are tried with a channel and a permission from
/// before, when the policy let the peer through: without them, they would be dropped whatever the policy says.
fn assert_denied(config: Config, peers: &[&str]) {
    let mut harness = Harness::new(config);
    let policy = harness.server.policy.policy.clone();
    let open = PeerPolicy::new(&ranges(&["0.0.0.0/0", "::/0"]), &[], &[]);
    let clients = [AddressFamily::V4, AddressFamily::V6].map(|family| {
        let port = if family == AddressFamily::V4 { 1 } else { 2 };
        let client = Client::new(&mut harness, &format!("203.0.113.9:{port}"), "alice");
        let answer = match family {
            AddressFamily::V4 => client.allocate(&mut harness),
            AddressFamily::V6 => client.allocate_v6(&mut harness),
        };
        assert_eq!(answer.code(), 0);
        (client, answer.relayed())
    });
    for (channel, text) in (0x4000..).zip(peers) {
        let peer = SocketAddr::new(ip(text), 80);
        let (client, relayed) = if peer.is_ipv4() { &clients[0] } else { &clients[1] };
        assert_eq!(client.permit(&mut harness, &[peer]).code(), 403, "CreatePermission {text}");
        assert_eq!(client.bind(&mut harness, channel, peer).code(), 403, "ChannelBind {text}");
        harness.server.set_policy(open.clone());
        // Some are refused whatever is allowed, so that no permission for them can be there from before.
        let (code, denied) = if open.permits(peer.ip()) { (0, 3) } else { (403, 0) };
        assert_eq!(client.bind(&mut harness, channel, peer).code(), code, "ChannelBind {text}, all allowed");
        harness.server.set_policy(policy.clone());
        let before = harness.drops(DropReason::PeerDenied);
        assert_eq!(client.send(&mut harness, peer, b"GET / HTTP/1.0"), None, "Send {text}");
        assert_eq!(
            client.channel(&mut harness, channel, peer, b"GET / HTTP/1.0"),
            None,
            "ChannelData {text}"
        );
        assert_eq!(from_peer(&mut harness, *relayed, peer, b"back"), None, "from {text}");
        assert_eq!(harness.drops(DropReason::PeerDenied) - before, denied, "{text}");
    }
    assert_eq!(harness.server.stats().to_peers_packets, 0);
    assert_eq!(harness.server.stats().to_clients_packets, 0);
}

fn assert_permitted(config: Config, peers: &[&str]) {
    let mut harness = Harness::new(config);
    for (port, text) in peers.iter().enumerate() {
        let peer = SocketAddr::new(ip(text), 80);
        let client = Client::new(&mut harness, &format!("203.0.113.9:{}", port + 1), "alice");
        let answer =
            if peer.is_ipv4() { client.allocate(&mut harness) } else { client.allocate_v6(&mut harness) };
        assert_eq!(answer.code(), 0);
        assert_eq!(client.permit(&mut harness, &[peer]).code(), 0, "{text}");
        assert_eq!(client.bind(&mut harness, 0x4000, peer).code(), 0, "{text}");
        assert_eq!(client.send(&mut harness, peer, b"x"), Some(b"x".to_vec()), "{text}");
    }
}

fn ranges(texts: &[&str]) -> Vec<IpRange> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn ordinary_peers_are_permitted() {
    assert_permitted(config(), &["203.0.113.1", "8.8.8.8", "2001:db8::1", "2a00::1"]);
}

#[test]
fn case_01_loopback_and_unspecified() {
    assert_denied(config(), &["127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::1", "::"]);
}

#[test]
fn case_02_mapped_loopback_and_unspecified() {
    assert_denied(
        config(),
        &["::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8"],
    );
    // Not even when the operator allows the plain form.
    let allow_peers = ranges(&["127.0.0.0/8", "::/0", "0.0.0.0/0"]);
    assert_denied(Config { allow_peers, ..config() }, &["::ffff:127.0.0.1", "0.0.0.0", "::"]);
}

#[test]
fn case_03_translated_loopback() {
    let denied = ["64:ff9b::7f00:1", "2002:7f00:1::", "2001::1", "2001:0:7f00:1::", "64:ff9b:1::7f00:1"];
    assert_denied(config(), &denied);
    // Allowing a translation prefix does not open the private IPv4 addresses behind it.
    let allow_peers = ranges(&["64:ff9b::/96", "2002::/16", "2001::/32"]);
    let open = Config { allow_peers, ..config() };
    // The last: a Teredo client's address is stored inverted.
    assert_denied(open.clone(), &["64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:808:808:0:0:80ff:fffe"]);
    assert_permitted(open, &["64:ff9b::808:808", "2002:808:808::1"]);
}

#[test]
fn case_04_private_link_local_multicast_reserved() {
    assert_denied(
        config(),
        &[
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "192.168.255.255",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "fc00::1",
            "fdff:ffff::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
        ],
    );
    assert_permitted(config(), &["172.32.0.1", "172.15.255.255", "100.128.0.1", "11.0.0.1", "192.167.1.1"]);
}

#[test]
fn case_05_own_addresses_unless_listed() {
    let own = vec![ip("203.0.113.200"), ip("2001:db8::beef")];
    let config = Config { own_addresses: own, ..config() };
    let addresses = [RELAY_V4, RELAY_V6, "203.0.113.200", "2001:db8::beef"];
    assert_denied(config.clone(), &addresses);
    let listed = Config { allow_peers: ranges(&addresses), ..config };
    assert_permitted(listed, &addresses);
}

#[test]
fn case_06_range_not_aligned_to_a_prefix() {
    let deny_peers = ranges(&["2001:db8::5-2001:db8::1:7"]);
    let config = Config { deny_peers, ..config() };
    assert_denied(
        config.clone(),
        &["2001:db8::5", "2001:db8::6", "2001:db8::ffff", "2001:db8::1:0", "2001:db8::1:7"],
    );
    assert_permitted(config, &["2001:db8::4", "2001:db8::1:8"]);
}

#[test]
fn case_07_malformed_ranges_are_refused() {
    for text in [
        "",
        "10.0.0.0/33",
        "10.0.0/8",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "fc00::/129",
        "10.0.0.9-10.0.0.1",
        "10.0.0.1-::1",
        "10.0.0.1-",
        "localhost",
        "10.0.0.0/8 ",
        "0x7f.0.0.1",
    ] {
        // A stray space is forgiven; nothing else is.
        assert_eq!(text.parse::<IpRange>().is_err(), text != "10.0.0.0/8 ", "{text:?}");
    }
    assert_eq!("10.9.9.9/8".parse::<IpRange>(), "10.0.0.0-10.255.255.255".parse());
}

#[test]
fn case_08_one_denied_peer_refuses_all() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    client.allocate(&mut harness);
    let (good, denied) = (addr("203.0.113.50:9"), addr("10.0.0.1:9"));
    for peers in [[good, denied], [denied, good]] {
        assert_eq!(client.permit(&mut harness, &peers).code(), 403);
        assert_eq!(client.send(&mut harness, good, b"x"), None);
    }
}

#[test]
fn case_09_a_new_policy_holds_from_the_next_packet() {
    let mut harness = Harness::new(config());
    let client = Client::new(&mut harness, "203.0.113.9:1", "alice");
    let relayed = client.allocate(&mut harness).relayed();
    let peer = addr("203.0.113.50:9");
    assert_eq!(client.bind(&mut harness, 0x4000, peer).code(), 0);
    let all = |harness: &mut Harness| {
        [
            client.channel(harness, 0x4000, peer, b"x").is_some(),
            client.send(harness, peer, b"x").is_some(),
            from_peer(harness, relayed, peer, b"x").is_some(),
        ]
    };
    assert_eq!(all(&mut harness), [true; 3]);
    harness.server.set_policy(PeerPolicy::new(&[], &ranges(&["203.0.113.0/24"]), &[]));
    assert_eq!(all(&mut harness), [false; 3]);
    assert_eq!(harness.drops(DropReason::PeerDenied), 3);
    harness.server.set_policy(PeerPolicy::default());
    assert_eq!(all(&mut harness), [true; 3]);
}

#[test]
fn deny_wins_over_allow() {
    let config =
        Config { allow_peers: ranges(&["10.0.0.0/8"]), deny_peers: ranges(&["10.1.2.3"]), ..config() };
    assert_denied(config.clone(), &["10.1.2.3"]);
    assert_permitted(config, &["10.1.2.4"]);
}
