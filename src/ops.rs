//! The operator's port: what runs, how well, and whether to send traffic here. It asks for no login, so it has its
//! own listener, which stands on loopback unless told otherwise.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::telemetry;

/// Whether traffic should come here: what `/readyz` says.
#[derive(Clone, Default)]
pub struct Readiness(Arc<ReadinessState>);

#[derive(Default)]
struct ReadinessState {
    phase: AtomicU8,
    check: OnceLock<Check>,
}

/// What is wrong, if anything.
type Check = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), &'static str>> + Send>> + Send + Sync>;

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// Every service has started.
    pub fn set_ready(&self) {
        self.0.phase.store(READY, Ordering::Release);
    }

    /// Shutting down: live calls go on, new ones belong elsewhere.
    pub fn set_draining(&self) {
        self.0.phase.store(DRAINING, Ordering::Release);
    }

    /// What must hold besides, asked each time, or why it does not in one line; only the first one given counts.
    pub fn also<F>(&self, check: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), &'static str>> + Send + 'static,
    {
        let _ = self.0.check.set(Box::new(move || Box::pin(check())));
    }

    async fn answer(&self) -> (StatusCode, &'static str) {
        let check = async || match self.0.check.get() {
            Some(check) => check().await,
            None => Ok(()),
        };
        match self.0.phase.load(Ordering::Acquire) {
            READY => match check().await {
                Ok(()) => (StatusCode::OK, "ready\n"),
                Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason),
            },
            STARTING => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Readiness({})", self.0.phase.load(Ordering::Acquire))
    }
}

/// What to ask just before the metrics are rendered: counters that a service keeps by itself.
#[derive(Clone, Default)]
pub struct Samplers(Arc<Mutex<Vec<Sampler>>>);

type Sampler = Box<dyn Fn() + Send>;

impl Samplers {
    /// Adds one; it is called for every scrape and must return at once.
    pub fn add(&self, sampler: impl Fn() + Send + 'static) {
        self.list().push(Box::new(sampler));
    }

    fn sample(&self) {
        telemetry::sample_process();
        self.list().iter().for_each(|sampler| sampler());
    }

    fn list(&self) -> MutexGuard<'_, Vec<Sampler>> {
        // A sampler that panicked has left nothing half done here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Samplers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Samplers({})", self.list().len())
    }
}

/// `/metrics`, `/healthz` (the process answers) and `/readyz` (traffic is welcome).
pub fn router(metrics: PrometheusHandle, samplers: Samplers, readiness: Readiness) -> Router {
    Router::new()
        .route("/metrics", get(render).with_state((metrics, samplers)))
        .route("/healthz", get(async || "ok\n"))
        .route(
            "/readyz",
            get(async |State(readiness): State<Readiness>| readiness.answer().await).with_state(readiness),
        )
}

async fn render(State((metrics, samplers)): State<(PrometheusHandle, Samplers)>) -> impl IntoResponse {
    samplers.sample();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readiness_follows_the_life_of_the_process() {
        let readiness = Readiness::default();
        assert_eq!(readiness.answer().await.0, StatusCode::SERVICE_UNAVAILABLE);
        readiness.set_ready();
        assert_eq!(readiness.answer().await, (StatusCode::OK, "ready\n"));
        readiness.also(async || Err("the store takes no writes\n"));
        assert_eq!(
            readiness.answer().await,
            (StatusCode::SERVICE_UNAVAILABLE, "the store takes no writes\n")
        );
        readiness.set_draining();
        assert_eq!(readiness.answer().await, (StatusCode::SERVICE_UNAVAILABLE, "draining\n"));
    }
}
