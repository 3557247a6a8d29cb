//! Clients that are slow, many, greedy or not TURN at all. Numbers are those of the list of test cases.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use trunkline_stun::{ChannelData, Class, MessageWriter, Method, TransactionId};
use trunkline_turn::{StreamLimits, TurnConfig};

use crate::support::{
    Client, Link, PATIENCE, TestCertificate, Transport, address, config_of_all, eventually, peer,
    receive_from, start,
};

/// Deadlines so short that a test need not wait, and so long that a busy machine keeps them.
fn impatient() -> StreamLimits {
    StreamLimits { message_deadline: Duration::from_secs(2), ..StreamLimits::default() }
}

fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Whether the server has ended the connection, perhaps with a last word.
fn is_ended(mut socket: &TcpStream) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn binding_request() -> Vec<u8> {
    let mut data = Vec::new();
    MessageWriter::new(&mut data, Class::Request, Method::BINDING, &TransactionId([7; 12])).finish();
    data
}

fn answered(socket: &mut TcpStream) -> bool {
    let mut answer = [0; 32];
    socket.write_all(&binding_request()).is_ok() && socket.read_exact(&mut answer).is_ok()
}

/// Case 25 over TCP.
#[test]
fn t25_a_message_of_any_length_needs_an_allocation_and_takes_a_bounded_buffer() {
    let certificate = TestCertificate::new();
    let turn = start(config_of_all("127.0.0.1", &certificate));
    // Without an allocation four bytes are enough to be closed: nothing waits for the rest.
    for header in [[0x40, 0x00, 0xFF, 0xFF], [0x00, 0x03, 0xFF, 0xFC]] {
        let mut socket = connect(address(&turn, Transport::Tcp));
        socket.write_all(&header).unwrap();
        assert!(is_ended(&socket));
    }
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut client = Client::connect(&turn, transport, &certificate, "alice");
        let relayed = client.relayed();
        let peer = peer(relayed.ip());
        let peer_addr = peer.local_addr().unwrap();
        assert_eq!(client.bind(0x4000, peer_addr), 0);
        // What UDP can carry arrives; what it cannot is dropped, and the connection goes on.
        for length in [60_000, 65_535, 65_504, 65_535, 1] {
            let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
            client.send_channel(0x4000, &payload);
            if length < 65_505 {
                assert_eq!(receive_from(&peer), (payload.clone(), relayed));
                peer.send_to(&payload, relayed).unwrap();
                assert_eq!(client.receive_channel(), (0x4000, payload));
            }
        }
    }
}

/// Case 26.
#[test]
fn t26_slow_clients_are_closed_in_time() {
    let limits = StreamLimits::default();
    assert!(limits.message_deadline <= Duration::from_secs(9), "and looked at every second");
    let certificate = TestCertificate::new();
    let turn = start(TurnConfig { stream_limits: impatient(), ..config_of_all("127.0.0.1", &certificate) });
    let (tcp, tls) = (address(&turn, Transport::Tcp), address(&turn, Transport::Tls));
    // Nothing at all; half a header; half a TLS hello; a header and a part of the rest.
    let beginnings: [(SocketAddr, &[u8]); 6] = [
        (tcp, b""),
        (tls, b""),
        (tcp, &[0x00, 0x01]),
        (tls, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]),
        (tcp, &[0x00, 0x01, 0x00, 0x08, 0x21, 0x12]),
        (tcp, &[0x40, 0x00, 0x00, 0x10, 0x00]),
    ];
    let begun = beginnings.map(|(server, beginning)| {
        let mut socket = connect(server);
        socket.write_all(beginning).unwrap();
        (socket, beginning)
    });
    for (socket, beginning) in &begun {
        assert!(is_ended(socket), "{beginning:02x?}");
    }
    // Half a message after a whole one, in drops that do not move the deadline.
    let mut socket = connect(tcp);
    assert!(answered(&mut socket));
    let mut drops = [0x00, 0x01, 0x01, 0x00].into_iter().chain(std::iter::repeat_n(0, 200));
    eventually("dripping is ended", || {
        std::thread::sleep(Duration::from_millis(50));
        socket.write_all(&[drops.next().expect("ended before the message is whole")]).is_err()
    });
}

#[test]
fn whoever_has_no_allocation_is_closed_whatever_it_says() {
    let certificate = TestCertificate::new();
    let stream_limits = StreamLimits { unused: Duration::from_secs(3), ..impatient() };
    let turn = start(TurnConfig { stream_limits, ..config_of_all("127.0.0.1", &certificate) });
    let mut with = Client::connect(&turn, Transport::Tls, &certificate, "alice");
    let relayed = with.relayed();
    let mut without = connect(address(&turn, Transport::Tcp));
    assert!(answered(&mut without));
    eventually("it is ended, although it asks and asks", || !answered(&mut without));
    // The other has been there for longer, and lives.
    assert_eq!(with.refresh(600), 0);
    assert_eq!(with.refresh(0), 0);
    let Link::Tls(stream) = &with.link else { unreachable!() };
    assert!(is_ended(&stream.sock), "the allocation of {relayed} has ended");
}

#[test]
fn what_is_not_turn_is_closed_at_once() {
    let certificate = TestCertificate::new();
    let turn = start(config_of_all("127.0.0.1", &certificate));
    let tcp = address(&turn, Transport::Tcp);
    let tls = address(&turn, Transport::Tls);
    let said: [(SocketAddr, &[u8]); 5] = [
        (tcp, b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n"),
        (tcp, b"SSH-2.0-OpenSSH_9.9\r\n"),
        (tcp, &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]),
        (tcp, &[0xFF; 64]),
        (tls, b"GET / HTTP/1.1\r\nHost: relay.example\r\n\r\n"),
    ];
    for (server, bytes) in said {
        let mut socket = connect(server);
        socket.write_all(bytes).unwrap();
        assert!(is_ended(&socket), "{bytes:02x?}");
    }
}

#[test]
fn messages_may_come_in_pieces_and_in_heaps() {
    let certificate = TestCertificate::new();
    let turn = start(config_of_all("127.0.0.1", &certificate));
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut client = Client::connect(&turn, transport, &certificate, "alice");
        let relayed = client.relayed();
        let peer = peer(relayed.ip());
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), 0);
        let message = |n: u8| {
            let mut data = ChannelData::header(0x4000, 5).to_vec();
            data.extend_from_slice(&[n, 1, 2, 3, 4, 0, 0, 0]);
            data
        };
        let heap: Vec<u8> = (0..40).flat_map(message).collect();
        for size in [1, 3, 7, heap.len()] {
            heap.chunks(size).for_each(|piece| client.link.send(piece));
            for n in 0..40 {
                assert_eq!(receive_from(&peer).0, [n, 1, 2, 3, 4]);
            }
        }
    }
}

/// A connection from a loopback address of one's choice.
fn connect_from(from: &str, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SockAddr::from(SocketAddr::new(from.parse().unwrap(), 0))).unwrap();
    socket.connect(&SockAddr::from(server)).unwrap();
    let socket = TcpStream::from(socket);
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn connections_are_limited_in_all_and_by_source_over_all_shards() {
    let certificate = TestCertificate::new();
    let stream_limits = StreamLimits { connections: 5, connections_per_source: 3, ..StreamLimits::default() };
    let turn = start(TurnConfig { stream_limits, shards: 4, ..config_of_all("127.0.0.1", &certificate) });
    let server = address(&turn, Transport::Tcp);
    let mut first: Vec<_> = (0..3).map(|_| connect_from("127.0.0.1", server)).collect();
    assert!(first.iter_mut().all(answered));
    assert!(is_ended(&connect_from("127.0.0.1", server)), "the source has its share");
    let mut second: Vec<_> = (0..2).map(|_| connect_from("127.0.0.2", server)).collect();
    assert!(second.iter_mut().all(answered));
    assert!(is_ended(&connect_from("127.0.0.3", server)), "all places are taken");
    // UDP is not concerned.
    Client::new(turn.local_addr(), "alice");
    drop(first.pop());
    eventually("a place is free again", || answered(&mut connect_from("127.0.0.3", server)));
}

/// Sends the client of `relayed` far more than all buffers hold.
fn flood(relayed: SocketAddr, peer: &UdpSocket) {
    for _ in 0..40_000 {
        peer.send_to(&[9; 1200], relayed).unwrap();
    }
}

#[test]
fn who_does_not_read_loses_packets_and_nothing_else() {
    let certificate = TestCertificate::new();
    for transport in [Transport::Tcp, Transport::Tls] {
        let turn = start(config_of_all("127.0.0.1", &certificate));
        let mut client = Client::connect(&turn, transport, &certificate, "alice");
        let relayed = client.relayed();
        let peer = peer(relayed.ip());
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), 0);
        flood(relayed, &peer);
        // Another client is served meanwhile.
        Client::connect(&turn, transport, &certificate, "bob").relayed();
        // Everything that was kept is whole; and once there is room again, what is sent arrives.
        let done = AtomicBool::new(false);
        let mut kept = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    peer.send_to(b"again", relayed).unwrap();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            loop {
                let (channel, payload) = client.receive_channel();
                assert_eq!(channel, 0x4000);
                if payload == b"again" {
                    break;
                }
                assert_eq!(payload, [9; 1200]);
                kept += payload.len();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(kept < 16 << 20, "{kept} of 48 MB were kept, in buffers of the kernel for the most part");
    }
}

#[test]
fn who_never_reads_is_closed() {
    let certificate = TestCertificate::new();
    let turn = start(TurnConfig { stream_limits: impatient(), ..config_of_all("127.0.0.1", &certificate) });
    for transport in [Transport::Tcp, Transport::Tls] {
        let mut client = Client::connect(&turn, transport, &certificate, "alice");
        let relayed = client.relayed();
        let peer = peer(relayed.ip());
        assert_eq!(client.bind(0x4000, peer.local_addr().unwrap()), 0);
        flood(relayed, &peer);
        // Its allocation ends with it.
        eventually("the relay's port is free", || UdpSocket::bind(relayed).is_ok());
        while client.link.receive().is_ok() {}
    }
}
