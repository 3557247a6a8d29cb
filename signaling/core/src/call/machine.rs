//! The transitions.

use trunkline_signaling_api::{CallState, EndReason, LegState, Media, Party};
use trunkline_units::UserId;

use super::{Call, Context, Input, Leg, Step, Transport};
use crate::Refusal;

impl Call {
    /// Moves the call. A refusal changes nothing.
    pub fn handle(&mut self, input: &Input, context: &Context<'_>) -> Result<Step, Refusal> {
        let step = match input {
            Input::Ringing(party) => self.ringing(party, context)?,
            Input::Accept(party, media) => self.accept(party, *media, context)?,
            Input::Decline(party) => self.decline(party, context)?,
            Input::Cancel(party) => self.cancel(party, context)?,
            Input::End(party) => self.end_by(party, context)?,
            Input::SetMedia(party, media) => self.set_media(party, *media)?,
            Input::MemberGone(user) => self.member_gone(user, context),
            Input::Connected(party) => self.connected(party, context)?,
            Input::Gone(party) => self.gone(party, context),
            Input::Alive => self.alive(context),
            Input::Restarted => self.restarted(context),
            Input::Tick => self.tick(context),
        };
        if step == Step::Changed {
            self.ver += 1;
            self.at = context.now;
        }
        Ok(step)
    }

    fn ringing(&mut self, party: &Party, context: &Context<'_>) -> Result<Step, Refusal> {
        member(&party.user, context)?;
        let too_late = context.now >= self.ring_until;
        if !self.is_live() || party.user == self.caller.user || self.legs.contains_key(party) || too_late {
            return Ok(Step::Unchanged);
        }
        if self.legs.len() >= context.legs_max {
            return Ok(Step::Unchanged);
        }
        // A receipt that crossed with what another device of the same user did.
        let state = if self.user_has(&party.user, LegState::Joined) {
            LegState::AnsweredElsewhere
        } else if self.user_has(&party.user, LegState::Declined) {
            LegState::Declined
        } else {
            LegState::Ringing
        };
        self.legs.insert(party.clone(), Leg { state, media: Media::default(), transport: Transport::None });
        if state == LegState::Ringing && self.state == CallState::Inviting {
            self.state = CallState::Ringing;
        }
        Ok(Step::Changed)
    }

    pub(super) fn accept(
        &mut self,
        party: &Party,
        media: Media,
        context: &Context<'_>,
    ) -> Result<Step, Refusal> {
        member(&party.user, context)?;
        if !self.is_live() {
            return Err(Refusal::CallEnded);
        }
        if self.has_joined(party) {
            return Ok(Step::Unchanged);
        }
        if self.user_has(&party.user, LegState::Joined) {
            return Err(Refusal::Conflict("another of your devices is in the call"));
        }
        if !self.is_accepted() && party.user == self.caller.user {
            return Err(Refusal::Conflict("a caller cannot answer"));
        }
        if context.engaged_elsewhere {
            return Err(Refusal::Busy);
        }
        let full = self.legs.len() >= context.legs_max && !self.legs.contains_key(party);
        if full && !self.forget_one() {
            return Err(Refusal::Conflict("the call is full"));
        }
        let transport = Transport::Awaited(context.now.after(context.timing.lease));
        for (other, leg) in &mut self.legs {
            if other.user == party.user && leg.state == LegState::Ringing {
                leg.state = LegState::AnsweredElsewhere;
            }
            if !matches!(self.state, CallState::Connecting | CallState::Connected)
                && leg.state == LegState::Inviting
            {
                leg.state = LegState::Joined;
                leg.transport = transport;
            }
        }
        self.legs.insert(party.clone(), Leg { state: LegState::Joined, media, transport });
        if !self.is_accepted() {
            self.state = CallState::Connecting;
            self.lease_until = context.now.after(context.timing.lease);
        }
        Ok(Step::Changed)
    }

    fn decline(&mut self, party: &Party, context: &Context<'_>) -> Result<Step, Refusal> {
        member(&party.user, context)?;
        if !self.is_live() {
            return Ok(Step::Unchanged);
        }
        if self.has_joined(party) {
            return Err(Refusal::Conflict("this device has joined: end the call"));
        }
        if !self.is_accepted() && party.user == self.caller.user {
            return Err(Refusal::Conflict("the caller cancels"));
        }
        if self.user_has(&party.user, LegState::Joined) {
            return Ok(Step::Unchanged);
        }
        let mut changed = false;
        for (other, leg) in &mut self.legs {
            if other.user == party.user && leg.state == LegState::Ringing {
                leg.state = LegState::Declined;
                changed = true;
            }
        }
        if !self.legs.contains_key(party) && self.legs.len() < context.legs_max {
            let leg = Leg { state: LegState::Declined, media: Media::default(), transport: Transport::None };
            self.legs.insert(party.clone(), leg);
            changed = true;
        }
        let everyone = context
            .members
            .iter()
            .filter(|user| **user != self.caller.user)
            .all(|user| *user == party.user || self.user_has(user, LegState::Declined));
        if !self.is_accepted() && everyone {
            self.end(EndReason::Declined);
            changed = true;
        }
        Ok(if changed { Step::Changed } else { Step::Unchanged })
    }

    fn cancel(&mut self, party: &Party, context: &Context<'_>) -> Result<Step, Refusal> {
        member(&party.user, context)?;
        if !self.is_live() {
            return Ok(Step::Unchanged);
        }
        if party.user != self.caller.user {
            return Err(Refusal::Forbidden("only the caller cancels"));
        }
        if self.is_accepted() {
            return Err(Refusal::Conflict("someone has accepted: end the call"));
        }
        self.end(EndReason::Cancelled);
        Ok(Step::Changed)
    }

    fn end_by(&mut self, party: &Party, context: &Context<'_>) -> Result<Step, Refusal> {
        member(&party.user, context)?;
        if !self.is_live() {
            return Ok(Step::Unchanged);
        }
        match self.legs.get(party).map(|leg| leg.state) {
            Some(LegState::Joined) => {
                self.leave(party, EndReason::Ended, context);
                Ok(Step::Changed)
            }
            Some(LegState::Left) => Ok(Step::Unchanged),
            // The caller hangs up before it heard of an answer: what `cancel` does.
            Some(LegState::Inviting) => self.cancel(party, context),
            Some(LegState::Ringing | LegState::Declined | LegState::AnsweredElsewhere) | None => {
                Err(Refusal::NotJoined)
            }
        }
    }

    fn set_media(&mut self, party: &Party, media: Media) -> Result<Step, Refusal> {
        let live = self.is_live();
        match self.legs.get_mut(party) {
            Some(leg) if live && matches!(leg.state, LegState::Joined | LegState::Inviting) => {
                let changed = leg.media != media;
                leg.media = media;
                Ok(if changed { Step::Changed } else { Step::Unchanged })
            }
            _ => Err(Refusal::NotJoined),
        }
    }

    fn member_gone(&mut self, user: &UserId, context: &Context<'_>) -> Step {
        if !self.is_live() {
            return Step::Unchanged;
        }
        if !self.is_accepted() && *user == self.caller.user {
            self.end(EndReason::Cancelled);
            return Step::Changed;
        }
        let mut changed = false;
        let parties: Vec<Party> = self.legs.keys().filter(|party| party.user == *user).cloned().collect();
        for party in parties {
            match self.legs.get(&party).map(|leg| leg.state) {
                Some(LegState::Joined) => {
                    self.leave(&party, EndReason::Ended, context);
                    changed = true;
                }
                Some(LegState::Ringing) => {
                    self.legs.remove(&party);
                    changed = true;
                }
                _ => {}
            }
        }
        if changed { Step::Changed } else { Step::Unchanged }
    }

    fn connected(&mut self, party: &Party, context: &Context<'_>) -> Result<Step, Refusal> {
        if !self.is_live() {
            return Err(Refusal::CallEnded);
        }
        let leg =
            self.legs.get_mut(party).filter(|leg| leg.state == LegState::Joined).ok_or(Refusal::NotJoined)?;
        let news = leg.transport != Transport::Up;
        leg.transport = Transport::Up;
        if news {
            self.lease_until = context.now.after(context.timing.lease);
        }
        let up = self.legs.values().filter(|leg| leg.transport == Transport::Up).count();
        if self.state == CallState::Connecting && up >= 2 {
            self.state = CallState::Connected;
            self.connected_at = Some(context.now);
            return Ok(Step::Changed);
        }
        Ok(if news { Step::Quiet } else { Step::Unchanged })
    }

    fn gone(&mut self, party: &Party, context: &Context<'_>) -> Step {
        match self.legs.get_mut(party) {
            Some(leg) if leg.transport == Transport::Up => {
                leg.transport = Transport::Gone(context.now.after(context.timing.rejoin));
                Step::Quiet
            }
            _ => Step::Unchanged,
        }
    }

    fn alive(&mut self, context: &Context<'_>) -> Step {
        if !self.is_accepted() {
            return Step::Unchanged;
        }
        let until = context.now.after(context.timing.lease);
        // Each renewal is a durable write: one in a quarter of the lease is enough.
        if until.since(self.lease_until) < context.timing.lease / 4 {
            return Step::Unchanged;
        }
        self.lease_until = until;
        Step::Quiet
    }

    fn restarted(&mut self, context: &Context<'_>) -> Step {
        // A stale lease is left for the next tick: nobody renewed it in time, restart or not.
        if !self.is_accepted() || context.now >= self.lease_until {
            return Step::Unchanged;
        }
        let until = context.now.after(context.timing.lease);
        self.lease_until = until;
        for leg in self.legs.values_mut().filter(|leg| leg.state == LegState::Joined) {
            leg.transport = match leg.transport {
                Transport::Awaited(_) => Transport::Awaited(until),
                Transport::Up | Transport::Gone(_) | Transport::None => Transport::Gone(until),
            };
        }
        Step::Quiet
    }

    fn tick(&mut self, context: &Context<'_>) -> Step {
        let now = context.now;
        if !self.is_live() {
            return Step::Unchanged;
        }
        if !self.is_accepted() {
            if now < self.ring_until {
                return Step::Unchanged;
            }
            self.end(EndReason::TimedOut);
            return Step::Changed;
        }
        if now >= self.lease_until {
            self.end(self.want_of_media());
            return Step::Changed;
        }
        let mut changed = false;
        if now >= self.ring_until {
            let legs = self.legs.len();
            self.legs.retain(|_, leg| leg.state != LegState::Ringing);
            changed |= self.legs.len() != legs;
        }
        let overdue: Vec<Party> = self
            .legs
            .iter()
            .filter(|(_, leg)| leg.transport.due().is_some_and(|due| now >= due))
            .map(|(party, _)| party.clone())
            .collect();
        for party in overdue {
            self.leave(&party, self.want_of_media(), context);
            changed = true;
        }
        if changed { Step::Changed } else { Step::Unchanged }
    }

    fn want_of_media(&self) -> EndReason {
        if self.connected_at.is_some() { EndReason::Ended } else { EndReason::Failed }
    }

    /// Takes a joined leg out. With `reason` the call ends if nobody is left, or one of a conversation of two.
    fn leave(&mut self, party: &Party, reason: EndReason, context: &Context<'_>) {
        if let Some(leg) = self.legs.get_mut(party) {
            leg.state = LegState::Left;
            leg.transport = Transport::None;
        }
        let alone = if context.members.len() <= 2 { 1 } else { 0 };
        if self.is_live() && self.joined().count() <= alone {
            self.end(reason);
        }
    }

    pub(super) fn end(&mut self, reason: EndReason) {
        self.state = CallState::Ended;
        self.reason = Some(reason);
        for leg in self.legs.values_mut() {
            if matches!(leg.state, LegState::Joined | LegState::Inviting | LegState::Ringing) {
                leg.state = LegState::Left;
            }
            leg.transport = Transport::None;
        }
    }

    /// Takes out a leg that is not in the call, so that devices which only rang, or left, keep nobody from joining. One
    /// that still rings goes on to, unlisted.
    fn forget_one(&mut self) -> bool {
        let idle = [LegState::AnsweredElsewhere, LegState::Left, LegState::Declined, LegState::Ringing];
        let of = |state| self.legs.iter().find(|(_, leg)| leg.state == state).map(|(party, _)| party.clone());
        let Some(party) = idle.into_iter().find_map(of) else { return false };
        self.legs.remove(&party).is_some()
    }

    fn user_has(&self, user: &UserId, state: LegState) -> bool {
        self.legs.iter().any(|(party, leg)| party.user == *user && leg.state == state)
    }
}

fn member(user: &UserId, context: &Context<'_>) -> Result<(), Refusal> {
    if context.members.contains(user) { Ok(()) } else { Err(Refusal::NotMember) }
}
