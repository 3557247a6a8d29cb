//! The composition root: what starts in which order, how the services meet, and how everything stops.
//!
//! Start: secrets → operator's port → media and relay → media store → signaling → public port → ready. Stop, on SIGTERM
//! or Ctrl-C: not ready → new clients of the relay go elsewhere → uploads keep what they received → `bye` to sessions →
//! no more requests → media and relay → store. The operator's port answers to the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use trunkline_media_store::MediaStore;
use trunkline_sfu::Sfu;
use trunkline_signaling::Signaling;
use trunkline_turn::Health;

use crate::config::{Bind, Config};
use crate::listener::{Listener, brief};
use crate::ops::{self, Readiness, Samplers};
use crate::ports::SharedSecret;
use crate::secrets::{self, Secrets};
use crate::services::{self, Relay};
use crate::{attachments, media, telemetry, web};

/// Below this many file descriptors an operator is warned: a thousand people and their relays.
const DESCRIPTORS_MIN: u64 = 4_096;

/// How often a relay that drains is asked whether anybody is left.
const DRAIN_LOOK: Duration = Duration::from_secs(1);

/// How often the metrics recorder folds its samples. Rarer costs memory, oftener CPU.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What this process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// API, WebSocket, conversations, calls, and the page.
    pub signaling: bool,
    /// Media. Only together with `signaling` in this version.
    pub sfu: bool,
    /// Relaying.
    pub turn: bool,
    /// Photos, voice notes, files. Only together with `signaling` in this version.
    pub media_store: bool,
}

/// The running server.
pub struct App {
    readiness: Readiness,
    signaling: Option<Arc<Signaling>>,
    media_store: Option<MediaStore>,
    http: Option<Listener>,
    ops: Option<Listener>,
    sfu: Option<Sfu>,
    turn: Option<Relay>,
    /// Mints TURN credentials, if this process signals.
    credentials: Option<Arc<SharedSecret>>,
    /// Where new clients of the relay are sent while it drains, and for how long it does.
    draining: (Vec<SocketAddr>, Duration),
}

/// SIGTERM, SIGINT and SIGHUP. Listen before the start: a process that is told to stop while it starts must not die of
/// it.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To stop; the signal's name.
    Stop(&'static str),
    /// To read the configuration again.
    Reload,
}

impl Signals {
    /// Takes them over for the rest of the process's life.
    ///
    /// # Errors
    /// The system refuses.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Waits for the next one that says to stop, and gives its name.
    async fn stop(&mut self) -> &'static str {
        loop {
            if let Told::Stop(signal) = self.next().await {
                return signal;
            }
        }
    }
}

impl App {
    /// Starts what `roles` names, in order. When this returns, every port is open and `/readyz` says so.
    ///
    /// # Errors
    /// A port is taken, the data directory cannot be used, or a service refuses its part of the configuration.
    pub async fn start(config: Config, roles: Roles) -> anyhow::Result<Self> {
        raise_descriptor_limit();
        if config.signaling.demo_logins && !config.http.listen.ip().is_loopback() {
            tracing::warn!(
                "signaling.demo_logins gives anybody who reaches http.listen a token for any name"
            );
        }
        let secrets = Secrets::resolve(&config)?;
        secrets::make_private_dir(&config.data.dir)?;
        let (readiness, samplers) = (Readiness::default(), Samplers::default());
        let ops = start_ops(&config, &readiness, &samplers).await?;
        let (sfu_events, from_sfu) = mpsc::unbounded_channel();
        let sfu = match roles.sfu {
            true => Some(services::start_sfu(&config, &samplers, sfu_events)?),
            false => None,
        };
        let turn = match roles.turn {
            true => Some(services::start_turn(&config, &secrets)?),
            false => None,
        };
        if turn.is_some() && sfu.is_some() {
            services::warn_if_unreachable(&config);
        }
        let media_store = match roles.media_store {
            true => Some(media::open_store(&config, &secrets).await?),
            false => None,
        };
        let (signaling, http, credentials) = match roles.signaling {
            true => {
                let credentials = services::credentials(&config, &secrets, turn.as_ref())?;
                let media = sfu.clone().map(|sfu| (sfu, from_sfu));
                let attachments = media_store.clone();
                let minting = credentials.clone();
                let signaling =
                    services::start_signaling(&config, &secrets, media, minting, attachments).await?;
                if let Some(media_store) = &media_store {
                    media_store.start(attachments::references(&signaling)).await?;
                }
                let router = public_router(&signaling, sfu.as_ref(), media_store.as_ref(), &secrets);
                let http = Listener::start("http.listen", config.http.listen, router).await?;
                (Some(Arc::new(signaling)), Some(http), Some(credentials))
            }
            false => (None, None, None),
        };
        check_when_asked(&readiness, signaling.as_ref(), turn.as_ref());
        readiness.set_ready();
        let draining = (config.turn.alternates, config.turn.drain_time.0);
        let app = Self { readiness, signaling, media_store, http, ops, sfu, turn, credentials, draining };
        tracing::info!(
            http = shown(app.http_address()),
            ops = shown(app.ops_address()),
            sfu = shown(app.sfu.as_ref().map(Sfu::local_addr)),
            turn = shown(app.turn.as_ref().map(Relay::local_addr)),
            "ready"
        );
        Ok(app)
    }

    /// Where the page, the API and the WebSocket are, if this process has them.
    #[must_use]
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(|listener| listener.address())
    }

    /// Where the operator's port is, if it is not off.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.ops.as_ref().map(|listener| listener.address())
    }

    /// Serves until told to stop, then stops gracefully; told again, at once. On SIGHUP it reads the configuration in
    /// `file` again.
    pub async fn run(mut self, mut signals: Signals, file: Option<&Path>) {
        let signal = self.obey(&mut signals, file).await;
        tracing::info!(signal, "stopping");
        self.readiness.set_draining();
        if let Some((health, time)) = self.begin_draining() {
            let gone = async {
                let mut looks = tokio::time::interval(DRAIN_LOOK);
                // What the gauge said at first may be a second old.
                looks.tick().await;
                loop {
                    looks.tick().await;
                    if health.allocations() == 0 {
                        return;
                    }
                }
            };
            tokio::select! {
                // Over time is over: the rest is cut off.
                _ = tokio::time::timeout(time, gone) => {}
                // A policy that is replaced meanwhile holds for those who are still there.
                signal = self.obey(&mut signals, file) => return tracing::warn!(signal, "stopped at once"),
            }
        }
        tokio::select! {
            () = self.shutdown() => tracing::info!("stopped"),
            signal = signals.stop() => tracing::warn!(signal, "stopped at once"),
        }
    }

    /// Does what it is told until it is told to stop; the signal that said so.
    async fn obey(&mut self, signals: &mut Signals, file: Option<&Path>) -> &'static str {
        loop {
            match signals.next().await {
                Told::Stop(signal) => return signal,
                Told::Reload => match self.reload(file) {
                    Ok(()) => tracing::info!(
                        "TURN secrets, peers and the certificate's content are those of the configuration now"
                    ),
                    Err(error) => tracing::error!(error = format!("{error:#}"), "not reloaded"),
                },
            }
        }
    }

    /// Takes from the configuration what can change while the server runs: what belongs to TURN. What is wrong with it
    /// leaves everything as it is.
    fn reload(&mut self, file: Option<&Path>) -> anyhow::Result<()> {
        let config = Config::load(file)?;
        let secrets = Secrets::resolve(&config)?;
        let minting = services::minting(&secrets)?;
        self.turn.as_mut().map_or(Ok(()), |turn| turn.reload(&config, &secrets))?;
        if let Some(credentials) = &self.credentials {
            credentials.replace(minting);
        }
        Ok(())
    }

    /// Sends new clients of the relay elsewhere. Gives how many are there and how long they may stay, if they may.
    fn begin_draining(&mut self) -> Option<(Health, Duration)> {
        let turn = self.turn.as_mut()?;
        let (alternates, time) = std::mem::take(&mut self.draining);
        turn.drain(alternates);
        (time > Duration::ZERO).then(|| (turn.health(), time))
    }

    /// Stops everything, in order. Returns when the last service has.
    pub async fn shutdown(self) {
        self.readiness.set_draining();
        if let Some(media_store) = &self.media_store {
            media_store.shutdown().await;
        }
        if let Some(signaling) = &self.signaling {
            signaling.shutdown().await;
        }
        if let Some(http) = self.http {
            http.stop().await;
        }
        let (sfu, turn) = (self.sfu, self.turn);
        // Both join their threads: not on a thread of the runtime.
        let media = tokio::task::spawn_blocking(move || {
            if let Some(sfu) = sfu {
                sfu.shutdown();
            }
            if let Some(turn) = turn {
                turn.shutdown();
            }
        });
        if media.await.is_err() {
            tracing::error!("the media threads could not be joined");
        }
        if let Some(ops) = self.ops {
            ops.stop().await;
        }
    }
}

/// What `/readyz` looks at each time.
fn check_when_asked(readiness: &Readiness, signaling: Option<&Arc<Signaling>>, turn: Option<&Relay>) {
    let (signaling, relay) = (signaling.cloned(), turn.map(Relay::health));
    readiness.also(move || {
        let (signaling, relay) = (signaling.clone(), relay.clone());
        async move {
            if relay.is_some_and(|relay| !relay.is_healthy()) {
                return Err("a thread of the relay has ended\n");
            }
            if let Some(signaling) = signaling
                && !signaling.is_ready().await
            {
                return Err("the store takes no writes\n");
            }
            Ok(())
        }
    });
}

/// Everything on the public port: the API, WHIP and WHEP, and the page for what no route takes; and uploads and downloads,
/// which last as long as their bytes take.
fn public_router(
    signaling: &Signaling,
    sfu: Option<&Sfu>,
    media_store: Option<&MediaStore>,
    secrets: &Secrets,
) -> Router {
    let mut router = signaling.router();
    if let Some(sfu) = sfu {
        let state = trunkline_sfu::HttpState::new(sfu.clone(), secrets.jwt_key.expose().as_bytes());
        router = router.merge(trunkline_sfu::router(state));
    }
    let router = brief(router.fallback(web::serve));
    match media_store {
        Some(media_store) => router.merge(media_store.router()),
        None => router,
    }
}

async fn start_ops(
    config: &Config,
    readiness: &Readiness,
    samplers: &Samplers,
) -> anyhow::Result<Option<Listener>> {
    let Bind::On(address) = config.ops.listen else { return Ok(None) };
    let handle = telemetry::start_metrics()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(METRICS_UPKEEP);
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(Some(
        Listener::start(
            "ops.listen",
            address,
            brief(ops::router(handle, samplers.clone(), readiness.clone())),
        )
        .await?,
    ))
}

/// Every connection, session and relayed address takes a descriptor; the usual soft limit of 1,024 is soon reached.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < DESCRIPTORS_MIN => {
            tracing::warn!(limit, "few file descriptors: raise the hard limit (LimitNOFILE=) for real use");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of file descriptors cannot be raised"),
    }
}

fn shown(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "off".to_owned(), |address| address.to_string())
}
