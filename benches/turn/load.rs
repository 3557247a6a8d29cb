//! Clients, peers, and packets between them through a server.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use trunkline_stun::{ChannelData, Class, MessageWriter, Method, TransactionId, attr};
use trunkline_turn_client::{Client, Link};
use trunkline_udp::{RecvBatch, Transmit, UdpConfig, UdpSocket};

use crate::servers::Server;

/// Allocations that take turns: no single one comes near a limit of packets a second, and caches see a server that is used
/// by some.
const FLOWS: usize = 256;
const CHANNEL: u16 = 0x4000;
/// Permissions last 300 s (RFC 8656 §9): a rig is done with well before.
const LASTS: Duration = Duration::from_secs(270);
/// On loopback a packet that is not there by now was dropped.
const PATIENCE_MS: u16 = 2_000;
const PEER_IP: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// How relayed bytes are wrapped between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    ChannelData,
    Indications,
}

impl Framing {
    pub(crate) const ALL: [Self; 2] = [Self::ChannelData, Self::Indications];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ChannelData => "ChannelData",
            Self::Indications => "Send and Data indications",
        }
    }
}

/// One kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) framing: Framing,
    pub(crate) payload_bytes: usize,
    pub(crate) flight: Flight,
}

/// What is under way at a time; the next is sent when all of it has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flight {
    /// Allocations that packets go through; divides [`FLOWS`].
    pub(crate) flows: usize,
    /// Packets of each of them, back to back.
    pub(crate) run: usize,
}

impl Flight {
    pub(crate) const ALL: [Self; 3] = [
        // Voices: no two packets in a row have the same destination.
        Self { flows: FLOWS, run: 1 },
        // Pictures: what browsers send back to back.
        Self { flows: 16, run: 16 },
        // A server that sleeps whenever a packet comes.
        Self { flows: 1, run: 1 },
    ];

    pub(crate) fn name(self) -> String {
        match (self.flows, self.run) {
            (1, _) => "each awaited".to_owned(),
            (flows, 1) => format!("one by one of {flows} flows"),
            (_, run) => format!("in runs of {run}"),
        }
    }
}

/// One allocation with its client and its peer.
struct Flow {
    client: UdpSocket,
    peer: UdpSocket,
    relayed: SocketAddr,
}

/// Many of them on one server.
pub(crate) struct Rig {
    server: SocketAddr,
    flows: Vec<Flow>,
    batch: RecvBatch,
    opened: Instant,
}

/// Where the `n`th client stands: few behind one address, as on the internet, so that no limit of a source is met.
pub(crate) fn client_ip(n: usize) -> Ipv4Addr {
    let n = n / 4;
    Ipv4Addr::new(127, 16, (n / 250) as u8, (n % 250) as u8 + 1)
}

impl Rig {
    pub(crate) fn open(server: &Server, framing: Framing) -> Result<Self> {
        let flows = (0..FLOWS).map(|n| Flow::open(server, n, framing)).collect::<Result<_>>()?;
        Ok(Self { server: server.address(), flows, batch: RecvBatch::new(), opened: Instant::now() })
    }

    /// Sends flights there and back through all flows in turn until `packets` were relayed, and gives their number.
    ///
    /// The server stands still while a flight of many is sent, so that it has a backlog as a busy one has, and what is
    /// measured is not how often it fell asleep because its client was slow.
    pub(crate) fn relay(&mut self, server: &Server, shape: Shape, packets: usize) -> Result<usize> {
        ensure!(self.opened.elapsed() < LASTS, "permissions have expired: fewer rounds or packets");
        let Flight { flows, run } = shape.flight;
        let payload = vec![0xA5; shape.payload_bytes];
        let back: Vec<u8> = payload.repeat(run);
        let there: Vec<Vec<u8>> =
            self.flows.iter().map(|flow| wrapped(&payload, shape, flow.peer.local_addr())).collect();
        let flights = packets.div_ceil(2 * flows * run);
        for n in 0..flights {
            let first = n * flows % FLOWS;
            let here = &mut self.flows[first..first + flows];
            let there = &there[first..first + flows];
            let pause = (flows > 1).then(|| server.pause()).transpose()?;
            for (flow, there) in here.iter_mut().zip(there) {
                send(&mut flow.client, self.server, there, run)?;
            }
            drop(pause);
            for flow in here.iter_mut() {
                receive(&mut flow.peer, &mut self.batch, run, shape.payload_bytes)?;
            }
            let pause = (flows > 1).then(|| server.pause()).transpose()?;
            for flow in here.iter_mut() {
                send(&mut flow.peer, flow.relayed, &back, run)?;
            }
            drop(pause);
            for (flow, there) in here.iter_mut().zip(there) {
                receive(&mut flow.client, &mut self.batch, run, there.len() / run)?;
            }
        }
        Ok(2 * flights * flows * run)
    }
}

impl Flow {
    fn open(server: &Server, n: usize, framing: Framing) -> Result<Self> {
        let any = |ip| SocketAddr::from((ip, 0));
        let peer = bind(any(PEER_IP))?;
        let link = Link::udp_from(any(client_ip(n)), server.address())?;
        let local = link.local_addr()?;
        let mut client = Client::new(link, Some(Server::credentials(n)));
        let relayed = client.allocate(None)?.accepted()?.relayed()?;
        let to = peer.local_addr();
        match framing {
            Framing::ChannelData => client.bind(CHANNEL, to)?.accepted()?,
            Framing::Indications => client.permit(&[to])?.accepted()?,
        };
        // From here on the same 5-tuple is a batched socket's.
        drop(client);
        Ok(Self { client: bind(local)?, peer, relayed })
    }
}

/// With GRO, for both servers alike: a receiver without it makes the kernel cut a run apart on the sender's time, which no
/// receiver at the far end of a wire does.
fn bind(address: SocketAddr) -> Result<UdpSocket> {
    let config = UdpConfig { reuse_port: false, ..UdpConfig::default() };
    UdpSocket::bind(address, &config).with_context(|| format!("cannot bind {address}"))
}

/// A run as the client sends it, one packet after another.
fn wrapped(payload: &[u8], shape: Shape, peer: SocketAddr) -> Vec<u8> {
    let mut one = Vec::new();
    match shape.framing {
        Framing::ChannelData => {
            one.extend_from_slice(&ChannelData::header(CHANNEL, payload.len() as u16));
            one.extend_from_slice(payload);
        }
        Framing::Indications => {
            MessageWriter::new(&mut one, Class::Indication, Method::SEND, &TransactionId([7; 12]))
                .xor_address(attr::XOR_PEER_ADDRESS, peer)
                .attribute(attr::DATA, payload)
                .finish();
        }
    }
    one.repeat(shape.flight.run)
}

fn send(socket: &mut UdpSocket, dst: SocketAddr, bytes: &[u8], run: usize) -> Result<()> {
    let segment_size = Some((bytes.len() / run) as u16);
    let sent = socket.send_batch([Transmit { dst, bytes, segment_size, src_ip: None }])?;
    ensure!(sent == run, "{sent} of {run} packets could be sent");
    Ok(())
}

/// Waits for a whole run, each of `bytes`.
fn receive(socket: &mut UdpSocket, batch: &mut RecvBatch, run: usize, bytes: usize) -> Result<()> {
    let mut arrived = 0;
    while arrived < run {
        match socket.recv_batch(batch) {
            Ok(_) => {
                for datagram in batch.datagrams() {
                    ensure!(datagram.bytes.len() == bytes, "{} B instead of {bytes}", datagram.bytes.len());
                    arrived += 1;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                if poll(&mut ready, PollTimeout::from(PATIENCE_MS))? == 0 {
                    bail!("{arrived} of {run} packets came through");
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
