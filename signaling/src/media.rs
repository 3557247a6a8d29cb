//! From the media plane's events to calls and sessions.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use trunkline_signaling_api::{MediaGone, Party, ServerFrame, Slots};
use trunkline_signaling_core::{
    call::Input,
    outgoing::{Class, StateKey},
};
use trunkline_units::CallId;

use crate::{frame::Frame, ports::MediaEvent, service::Shared, store::StoreError};

/// How often, and how long apart, an event is tried on a store that is not available. More: longer failures lose nothing,
/// and what came after waits longer.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(250);

/// Follows the media plane until it is gone.
pub(crate) async fn run(shared: Arc<Shared>, mut events: mpsc::Receiver<MediaEvent>) {
    while let Some(event) = events.recv().await {
        follow(&shared, event).await;
    }
}

async fn follow(shared: &Shared, event: MediaEvent) {
    match event {
        MediaEvent::Slots { call, user, device, slots } => {
            let party = Party { user, device };
            let frame = Frame::new(&ServerFrame::Slots(Slots { call: call.clone(), slots }));
            if shared.calls.keep_slots(&call, &party, &frame)
                && let Some(link) = shared.hub.link_of(&party)
            {
                link.push_encoded(Class::State(StateKey::Slots(call)), frame);
            }
        }
        MediaEvent::Connected { call, user, device } => {
            let party = Party { user, device };
            apply(shared, &call, Input::Connected(party.clone()), Some(&party)).await;
        }
        MediaEvent::Gone { call, user, device, why } => {
            let party = Party { user, device };
            if apply(shared, &call, Input::Gone(party.clone()), Some(&party)).await {
                tell_gone(shared, &call, &party, why);
            }
        }
        MediaEvent::Alive { call } => {
            if shared.calls.is_renewal_due(&call) {
                apply(shared, &call, Input::Alive, None).await;
            }
        }
    }
}

fn tell_gone(shared: &Shared, call: &CallId, party: &Party, why: String) {
    if let Some(link) = shared.hub.link_of(party) {
        link.push(Class::Answer, &ServerFrame::MediaGone(MediaGone { call: call.clone(), why }));
    }
}

/// `false`: the call is over, or the party not in it.
async fn apply(shared: &Shared, call: &CallId, input: Input, party: Option<&Party>) -> bool {
    let mut result = shared.calls.apply(call, input.clone()).await;
    let mut tries = 1;
    // Who came or went is told once. A sign of life comes again by itself.
    while matches!(result, Err(StoreError::Unavailable(_))) && party.is_some() && tries < TRIES {
        tokio::time::sleep(PAUSE).await;
        result = shared.calls.apply(call, input.clone()).await;
        tries += 1;
    }
    match result {
        Ok(change) => {
            shared.calls.tell(&change);
            if change.call.is_live() {
                return party.is_none_or(|party| change.call.has_joined(party));
            }
            shared.calls.turn_out(call, None);
        }
        // Media of a leg or a call that is over: it must not go on.
        Err(StoreError::Refused(_)) => shared.calls.turn_out(call, party),
        Err(fault) => tracing::warn!(%fault, "an event of the media plane could not be followed"),
    }
    false
}
