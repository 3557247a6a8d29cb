//! A wire between a store and its server that holds or breaks at a chosen moment.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// When the wire does something, once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trip {
    /// After so many bytes to the server all that go there are held, until [`Proxy::release`].
    HoldAfterSent(usize),
    /// The answer to a request whose head has both texts is lost, and its connection breaks.
    LoseAnswer(&'static str, &'static str),
    /// After so many bytes from the server the connection breaks.
    BreakAfterReceived(usize),
}

struct Wire {
    server: SocketAddr,
    trip: Mutex<Option<Trip>>,
    traffic: Mutex<(usize, usize)>,
    tripped: watch::Sender<bool>,
    held: watch::Sender<bool>,
}

pub(super) struct Proxy {
    /// Where the store finds it.
    pub(super) endpoint: String,
    wire: Arc<Wire>,
    listening: JoinHandle<()>,
}

impl Proxy {
    pub(super) async fn new(server: &str, trip: Trip) -> Proxy {
        let server = server.strip_prefix("http://").unwrap().parse().unwrap();
        let wire = Arc::new(Wire {
            server,
            trip: Mutex::new(Some(trip)),
            traffic: Mutex::default(),
            tripped: watch::Sender::new(false),
            held: watch::Sender::new(false),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let listening = tokio::spawn({
            let wire = Arc::clone(&wire);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(Arc::clone(&wire).join(client));
                }
            }
        });
        Proxy { endpoint, wire, listening }
    }

    /// Waits until the wire has done what it is there for.
    pub(super) async fn tripped(&self) {
        self.wire.tripped.subscribe().wait_for(|tripped| *tripped).await.unwrap();
    }

    pub(super) fn has_tripped(&self) -> bool {
        *self.wire.tripped.borrow()
    }

    /// Lets what is held go on.
    pub(super) fn release(&self) {
        self.wire.held.send_replace(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Wire {
    /// Carries one connection until either end closes it.
    async fn join(self: Arc<Self>, client: TcpStream) -> io::Result<()> {
        let server = TcpStream::connect(self.server).await?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
        let mut lose = false;
        loop {
            tokio::select! {
                read = from_client.read(&mut up) => {
                    let read = read?;
                    if read == 0 {
                        return Ok(());
                    }
                    lose |= self.sent(&up[..read]);
                    self.held.subscribe().wait_for(|held| !held).await.map_err(io::Error::other)?;
                    to_server.write_all(&up[..read]).await?;
                }
                read = from_server.read(&mut down) => {
                    let read = read?;
                    if read == 0 || lose || self.received(read) {
                        return Ok(());
                    }
                    to_client.write_all(&down[..read]).await?;
                }
            }
        }
    }

    /// Whether the answer to what goes to the server is to be lost.
    fn sent(&self, bytes: &[u8]) -> bool {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.0 += bytes.len();
        let mut trip = self.trip.lock().unwrap();
        let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        match *trip {
            Some(Trip::HoldAfterSent(most)) if traffic.0 > most => {
                self.held.send_replace(true);
            }
            Some(Trip::LoseAnswer(one, other)) if has(one) && has(other) => {}
            _ => return false,
        }
        let lost = matches!(trip.take(), Some(Trip::LoseAnswer(..)));
        self.tripped.send_replace(true);
        lost
    }

    /// Whether the connection breaks here.
    fn received(&self, bytes: usize) -> bool {
        let mut traffic = self.traffic.lock().unwrap();
        traffic.1 += bytes;
        let mut trip = self.trip.lock().unwrap();
        if matches!(*trip, Some(Trip::BreakAfterReceived(most)) if traffic.1 > most) {
            *trip = None;
            self.tripped.send_replace(true);
            return true;
        }
        false
    }
}
