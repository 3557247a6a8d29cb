//! Packets that wait for the end of a receive batch, so that they are sent together.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use trunkline_udp::Transmit;

/// The socket to send from. Its order groups a batch by socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Socket {
    Listener(u16),
    Relay(trunkline_turn_core::RelayId),
}

/// One reusable buffer with the packets of a batch; consecutive packets of one size from one socket to one
/// destination are one run.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    runs: Vec<Run>,
}

#[derive(Debug)]
struct Run {
    socket: Socket,
    dst: SocketAddr,
    src_ip: Option<IpAddr>,
    range: Range<usize>,
    /// Length of every packet but the last.
    segment: usize,
    /// A shorter packet has come, or an empty one: nothing may follow.
    closed: bool,
}

impl Outgoing {
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Bytes waiting.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the packet that `write` appends.
    pub(crate) fn push(
        &mut self,
        socket: Socket,
        dst: SocketAddr,
        src_ip: Option<IpAddr>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        let length = end - start;
        if let Some(run) = self.runs.last_mut()
            && (run.socket, run.dst, run.src_ip, run.closed) == (socket, dst, src_ip, false)
            && length <= run.segment
            && length > 0
        {
            run.range.end = end;
            run.closed = length < run.segment;
            return;
        }
        self.runs.push(Run { socket, dst, src_ip, range: start..end, segment: length, closed: length == 0 });
    }

    /// Hands every packet to `send`, once for each socket, and forgets them. The order to one destination is kept.
    pub(crate) fn flush(&mut self, mut send: impl FnMut(Socket, &mut dyn Iterator<Item = Transmit<'_>>)) {
        // By position second, so that the sort needs no memory and is stable all the same.
        self.runs.sort_unstable_by_key(|run| (run.socket, run.range.start, run.range.end));
        for group in self.runs.chunk_by(|a, b| a.socket == b.socket) {
            let mut transmits = group.iter().map(|run| Transmit {
                dst: run.dst,
                bytes: &self.bytes[run.range.clone()],
                segment_size: u16::try_from(run.segment).ok(),
                src_ip: run.src_ip,
            });
            send(group[0].socket, &mut transmits);
        }
        self.runs.clear();
        self.bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(n: u16) -> Socket {
        Socket::Listener(n)
    }

    type Sent = Vec<(Socket, u16, Vec<u8>, Option<u16>)>;

    fn flush(outgoing: &mut Outgoing) -> Sent {
        let mut sent = Vec::new();
        outgoing.flush(|socket, transmits| {
            sent.extend(transmits.map(|t| (socket, t.dst.port(), t.bytes.to_vec(), t.segment_size)));
        });
        sent
    }

    #[test]
    fn equal_packets_in_a_row_are_one_run() {
        let mut outgoing = Outgoing::default();
        for (socket, port, packet) in [
            (1, 7, &b"aa"[..]),
            (1, 7, b"bb"),
            (1, 7, b"c"),
            (1, 7, b"dd"),
            (0, 7, b"ee"),
            (1, 8, b"ff"),
            (1, 8, b""),
            (1, 8, b"ggg"),
        ] {
            let dst = SocketAddr::from(([192, 0, 2, 1], port));
            outgoing.push(listener(socket), dst, None, |out| out.extend_from_slice(packet));
        }
        let expected: Sent = vec![
            (listener(0), 7, b"ee".to_vec(), Some(2)),
            (listener(1), 7, b"aabbc".to_vec(), Some(2)),
            (listener(1), 7, b"dd".to_vec(), Some(2)),
            (listener(1), 8, b"ff".to_vec(), Some(2)),
            (listener(1), 8, b"".to_vec(), Some(0)),
            (listener(1), 8, b"ggg".to_vec(), Some(3)),
        ];
        assert_eq!(flush(&mut outgoing), expected);
        assert!(outgoing.is_empty() && flush(&mut outgoing).is_empty());
    }
}
