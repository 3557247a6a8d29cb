//! The thread around a shard: epoll, batched reads, batched sends, and the queues from control and neighbours.

use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use trunkline_sfu_core::dtls::DtlsIdentity;
use trunkline_sfu_core::limits::Limits;
use trunkline_sfu_core::shard::{Command, Input, Neighbour, Output, Shard, ShardId};
use trunkline_sfu_core::stats::Stats;
use trunkline_udp::{RecvBatch, Transmit, UdpConfig, UdpSocket};

use crate::SfuConfig;
use crate::control::Control;

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);
/// Messages from neighbours that may wait. A full queue drops media, as a full network would.
const NEIGHBOUR_QUEUE: usize = 4096;
/// Batches read before timers and commands get their turn.
const BATCHES_MAX: usize = 16;
const STATS_INTERVAL: Duration = Duration::from_millis(100);

enum Order {
    Command(Command),
    Stop,
}

/// How others reach a shard.
#[derive(Clone)]
pub(crate) struct ShardLink {
    orders: Sender<Order>,
    neighbours: SyncSender<(ShardId, Neighbour)>,
    waker: Arc<Waker>,
    awake: Arc<AtomicBool>,
    stats: Arc<Mutex<Stats>>,
}

impl ShardLink {
    pub(crate) fn command(&self, command: Command) {
        // The thread is gone only after `stop`; what is said to it then matters no more.
        let _ = self.orders.send(Order::Command(command));
        self.wake();
    }

    pub(crate) fn stop(&self) {
        let _ = self.orders.send(Order::Stop);
        self.wake();
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn neighbour(&self, from: ShardId, message: Neighbour) {
        if let Err(TrySendError::Full(_)) = self.neighbours.try_send((from, message)) {
            metrics::counter!("sfu_neighbour_overflow_total").increment(1);
        }
        self.wake();
    }

    /// One write to the eventfd for however many messages come before the thread looks.
    fn wake(&self) {
        if !self.awake.swap(true, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "cannot wake a media thread");
        }
    }
}

/// A bound shard that is not running yet.
pub(crate) struct Starter {
    pub(crate) link: ShardLink,
    id: ShardId,
    poll: Poll,
    socket: UdpSocket,
    orders: Receiver<Order>,
    neighbours: Receiver<(ShardId, Neighbour)>,
}

/// Binds one socket a shard to the one media port.
pub(crate) fn bind(config: &SfuConfig) -> io::Result<(Vec<Starter>, SocketAddr)> {
    let mut starters = Vec::new();
    let mut address = config.listen;
    for id in 0..config.shards.clamp(1, 64) {
        let socket = UdpSocket::bind(address, &UdpConfig { reuse_port: true, ..UdpConfig::default() })?;
        address = socket.local_addr();
        let poll = Poll::new()?;
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (orders_in, orders) = mpsc::channel();
        let (neighbours_in, neighbours) = mpsc::sync_channel(NEIGHBOUR_QUEUE);
        let link = ShardLink {
            orders: orders_in,
            neighbours: neighbours_in,
            waker,
            awake: Arc::default(),
            stats: Arc::default(),
        };
        starters.push(Starter { link, id: ShardId(id as u16), poll, socket, orders, neighbours });
    }
    Ok((starters, address))
}

impl Starter {
    pub(crate) fn start(
        self,
        control: &Arc<Control>,
        limits: Limits,
        identity: Arc<DtlsIdentity>,
        seed: u64,
    ) -> io::Result<JoinHandle<()>> {
        let control = control.clone();
        let name = format!("media-{}", self.id.0);
        std::thread::Builder::new().name(name).spawn(move || {
            let shard = Shard::new(self.id, limits, identity, seed);
            let thread = MediaThread { shard, control, io: self, stats_at: None };
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thread.run()));
            if !matches!(ended, Ok(Ok(()))) {
                // Its transports are claimed and its port is bound: whoever reaches it now falls into a hole. A
                // process that is gone is restarted; one that is half dead is not.
                tracing::error!(?ended, "a media thread failed: the process ends");
                std::process::abort();
            }
        })
    }
}

struct MediaThread {
    shard: Shard,
    control: Arc<Control>,
    io: Starter,
    stats_at: Option<Instant>,
}

impl MediaThread {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(8);
        let mut batch = RecvBatch::new();
        let mut next = None;
        loop {
            let now = Instant::now();
            let stats_due = self.stats_at.map(|at| at + STATS_INTERVAL);
            let timeout = [next, stats_due].into_iter().flatten().min();
            match self.io.poll.poll(&mut events, timeout.map(|at: Instant| at.saturating_duration_since(now)))
            {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            if self.take_orders().is_break() {
                self.drain(Instant::now());
                return Ok(());
            }
            self.receive(&mut batch)?;
            let now = Instant::now();
            if next.is_some_and(|at| at <= now) {
                self.shard.handle(Input::Wake, now);
            }
            next = self.drain(now);
            self.publish_stats(now);
        }
    }

    fn take_orders(&mut self) -> ControlFlow<()> {
        self.io.link.awake.store(false, Ordering::SeqCst);
        let now = Instant::now();
        while let Ok(order) = self.io.orders.try_recv() {
            match order {
                Order::Command(command) => self.shard.handle(Input::Command(command), now),
                Order::Stop => return ControlFlow::Break(()),
            }
        }
        for _ in 0..NEIGHBOUR_QUEUE {
            let Ok((from, message)) = self.io.neighbours.try_recv() else { break };
            self.shard.handle(Input::Neighbour(from, message), now);
            if self.shard.is_full() {
                self.drain(now);
            }
        }
        ControlFlow::Continue(())
    }

    fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<()> {
        for _ in 0..BATCHES_MAX {
            let received = match self.io.socket.recv_batch(batch) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            if received == 0 {
                continue; // nothing but empty datagrams; more may wait behind them
            }
            let now = Instant::now();
            for datagram in batch.datagrams() {
                let (source, local, bytes) = (datagram.source, datagram.local_ip, datagram.bytes);
                self.shard.handle(Input::Datagram { source, local, bytes }, now);
                if self.shard.is_full() {
                    self.drain(now);
                }
            }
            self.drain(now);
        }
        // More waits: epoll is edge-triggered, so ask again.
        self.io.link.waker.wake()
    }

    /// Obeys every output; returns when the shard wants to be woken.
    fn drain(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.shard.poll_output(now) {
                Output::Transmits { bytes, transmits } => {
                    let batch = transmits.iter().map(|t| Transmit {
                        dst: t.destination,
                        bytes: &bytes[t.range.clone()],
                        segment_size: u16::try_from(t.segment_size).ok(),
                        src_ip: t.source,
                    });
                    // What the kernel does not take is late already: it is dropped, and counted by the socket.
                    if let Err(error) = self.io.socket.send_batch(batch) {
                        tracing::debug!(%error, "a batch was not sent");
                    }
                }
                Output::Event(event) => self.control.on_event(event),
                Output::Neighbour(Some(to), message) => {
                    if let Some(link) = self.control.shards().get(usize::from(to.0)) {
                        link.neighbour(self.io.id, message);
                    }
                }
                Output::Neighbour(None, message) => {
                    for (n, link) in self.control.shards().iter().enumerate() {
                        if n != usize::from(self.io.id.0) {
                            link.neighbour(self.io.id, message.clone());
                        }
                    }
                }
                Output::Wait(at) => return at,
            }
        }
    }

    fn publish_stats(&mut self, now: Instant) {
        let due = self.stats_at.is_none_or(|at| now.saturating_duration_since(at) >= STATS_INTERVAL);
        if !due {
            return;
        }
        let mut shared = self.io.link.stats.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing new: no further wake until something happens.
        self.stats_at = (*shared != *self.shard.stats()).then_some(now);
        if self.stats_at.is_some() {
            shared.clone_from(self.shard.stats());
        }
    }
}
