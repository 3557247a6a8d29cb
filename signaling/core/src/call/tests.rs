//! Cases, one a paragraph of the protocol.

use std::collections::BTreeSet;

use trunkline_signaling_api::{CallState, DeviceState, EndReason, LegState, Media, MissedOutcome, Party};
use trunkline_units::{CallId, ConversationId, DeviceId, UnixMillis, UserId};

use super::*;
use crate::{Refusal, limits::CallTiming};

pub(super) const AV: Media = Media { audio: true, video: true };
pub(super) const T0: UnixMillis = UnixMillis(1_000_000);

pub(super) fn party(name: &str) -> Party {
    let (user, device) = name.split_once('/').unwrap();
    Party { user: UserId::new(user).unwrap(), device: DeviceId::new(device).unwrap() }
}

pub(super) fn users(names: &[&str]) -> BTreeSet<UserId> {
    names.iter().map(|name| UserId::new(name).unwrap()).collect()
}

/// A call with its world: the members, the clock, who is engaged elsewhere.
pub(super) struct World {
    pub(super) members: BTreeSet<UserId>,
    pub(super) timing: CallTiming,
    pub(super) now: UnixMillis,
    pub(super) engaged: bool,
    pub(super) call: Call,
}

impl World {
    pub(super) fn new(members: &[&str], caller: &str) -> World {
        let members = users(members);
        let timing = CallTiming::default();
        let context =
            Context { now: T0, timing: &timing, members: &members, engaged_elsewhere: false, legs_max: 16 };
        let Invited::New(call) =
            invite(&invitation("call", caller), InviteFacts::default(), &context).unwrap()
        else {
            panic!("not new")
        };
        World { members, timing, now: T0, engaged: false, call }
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            now: self.now,
            timing: &self.timing,
            members: &self.members,
            engaged_elsewhere: self.engaged,
            legs_max: 16,
        }
    }

    pub(super) fn handle(&mut self, input: &Input) -> Result<Step, Refusal> {
        let mut call = self.call.clone();
        let step = call.handle(input, &self.context());
        self.call = call;
        step
    }

    fn ok(&mut self, input: &Input) -> &mut World {
        assert_eq!(self.handle(input), Ok(Step::Changed), "{input:?}");
        self
    }

    fn quiet(&mut self, input: &Input) -> &mut World {
        assert_eq!(self.handle(input), Ok(Step::Quiet), "{input:?}");
        self
    }

    fn leg(&self, name: &str) -> Option<LegState> {
        self.call.legs.get(&party(name)).map(|leg| leg.state)
    }

    fn you(&self, name: &str) -> DeviceState {
        self.call.view(&party(name)).you
    }

    fn at_deadline(&mut self) -> &mut World {
        self.now = self.call.deadline().unwrap();
        self.ok(&Input::Tick)
    }
}

pub(super) fn invitation(id: &str, caller: &str) -> Invitation {
    Invitation {
        call: CallId::new(id).unwrap(),
        conv: ConversationId::new("conv").unwrap(),
        from: party(caller),
        media: AV,
    }
}

fn pair() -> World {
    World::new(&["a", "b"], "a/1")
}

fn accept(name: &str) -> Input {
    Input::Accept(party(name), AV)
}

#[test]
fn a_call_from_ring_to_end() {
    let mut w = pair();
    assert_eq!((w.call.state, w.call.ver), (CallState::Inviting, 1));
    assert_eq!(w.you("b/1"), DeviceState::None);
    w.ok(&Input::Ringing(party("b/1"))).ok(&Input::Ringing(party("b/2")));
    assert_eq!(w.call.state, CallState::Ringing);
    assert!(w.call.joined().next().is_none());
    w.ok(&accept("b/2"));
    assert_eq!(w.call.state, CallState::Connecting);
    assert_eq!(w.leg("a/1"), Some(LegState::Joined));
    assert_eq!(w.leg("b/1"), Some(LegState::AnsweredElsewhere));
    // A device that never confirmed its ring is told too, and one that confirms too late.
    assert_eq!(w.you("b/3"), DeviceState::AnsweredElsewhere);
    w.ok(&Input::Ringing(party("b/3")));
    assert_eq!(w.leg("b/3"), Some(LegState::AnsweredElsewhere));
    assert_eq!(w.you("a/2"), DeviceState::None);
    w.quiet(&Input::Connected(party("a/1"))).ok(&Input::Connected(party("b/2")));
    assert_eq!(w.call.state, CallState::Connected);
    w.ok(&Input::SetMedia(party("b/2"), Media { audio: false, video: true }));
    w.now = w.now.after(Duration::from_millis(42_900));
    w.quiet(&Input::Alive);
    w.ok(&Input::End(party("a/1")));
    assert_eq!(w.call.reason, Some(EndReason::Ended));
    let epitaph = w.call.epitaph().unwrap();
    assert_eq!((epitaph.outcome, epitaph.seconds, epitaph.video), (MissedOutcome::Ended, 42, true));
    assert_eq!(w.call.deadline(), None);
    assert_eq!(w.call.ver, 8);
}

#[test]
fn decline_by_any_device_stops_all() {
    let mut w = pair();
    w.ok(&Input::Ringing(party("b/1"))).ok(&Input::Ringing(party("b/2"))).ok(&Input::Decline(party("b/2")));
    assert_eq!(w.call.reason, Some(EndReason::Declined));
    assert_eq!((w.leg("b/1"), w.leg("b/2")), (Some(LegState::Declined), Some(LegState::Declined)));
    assert_eq!(w.handle(&accept("b/1")), Err(Refusal::CallEnded));
    for input in [Input::Decline(party("b/1")), Input::Cancel(party("a/1")), Input::End(party("a/1"))] {
        assert_eq!(w.handle(&input), Ok(Step::Unchanged));
    }
}

#[test]
fn a_decline_that_comes_second_changes_nothing() {
    let mut w = pair();
    w.ok(&Input::Ringing(party("b/1"))).ok(&Input::Ringing(party("b/2"))).ok(&accept("b/1"));
    assert_eq!(w.handle(&Input::Decline(party("b/2"))), Ok(Step::Unchanged));
    assert!(matches!(w.handle(&accept("b/2")), Err(Refusal::Conflict(_))));
    assert!(matches!(w.handle(&Input::Decline(party("b/1"))), Err(Refusal::Conflict(_))));
    assert_eq!(w.handle(&accept("b/1")), Ok(Step::Unchanged));
}

#[test]
fn cancel_is_the_callers_and_only_before_an_answer() {
    let mut w = pair();
    assert!(matches!(w.handle(&Input::Cancel(party("b/1"))), Err(Refusal::Forbidden(_))));
    assert!(matches!(w.handle(&accept("a/2")), Err(Refusal::Conflict(_))));
    assert_eq!(w.handle(&Input::Cancel(party("x/1"))), Err(Refusal::NotMember));
    w.ok(&Input::Cancel(party("a/2")));
    assert_eq!(w.call.reason, Some(EndReason::Cancelled));

    let mut w = pair();
    w.ok(&accept("b/1"));
    assert!(matches!(w.handle(&Input::Cancel(party("a/1"))), Err(Refusal::Conflict(_))));

    let mut w = pair();
    w.ok(&Input::End(party("a/1")));
    assert_eq!(w.call.reason, Some(EndReason::Cancelled));
}

#[test]
fn nobody_answers() {
    let mut w = pair();
    w.ok(&Input::Ringing(party("b/1")));
    assert_eq!(w.handle(&Input::Tick), Ok(Step::Unchanged));
    w.at_deadline();
    assert_eq!((w.now, w.call.reason), (T0.after(w.timing.ring), Some(EndReason::TimedOut)));
    assert_eq!(w.call.epitaph().unwrap().outcome, MissedOutcome::Missed);
}

#[test]
fn media_that_never_comes_fails_the_call() {
    let mut w = pair();
    w.ok(&accept("b/1")).quiet(&Input::Connected(party("a/1")));
    w.now = w.now.after(Duration::from_secs(30));
    w.quiet(&Input::Alive).at_deadline();
    assert_eq!((w.now, w.call.reason), (T0.after(w.timing.lease), Some(EndReason::Failed)));
}

#[test]
fn media_that_goes_and_comes_back() {
    let mut w = pair();
    w.ok(&accept("b/1")).quiet(&Input::Connected(party("a/1"))).ok(&Input::Connected(party("b/1")));
    w.quiet(&Input::Gone(party("b/1")));
    assert_eq!(w.call.deadline(), Some(T0.after(w.timing.rejoin)));
    w.quiet(&Input::Connected(party("b/1"))).quiet(&Input::Gone(party("b/1"))).at_deadline();
    assert_eq!(w.call.reason, Some(EndReason::Ended));
    assert_eq!(w.handle(&Input::Connected(party("b/1"))), Err(Refusal::CallEnded));
}

#[test]
fn a_restart_gives_a_fresh_lease_but_not_to_the_stale() {
    let mut w = pair();
    w.ok(&accept("b/1")).quiet(&Input::Connected(party("a/1"))).ok(&Input::Connected(party("b/1")));
    w.now = w.now.after(Duration::from_secs(40));
    w.quiet(&Input::Restarted);
    assert_eq!(w.call.deadline(), Some(w.now.after(w.timing.lease)));
    w.now = w.now.after(w.timing.lease);
    assert_eq!(w.handle(&Input::Restarted), Ok(Step::Unchanged));
    w.ok(&Input::Tick);
    assert_eq!(w.call.reason, Some(EndReason::Ended));
}

#[test]
fn a_group_call_lives_until_the_last_one_leaves() {
    let mut w = World::new(&["a", "b", "c"], "a/1");
    w.ok(&Input::Ringing(party("b/1"))).ok(&Input::Ringing(party("c/1"))).ok(&Input::Decline(party("b/1")));
    assert_eq!(w.call.state, CallState::Ringing);
    w.ok(&accept("c/1"));
    // Changed their mind; and a second device of theirs is told.
    w.ok(&accept("b/1"));
    assert_eq!(w.you("b/2"), DeviceState::AnsweredElsewhere);
    for name in ["a/1", "b/1", "c/1"] {
        let _ = w.handle(&Input::Connected(party(name))).unwrap();
    }
    w.ok(&Input::End(party("a/1"))).ok(&Input::End(party("c/1")));
    assert_eq!(w.call.state, CallState::Connected);
    w.ok(&accept("a/2")).ok(&Input::End(party("b/1")));
    assert_eq!(w.handle(&Input::End(party("b/1"))), Ok(Step::Unchanged));
    w.members.remove(&party("a/2").user);
    w.ok(&Input::MemberGone(party("a/2").user));
    assert_eq!(w.call.reason, Some(EndReason::Ended));
}

#[test]
fn a_group_call_that_all_decline_ends() {
    let mut w = World::new(&["a", "b", "c"], "a/1");
    w.ok(&Input::Decline(party("b/1"))).ok(&Input::Decline(party("c/2")));
    assert_eq!(w.call.reason, Some(EndReason::Declined));
}

#[test]
fn ringing_in_a_live_group_call_stops_in_time() {
    let mut w = World::new(&["a", "b", "c"], "a/1");
    w.ok(&Input::Ringing(party("c/1"))).ok(&accept("b/1"));
    for name in ["a/1", "b/1"] {
        let _ = w.handle(&Input::Connected(party(name))).unwrap();
    }
    w.now = w.now.after(Duration::from_secs(40));
    w.quiet(&Input::Alive).at_deadline();
    assert_eq!(w.now, T0.after(w.timing.ring));
    assert_eq!((w.leg("c/1"), w.call.state), (None, CallState::Connected));
    assert_eq!(w.handle(&Input::Ringing(party("c/2"))), Ok(Step::Unchanged));
    w.ok(&accept("c/1"));
}

#[test]
fn inviting_again_and_glare() {
    let w = pair();
    let facts = |live: Option<&Call>, same_id: Option<&Call>| InviteFacts {
        same_id: same_id.cloned(),
        live: live.cloned(),
        ..InviteFacts::default()
    };
    let again = |invitation: &Invitation, facts| invite(invitation, facts, &w.context());
    // The same again.
    let same = Ok(Invited::Existing(w.call.clone(), Step::Unchanged));
    assert_eq!(again(&invitation("call", "a/1"), facts(Some(&w.call), Some(&w.call))), same);
    // The same device, having forgotten.
    assert_eq!(again(&invitation("other", "a/1"), facts(Some(&w.call), None)), same);
    // Another device of the caller.
    assert_eq!(again(&invitation("other", "a/2"), facts(Some(&w.call), None)), Err(Refusal::Busy));
    // Someone else's id.
    assert!(matches!(
        again(&invitation("call", "b/1"), facts(None, Some(&w.call))),
        Err(Refusal::Conflict(_))
    ));
    // Glare.
    let Ok(Invited::Existing(call, Step::Changed)) =
        again(&invitation("other", "b/1"), facts(Some(&w.call), None))
    else {
        panic!("glare is no accept")
    };
    assert_eq!((call.state, call.ver), (CallState::Connecting, 2));
    assert_eq!(call.joined().count(), 2);
}

#[test]
fn busy() {
    let w = pair();
    let facts = InviteFacts { callee_engaged: true, ..InviteFacts::default() };
    let Ok(Invited::New(call)) = invite(&invitation("x", "a/1"), facts, &w.context()) else {
        panic!("not new")
    };
    assert_eq!(call.reason, Some(EndReason::Busy));
    assert_eq!(call.epitaph().unwrap().outcome, MissedOutcome::Busy);
    let facts = InviteFacts { caller_engaged: true, ..InviteFacts::default() };
    assert_eq!(invite(&invitation("x", "a/1"), facts, &w.context()), Err(Refusal::Busy));
    let mut w = pair();
    w.engaged = true;
    assert_eq!(w.handle(&accept("b/1")), Err(Refusal::Busy));
    assert!(w.call.engages(&party("a/1").user) && !w.call.engages(&party("b/1").user));
}

#[test]
fn strangers_and_crowds() {
    let mut w = pair();
    for input in
        [Input::Ringing(party("x/1")), accept("x/1"), Input::Decline(party("x/1")), Input::End(party("x/1"))]
    {
        assert_eq!(w.handle(&input), Err(Refusal::NotMember));
    }
    assert_eq!(w.handle(&Input::SetMedia(party("b/1"), AV)), Err(Refusal::NotJoined));
    assert_eq!(w.handle(&Input::Connected(party("b/1"))), Err(Refusal::NotJoined));
    assert_eq!(w.handle(&Input::End(party("b/1"))), Err(Refusal::NotJoined));
    for n in 0..40 {
        let _ = w.handle(&Input::Ringing(party(&format!("b/{n}")))).unwrap();
    }
    assert_eq!(w.call.legs.len(), 16);
    // One that found no room in the list answers all the same.
    w.ok(&accept("b/99"));
    assert_eq!(w.call.legs.len(), 16);
    assert!(matches!(w.handle(&accept("b/3")), Err(Refusal::Conflict(_))));
}

#[test]
fn devices_that_only_ring_keep_nobody_out() {
    let mut world = World::new(&["a", "b", "c"], "a/1");
    for n in 0..20 {
        let _ = world.handle(&Input::Ringing(party(&format!("b/{n}")))).unwrap();
    }
    assert_eq!(world.call.legs.len(), 16);
    assert_eq!(world.handle(&Input::Accept(party("c/1"), AV)), Ok(Step::Changed));
    assert!(world.call.has_joined(&party("c/1")) && world.call.has_joined(&party("a/1")));
    assert_eq!(world.call.legs.len(), 16);
}
