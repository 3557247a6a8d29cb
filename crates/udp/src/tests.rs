//! On loopback, with real sockets. Whether something has arrived is waited for by `poll`, never by sleeping.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;

use proptest::prelude::*;

use crate::send::{Messages, Sender};
use crate::{RecvBatch, Transmit, UdpConfig, UdpSocket, UdpStats};

fn bind(addr: &str) -> UdpSocket {
    UdpSocket::bind(addr.parse().unwrap(), &UdpConfig::default()).unwrap()
}

fn single<'a>(dst: SocketAddr, bytes: &'a [u8]) -> Transmit<'a> {
    Transmit { dst, bytes, segment_size: None, src_ip: None }
}

/// Until the socket is readable; false after two seconds.
fn readable(socket: &UdpSocket) -> bool {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the pointer is to one pollfd that outlives the call.
    unsafe { libc::poll(&raw mut poll, 1, 2_000) == 1 }
}

/// `count` datagrams, in order, as (payload, source, local address).
fn receive(socket: &mut UdpSocket, count: usize) -> Vec<(Vec<u8>, SocketAddr, Option<IpAddr>)> {
    let mut batch = RecvBatch::new();
    let mut received = Vec::new();
    while received.len() < count {
        assert!(readable(socket), "{} of {count} datagrams arrived", received.len());
        let len = socket.recv_batch(&mut batch).unwrap();
        let before = received.len();
        received.extend(batch.datagrams().map(|d| (d.bytes.to_vec(), d.source, d.local_ip)));
        assert_eq!(received.len() - before, len);
    }
    assert_eq!(received.len(), count);
    received
}

fn payload(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[test]
fn single_datagrams_keep_content_order_and_addresses() {
    let (mut a, mut b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let sent: Vec<Vec<u8>> = (0..150).map(|seed| payload(1 + 9 * seed, seed as u8)).collect();
    let dst = b.local_addr();
    assert_eq!(a.send_batch(sent.iter().map(|bytes| single(dst, bytes))).unwrap(), 150);
    for (sent, (bytes, source, local_ip)) in sent.iter().zip(receive(&mut b, 150)) {
        assert_eq!(*sent, bytes);
        assert_eq!(source, a.local_addr());
        assert_eq!(local_ip, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    assert_eq!((a.stats().sent, a.stats().sent_messages, b.stats().received), (150, 150, 150));
    let mut batch = RecvBatch::new();
    assert_eq!(b.recv_batch(&mut batch).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert_eq!(batch.datagrams().count(), 0);
}

#[test]
fn a_run_of_six_and_a_shorter_last_is_one_message() {
    for (from, to) in [("127.0.0.1:0", "127.0.0.1:0"), ("[::1]:0", "[::1]:0")] {
        let (mut a, mut b) = (bind(from), bind(to));
        let bytes = payload(6 * 1_200 + 345, 3);
        let run = Transmit { segment_size: Some(1_200), ..single(b.local_addr(), &bytes) };
        assert_eq!(a.send_batch([run, single(b.local_addr(), &[9])]).unwrap(), 8);
        assert_eq!(a.stats().sent_messages, 2);
        assert!(a.gso());
        let received = receive(&mut b, 8);
        let lengths: Vec<usize> = received.iter().map(|(bytes, ..)| bytes.len()).collect();
        assert_eq!(lengths, [1_200, 1_200, 1_200, 1_200, 1_200, 1_200, 345, 1]);
        let joined: Vec<u8> = received.iter().take(7).flat_map(|(bytes, ..)| bytes.clone()).collect();
        assert_eq!(joined, bytes);
        assert!(received.iter().all(|(_, source, _)| *source == a.local_addr()));
    }
}

#[test]
fn runs_to_many_destinations_arrive_whole() {
    let mut a = bind("127.0.0.1:0");
    let mut sockets: Vec<UdpSocket> = (0..70).map(|_| bind("127.0.0.1:0")).collect();
    let runs: Vec<Vec<u8>> = (0..70).map(|seed| payload(1_000 * (1 + seed % 7) + 10, seed as u8)).collect();
    let transmits = sockets
        .iter()
        .zip(&runs)
        .map(|(socket, bytes)| Transmit { segment_size: Some(1_000), ..single(socket.local_addr(), bytes) });
    let sent = a.send_batch(transmits.collect::<Vec<_>>()).unwrap();
    assert_eq!(sent, runs.iter().map(|run| run.len().div_ceil(1_000)).sum::<usize>());
    for (socket, run) in sockets.iter_mut().zip(&runs) {
        let received = receive(socket, run.len().div_ceil(1_000));
        assert_eq!(received.into_iter().flat_map(|(bytes, ..)| bytes).collect::<Vec<_>>(), *run);
    }
}

/// More datagrams, and more octets, than the kernel takes in a run.
#[test]
fn long_runs_are_split() {
    for (segment, count, messages) in [(100u16, 200usize, 4), (1_400, 100, 3)] {
        let (mut a, mut b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
        let bytes = payload(usize::from(segment) * count - 1, 1);
        let run = Transmit { segment_size: Some(segment), ..single(b.local_addr(), &bytes) };
        assert_eq!(a.send_batch([run]).unwrap(), count);
        assert_eq!(a.stats().sent_messages, messages);
        let received = receive(&mut b, count);
        assert_eq!(received.into_iter().flat_map(|(bytes, ..)| bytes).collect::<Vec<_>>(), bytes);
    }
}

#[test]
fn without_offload_the_same_arrives() {
    let (mut a, mut b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    a.disable_gso();
    let bytes = payload(70 * 500 + 1, 5);
    let run = Transmit { segment_size: Some(500), ..single(b.local_addr(), &bytes) };
    assert_eq!(a.send_batch([run]).unwrap(), 71);
    assert_eq!(a.stats().sent_messages, 71);
    let received = receive(&mut b, 71);
    assert_eq!(received.into_iter().flat_map(|(bytes, ..)| bytes).collect::<Vec<_>>(), bytes);
}

/// A run whose datagrams no interface takes is dropped and does not cost the others their offload.
#[test]
fn what_is_too_big_is_dropped_and_counted() {
    let (mut a, mut b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let big = payload(65_508, 1);
    let after = payload(2_400, 2);
    let dst = b.local_addr();
    let transmits = [
        single(dst, &big),
        Transmit { segment_size: Some(u16::MAX), ..single(dst, &big) },
        Transmit { segment_size: Some(1_200), ..single(dst, &after) },
    ];
    assert_eq!(a.send_batch(transmits).unwrap(), 2);
    assert_eq!(a.stats().dropped_too_big, 2);
    assert!(a.gso());
    assert_eq!(receive(&mut b, 2).into_iter().flat_map(|(bytes, ..)| bytes).collect::<Vec<_>>(), after);
}

#[test]
fn a_bad_destination_does_not_hold_up_the_others() {
    let (mut a, mut b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    // IPv6 on a socket of IPv4, and port zero, are refused at once.
    let nowhere = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
    let port_zero = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let run = payload(3_000, 1);
    let transmits = [
        single(nowhere, b"x"),
        single(b.local_addr(), b"first"),
        single(port_zero, b"y"),
        Transmit { segment_size: Some(1_000), ..single(port_zero, &run) },
        single(b.local_addr(), b"second"),
    ];
    assert_eq!(a.send_batch(transmits).unwrap(), 2);
    assert_eq!(a.stats().dropped_error, 5);
    assert!(a.gso(), "the destination's fault is not the interface's");
    let received: Vec<_> = receive(&mut b, 2).into_iter().map(|(bytes, ..)| bytes).collect();
    assert_eq!(received, [b"first".to_vec(), b"second".to_vec()]);
}

/// A kernel that gives the scripted answers, then takes everything; with what it took, as lengths.
fn scripted(
    script: &[Result<usize, i32>],
    sender: &mut Sender,
    transmits: &[Transmit<'_>],
) -> (usize, Vec<usize>) {
    let mut script = script.iter();
    let mut taken = Vec::new();
    let sent = sender.send(transmits.iter().copied(), |batch: &Messages<'_>| {
        assert!(!batch.is_empty() && batch.len() <= 64);
        let len = match script.next() {
            Some(Err(errno)) => return Err(io::Error::from_raw_os_error(*errno)),
            Some(Ok(len)) => *len,
            None => batch.len(),
        };
        taken.extend(batch[..len].iter().flatten().map(|transmit| transmit.bytes.len()));
        Ok(len)
    });
    (sent.unwrap(), taken)
}

fn sender() -> Sender {
    Sender { gso: true, stats: UdpStats::default() }
}

#[test]
fn partial_sends_go_on_where_they_stopped() {
    let dst = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let bytes = payload(200, 1);
    let transmits: Vec<_> = (1..=100).map(|len| single(dst, &bytes[..len])).collect();
    let script = [Ok(10), Err(libc::EINTR), Ok(1), Ok(53), Err(libc::EHOSTUNREACH), Ok(5)];
    let mut sender = sender();
    let (sent, taken) = scripted(&script, &mut sender, &transmits);
    assert_eq!((sent, sender.stats.dropped_error), (99, 1));
    assert_eq!(taken, (1..=64).chain(66..=100).collect::<Vec<_>>());
}

#[test]
fn a_full_send_buffer_drops_the_rest_of_the_call() {
    let dst = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let bytes = payload(1_000, 1);
    let run = Transmit { segment_size: Some(100), ..single(dst, &bytes) };
    let transmits: Vec<_> = (0..100).map(|_| run).collect();
    let mut sender = sender();
    let (sent, taken) = scripted(&[Ok(7), Err(libc::EAGAIN)], &mut sender, &transmits);
    assert_eq!((sent, taken.len()), (70, 7));
    assert_eq!(sender.stats.dropped_would_block, 930);
    assert_eq!(scripted(&[], &mut sender, &transmits).0, 1_000, "the next call tries again");
}

#[test]
fn an_interface_without_offload_is_remembered() {
    let dst = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let bytes = payload(950, 1);
    let run = Transmit { segment_size: Some(100), ..single(dst, &bytes) };
    for errno in [libc::EINVAL, libc::EIO] {
        let mut sender = sender();
        let (sent, taken) = scripted(&[Err(errno)], &mut sender, &[run, single(dst, &bytes)]);
        assert_eq!((sent, sender.gso), (11, false));
        assert_eq!(taken, [100, 100, 100, 100, 100, 100, 100, 100, 100, 50, 950]);
        let (sent, taken) = scripted(&[], &mut sender, &[run]);
        assert_eq!((sent, taken.len()), (10, 10));

        // Datagrams that do not go singly either say nothing about runs.
        let mut sender = self::sender();
        let script = [Err(errno), Err(libc::EMSGSIZE), Err(libc::EMSGSIZE)];
        let (sent, _) = scripted(&script, &mut sender, &[run]);
        assert_eq!((sent, sender.gso, sender.stats.dropped_too_big), (8, true, 2));
    }
}

#[test]
fn a_condemned_socket_is_an_error() {
    let transmits = [single(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)), b"x")];
    let result = sender().send(transmits, |_| Err(io::Error::from_raw_os_error(libc::EBADF)));
    assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EBADF));
}

#[test]
fn a_wildcard_socket_answers_from_the_address_it_was_reached_at() {
    for wildcard in ["0.0.0.0:0", "[::]:0"] {
        let mut server = bind(wildcard);
        let port = server.local_addr().port();
        for ip in ["127.0.0.1", "127.0.0.2", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            if ip.is_ipv6() && !server.local_addr().is_ipv6() {
                continue;
            }
            let mut client = bind(if ip.is_ipv6() { "[::1]:0" } else { "127.0.0.1:0" });
            client.send_batch([single(SocketAddr::new(ip, port), b"to")]).unwrap();
            let (bytes, source, local_ip) = receive(&mut server, 1).remove(0);
            assert_eq!((bytes.as_slice(), source, local_ip), (&b"to"[..], client.local_addr(), Some(ip)));
            let run = payload(2_500, 1);
            let answer = Transmit { dst: source, bytes: &run, segment_size: Some(1_000), src_ip: local_ip };
            assert_eq!(server.send_batch([answer]).unwrap(), 3);
            for (_, source, _) in receive(&mut client, 3) {
                assert_eq!(source, SocketAddr::new(ip, port), "{wildcard}");
            }
        }
    }
}

#[test]
fn sockets_share_a_port_and_flows_stay_with_one() {
    let mut first = bind("127.0.0.1:0");
    let mut second = bind(&first.local_addr().to_string());
    let mut clients: Vec<UdpSocket> = (0..64).map(|_| bind("127.0.0.1:0")).collect();
    for client in &mut clients {
        for _ in 0..3 {
            client.send_batch([single(first.local_addr(), b"flow")]).unwrap();
        }
    }
    let mut seen: BTreeMap<SocketAddr, [u32; 2]> = BTreeMap::new();
    let mut batch = RecvBatch::new();
    for (at, socket) in [&mut first, &mut second].into_iter().enumerate() {
        assert!(readable(socket), "64 flows reach both sockets");
        while socket.recv_batch(&mut batch).is_ok() {
            for datagram in batch.datagrams() {
                seen.entry(datagram.source).or_default()[at] += 1;
            }
        }
    }
    assert_eq!(seen.len(), 64);
    assert!(seen.values().all(|counts| *counts == [3, 0] || *counts == [0, 3]), "{seen:?}");
}

#[test]
fn a_port_that_was_taken_alone_can_be_shared_later() {
    let alone = UdpConfig { reuse_port: false, ..UdpConfig::default() };
    let first = UdpSocket::bind("127.0.0.1:0".parse().unwrap(), &alone).unwrap();
    let addr = first.local_addr();
    assert_eq!(UdpSocket::bind(addr, &UdpConfig::default()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    first.share_port().unwrap();
    assert_eq!(UdpSocket::bind(addr, &UdpConfig::default()).unwrap().local_addr(), addr);
    assert_eq!(UdpSocket::bind(addr, &alone).unwrap_err().kind(), io::ErrorKind::AddrInUse);
}

#[test]
fn a_batch_with_room_left_has_emptied_the_socket() {
    let (mut a, mut b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let dst = b.local_addr();
    let mut batch = RecvBatch::new();
    for (count, emptied) in [(1, true), (31, true), (32, false)] {
        // Of falling length, so that none of them are received as one.
        let sent: Vec<Vec<u8>> = (0..count).map(|at| payload(100 - at, 0)).collect();
        a.send_batch(sent.iter().map(|bytes| single(dst, bytes))).unwrap();
        assert!(readable(&b));
        assert_eq!(b.recv_batch(&mut batch).unwrap(), count);
        assert_eq!(batch.emptied_socket(), emptied, "{count}");
    }
    assert!(b.recv_batch(&mut batch).is_err());
}

#[test]
fn empty_datagrams_are_not_seen() {
    let (mut a, mut b) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    assert_eq!(a.send_batch([single(b.local_addr(), b""), single(b.local_addr(), b"x")]).unwrap(), 2);
    assert_eq!(receive(&mut b, 1)[0].0, b"x");
}

#[test]
fn buffers_are_as_large_as_the_system_allows() {
    let (recv, send) = bind("127.0.0.1:0").buffer_sizes().unwrap();
    assert!(recv >= 200_000 && send >= 200_000, "{recv} {send}");
}

proptest! {
    /// However batches are cut, every octet goes once and in order, within the kernel's limits.
    #[test]
    fn runs_are_cut_without_loss(
        runs in prop::collection::vec((0usize..70_000, prop::option::of(any::<u16>())), 1..12),
        gso: bool,
        takes in prop::collection::vec(1usize..5, 0..20),
    ) {
        let dst = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let bytes = payload(70_000, 1);
        let transmits: Vec<_> = runs
            .iter()
            .map(|(len, segment_size)| Transmit { segment_size: *segment_size, ..single(dst, &bytes[..*len]) })
            .collect();
        let mut sender = Sender { gso, stats: UdpStats::default() };
        let mut takes = takes.into_iter();
        let mut taken = Vec::new();
        let mut ok = true;
        let sent = sender.send(transmits.iter().copied(), |batch: &Messages<'_>| {
            let len = takes.next().unwrap_or(batch.len()).min(batch.len());
            for transmit in batch[..len].iter().flatten() {
                let run = transmit.segment_size.filter(|size| *size > 0 && usize::from(*size) < transmit.bytes.len());
                if let Some(size) = run {
                    ok &= gso && transmit.bytes.len() <= 65_000 && transmit.bytes.len().div_ceil(size.into()) <= 64;
                }
                taken.extend_from_slice(transmit.bytes);
            }
            Ok(len)
        });
        prop_assert!(ok);
        let expected: usize = transmits
            .iter()
            .map(|t| match t.segment_size {
                Some(size) if size > 0 => t.bytes.len().div_ceil(size.into()).max(1),
                _ => 1,
            })
            .sum();
        prop_assert_eq!(sent.unwrap(), expected);
        let all: Vec<u8> = transmits.iter().flat_map(|t| t.bytes.iter().copied()).collect();
        prop_assert!(taken == all);
    }
}
