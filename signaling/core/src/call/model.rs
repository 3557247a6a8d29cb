//! The machine against a model, under any order of inputs and any timing.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;
use trunkline_signaling_api::{CallState, EndReason, LegState, Media, Party};

use super::{
    Input, Step, Transport,
    tests::{T0, World, party},
};
use crate::Refusal;

#[derive(Clone, Debug)]
enum Act {
    /// The kind of input, and the index of the party.
    Do(u8, usize),
    /// Time passes, in milliseconds; the sweeper does its work.
    Wait(u64),
    /// The acting user is engaged elsewhere from now on, or no longer.
    Engage(bool),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => (0..11_u8, 0..6_usize).prop_map(|(kind, who)| Act::Do(kind, who)),
        2 => (1..70_000_u64).prop_map(Act::Wait),
        1 => any::<bool>().prop_map(Act::Engage),
    ];
    proptest::collection::vec(act, 1..60)
}

fn input(kind: u8, party: Party) -> Input {
    match kind {
        0 | 1 => Input::Accept(party, Media { audio: true, video: kind == 0 }),
        2 => Input::Ringing(party),
        3 => Input::Decline(party),
        4 => Input::Cancel(party),
        5 => Input::End(party),
        6 => Input::SetMedia(party, Media { audio: false, video: true }),
        7 | 8 => Input::Connected(party),
        9 => Input::Gone(party),
        _ => Input::Alive,
    }
}

/// What a person would keep of a call between two, on paper: who accepted, and how it ended. It knows no legs, no
/// versions and no deadlines.
#[derive(Debug, Default)]
struct Paper {
    winner: Option<Party>,
    over: Option<EndReason>,
}

impl Paper {
    fn note(&mut self, act: &Input, engaged: bool) -> Option<Result<(), Refusal>> {
        let is_caller = |p: &Party| p.user.as_str() == "a";
        let in_it =
            |p: &Party| self.winner.is_some() && (self.winner.as_ref() == Some(p) || *p == party("a/1"));
        match act {
            Input::Accept(p, _) => Some(if self.over.is_some() {
                Err(Refusal::CallEnded)
            } else if in_it(p) {
                Ok(())
            } else if is_caller(p) || self.winner.is_some() {
                Err(Refusal::Conflict(""))
            } else if engaged {
                Err(Refusal::Busy)
            } else {
                self.winner = Some(p.clone());
                Ok(())
            }),
            Input::Decline(p) => Some(if self.over.is_some() {
                Ok(())
            } else if in_it(p) || (is_caller(p) && self.winner.is_none()) {
                Err(Refusal::Conflict(""))
            } else {
                if self.winner.is_none() {
                    self.over = Some(EndReason::Declined);
                }
                Ok(())
            }),
            Input::Cancel(p) => Some(if self.over.is_some() {
                Ok(())
            } else if !is_caller(p) {
                Err(Refusal::Forbidden(""))
            } else if self.winner.is_some() {
                Err(Refusal::Conflict(""))
            } else {
                self.over = Some(EndReason::Cancelled);
                Ok(())
            }),
            Input::End(p) => Some(if self.over.is_some() {
                Ok(())
            } else if in_it(p) {
                self.over = Some(EndReason::Ended);
                Ok(())
            } else if *p == party("a/1") {
                self.over = Some(EndReason::Cancelled);
                Ok(())
            } else {
                Err(Refusal::NotJoined)
            }),
            _ => None,
        }
    }
}

fn same_kind(a: &Result<Step, Refusal>, b: &Result<(), Refusal>) -> bool {
    match (a, b) {
        (Ok(_), Ok(())) => true,
        (Err(x), Err(y)) => x.code() == y.code(),
        _ => false,
    }
}

/// What holds after every step, whatever it was.
fn check(before: &World, after: &World, result: &Result<Step, Refusal>, accepted: bool) {
    let (old, new) = (&before.call, &after.call);
    match result {
        Err(_) | Ok(Step::Unchanged) => assert_eq!(old, new, "a refusal or no-op changed the call"),
        Ok(Step::Quiet) => assert_eq!(old.view(&party("z/1")), new.view(&party("z/1")), "quiet, yet visible"),
        Ok(Step::Changed) => assert_eq!(new.ver, old.ver + 1),
    }
    assert!(new.state >= old.state, "the state went back");
    assert_eq!(new.is_live(), new.reason.is_none());
    assert_eq!(new.is_live(), new.deadline().is_some(), "live without a deadline, or over with one");
    if !old.is_live() {
        assert_eq!(old, new, "an ended call moved");
    }
    let joined: Vec<&Party> = new.joined().collect();
    if !accepted || !new.is_live() {
        assert!(joined.is_empty(), "joined before accept or after the end");
    }
    let users: BTreeSet<_> = joined.iter().map(|p| &p.user).collect();
    assert_eq!(users.len(), joined.len(), "two devices of one user");
    for leg in new.legs.values() {
        assert_eq!(leg.state == LegState::Joined, leg.transport != Transport::None);
    }
    assert!(new.legs.len() <= 16);
    if let Some(reason) = new.reason {
        let unanswered = matches!(reason, EndReason::Declined | EndReason::Cancelled | EndReason::TimedOut);
        assert_eq!(unanswered, !accepted, "ended as {reason:?}");
    }
    if new.is_accepted() && !old.is_accepted() {
        assert_eq!(new.lease_until, after.now.after(after.timing.lease), "accepted without a lease");
    }
}

fn sweep(world: &mut World, accepted: bool) {
    for _ in 0..40 {
        let Some(due) = world.call.deadline().filter(|due| *due <= world.now) else { return };
        let before = clone(world);
        let result = world.handle(&Input::Tick);
        check(&before, world, &result, accepted);
        assert_eq!(result, Ok(Step::Changed), "a deadline {due:?} passed and nothing happened");
    }
    panic!("the sweeper never finishes");
}

fn clone(world: &World) -> World {
    World {
        members: world.members.clone(),
        timing: world.timing,
        now: world.now,
        engaged: world.engaged,
        call: world.call.clone(),
    }
}

/// Without further inputs the call ends, and not later than its deadlines promise.
fn ends_by_itself(world: &mut World, accepted: bool) {
    let longest = world.timing.ring.max(world.timing.lease);
    let latest = world.now.after(longest).max(world.call.ring_until);
    while let Some(due) = world.call.deadline() {
        assert!(due <= latest, "a deadline beyond what was promised");
        world.now = world.now.max(due);
        sweep(world, accepted);
    }
}

fn run(members: &[&str], acts: Vec<Act>, paper: Option<&mut Paper>) {
    let parties: Vec<Party> =
        members.iter().flat_map(|user| [1, 2].map(|n| party(&format!("{user}/{n}")))).collect();
    let mut world = World::new(members, "a/1");
    let mut accepted = false;
    let mut ever_joined: BTreeMap<String, BTreeSet<Party>> = BTreeMap::new();
    let mut paper = paper;
    for act in acts {
        let before = clone(&world);
        match act {
            Act::Wait(ms) => {
                world.now = world.now.after(Duration::from_millis(ms));
                sweep(&mut world, accepted);
            }
            Act::Engage(engaged) => world.engaged = engaged,
            Act::Do(kind, who) => {
                let input = input(kind, parties[who % parties.len()].clone());
                let result = world.handle(&input);
                if matches!(input, Input::Accept(..)) && result.is_ok() {
                    accepted = true;
                }
                check(&before, &world, &result, accepted);
                let said = paper.as_deref_mut().and_then(|paper| paper.note(&input, world.engaged));
                if let Some(said) = said {
                    assert!(same_kind(&result, &said), "{input:?}: machine {result:?}, paper {said:?}");
                }
            }
        }
        for p in world.call.joined() {
            ever_joined.entry(p.user.as_str().to_owned()).or_default().insert(p.clone());
        }
        if let Some(paper) = paper.as_deref_mut() {
            // Deadlines are the machine's own: the paper copies how they ended the call, and nothing else.
            if paper.over.is_none() && !world.call.is_live() {
                assert!(matches!(
                    act_end(&world),
                    EndReason::TimedOut | EndReason::Failed | EndReason::Ended
                ));
                paper.over = world.call.reason;
            }
            assert_eq!(paper.over, world.call.reason);
            assert_eq!(paper.winner.is_some(), accepted);
        }
    }
    if members.len() == 2 {
        assert!(ever_joined.values().all(|devices| devices.len() == 1), "more than one winner");
    }
    ends_by_itself(&mut world, accepted);
    assert!(world.now >= T0 && world.call.epitaph().is_some());
    assert_eq!(world.call.state, CallState::Ended);
}

fn act_end(world: &World) -> EndReason {
    world.call.reason.unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_call_between_two_follows_the_paper(acts in acts()) {
        run(&["a", "b"], acts, Some(&mut Paper::default()));
    }

    #[test]
    fn a_group_call_keeps_its_promises(acts in acts()) {
        run(&["a", "b", "c"], acts, None);
    }
}
