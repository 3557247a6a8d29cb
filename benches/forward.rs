//! What forwarding costs: CPU nanoseconds an egress packet, one publisher to N subscribers, beside the floor that no
//! SFU can go under: copy, header, seal and send of the same packets, measured in the same run.
//!
//! `cargo bench --bench forward`. Rounds of ours and of the floor alternate; medians are printed. The numbers are the
//! forwarding thread's own CPU time, so another process cannot stretch them, but it can cool the caches.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use trunkline_sfu_core::dtls::DtlsIdentity;
use trunkline_sfu_core::limits::Limits;
use trunkline_sfu_core::negotiation;
use trunkline_sfu_core::rtp::{self, Fields};
use trunkline_sfu_core::session::{IceCredentials, LocalParameters};
use trunkline_sfu_core::shard::{
    Claim, Command, Input, Output, ParticipantId, Registration, RoomId, Shard, ShardId,
};
use trunkline_sfu_core::srtp::{SrtpOutbound, SrtpProfile};
use trunkline_test_peer::{Peer, PeerSpec};
use trunkline_udp::{RecvBatch, Transmit, UdpConfig, UdpSocket};

/// Packets of one video frame at 1.5 Mb/s and 30 fps: what a browser sends back to back.
const RUN: usize = 6;
/// On the wire above UDP, tag included.
const PACKET_BYTES: usize = 1_200;
const ROUNDS: usize = 15;
/// Egress packets a round and measurement, about.
const PACKETS_A_ROUND: usize = 24_000;

fn main() {
    println!("forwarding: one publisher, {PACKET_BYTES} B packets in frames of {RUN}, AEAD_AES_128_GCM");
    println!("CPU ns an egress packet, medians of {ROUNDS} rounds, ours and the floor in turn\n");
    println!(
        "{:>4} | {:>9} {:>9} {:>6} | {:>9} {:>9} {:>6}",
        "N", "in memory", "floor", "ratio", "loopback", "floor", "ratio"
    );
    for subscribers in [1, 10, 50] {
        let memory = measure(subscribers, None);
        let loopback = measure(subscribers, Some(Sockets::open(subscribers)));
        let ratio = |(ours, floor): (f64, f64)| ours / floor;
        println!(
            "{subscribers:>4} | {:>9.0} {:>9.0} {:>6.2} | {:>9.0} {:>9.0} {:>6.2}",
            memory.0,
            memory.1,
            ratio(memory),
            loopback.0,
            loopback.1,
            ratio(loopback)
        );
    }
}

/// Medians of (ours, floor).
fn measure(subscribers: usize, mut sockets: Option<Sockets>) -> (f64, f64) {
    let addresses = sockets.as_ref().map_or_else(|| made_up(subscribers), |s| s.addresses.clone());
    let mut room = Room::new(&addresses);
    let mut floor = Floor::new(addresses);
    let frames = (PACKETS_A_ROUND / (RUN * subscribers)).max(1);
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let a = room.round(frames, &mut sockets);
        let b = floor.round(frames, &mut sockets);
        // The first round warms the caches.
        if round > 0 {
            ours.push(a);
            least.push(b);
        }
    }
    (median(ours), median(least))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn made_up(subscribers: usize) -> Vec<SocketAddr> {
    (0..subscribers).map(|n| SocketAddr::from(([192, 0, 2, n as u8 + 1], 4000))).collect()
}

/// A sending socket, and one socket a subscriber that another thread keeps empty.
struct Sockets {
    sender: UdpSocket,
    addresses: Vec<SocketAddr>,
    stop: Arc<AtomicBool>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Sockets {
    fn open(subscribers: usize) -> Self {
        // With GRO, as the floor in the design was measured: a receiver without it makes the kernel cut every run apart
        // on the sender's time, which no receiver at the far end of a wire does.
        let mut sockets: Vec<UdpSocket> = (0..subscribers).map(|_| loopback()).collect();
        let addresses = sockets.iter().map(UdpSocket::local_addr).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let reader = std::thread::spawn(move || {
            let mut batch = RecvBatch::new();
            while !stopped.load(Ordering::Relaxed) {
                for socket in &mut sockets {
                    while socket.recv_batch(&mut batch).is_ok() {}
                }
                std::thread::yield_now();
            }
        });
        Self { sender: loopback(), addresses, stop, reader: Some(reader) }
    }
}

fn loopback() -> UdpSocket {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    UdpSocket::bind(any, &UdpConfig { reuse_port: false, ..UdpConfig::default() }).expect("a loopback port")
}

impl std::ops::Drop for Sockets {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader does not panic");
        }
    }
}

/// A shard with a publisher and its subscribers, all connected in memory.
struct Room {
    shard: Shard,
    publisher: Peer,
    subscribers: usize,
    now: Instant,
    first: bool,
}

const PUBLISHER: ([u8; 4], u16) = ([198, 51, 100, 1], 5000);

impl Room {
    fn new(addresses: &[SocketAddr]) -> Self {
        let identity = Arc::new(DtlsIdentity::generate().expect("a key pair"));
        let mut now = Instant::now();
        let mut shard = Shard::new(ShardId(0), Limits::default(), identity.clone(), 1);
        let join = |shard: &mut Shard, n: usize, spec: PeerSpec| {
            let mut peer = Peer::new(spec, identity.clone(), now);
            let local = LocalParameters {
                ice: IceCredentials {
                    ufrag: format!("server{n:04}"),
                    pwd: format!("serverpasswordserver{n:04}"),
                },
                fingerprint: identity.fingerprint(),
                candidates: vec!["192.0.2.1:3480".parse().expect("an address")],
                ssrc_base: 0x1000_0000 + 0x1000 * n as u32,
                session_id: 1,
            };
            let (session, answer) = negotiation::answer(&peer.offer(), &local).expect("an offer of our own");
            let participant = ParticipantId(n as u64 + 1);
            let registration =
                Registration { room: RoomId(1), participant, session, claim: Claim::default() };
            shard.handle(Input::Command(Command::Join(Arc::new(registration))), now);
            peer.accept(&answer, now);
            peer
        };
        let camera = PeerSpec { audio: false, ..PeerSpec::caller(1, 0) };
        let publisher = join(&mut shard, 0, camera);
        let mut peers = vec![(SocketAddr::from(PUBLISHER), publisher)];
        for (n, address) in addresses.iter().enumerate() {
            peers.push((*address, join(&mut shard, n + 1, PeerSpec::viewer(n as u32 + 2, 1))));
        }
        while !peers.iter().all(|(_, p)| p.connected()) {
            now += Duration::from_millis(10);
            exchange(&mut shard, &mut peers, now);
        }
        let (_, publisher) = peers.remove(0);
        Self { shard, publisher, subscribers: addresses.len(), now, first: true }
    }

    /// CPU ns an egress packet.
    fn round(&mut self, frames: usize, sockets: &mut Option<Sockets>) -> f64 {
        let mut spent = Duration::ZERO;
        let before = self.shard.stats().forwarded_packets;
        for _ in 0..frames {
            self.now += Duration::from_millis(1);
            // The wire packet: 12 B header, 16 B of extensions, payload, 16 B tag.
            self.publisher.send_frame(0, std::mem::take(&mut self.first), RUN, PACKET_BYTES - 28);
            let mut frame: Vec<Vec<u8>> = std::iter::from_fn(|| self.publisher.poll(self.now)).collect();
            let begun = ThreadTime::now();
            for datagram in &mut frame {
                let input = Input::Datagram { source: PUBLISHER.into(), local: None, bytes: datagram };
                self.shard.handle(input, self.now);
            }
            loop {
                match self.shard.poll_output(self.now) {
                    Output::Transmits { bytes, transmits } => {
                        if let Some(sockets) = sockets {
                            let batch = transmits.iter().map(|t| Transmit {
                                dst: t.destination,
                                bytes: &bytes[t.range.clone()],
                                segment_size: u16::try_from(t.segment_size).ok(),
                                src_ip: t.source,
                            });
                            sockets.sender.send_batch(batch).expect("loopback takes it");
                        }
                    }
                    Output::Wait(_) => break,
                    Output::Event(_) | Output::Neighbour(..) => {}
                }
            }
            spent += begun.elapsed();
        }
        let forwarded = self.shard.stats().forwarded_packets - before;
        assert_eq!(
            forwarded,
            (frames * RUN * self.subscribers) as u64,
            "every packet reached every subscriber"
        );
        spent.as_nanos() as f64 / forwarded as f64
    }
}

fn exchange(shard: &mut Shard, peers: &mut [(SocketAddr, Peer)], now: Instant) {
    for (address, peer) in peers.iter_mut() {
        while let Some(mut datagram) = peer.poll(now) {
            shard.handle(Input::Datagram { source: *address, local: None, bytes: &mut datagram }, now);
        }
    }
    shard.handle(Input::Wake, now);
    loop {
        match shard.poll_output(now) {
            Output::Transmits { bytes, transmits } => {
                for transmit in transmits {
                    let (_, peer) = peers
                        .iter_mut()
                        .find(|(a, _)| *a == transmit.destination)
                        .expect("only peers are sent to");
                    for datagram in bytes[transmit.range.clone()].chunks(transmit.segment_size) {
                        peer.handle(&mut datagram.to_vec(), now);
                    }
                }
            }
            Output::Wait(_) => return,
            Output::Event(_) | Output::Neighbour(..) => {}
        }
    }
}

/// Copy, header, seal, send: nothing else.
struct Floor {
    addresses: Vec<SocketAddr>,
    outbound: Vec<SrtpOutbound>,
    arena: Vec<u8>,
    runs: Vec<(SocketAddr, Range<usize>)>,
    sequence: u16,
}

impl Floor {
    fn new(addresses: Vec<SocketAddr>) -> Self {
        let outbound = (0..addresses.len())
            .map(|n| {
                SrtpOutbound::new(SrtpProfile::AeadAes128Gcm, &[n as u8; 16], &[7; 12])
                    .expect("right lengths")
            })
            .collect();
        Self { addresses, outbound, arena: Vec::new(), runs: Vec::new(), sequence: 0 }
    }

    fn round(&mut self, frames: usize, sockets: &mut Option<Sockets>) -> f64 {
        let payloads: Vec<Vec<u8>> = (0..RUN).map(|n| vec![n as u8; PACKET_BYTES - 28]).collect();
        let mut spent = Duration::ZERO;
        for frame in 0..frames {
            let begun = ThreadTime::now();
            self.arena.clear();
            self.runs.clear();
            for (outbound, &destination) in self.outbound.iter().zip(&self.addresses) {
                let run = self.arena.len();
                for (n, payload) in payloads.iter().enumerate() {
                    let start = self.arena.len();
                    let fields = Fields {
                        marker: n + 1 == RUN,
                        payload_type: 96,
                        sequence: self.sequence.wrapping_add(n as u16),
                        timestamp: frame as u32 * 3000,
                        ssrc: 1,
                    };
                    let header_len = rtp::write_header(&mut self.arena, &fields, &[]);
                    self.arena.extend_from_slice(payload);
                    outbound.protect_rtp(&mut self.arena, start, header_len, 0).expect("a whole packet");
                }
                self.runs.push((destination, run..self.arena.len()));
            }
            self.sequence = self.sequence.wrapping_add(RUN as u16);
            if let Some(sockets) = sockets {
                let arena = &self.arena;
                let batch = self.runs.iter().map(|(destination, range)| Transmit {
                    dst: *destination,
                    bytes: &arena[range.clone()],
                    segment_size: u16::try_from(range.len() / RUN).ok(),
                    src_ip: None,
                });
                sockets.sender.send_batch(batch).expect("loopback takes it");
            }
            spent += begun.elapsed();
        }
        spent.as_nanos() as f64 / (frames * RUN * self.addresses.len()) as f64
    }
}
