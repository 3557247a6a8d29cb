//! Deadlines: calls that rang too long or lost their media, and messages past their time.

use std::{sync::Arc, time::Duration};

use trunkline_signaling_api::CallState;
use trunkline_signaling_core::call::{Input, Step};
use trunkline_units::UnixMillis;

use crate::{
    clock,
    service::Shared,
    store::{Store, StoreError},
};

/// Calls that one query takes.
const CALLS_MAX: u32 = 64;

/// Messages that one transaction forgets.
const MESSAGES_MAX: u32 = 500;

/// How long the sweeper sleeps at most: another node may have made a call since.
const SLEEP_MAX: Duration = Duration::from_secs(5);

/// How often messages are expired.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// Gives calls that were live when the node last stopped time to offer again, if their lease has not run out.
pub(crate) async fn after_restart(shared: &Shared) -> Result<(), StoreError> {
    for call in shared.store.live_calls(&[CallState::Connecting, CallState::Connected]).await? {
        match shared.calls.apply(&call, Input::Restarted).await {
            Ok(_) | Err(StoreError::Refused(_)) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// Ends what is due, for ever.
pub(crate) async fn run(shared: Arc<Shared>) {
    loop {
        let wait = match sweep(&shared).await {
            Ok(next) => next.map_or(SLEEP_MAX, |at| at.since(clock::now()).min(SLEEP_MAX)),
            Err(fault) => {
                tracing::warn!(%fault, "the sweeper could not read the store");
                Duration::from_secs(1)
            }
        };
        // A deadline told in whole milliseconds is surely over one millisecond later.
        let wait = wait + Duration::from_millis(1);
        tokio::select! {
            () = shared.calls.moved.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Ticks what is due; says when to come back.
async fn sweep(shared: &Shared) -> Result<Option<UnixMillis>, StoreError> {
    loop {
        let now = clock::now();
        let calls = shared.store.due_calls(now, CALLS_MAX).await?;
        if calls.due.is_empty() {
            return Ok(calls.next);
        }

        let mut progress = false;
        for call in &calls.due {
            match shared.calls.apply(call, Input::Tick).await {
                Ok(change) => {
                    progress |= change.step != Step::Unchanged;
                    shared.calls.tell(&change);
                }
                Err(StoreError::Refused(_)) => {}
                // One that cannot be read must not keep the others alive.
                Err(StoreError::Internal(why)) => tracing::error!(why, "a call could not be ended"),
                Err(fault) => return Err(fault),
            }
        }
        if !progress {
            // Another node was faster, or the store and the machine disagree: not a reason to spin.
            return Ok(Some(now.after(Duration::from_secs(1))));
        }
    }
}

/// Forgets messages past their time, for ever: their conversation's own, or `retention` where it has none.
pub(crate) async fn expire(store: Arc<dyn Store>, retention: Option<Duration>) {
    let mut turn = tokio::time::interval(EXPIRY_INTERVAL);
    loop {
        turn.tick().await;
        loop {
            match store.expire(clock::now(), retention, MESSAGES_MAX).await {
                Ok(0) => break,
                Ok(_) => tokio::task::yield_now().await,
                Err(fault) => {
                    tracing::warn!(%fault, "messages past their time could not be forgotten");
                    break;
                }
            }
        }
    }
}
