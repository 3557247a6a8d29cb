//! What an operator does while the relay runs, and what shards share.

use std::net::{SocketAddr, UdpSocket};

use trunkline_turn::{Limits, Secret, TurnConfig};

use crate::support::{
    Client, SECRET, TestCertificate, Transport, address, config, config_of_all, eventually, handshake, peer,
    receive_from, start, trusting,
};

#[test]
fn the_protocol_is_stun_turn_or_not_said() {
    let certificate = TestCertificate::new();
    let turn = start(config_of_all("127.0.0.1", &certificate));
    let server = address(&turn, Transport::Tls);
    let negotiated = |protocols: &[&str]| {
        handshake(server, trusting(&certificate, protocols)).map(|stream| {
            stream.conn.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned())
        })
    };
    assert_eq!(negotiated(&["stun.turn"]).unwrap().as_deref(), Some("stun.turn"));
    assert_eq!(negotiated(&["h2", "stun.turn"]).unwrap().as_deref(), Some("stun.turn"));
    assert_eq!(negotiated(&[]).unwrap(), None);
    let refused = negotiated(&["h2", "http/1.1"]).unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn a_new_certificate_is_shown_to_new_connections() {
    let mut certificate = TestCertificate::new();
    let turn = start(config_of_all("127.0.0.1", &certificate));
    let server = address(&turn, Transport::Tls);
    let mut old = Client::connect(&turn, Transport::Tls, &certificate, "alice");
    old.relayed();
    let old_trust = trusting(&certificate, &[]);
    // Files that are no pair change nothing.
    std::fs::write(&certificate.files.certificate, "no certificate").unwrap();
    assert!(turn.reload().is_err());
    assert!(handshake(server, old_trust.clone()).is_ok());
    // Good ones are taken without being told.
    certificate.replace();
    let new_trust = trusting(&certificate, &[]);
    eventually("the new certificate is shown", || handshake(server, new_trust.clone()).is_ok());
    assert!(handshake(server, old_trust).is_err());
    // Or at once, when told.
    certificate.replace();
    turn.reload().unwrap();
    assert!(handshake(server, trusting(&certificate, &[])).is_ok());
    assert_eq!(old.refresh(600), 0, "open connections go on");
    assert!(certificate.dir().exists());
}

#[test]
fn an_allocation_ends_with_its_connection() {
    let certificate = TestCertificate::new();
    let turn = start(config_of_all("127.0.0.1", &certificate));
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut client = Client::connect(&turn, transport, &certificate, "alice");
        let relayed = client.relayed();
        assert!(UdpSocket::bind(relayed).is_err());
        drop(client);
        eventually("the relay's port is free", || UdpSocket::bind(relayed).is_ok());
    }
}

#[test]
fn a_users_quota_holds_over_all_shards_and_transports() {
    let certificate = TestCertificate::new();
    let turn = start(TurnConfig {
        shards: 4,
        limits: Limits { allocations_per_user: 5, ..Limits::default() },
        ..config_of_all("127.0.0.1", &certificate)
    });
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let mut clients: Vec<Client> = transports
        .iter()
        .cycle()
        .take(24)
        .map(|transport| Client::connect(&turn, *transport, &certificate, "alice"))
        .collect();
    let codes: Vec<u16> = clients.iter_mut().map(|client| client.allocate().code()).collect();
    assert_eq!(codes[..5], [0; 5]);
    assert!(codes[5..].iter().all(|code| *code == 486), "{codes:?}");
    assert_eq!(Client::new(turn.local_addr(), "bob").allocate().code(), 0);
    assert_eq!(clients[0].refresh(0), 0);
    assert_eq!(clients[20].allocate().code(), 0);
}

/// Each of four does what only bounds stop, on the thread and the sockets that serve a fifth, too: its packets are behind
/// theirs in the same queues, and all of them arrive, there and back.
#[test]
fn four_misbehave_and_the_fifth_loses_nothing() {
    let limits = Limits {
        allocations_per_user: 4,
        allocation_packets_per_second: 100,
        // All five share an address here.
        challenges_per_second: 100_000,
        ..Limits::default()
    };
    let turn = start(TurnConfig { shards: 1, limits, ..config("127.0.0.1:0") });
    let server = turn.local_addr();
    let [mut modest, mut flooder, mut scanner, mut prober] =
        ["modest", "flooder", "scanner", "prober"].map(|user| Client::new(server, user));
    let relayed = modest.relayed();
    let (target, its_peer) = (peer(relayed.ip()), peer(relayed.ip()));
    assert_eq!(modest.bind(0x4000, its_peer.local_addr().unwrap()), 0);
    for client in [&mut flooder, &mut scanner, &mut prober] {
        client.relayed();
    }
    assert_eq!(flooder.bind(0x4000, target.local_addr().unwrap()), 0);
    let (mut refused, mut hoarded) = (0, Vec::new());
    for round in 0..90_u32 {
        (0..40).for_each(|_| flooder.send_channel(0x4000, &[1; 100]));
        (0..40).for_each(|_| prober.send(target.local_addr().unwrap(), b"no permission"));
        modest.send_channel(0x4000, &round.to_be_bytes());
        refused += u32::from(scanner.permit(SocketAddr::from(([127, 1, 0, round as u8], 9))) == 508);
        let mut another = Client::new(server, "hoarder");
        if another.allocate().code() == 0 {
            hoarded.push(another);
        }
        assert_eq!(receive_from(&its_peer), (round.to_be_bytes().to_vec(), relayed));
        its_peer.send_to(&round.to_be_bytes(), relayed).unwrap();
        assert_eq!(modest.receive_channel(), (0x4000, round.to_be_bytes().to_vec()));
    }
    assert!(refused > 0, "nobody stopped the scanner");
    assert_eq!(hoarded.len(), 4);
    target.set_nonblocking(true).unwrap();
    let flooded = std::iter::from_fn(|| target.recv(&mut [0; 200]).ok()).count();
    assert!((1..90 * 40).contains(&flooded), "{flooded} of {} got through", 90 * 40);
}

/// With four shards and twelve clients, some of them meet across shards.
#[test]
fn clients_of_any_shards_and_transports_meet() {
    let certificate = TestCertificate::new();
    let config = TurnConfig { shards: 4, ..config_of_all("127.0.0.1", &certificate) };
    let ports = config.relay_ports.clone();
    let turn = start(config);
    let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
    let mut clients: Vec<(Client, SocketAddr)> = (0..12)
        .map(|n| {
            let user = format!("user-{n}");
            let mut client = Client::connect(&turn, transports[n % 3], &certificate, &user);
            let relayed = client.relayed();
            (client, relayed)
        })
        .collect();
    assert!(clients.iter().all(|(_, relayed)| ports.contains(&relayed.port())));
    let relayed: Vec<SocketAddr> = clients.iter().map(|(_, relayed)| *relayed).collect();
    for (n, (client, _)) in clients.iter_mut().enumerate() {
        for (channel, peer) in (0x4000..).zip(&relayed).filter(|(_, peer)| **peer != relayed[n]) {
            assert_eq!(client.bind(channel, *peer), 0);
        }
    }
    for from in 0..12_u16 {
        for to in (0..12_u16).filter(|to| *to != from) {
            let text = format!("{from} to {to}");
            clients[usize::from(from)].0.send_channel(0x4000 + to, text.as_bytes());
            assert_eq!(clients[usize::from(to)].0.receive_channel(), (0x4000 + from, text.into_bytes()));
        }
    }
}

#[test]
fn secrets_are_replaced_in_every_shard() {
    let mut turn = start(TurnConfig { shards: 4, ..config("127.0.0.1:0") });
    let mut alice = Client::new(turn.local_addr(), "alice");
    alice.relayed();
    turn.set_secrets(vec![Secret::new("south"), Secret::new(SECRET)]).unwrap();
    for _ in 0..16 {
        assert_eq!(Client::new(turn.local_addr(), "bob").allocate().code(), 0);
    }
    turn.set_secrets(vec![Secret::new("south")]).unwrap();
    // Sixteen clients land on all four shards, as good as surely; each shard takes the command between two requests.
    eventually("nobody gets in with the old secret", || {
        (0..16).all(|n| Client::new(turn.local_addr(), &format!("carol-{n}")).allocate().code() == 401)
    });
    assert!(turn.set_secrets(vec![]).is_err());
}

/// RFC 8489 §14.15.
const ALTERNATE_SERVER: u16 = 0x8023;

#[test]
fn draining_sends_newcomers_elsewhere() {
    let certificate = TestCertificate::new();
    let mut turn = start(config_of_all("127.0.0.1", &certificate));
    let mut old = Client::connect(&turn, Transport::Tcp, &certificate, "alice");
    let relayed = old.relayed();
    let elsewhere: SocketAddr = "192.0.2.7:3478".parse().unwrap();
    turn.set_draining(Some(vec![elsewhere]));
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        eventually("newcomers are told", || {
            let response = Client::connect(&turn, transport, &certificate, "bob").allocate();
            let told = response.message().attribute(ALTERNATE_SERVER).map(<[u8]>::to_vec);
            response.code() == 300 && told.as_deref() == Some(&[0, 1, 0x0D, 0x96, 192, 0, 2, 7])
        });
    }
    // Who is there stays.
    assert_eq!(old.refresh(600), 0);
    let peer = peer(relayed.ip());
    assert_eq!(old.bind(0x4000, peer.local_addr().unwrap()), 0);
    old.send_channel(0x4000, b"still here");
    assert_eq!(receive_from(&peer).0, b"still here");
    turn.set_draining(None);
    eventually("and it can be ended", || Client::new(turn.local_addr(), "bob").allocate().code() == 0);
}
