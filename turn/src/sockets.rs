//! The UDP sockets of a shard: those that clients send to, and those that peers send to.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use trunkline_stun::AddressFamily;
use trunkline_turn_core::{ListenerId, RelayId};
use trunkline_udp::{UdpConfig, UdpSocket, UdpStats};

use crate::outgoing::Socket;

/// See the module.
#[derive(Debug)]
pub(crate) struct Sockets {
    registry: Registry,
    listeners: Vec<UdpSocket>,
    /// By `RelayId::index`.
    relays: Vec<Option<(RelayId, UdpSocket)>>,
    /// Where relay sockets are bound: IPv4, IPv6.
    relay_binds: [Option<IpAddr>; 2],
    relay_udp: UdpConfig,
    /// The token of relay 0; listeners have their numbers.
    relay_token: usize,
    /// Packets that sockets now closed did not take.
    unsent_before: u64,
}

/// Where a batch came from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    Listener { id: ListenerId, wildcard: bool },
    Relay(RelayId),
}

impl Sockets {
    pub(crate) fn new(
        registry: Registry,
        listeners: Vec<UdpSocket>,
        relay_binds: [Option<IpAddr>; 2],
        relay_udp: UdpConfig,
        relay_token: usize,
    ) -> io::Result<Self> {
        for (number, socket) in listeners.iter().enumerate() {
            registry.register(&mut SourceFd(&socket.as_raw_fd()), Token(number), Interest::READABLE)?;
        }
        Ok(Self {
            registry,
            listeners,
            relays: vec![],
            relay_binds,
            relay_udp,
            relay_token,
            unsent_before: 0,
        })
    }

    pub(crate) fn listener(&mut self, number: usize) -> Option<(Source, &mut UdpSocket)> {
        let id = ListenerId(u16::try_from(number).ok()?);
        let socket = self.listeners.get_mut(number)?;
        let wildcard = socket.local_addr().ip().is_unspecified();
        Some((Source::Listener { id, wildcard }, socket))
    }

    pub(crate) fn relay(&mut self, index: usize) -> Option<(Source, &mut UdpSocket)> {
        let (relay, socket) = self.relays.get_mut(index)?.as_mut()?;
        Some((Source::Relay(*relay), socket))
    }

    /// Opens a relay socket; false when the port is another's or descriptors have run out.
    pub(crate) fn open(&mut self, relay: RelayId, family: AddressFamily, port: u16) -> bool {
        let [v4, v6] = self.relay_binds;
        let bind = match family {
            AddressFamily::V4 => v4,
            AddressFamily::V6 => v6,
        };
        let Some(bind) = bind else { return false };
        let opened = UdpSocket::bind(SocketAddr::new(bind, port), &self.relay_udp).and_then(|socket| {
            let token = Token(self.relay_token + relay.index());
            self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => {
                if self.relays.len() <= relay.index() {
                    self.relays.resize_with(relay.index() + 1, || None);
                }
                self.relays[relay.index()] = Some((relay, socket));
                true
            }
            Err(error) => {
                tracing::debug!(port, %error, "relay port not opened");
                false
            }
        }
    }

    /// Closing the descriptor takes it out of epoll.
    pub(crate) fn close(&mut self, relay: RelayId) {
        if let Some(slot) = self.relays.get_mut(relay.index())
            && let Some((_, socket)) = slot.take_if(|(open, _)| *open == relay)
        {
            self.unsent_before += unsent(&socket.stats());
        }
    }

    pub(crate) fn send(
        &mut self,
        socket: Socket,
        transmits: &mut dyn Iterator<Item = trunkline_udp::Transmit<'_>>,
    ) {
        let socket = match socket {
            Socket::Listener(number) => self.listeners.get_mut(usize::from(number)),
            Socket::Relay(relay) => self
                .relays
                .get_mut(relay.index())
                .and_then(Option::as_mut)
                .filter(|(open, _)| *open == relay)
                .map(|(_, socket)| socket),
        };
        if let Some(socket) = socket
            && let Err(error) = socket.send_batch(transmits)
        {
            tracing::warn!(%error, "sending on a socket failed");
        }
    }

    /// Packets that sockets did not take, since the start.
    pub(crate) fn unsent(&self) -> u64 {
        let open = self.listeners.iter().chain(self.relays.iter().flatten().map(|(_, socket)| socket));
        self.unsent_before + open.map(|socket| unsent(&socket.stats())).sum::<u64>()
    }
}

fn unsent(stats: &UdpStats) -> u64 {
    stats.dropped_would_block + stats.dropped_too_big + stats.dropped_error
}
