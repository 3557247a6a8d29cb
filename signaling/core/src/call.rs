//! The call machine: one value per call, moved by [`Call::handle`], pure.
//!
//! `inviting → ringing → connecting → connected → ended`. The store loads a call, hands it an [`Input`] with a
//! [`Context`], and persists the result, all in one transaction. A call that has not ended always has a
//! [`Call::deadline`]; whoever holds the store gives it [`Input::Tick`] when that has passed, so a call ends whichever
//! process died.

mod invite;
mod machine;
mod view;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use trunkline_signaling_api::{CallState, EndReason, LegState, Media, Party};
use trunkline_units::{CallId, ConversationId, UnixMillis, UserId};

use crate::limits::CallTiming;

pub use invite::{Invitation, InviteFacts, Invited, invite, scope};

/// The media connection of a joined leg, as far as signaling knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Not joined.
    #[default]
    None,
    /// Joined; its first connection is due until then.
    Awaited(UnixMillis),
    /// Connected.
    Up,
    /// Was connected; it may come back until then.
    Gone(UnixMillis),
}

impl Transport {
    fn due(self) -> Option<UnixMillis> {
        match self {
            Transport::Awaited(until) | Transport::Gone(until) => Some(until),
            Transport::None | Transport::Up => None,
        }
    }
}

/// One device's part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leg {
    /// What everyone sees.
    pub state: LegState,
    /// What it says it sends.
    pub media: Media,
    /// Its media connection.
    pub transport: Transport,
}

/// A call. Its fields are public for stores; only [`invite`] and [`Call::handle`] give them values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its id, chosen by the caller's client.
    pub id: CallId,
    /// Its conversation.
    pub conv: ConversationId,
    /// In what only one call may live: see [`scope`].
    pub scope: String,
    /// Who rang.
    pub caller: Party,
    /// What was asked for.
    pub media: Media,
    /// Where it stands.
    pub state: CallState,
    /// Why it ended, if it has.
    pub reason: Option<EndReason>,
    /// Grows by one with every change that clients see.
    pub ver: u64,
    /// When ringing stops.
    pub ring_until: UnixMillis,
    /// When it ends for want of media; counts from the first accept.
    pub lease_until: UnixMillis,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When two participants first had media.
    pub connected_at: Option<UnixMillis>,
    /// When clients last saw a change.
    pub at: UnixMillis,
    /// Every device that took part. Bounded by [`Context::legs_max`].
    pub legs: BTreeMap<Party, Leg>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// A device rings.
    Ringing(Party),
    /// A device answers or joins.
    Accept(Party, Media),
    /// A device's user says no.
    Decline(Party),
    /// The caller gives up.
    Cancel(Party),
    /// A device leaves.
    End(Party),
    /// A device sends other media than before.
    SetMedia(Party, Media),
    /// A user is no longer a member of the conversation ([`Context::members`] already lacks it).
    MemberGone(UserId),
    /// The SFU has media with a device.
    Connected(Party),
    /// The SFU lost a device.
    Gone(Party),
    /// The SFU still has media in the call.
    Alive,
    /// The SFU started anew and knows nobody: everyone is given time to offer again.
    Restarted,
    /// A deadline may have passed.
    Tick,
}

/// What the machine needs to know of the world.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Now.
    pub now: UnixMillis,
    /// Deadlines to give.
    pub timing: &'a CallTiming,
    /// The conversation's present members.
    pub members: &'a BTreeSet<UserId>,
    /// Whether the acting user is engaged in another live call: see [`Call::engages`].
    pub engaged_elsewhere: bool,
    /// Most legs: [`Limits::legs`](crate::limits::Limits::legs).
    pub legs_max: usize,
}

/// What an input did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing: there is nothing to persist.
    Unchanged,
    /// Deadlines moved or media came or went: to be persisted, and of no interest to clients.
    Quiet,
    /// Clients are told; `ver` has grown.
    Changed,
}

impl Call {
    /// Whether it has not ended.
    pub fn is_live(&self) -> bool {
        self.state != CallState::Ended
    }

    /// Whether someone has accepted and it has not ended.
    pub fn is_accepted(&self) -> bool {
        matches!(self.state, CallState::Connecting | CallState::Connected)
    }

    /// The devices that are in it.
    pub fn joined(&self) -> impl Iterator<Item = &Party> {
        self.legs.iter().filter(|(_, leg)| leg.state == LegState::Joined).map(|(party, _)| party)
    }

    /// Whether this device is in it: the only ones that may have media.
    pub fn has_joined(&self, party: &Party) -> bool {
        self.legs.get(party).is_some_and(|leg| leg.state == LegState::Joined)
    }

    /// Whether this user is in it, or is its caller and waits: then the user is busy for other calls.
    pub fn engages(&self, user: &UserId) -> bool {
        self.is_live()
            && self.legs.iter().any(|(party, leg)| {
                party.user == *user && matches!(leg.state, LegState::Joined | LegState::Inviting)
            })
    }

    /// When [`Input::Tick`] is due; `None` once it has ended, and only then.
    pub fn deadline(&self) -> Option<UnixMillis> {
        match self.state {
            CallState::Ended => None,
            CallState::Inviting | CallState::Ringing => Some(self.ring_until),
            CallState::Connecting | CallState::Connected => {
                let rings = self.legs.values().any(|leg| leg.state == LegState::Ringing);
                let due = self.legs.values().filter_map(|leg| leg.transport.due());
                due.chain(rings.then_some(self.ring_until)).chain([self.lease_until]).min()
            }
        }
    }

    /// How long it was connected, in whole seconds.
    pub fn seconds(&self) -> u64 {
        self.connected_at.map_or(Duration::ZERO, |from| self.at.since(from)).as_secs()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
