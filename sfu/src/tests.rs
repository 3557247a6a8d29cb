//! The shell on loopback: real sockets, real threads, peers as values.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use trunkline_sfu_core::dtls::DtlsIdentity;
use trunkline_test_peer::{Peer, PeerSpec};

use super::*;

/// A peer and its socket; `pump` moves datagrams both ways.
struct Client {
    peer: Peer,
    socket: UdpSocket,
    server: SocketAddr,
}

impl Client {
    fn join(sfu: &Sfu, room: &str, name: &str, spec: PeerSpec) -> Self {
        let identity = Arc::new(DtlsIdentity::generate().unwrap());
        let mut peer = Peer::new(spec, identity, Instant::now());
        let answer = sfu.join(room, name, &peer.offer()).unwrap();
        peer.accept(&answer, Instant::now());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        Self { peer, socket, server: sfu.local_addr() }
    }

    fn pump(&mut self) {
        let now = Instant::now();
        while let Some(datagram) = self.peer.poll(now) {
            self.socket.send_to(&datagram, self.server).unwrap();
        }
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.peer.handle(&mut buffer[..length], Instant::now());
        }
    }
}

fn start(shards: usize) -> (Sfu, UnboundedReceiver<SfuEvent>) {
    let (events_in, events) = unbounded_channel();
    let config = SfuConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: Vec::new(),
        shards,
        limits: Limits::default(),
    };
    (Sfu::start(&config, events_in).unwrap(), events)
}

/// Pumps until `done`; the bound is for a broken build only.
fn until(clients: &mut [Client], mut done: impl FnMut(&mut [Client]) -> bool) {
    let started = Instant::now();
    while !done(clients) {
        assert!(started.elapsed() < Duration::from_secs(30), "nothing happened for 30 s");
        clients.iter_mut().for_each(Client::pump);
    }
}

#[test]
fn media_crosses_between_shards_and_events_tell_who_is_where() {
    let (sfu, mut events) = start(2);
    let mut clients: Vec<Client> = (0..4)
        .map(|n| Client::join(&sfu, "room", &format!("user{n}/device"), PeerSpec::caller(n + 1, 3)))
        .collect();
    until(&mut clients, |clients| clients.iter().all(|c| c.peer.connected()));
    let mut first = true;
    until(&mut clients, |clients| {
        for client in clients.iter_mut() {
            let asked = std::mem::take(&mut client.peer.heard.plis[0]) > 0;
            client.peer.send_frame(0, first || asked, 3, 900);
            client.peer.send_audio(&[1; 60]);
        }
        first = false;
        clients.iter().all(|c| {
            (0..3).all(|slot| {
                c.peer.received(slot, "video").frames > 20 && c.peer.received(slot, "audio").packets > 20
            })
        })
    });
    let mut connected = 0;
    let mut full = 0;
    while let Ok(event) = events.try_recv() {
        match event {
            SfuEvent::Connected { .. } => connected += 1,
            SfuEvent::Slots { participant, slots, .. } => {
                assert!(
                    slots.iter().all(|s| s.participant.as_deref() != Some(&participant)),
                    "nobody sees themselves"
                );
                full += usize::from(slots.iter().all(|s| s.participant.is_some()));
            }
            SfuEvent::Gone { .. } => panic!("nobody left"),
        }
    }
    assert_eq!(connected, 4);
    assert!(full >= 4);
    assert_eq!(sfu.live_rooms(), ["room"]);
    sfu.shutdown();
    assert!(matches!(
        sfu.join("room", "late/device", "v=0"),
        Err(JoinError::Offer(_) | JoinError::Unavailable)
    ));
}

#[test]
fn a_new_offer_replaces_and_leaving_empties_the_slot() {
    let (sfu, mut events) = start(1);
    let mut clients = vec![
        Client::join(&sfu, "room", "a/1", PeerSpec::caller(1, 1)),
        Client::join(&sfu, "room", "b/1", PeerSpec::caller(2, 1)),
    ];
    until(&mut clients, |clients| clients.iter().all(|c| c.peer.connected()));
    clients[1] = Client::join(&sfu, "room", "b/1", PeerSpec::caller(3, 1));
    until(&mut clients, |clients| clients.iter().all(|c| c.peer.connected()));
    sfu.leave("room", "b/1");
    let mut seen = Vec::new();
    until(&mut clients[..1], |_| {
        while let Ok(event) = events.try_recv() {
            if let SfuEvent::Slots { participant, slots, .. } = event
                && participant == "a/1"
            {
                seen.push(slots[0].participant.clone());
            }
        }
        seen.len() >= 2 && seen.last() == Some(&None)
    });
    assert!(seen.contains(&Some("b/1".to_owned())));
    sfu.shutdown();
}

#[test]
fn a_wildcard_needs_an_address_to_advertise() {
    let (events, _) = unbounded_channel();
    let config = SfuConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        advertise: Vec::new(),
        shards: 1,
        limits: Limits::default(),
    };
    assert!(Sfu::start(&config, events).is_err());
}

#[test]
fn a_full_room_refuses_with_its_bound() {
    let (events, _) = unbounded_channel();
    let limits = Limits { room_participants: 1, ..Limits::default() };
    let config =
        SfuConfig { listen: "127.0.0.1:0".parse().unwrap(), advertise: Vec::new(), shards: 1, limits };
    let sfu = Sfu::start(&config, events).unwrap();
    let _one = Client::join(&sfu, "room", "a/1", PeerSpec::caller(1, 1));
    let identity = Arc::new(DtlsIdentity::generate().unwrap());
    let offer = Peer::new(PeerSpec::caller(2, 1), identity, Instant::now()).offer();
    let refused = sfu.join("room", "b/1", &offer).unwrap_err();
    assert!(matches!(refused, JoinError::LimitExceeded { max: 1, .. }), "{refused}");
    sfu.shutdown();
}
