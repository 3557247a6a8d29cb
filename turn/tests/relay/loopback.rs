//! Our own client.

use std::net::{SocketAddr, TcpStream, UdpSocket};

use trunkline_stun::{ChannelData, Message, attr};
use trunkline_turn::{RelayAddress, StartError, Turn, TurnConfig};

use crate::support::{Client, TestCertificate, Transport, config, config_of_all, peer, receive_from, start};

fn everything(ip: &str, transport: Transport) {
    let certificate = TestCertificate::new();
    let config = config_of_all(ip, &certificate);
    let ports = config.relay_ports.clone();
    let turn = start(config);
    let mut client = Client::connect(&turn, transport, &certificate, "alice");
    let relayed = client.relayed();
    assert_eq!(relayed.ip(), turn.local_addr().ip());
    assert!(ports.contains(&relayed.port()));
    let peer = peer(relayed.ip());
    let peer_addr = peer.local_addr().unwrap();

    assert_eq!(client.permit(peer_addr), 0);
    client.send(peer_addr, b"to the peer");
    assert_eq!(receive_from(&peer), (b"to the peer".to_vec(), relayed));
    peer.send_to(b"to the client", relayed).unwrap();
    let data = client.receive();
    let message = Message::parse(&data).unwrap();
    assert_eq!(message.attribute(attr::DATA), Some(&b"to the client"[..]));
    assert_eq!(message.xor_address(attr::XOR_PEER_ADDRESS), Some(peer_addr));

    assert_eq!(client.bind(0x4001, peer_addr), 0);
    // Of every length modulo four: streams are padded (RFC 8656 §12.5).
    for payload in [&b"by channel"[..], b"odd", b"four", b"", b"and one"] {
        client.send_channel(0x4001, payload);
        assert_eq!(receive_from(&peer), (payload.to_vec(), relayed));
        if !payload.is_empty() {
            peer.send_to(payload, relayed).unwrap();
            assert_eq!(client.receive_channel(), (0x4001, payload.to_vec()));
        }
    }

    assert_eq!(client.refresh(0), 0);
    UdpSocket::bind(relayed).expect("the relay's port is free as soon as the client is told");
    let (listened, tcp) = (turn.local_addr(), turn.tcp_addrs()[0]);
    let health = turn.health();
    assert!(turn.is_healthy() && health.is_healthy());
    turn.shutdown();
    UdpSocket::bind(listened).expect("so is the listening port after the shutdown");
    assert!(TcpStream::connect(tcp).is_err());
    assert!(!health.is_healthy());
}

#[test]
fn udp_over_ipv4() {
    everything("127.0.0.1", Transport::Udp);
}

#[test]
fn udp_over_ipv6() {
    everything("::1", Transport::Udp);
}

#[test]
fn tcp_over_ipv4() {
    everything("127.0.0.1", Transport::Tcp);
}

#[test]
fn tcp_over_ipv6() {
    everything("::1", Transport::Tcp);
}

#[test]
fn tls_over_ipv4() {
    everything("127.0.0.1", Transport::Tls);
}

#[test]
fn tls_over_ipv6() {
    everything("::1", Transport::Tls);
}

#[test]
fn bursts_both_ways_lose_nothing() {
    let turn = start(config("127.0.0.1:0"));
    let mut client = Client::new(turn.local_addr(), "alice");
    let relayed = client.relayed();
    let peer = peer(relayed.ip());
    assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), 0);
    // Sixty-four in flight: within what a socket with the system's default buffer holds.
    for round in 0..100_u32 {
        let payload = |i: u32| {
            let mut payload = vec![i as u8; 1000 - (i as usize % 7) * usize::from(round % 2 == 0)];
            payload[..4].copy_from_slice(&(round * 64 + i).to_be_bytes());
            payload
        };
        (0..64).for_each(|i| client.send_channel(0x4000, &payload(i)));
        for i in 0..64 {
            assert_eq!(receive_from(&peer), (payload(i), relayed));
        }
        for i in 0..64 {
            peer.send_to(&payload(i), relayed).unwrap();
        }
        for i in 0..64 {
            let data = client.receive();
            assert_eq!(ChannelData::parse(&data).unwrap().payload, payload(i));
        }
    }
}

#[test]
fn two_clients_meet_through_their_relays() {
    let turn = start(config("127.0.0.1:0"));
    let mut a = Client::new(turn.local_addr(), "alice");
    let mut b = Client::new(turn.local_addr(), "bob");
    let (relayed_a, relayed_b) = (a.relayed(), b.relayed());
    assert_eq!(a.bind(0x4000, relayed_b), 0);
    assert_eq!(b.bind(0x4abc, relayed_a), 0);
    a.send_channel(0x4000, b"hello");
    assert_eq!(ChannelData::parse(&b.receive()), Some(ChannelData { channel: 0x4abc, payload: b"hello" }));
}

#[test]
fn a_wildcard_listener_answers_from_the_address_that_was_asked() {
    let ip = "127.0.0.1".parse().unwrap();
    let relays = vec![RelayAddress { bind: ip, advertised: ip }];
    let turn = start(TurnConfig { relays, ..config("0.0.0.0:0") });
    let port = turn.local_addr().port();
    // The client's socket is connected, so that an answer from any other address never arrives.
    for address in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let server = SocketAddr::new(address.parse().unwrap(), port);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut client = Client::with_socket(socket, server, "alice");
        client.relayed();
        assert_eq!(client.refresh(600), 0);
    }
}

#[test]
fn denied_peers_and_a_new_policy() {
    let mut turn =
        start(TurnConfig { allow_peers: vec!["127.0.0.2".parse().unwrap()], ..config("127.0.0.1:0") });
    let mut client = Client::new(turn.local_addr(), "alice");
    client.relayed();
    let (listed, own) = ("127.0.0.2:9".parse().unwrap(), turn.local_addr());
    assert_eq!([client.permit(listed), client.permit(own)], [0, 403]);
    turn.set_peers(vec![], vec![], vec![]).unwrap();
    // The thread takes the command between two requests.
    let mut tries = 0;
    while client.permit(listed) != 403 {
        tries += 1;
        assert!(tries < 10_000, "the new policy is never obeyed");
    }
}

#[test]
fn busy_relay_ports_are_passed_over() {
    // Four ports, three of them another's: found by trying.
    let config = config("127.0.0.1:0");
    let bind_four = |first: u16| -> std::io::Result<Vec<UdpSocket>> {
        (first..first + 4).map(|port| UdpSocket::bind(("127.0.0.1", port))).collect()
    };
    let (first, mut taken) = (config.relay_ports.clone().step_by(4))
        .find_map(|first| Some((first, bind_four(first).ok()?)))
        .expect("four ports in a row that nobody has");
    drop(taken.pop());
    let turn = start(TurnConfig { relay_ports: first..=first + 3, shards: 1, ..config });
    let mut codes = Vec::new();
    for _ in 0..4 {
        let mut client = Client::new(turn.local_addr(), "alice");
        codes.push(client.allocate().code());
    }
    // Eight random tries a request miss a free one of four with a chance of one in ten; then the next finds it.
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 508].contains(code)), "{codes:?}");
}

#[test]
fn what_cannot_be_served_does_not_start() {
    let refused = |config: TurnConfig| Turn::start(config).unwrap_err();
    assert!(matches!(refused(TurnConfig { listen: vec![], ..config("127.0.0.1:0") }), StartError::Config(_)));
    assert!(matches!(refused(config("0.0.0.0:0")), StartError::Config(_)), "nothing to advertise");
    assert!(matches!(
        refused(TurnConfig { secrets: vec![], ..config("127.0.0.1:0") }),
        StartError::Config(_)
    ));
    let listen_tls = vec!["127.0.0.1:0".parse().unwrap()];
    assert!(matches!(refused(TurnConfig { listen_tls, ..config("127.0.0.1:0") }), StartError::NoCertificate));
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    assert!(matches!(refused(config(&addr.to_string())), StartError::Listen { addr: a, .. } if a == addr));
}
