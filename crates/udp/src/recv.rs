//! Receiving.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef};

use crate::UdpSocket;

/// Bytes for one message: as long as UDP's length field can say, as GRO may fill it.
const MESSAGE_LEN_MAX: usize = 65_536;

/// Buffers to receive into, made once: 2 MiB of address space, of which only what traffic needs is ever touched.
pub struct RecvBatch {
    buffer: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    messages: usize,
}

impl RecvBatch {
    /// An empty batch.
    pub fn new() -> Self {
        RecvBatch {
            buffer: vec![0; MESSAGE_LEN_MAX * BATCH_SIZE],
            metas: [RecvMeta::default(); BATCH_SIZE],
            messages: 0,
        }
    }

    /// What the last [`UdpSocket::recv_batch`] received, in the order of arrival. Bytes may be changed in place, as by
    /// decryption.
    pub fn datagrams(&mut self) -> impl Iterator<Item = Datagram<'_>> {
        let metas = &self.metas[..self.messages];
        self.buffer.chunks_mut(MESSAGE_LEN_MAX).zip(metas).flat_map(|(buffer, meta)| {
            let source = canonical(meta.addr);
            let local_ip = meta.dst_ip.map(|ip| ip.to_canonical());
            let len = meta.len.min(buffer.len());
            buffer[..len].chunks_mut(meta.stride.max(1)).map(move |bytes| Datagram {
                bytes,
                source,
                local_ip,
            })
        })
    }

    /// Whether the last [`UdpSocket::recv_batch`] had room for more than it found: the socket was empty then, and with
    /// edge triggering whatever came later is told anew. Saves the call that would only say so.
    pub fn emptied_socket(&self) -> bool {
        self.messages < BATCH_SIZE
    }

    /// How many [`RecvBatch::datagrams`] gives. Empty datagrams are not counted among them: nothing of ours is empty.
    fn len(&self) -> usize {
        self.metas[..self.messages].iter().map(|meta| meta.len.div_ceil(meta.stride.max(1))).sum()
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch").field("datagrams", &self.len()).finish_non_exhaustive()
    }
}

/// One datagram received.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Its payload; never empty.
    pub bytes: &'a mut [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// Which of our addresses it was sent to: answer from that one ([`crate::Transmit::src_ip`]) if the socket is bound to
    /// a wildcard.
    pub local_ip: Option<IpAddr>,
}

impl UdpSocket {
    /// Replaces the contents of `batch` by what has arrived, and gives the number of datagrams. It may be zero although
    /// something was received, an empty datagram.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is there, `batch` being empty then; anything else condemns the socket.
    pub fn recv_batch(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.messages = 0;
        let mut chunks = batch.buffer.chunks_mut(MESSAGE_LEN_MAX);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        batch.messages = self.state.recv(UdpSockRef::from(&self.io), &mut buffers, &mut batch.metas)?;
        let len = batch.len();
        self.sender.stats.received += len as u64;
        Ok(len)
    }
}

/// IPv4 addresses as such, on sockets of both families too.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), addr.port()),
        IpAddr::V6(_) => addr,
    }
}
