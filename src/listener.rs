//! One HTTP listener: a bound on connections, deadlines, and a stop that lets requests finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tower_http::timeout::TimeoutLayer;

/// HTTP connections at a time: at most some 30 KB and a file descriptor each. A WebSocket leaves the count once it is upgraded;
/// signaling bounds those itself. Higher serves larger herds; lower keeps memory for media. Above it new connections
/// wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 10_000;

/// How long a client may take over a request's head, on a connection kept alive too. Higher is kinder to the slowest
/// phones; lower frees what half-open connections hold.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take from its head to its answer, a slow body included. A WebSocket is answered at once; uploads
/// last as long as their bytes take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a peer may leave what we sent unacknowledged, an unread answer behind a closed window included (RFC 5482).
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest request head in bytes; hyper's own bound is 400 KB, which a stranger could fill on every connection.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// How long open requests may take to finish once the server stops. Longer lets slow clients finish; shorter keeps a
/// restart short. A WebSocket session is told `bye` and does not count.
const DRAIN: Duration = Duration::from_secs(5);

/// After a failed accept, which is mostly a want of file descriptors: time for some to be given back.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound address and the task that serves it.
#[derive(Debug)]
pub(crate) struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Listener {
    /// Binds `address`, the value of the configuration's `key`, and serves `router` on it. See [`brief`].
    ///
    /// # Errors
    /// The address cannot be bound.
    pub(crate) async fn start(
        key: &'static str,
        address: SocketAddr,
        router: Router,
    ) -> anyhow::Result<Self> {
        let listener =
            TcpListener::bind(address).await.with_context(|| format!("cannot listen on {key} {address}"))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(serve(listener, router, stopped));
        Ok(Self { address, stop, task })
    }

    /// The bound address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts no more, and returns when the open requests have finished or their time is over.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(true);
        if self.task.await.is_err() {
            tracing::error!("a listener's task panicked");
        }
    }
}

/// Puts the deadline of a request before routes that have none of their own.
pub(crate) fn brief(router: Router) -> Router {
    router.layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
}

async fn serve(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let told = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let accept = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(stream, router.clone(), graceful.watcher());
                    tokio::spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = told => {}
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

async fn connection(stream: TcpStream, router: Router, watcher: Watcher) {
    // A frame is a message or a ring: waiting for more to send with it costs some 40 ms.
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(&stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT)));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection is gone already");
        return;
    }
    let service = TowerToHyperService::new(router);
    let mut http = auto::Builder::new(TokioExecutor::new()).http1_only();
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let connection = http.serve_connection_with_upgrades(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::trace!(%error, "a connection ended");
    }
}
