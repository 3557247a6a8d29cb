//! What goes into the server and what comes out.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Instant;

use trunkline_stun::{AddressFamily, CHANNEL_DATA_HEADER, ChannelData, DataIndicationHeader};

use crate::allocation::{FAMILIES, place};
use crate::{DropReason, Event};

/// A listening socket, numbered by the shell. With the client's address it is the 5-tuple (RFC 8656 §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// A TCP or TLS connection, named by the shell: a slot of its table and how often the slot has been used, so that a
/// closed connection is never taken for its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// The slot.
    pub index: u32,
    /// Grows whenever the slot is used again.
    pub generation: u32,
}

/// A client's 5-tuple as the server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientPath {
    /// Where the client's datagrams come from and go to.
    pub client: SocketAddr,
    /// On which of our sockets.
    pub listener: ListenerId,
    /// On which of our addresses, where the socket is bound to a wildcard: answers must come from it, and a client
    /// that uses two of them has two 5-tuples. `None` where the socket says it all.
    pub local_ip: Option<IpAddr>,
    /// On which connection; `None` is UDP.
    pub stream: Option<StreamId>,
}

impl ClientPath {
    /// The path on a UDP socket that is bound to one address.
    #[must_use]
    pub fn new(client: SocketAddr, listener: ListenerId) -> Self {
        Self { client, listener, local_ip: None, stream: None }
    }
}

/// A relay socket, named by the server and opened by the shell. Never used twice: late packets of a closed one are
/// told apart by the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelayId {
    index: u32,
    generation: u32,
}

impl RelayId {
    /// The relay of that family of the allocation at `allocation`.
    pub(crate) fn new(allocation: u32, generation: u32, family: AddressFamily) -> Self {
        Self { index: allocation * 2 + place(family) as u32, generation }
    }

    pub(crate) fn allocation(self) -> u32 {
        self.index / 2
    }

    pub(crate) fn family(self) -> AddressFamily {
        FAMILIES[self.index as usize % 2]
    }

    /// A small number that no two *live* relays share, below twice `Limits::allocations` (an allocation may have a
    /// relay of each family): an index for the shell's table of sockets.
    #[must_use]
    pub fn index(self) -> usize {
        self.index as usize
    }

    pub(crate) fn generation(self) -> u32 {
        self.generation
    }
}

/// Something that happened.
#[derive(Debug, Clone, Copy)]
pub enum Input<'a> {
    /// A datagram arrived on a listening socket, or a whole message on a stream.
    Client {
        /// From whom, on which socket or stream.
        path: ClientPath,
        /// Its bytes. On a stream exactly one message (RFC 8489 §6.2.2, RFC 8656 §12.5): STUN, or ChannelData with
        /// or without its padding.
        data: &'a [u8],
    },
    /// A client's connection has ended, and its allocation with it. Nothing is answered.
    StreamClosed {
        /// The path that its messages had.
        path: ClientPath,
    },
    /// A datagram arrived on a relay socket.
    Peer {
        /// The socket.
        relay: RelayId,
        /// The sender.
        from: SocketAddr,
        /// Its bytes.
        data: &'a [u8],
    },
    /// The answer to [`Output::BindRelay`]: whether the socket is open. If not, the server tries other ports.
    RelayBound {
        /// The socket.
        relay: RelayId,
        /// Whether it is open.
        bound: bool,
    },
    /// The time of the last [`Output::Timeout`] has come.
    Timeout,
}

/// What became of an input. Answers and commands are queued besides; see [`crate::TurnServer::poll_output`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Handled {
    /// A packet to relay now, its payload a range of the input's bytes.
    Forward(Forward),
    /// An answer or a command was queued, or there is nothing more to do.
    Done,
    /// The input was dropped and counted.
    Dropped(DropReason),
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// To a client, from the listening socket or on the stream in the path.
    Client(ClientPath),
    /// To a peer, from a relay socket.
    Peer {
        /// The socket.
        relay: RelayId,
        /// The peer.
        peer: SocketAddr,
    },
}

/// A relayed packet: `header`, then `payload` of the input's bytes, then `header.padding()` zero bytes.
#[derive(Debug, Clone, PartialEq, Eq, Copy)]
pub struct Forward {
    /// Where to.
    pub to: Destination,
    /// What comes before the payload.
    pub header: RelayHeader,
    start: u32,
    end: u32,
}

impl Forward {
    pub(crate) fn new(to: Destination, header: RelayHeader, payload: Range<usize>) -> Self {
        // A datagram is shorter than 64 KiB; a stream's message carries a 16-bit length.
        Self { to, header, start: payload.start as u32, end: payload.end as u32 }
    }

    /// The payload, as a range of the input's bytes.
    #[must_use]
    pub fn payload(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Appends the whole packet to `out`, given the input's bytes.
    pub fn write(&self, input: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(self.header.as_bytes());
        out.extend_from_slice(&input[self.payload()]);
        out.resize(out.len() + self.header.padding(), 0);
    }
}

/// What a relayed packet is wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayHeader {
    /// Nothing: to a peer.
    Bare,
    /// ChannelData: to a client with a channel for that peer.
    Channel {
        /// Number and length.
        header: [u8; CHANNEL_DATA_HEADER],
        /// Zero bytes after the payload.
        padding: u8,
    },
    /// A Data indication: to a client without one.
    Data(DataIndicationHeader),
}

impl RelayHeader {
    /// ChannelData is padded to four bytes on a stream, and need not be over UDP (RFC 8656 §12.5).
    pub(crate) fn channel(number: u16, length: u16, stream: bool) -> Self {
        let padding = if stream { length.wrapping_neg() as u8 & 3 } else { 0 };
        Self::Channel { header: ChannelData::header(number, length), padding }
    }

    /// The bytes before the payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Bare => &[],
            Self::Channel { header, .. } => header,
            Self::Data(header) => header.as_bytes(),
        }
    }

    /// How many zero bytes follow the payload, 0–3.
    #[must_use]
    pub fn padding(&self) -> usize {
        match self {
            Self::Bare => 0,
            Self::Channel { padding, .. } => usize::from(*padding),
            Self::Data(header) => header.padding(),
        }
    }
}

/// Something for the shell to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output<'a> {
    /// Send an answer to a client. The bytes are valid until the next `handle`.
    Transmit {
        /// To whom, from which socket or on which stream.
        path: ClientPath,
        /// One message.
        data: &'a [u8],
    },
    /// Open a relay socket at `port` of the relay address of that family, and say so with [`Input::RelayBound`].
    BindRelay {
        /// What the server calls it.
        relay: RelayId,
        /// Which of the relay addresses.
        family: AddressFamily,
        /// The UDP port.
        port: u16,
    },
    /// Close a relay socket: its allocation has ended.
    CloseRelay {
        /// The socket.
        relay: RelayId,
    },
    /// Something to account or to report.
    Event(Event<'a>),
    /// Nothing to do before that time, or at all. Always the last output.
    Timeout(Option<Instant>),
}
