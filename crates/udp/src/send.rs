//! Sending.

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr;

use crate::{UdpSocket, UdpStats};

/// Messages of one system call.
const MESSAGES_MAX: usize = 64;
/// Datagrams of one run (the kernel's UDP_MAX_SEGMENTS is 128, 64 on older ones).
const SEGMENTS_MAX: usize = 64;
/// Octets of one run: below the 65,535 of an IP packet by its headers.
const RUN_LEN_MAX: usize = 65_000;
/// Octets of control messages of one message: a source address of IPv6 and a segment size.
const CONTROL_LEN: usize = 64;

const _: () = {
    // SAFETY: CMSG_SPACE only computes.
    let needed = unsafe {
        libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) + libc::CMSG_SPACE(size_of::<u16>() as u32)
    };
    assert!(needed as usize <= CONTROL_LEN);
    assert!(align_of::<Control>() >= align_of::<libc::cmsghdr>());
};

/// Something to send: one datagram, or a run of them to one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit<'a> {
    /// Where to.
    pub dst: SocketAddr,
    /// A datagram's payload, or those of a run one after another.
    pub bytes: &'a [u8],
    /// Length of each datagram of a run but the last, which may be shorter. `None`, zero or at least `bytes.len()`
    /// makes it one datagram. Runs may be longer than the kernel takes in one go.
    pub segment_size: Option<u16>,
    /// Which of our addresses to send from, for a socket bound to a wildcard: that to which the peer sent.
    pub src_ip: Option<IpAddr>,
}

impl<'a> Transmit<'a> {
    /// Length of each datagram but the last, at least one.
    fn segment(&self) -> usize {
        match self.segment_size {
            Some(size) if size > 0 && usize::from(size) < self.bytes.len() => usize::from(size),
            _ => self.bytes.len().max(1),
        }
    }

    fn is_run(&self) -> bool {
        self.segment() < self.bytes.len()
    }

    fn datagrams(&self) -> usize {
        self.bytes.len().div_ceil(self.segment()).max(1)
    }

    /// The same in pieces of at most `segments` datagrams.
    fn pieces(self, segments: usize) -> impl Iterator<Item = Transmit<'a>> {
        let piece_len = self.segment() * segments.max(1);
        let mut rest = Some(self.bytes);
        std::iter::from_fn(move || {
            let bytes = rest.take()?;
            let (piece, more) = bytes.split_at(piece_len.min(bytes.len()));
            rest = Some(more).filter(|more| !more.is_empty());
            Some(Transmit { bytes: piece, ..self })
        })
    }
}

impl UdpSocket {
    /// Sends `transmits` in their order and gives the number of datagrams that the kernel took.
    ///
    /// What cannot be sent is dropped and counted in [`UdpSocket::stats`], not kept: when the send buffer is full, media is
    /// late already. One bad destination does not hold up the others.
    ///
    /// # Errors
    /// Only what condemns the socket (EBADF, ENOTSOCK); the rest of `transmits` is dropped then.
    pub fn send_batch<'a>(&mut self, transmits: impl IntoIterator<Item = Transmit<'a>>) -> io::Result<usize> {
        let (io, is_v6) = (&self.io, self.local.is_ipv6());
        self.sender.send(transmits, |batch| sendmmsg(io, is_v6, batch))
    }
}

/// What one `sendmmsg` is: the messages to send, all `Some`, to the number that were sent.
pub(crate) type Messages<'a> = [Option<Transmit<'a>>];

/// Batches, splits runs, and decides what an error means. The system call is an argument, so that tests can be the kernel.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Whether runs are left to the kernel; false for good once an interface has refused one.
    pub(crate) gso: bool,
    pub(crate) stats: UdpStats,
}

impl Sender {
    pub(crate) fn send<'a>(
        &mut self,
        transmits: impl IntoIterator<Item = Transmit<'a>>,
        mut kernel: impl FnMut(&Messages<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let sent_before = self.stats.sent;
        let mut batch = [const { None }; MESSAGES_MAX];
        let mut len = 0;
        let mut blocked = false;
        for transmit in transmits {
            let segments = if self.gso { SEGMENTS_MAX.min(RUN_LEN_MAX / transmit.segment()) } else { 1 };
            for piece in transmit.pieces(segments) {
                batch[len] = Some(piece);
                len += 1;
                if len == MESSAGES_MAX {
                    self.flush(&batch[..len], &mut blocked, &mut kernel)?;
                    len = 0;
                }
            }
        }
        self.flush(&batch[..len], &mut blocked, &mut kernel)?;
        Ok((self.stats.sent - sent_before) as usize)
    }

    /// Sends one full or last batch, unless an earlier one of this call found the buffer full.
    fn flush(
        &mut self,
        mut batch: &Messages<'_>,
        blocked: &mut bool,
        kernel: &mut dyn FnMut(&Messages<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        while let Some(first) = batch.first().copied().flatten() {
            if *blocked {
                self.stats.dropped_would_block += first.datagrams() as u64;
                batch = &batch[1..];
                continue;
            }
            match kernel(batch) {
                Ok(messages) => {
                    let (sent, rest) = batch.split_at(messages.clamp(1, batch.len()));
                    let datagrams: usize = sent.iter().flatten().map(Transmit::datagrams).sum();
                    self.stats.sent += datagrams as u64;
                    self.stats.sent_messages += sent.len() as u64;
                    batch = rest;
                }
                // The error is that of the first message: `sendmmsg` reports a later one by stopping before it.
                Err(error) => match error.raw_os_error().unwrap_or_default() {
                    libc::EINTR => {}
                    libc::EAGAIN => *blocked = true,
                    // Either the interface cannot offload, or the datagrams are too big for it: EINVAL says both.
                    libc::EINVAL | libc::EIO | libc::EMSGSIZE if first.is_run() => {
                        self.send_singly(first, blocked, kernel)?;
                        batch = &batch[1..];
                    }
                    errno => {
                        match errno {
                            libc::EMSGSIZE => self.stats.dropped_too_big += first.datagrams() as u64,
                            _ => self.stats.dropped_error += first.datagrams() as u64,
                        }
                        if matches!(errno, libc::EBADF | libc::ENOTSOCK) {
                            return Err(error);
                        }
                        batch = &batch[1..];
                    }
                },
            }
        }
        Ok(())
    }

    /// Sends a refused run as single datagrams. If they all go, it was the run that was not liked, and there will be no more.
    fn send_singly(
        &mut self,
        run: Transmit<'_>,
        blocked: &mut bool,
        kernel: &mut dyn FnMut(&Messages<'_>) -> io::Result<usize>,
    ) -> io::Result<()> {
        let sent_before = self.stats.sent;
        for datagram in run.pieces(1) {
            self.flush(&[Some(datagram)], blocked, kernel)?;
        }
        if self.stats.sent - sent_before == run.datagrams() as u64 {
            self.gso = false;
        }
        Ok(())
    }
}

/// Room for control messages, aligned as the kernel reads them.
#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

/// A destination of either family.
#[repr(C)]
#[derive(Clone, Copy)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// One `sendmmsg` of the leading messages of `batch`, at most [`MESSAGES_MAX`]: how many were sent, at least one.
fn sendmmsg(io: &socket2::Socket, socket_is_v6: bool, batch: &Messages<'_>) -> io::Result<usize> {
    // Some 13 kB on the stack, of which only what is used is written.
    let mut headers = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MESSAGES_MAX];
    let mut vectors = [const { MaybeUninit::<libc::iovec>::uninit() }; MESSAGES_MAX];
    let mut names = [const { MaybeUninit::<Name>::uninit() }; MESSAGES_MAX];
    let mut controls = [const { MaybeUninit::<Control>::uninit() }; MESSAGES_MAX];
    let mut len = 0;
    let parts = headers.iter_mut().zip(&mut vectors).zip(&mut names).zip(&mut controls);
    for (transmit, (((header, vector), name), control)) in batch.iter().flatten().zip(parts) {
        let (name, name_len) = write_name(name, transmit.dst, socket_is_v6);
        let vector = vector.write(libc::iovec {
            iov_base: transmit.bytes.as_ptr().cast_mut().cast(),
            iov_len: transmit.bytes.len(),
        });
        // SAFETY: all zeros is a valid msghdr: null pointers and zero lengths.
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_name = name.cast();
        message.msg_namelen = name_len;
        message.msg_iov = vector;
        message.msg_iovlen = 1;
        write_control(&mut message, control, transmit, socket_is_v6);
        header.write(libc::mmsghdr { msg_hdr: message, msg_len: 0 });
        len += 1;
    }
    // SAFETY: the first `len` headers were written above. Each points to a name, a vector and control messages of this
    // frame, and the vector to the bytes of a transmit, all of which outlive the call. The kernel writes to nothing but
    // `msg_len`; `iov_base` is a pointer to mutable bytes only because receiving uses the same type.
    let sent =
        unsafe { libc::sendmmsg(io.as_raw_fd(), headers.as_mut_ptr().cast(), len, libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// Writes `dst` in the socket's family: IPv4 on a socket of IPv6 as a mapped address.
fn write_name(
    name: &mut MaybeUninit<Name>,
    dst: SocketAddr,
    socket_is_v6: bool,
) -> (*mut Name, libc::socklen_t) {
    match dst {
        SocketAddr::V4(dst) if !socket_is_v6 => {
            let v4 = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: dst.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(dst.ip().octets()) },
                sin_zero: [0; 8],
            };
            (name.write(Name { v4 }), size_of::<libc::sockaddr_in>() as libc::socklen_t)
        }
        // IPv6 on a socket of IPv4 goes through as it is, for the kernel to refuse.
        dst => {
            let (flow, scope) = match dst {
                SocketAddr::V6(dst) => (dst.flowinfo(), dst.scope_id()),
                SocketAddr::V4(_) => (0, 0),
            };
            let v6 = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: dst.port().to_be(),
                sin6_flowinfo: flow,
                sin6_addr: libc::in6_addr { s6_addr: octets_v6(dst.ip()) },
                sin6_scope_id: scope,
            };
            (name.write(Name { v6 }), size_of::<libc::sockaddr_in6>() as libc::socklen_t)
        }
    }
}

/// Points `message` at control messages for the segment size and the source address, if there are any.
fn write_control(
    message: &mut libc::msghdr,
    control: &mut MaybeUninit<Control>,
    transmit: &Transmit<'_>,
    socket_is_v6: bool,
) {
    let segment = transmit.is_run().then(|| transmit.segment() as u16);
    if segment.is_none() && transmit.src_ip.is_none() {
        return;
    }
    // Zeroed, for the padding between messages goes to the kernel too.
    let control = control.write(Control([0; CONTROL_LEN]));
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_LEN;
    let mut used = 0;
    if let Some(segment) = segment {
        used += push(message, used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    match transmit.src_ip {
        Some(IpAddr::V4(ip)) if !socket_is_v6 => {
            let address = libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) };
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: address,
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += push(message, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(ip) if socket_is_v6 => {
            let info =
                libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: octets_v6(ip) }, ipi6_ifindex: 0 };
            used += push(message, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        // An IPv6 source on a socket of IPv4 cannot be: the socket's own address is used.
        _ => {}
    }
    message.msg_controllen = used;
    if used == 0 {
        message.msg_control = ptr::null_mut();
    }
}

/// Writes one control message at octet `at` of `message`'s buffer and gives the room it takes.
fn push<T: Copy>(
    message: &mut libc::msghdr,
    at: usize,
    level: libc::c_int,
    kind: libc::c_int,
    value: T,
) -> usize {
    // SAFETY: CMSG_LEN and CMSG_SPACE only compute.
    let (len, space) =
        unsafe { (libc::CMSG_LEN(size_of::<T>() as u32), libc::CMSG_SPACE(size_of::<T>() as u32) as usize) };
    assert!(at + space <= CONTROL_LEN, "CONTROL_LEN has room for one source address and one segment size");
    // SAFETY: `msg_control` points to CONTROL_LEN octets of a `Control`, which is aligned as a cmsghdr; `at` is a sum of
    // CMSG_SPACEs and thus aligned too; header and value end within the buffer, as asserted. The value is written unaligned.
    unsafe {
        let header = message.msg_control.cast::<u8>().add(at).cast::<libc::cmsghdr>();
        (*header).cmsg_len = len as usize;
        (*header).cmsg_level = level;
        (*header).cmsg_type = kind;
        libc::CMSG_DATA(header).cast::<T>().write_unaligned(value);
    }
    space
}

fn octets_v6(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
