//! The service as a whole: what it is made of, how it starts and how it stops.

use std::{sync::Arc, time::Instant};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use trunkline_signaling_api::ByeCode;
use trunkline_signaling_core::bucket::TokenBucket;

use crate::{
    bus::{Bus, InProcessBus},
    calls::Calls,
    config::SignalingConfig,
    dispatch,
    frame::Recent,
    hub::Hub,
    media, meters,
    ports::{AttachmentGrants, MediaEvent, MediaPlane, RelayCredentials},
    references::References,
    rest,
    store::{SqliteStore, Store, StoreError},
    sweeper,
};

/// What every session and request shares.
pub(crate) struct Shared {
    pub(crate) config: SignalingConfig,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) hub: Hub,
    pub(crate) calls: Calls,
    pub(crate) relays: Arc<dyn RelayCredentials>,
    /// The media store, if there is one.
    pub(crate) attachments: Option<Arc<dyn AttachmentGrants>>,
    pub(crate) recent: Recent,
    /// One permit a connection, greeted or not.
    pub(crate) seats: Arc<Semaphore>,
    pub(crate) logins: std::sync::Mutex<TokenBucket>,
    /// What is asked for under the server key.
    pub(crate) server_requests: std::sync::Mutex<TokenBucket>,
    /// Whether the service is to stop.
    pub(crate) stop: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the service is to stop.
    pub(crate) async fn stopped(&self) {
        // The sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store cannot be opened or read.
    #[error("the signaling store: {0}")]
    Store(#[from] StoreError),
}

/// A running signaling service. Dropping it stops its tasks; [`Signaling::shutdown`] also says goodbye.
pub struct Signaling {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Signaling {
    /// Opens the store and starts the service's tasks on the current tokio runtime. Live calls whose lease is stale
    /// end at once; the others are given a fresh one, for clients to offer again. Without `attachments` whoever asks for an
    /// upload or for links is told `unavailable`.
    pub async fn open(
        config: SignalingConfig,
        media: Arc<dyn MediaPlane>,
        relays: Arc<dyn RelayCredentials>,
        attachments: Option<Arc<dyn AttachmentGrants>>,
        media_events: mpsc::Receiver<MediaEvent>,
    ) -> Result<Signaling, OpenError> {
        meters::describe();
        let place = config.database.clone();
        let store = tokio::task::spawn_blocking(move || SqliteStore::open(&place))
            .await
            .map_err(|fault| StoreError::Unavailable(fault.to_string()))??;
        let (store, bus) = (Arc::new(store), Arc::new(InProcessBus::new()));
        Self::start(config, store, bus, media, relays, attachments, media_events).await
    }

    /// Starts the service on a store and a bus of the caller's choice.
    pub async fn start(
        config: SignalingConfig,
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        media: Arc<dyn MediaPlane>,
        relays: Arc<dyn RelayCredentials>,
        attachments: Option<Arc<dyn AttachmentGrants>>,
        media_events: mpsc::Receiver<MediaEvent>,
    ) -> Result<Signaling, OpenError> {
        let limits = config.limits;
        let calls = Calls::new(store.clone(), bus.clone(), media, config.timing, limits.legs);
        let listener = bus.listen();
        let rev = store.changes(None, 0).await?.rev;
        let retention = config.retention;
        let shared = Arc::new(Shared {
            store: store.clone(),
            bus,
            hub: Hub::new(limits),
            calls,
            relays,
            attachments,
            recent: Recent::default(),
            seats: Arc::new(Semaphore::new(limits.sessions)),
            logins: std::sync::Mutex::new(TokenBucket::new(limits.logins, Instant::now())),
            server_requests: std::sync::Mutex::new(TokenBucket::new(limits.server_requests, Instant::now())),
            stop: watch::channel(false).0,
            config,
        });
        sweeper::after_restart(&shared).await?;
        let tasks = vec![
            tokio::spawn(dispatch::run(shared.clone(), listener, rev)),
            tokio::spawn(media::run(shared.clone(), media_events)),
            tokio::spawn(sweeper::run(shared.clone())),
            tokio::spawn(sweeper::expire(store, retention)),
        ];
        Ok(Signaling { shared, tasks })
    }

    /// `GET /v1/session` and the REST of `docs/protocol.md`, WHIP and WHEP excepted. Serve it on sockets with `TCP_NODELAY`
    /// (`axum::serve::ListenerExt::tap_io`): frames are small, and Nagle's algorithm against delayed acknowledgements
    /// costs 40 ms for each.
    pub fn router(&self) -> axum::Router {
        rest::router(self.shared.clone())
    }

    /// What a media store needs of this service.
    pub fn references(&self) -> References {
        References::new(self.shared.store.clone())
    }

    /// Whether it takes sessions, and its store takes writes.
    pub async fn is_ready(&self) -> bool {
        !self.shared.is_stopping() && self.shared.store.ping().await.is_ok()
    }

    /// Takes no more sessions, tells every session `bye{code:"shutdown"}`, and returns when they are gone or their time is
    /// over. Calls live on: they are rows with deadlines.
    pub async fn shutdown(&self) {
        self.shared.stop.send_replace(true);
        for link in self.shared.hub.everyone() {
            link.close(Some(ByeCode::Shutdown));
        }
        let sessions = u32::try_from(self.shared.config.limits.sessions).unwrap_or(u32::MAX);
        let time = self.shared.config.drain_timeout * 2;
        if tokio::time::timeout(time, self.shared.seats.acquire_many(sessions)).await.is_err() {
            tracing::warn!("some sessions did not end in time");
        }
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Drop for Signaling {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}
