//! Calls: every change goes through the store, and from there to the media plane and to everyone who watches.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;
use trunkline_signaling_api::{ErrorCode, Party, SlotView};
use trunkline_signaling_core::{
    Refusal,
    call::{Call, Input, Invitation, Step},
    limits::CallTiming,
};
use trunkline_units::CallId;

use crate::{
    bus::{Bus, Hint},
    clock,
    fault::Fault,
    frame::Frame,
    meters,
    ports::{MediaError, MediaPlane},
    store::{CallChange, CallRules, Store, StoreError},
};

/// How long the media plane may take to answer an offer.
const OFFER_TIMEOUT: Duration = Duration::from_secs(10);

/// What this node knows of a call whose media it arranged. One for each live call with an offer; gone when it ends.
#[derive(Default)]
struct Room {
    /// Who has offered, with the last `slots` frame for each: a session that comes back is told.
    seats: HashMap<Party, Option<Frame>>,
    renewed: Option<Instant>,
}

/// The call service of one node.
pub(crate) struct Calls {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    media: Arc<dyn MediaPlane>,
    timing: CallTiming,
    legs_max: usize,
    rooms: Mutex<HashMap<CallId, Room>>,
    /// Rung when a deadline may have moved.
    pub(crate) moved: Notify,
}

impl Calls {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        media: Arc<dyn MediaPlane>,
        timing: CallTiming,
        legs_max: usize,
    ) -> Calls {
        Calls { store, bus, media, timing, legs_max, rooms: Mutex::default(), moved: Notify::new() }
    }

    pub(crate) fn rules(&self) -> CallRules {
        CallRules { now: clock::now(), timing: self.timing, legs_max: self.legs_max }
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<CallId, Room>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings. The change is not told yet: [`Self::tell`] does, after the caller has its answer.
    pub(crate) async fn invite(&self, invitation: Invitation) -> Result<CallChange, StoreError> {
        let change = self.store.invite(invitation, self.rules()).await?;
        if change.step == Step::Changed && change.call.ver == 1 {
            meters::call_started();
        }
        self.settle(&change);
        Ok(change)
    }

    /// Moves a call. The change is not told yet: [`Self::tell`] does.
    pub(crate) async fn apply(&self, call: &CallId, input: Input) -> Result<CallChange, StoreError> {
        let change = self.store.move_call(call, input, self.rules()).await?;
        self.settle(&change);
        Ok(change)
    }

    /// Makes the media plane follow a change: whoever is out gets no more media.
    pub(crate) fn settle(&self, change: &CallChange) {
        let id = &change.call.id;
        for Party { user, device } in &change.left {
            self.media.leave(id, user, device);
        }
        if change.call.is_live() {
            if let Some(room) = self.rooms().get_mut(id) {
                room.seats.retain(|party, _| !change.left.contains(party));
            }
        } else if change.step == Step::Changed {
            self.media.close(id);
            self.rooms().remove(id);
            if let Some(reason) = change.call.reason {
                meters::call_ended(reason);
            }
        }
        if change.step != Step::Unchanged {
            self.moved.notify_one();
        }
    }

    /// Tells everyone of a change.
    pub(crate) fn tell(&self, change: &CallChange) {
        let Call { conv, id, .. } = &change.call;
        if change.step == Step::Changed {
            self.bus.publish(Hint::Call { conv: conv.clone(), call: id.clone() });
        }
        if let Some(seq) = change.message {
            self.bus.publish(Hint::Message { conv: conv.clone(), seq });
        }
    }

    /// The call, if this device is in it.
    async fn joined(&self, call: &CallId, party: &Party) -> Result<(), Fault> {
        let call = self.store.call(call, Some(&party.user)).await?.ok_or(Refusal::NotFound)?;
        if !call.is_live() {
            return Err(Refusal::CallEnded.into());
        }
        if !call.has_joined(party) {
            return Err(Refusal::NotJoined.into());
        }
        Ok(())
    }

    /// Passes an offer to the media plane, if the device is in the call before and after.
    pub(crate) async fn offer(&self, call: &CallId, party: &Party, sdp: &str) -> Result<String, Fault> {
        self.joined(call, party).await?;
        // Before the media plane knows of it, so that its first events find a seat.
        self.rooms().entry(call.clone()).or_default().seats.entry(party.clone()).or_default();
        let answer =
            tokio::time::timeout(OFFER_TIMEOUT, self.media.offer(call, &party.user, &party.device, sdp))
                .await;
        let answer = answer.unwrap_or(Err(MediaError::Unavailable)).map_err(|fault| match fault {
            MediaError::BadSdp(why) => Fault::new(ErrorCode::BadSdp, why),
            MediaError::LimitExceeded => Fault::unavailable("no room for more media"),
            MediaError::Unavailable => Fault::unavailable("no media server answers"),
        });
        // It may have left, or been removed, while the offer was on its way.
        if let Err(fault) = self.joined(call, party).await {
            self.media.leave(call, &party.user, &party.device);
            let mut rooms = self.rooms();
            match fault.code {
                ErrorCode::CallEnded => drop(rooms.remove(call)),
                _ => drop(rooms.get_mut(call).and_then(|room| room.seats.remove(party))),
            }
            return Err(fault);
        }
        answer
    }

    /// Passes on what is on a device's screen, if it has offered.
    pub(crate) fn view(&self, call: &CallId, party: &Party, slots: Vec<SlotView>) {
        let seated = self.rooms().get(call).is_some_and(|room| room.seats.contains_key(party));
        if seated {
            self.media.view(call, &party.user, &party.device, slots);
        }
    }

    /// Keeps a device's slots for when its session comes back. `false`: it has no seat.
    pub(crate) fn keep_slots(&self, call: &CallId, party: &Party, frame: &Frame) -> bool {
        let mut rooms = self.rooms();
        match rooms.get_mut(call).and_then(|room| room.seats.get_mut(party)) {
            Some(seat) => {
                *seat = Some(frame.clone());
                true
            }
            None => false,
        }
    }

    pub(crate) fn slots_of(&self, call: &CallId, party: &Party) -> Option<Frame> {
        self.rooms().get(call)?.seats.get(party)?.clone()
    }

    /// Whether a sign of life is worth a transaction now: one in a quarter of the lease is enough.
    pub(crate) fn is_renewal_due(&self, call: &CallId) -> bool {
        let mut rooms = self.rooms();
        let Some(room) = rooms.get_mut(call) else { return true };
        let due = room.renewed.is_none_or(|at| at.elapsed() >= self.timing.lease / 4);
        if due {
            room.renewed = Some(Instant::now());
        }
        due
    }

    /// Tells the media plane that a device or a call is none of its business (any more).
    pub(crate) fn turn_out(&self, call: &CallId, party: Option<&Party>) {
        match party {
            Some(Party { user, device }) => self.media.leave(call, user, device),
            None => self.media.close(call),
        }
    }
}
