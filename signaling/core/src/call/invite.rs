//! Starting a call: idempotence, glare, busy.

use std::collections::{BTreeMap, BTreeSet};

use trunkline_signaling_api::{CallState, EndReason, LegState, Media, Party};
use trunkline_units::{CallId, ConversationId, UserId};

use super::{Call, Context, Leg, Step, Transport};
use crate::{Refusal, conversation::pair_key};

/// A wish to ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The call's id.
    pub call: CallId,
    /// Where.
    pub conv: ConversationId,
    /// Who.
    pub from: Party,
    /// What is asked for and sent.
    pub media: Media,
}

/// What the store knows, read in the transaction that writes the outcome.
#[derive(Clone, Debug, Default)]
pub struct InviteFacts {
    /// The call of the invitation's id, if there was one.
    pub same_id: Option<Call>,
    /// The live call of the same [`scope`] or conversation.
    pub live: Option<Call>,
    /// Whether the caller is [engaged](Call::engages) in any live call other than `live`.
    pub caller_engaged: bool,
    /// In a conversation of two: whether the other is engaged in any live call.
    pub callee_engaged: bool,
}

/// The outcome of an invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Invited {
    /// A new call. It may be born ended: the callee is busy.
    New(Call),
    /// A call that was there before, moved or not.
    Existing(Call, Step),
}

/// In what only one call may live: for two people the pair, whichever conversation they ring in; else the conversation.
pub fn scope(conv: &ConversationId, members: &BTreeSet<UserId>) -> String {
    let mut users = members.iter();
    match (users.next(), users.next(), users.next()) {
        (Some(a), Some(b), None) => format!("pair:{}", pair_key(a, b)),
        _ => format!("conversation:{}", conv.as_str()),
    }
}

/// Decides what becomes of an invitation. `context.engaged_elsewhere` is `facts.caller_engaged`.
pub fn invite(
    invitation: &Invitation,
    facts: InviteFacts,
    context: &Context<'_>,
) -> Result<Invited, Refusal> {
    let Invitation { call: id, conv, from, media } = invitation;
    if !context.members.contains(&from.user) {
        return Err(Refusal::NotMember);
    }
    if let Some(call) = facts.same_id {
        if call.conv == *conv && (call.caller == *from || call.has_joined(from)) {
            return Ok(Invited::Existing(call, Step::Unchanged));
        }
        return Err(Refusal::Conflict("this call id is taken"));
    }
    if context.members.len() < 2 {
        return Err(Refusal::Conflict("there is nobody to ring"));
    }
    if let Some(mut call) = facts.live {
        let leg = call.legs.get(from).map(|leg| leg.state);
        if matches!(leg, Some(LegState::Inviting | LegState::Joined)) {
            return Ok(Invited::Existing(call, Step::Unchanged));
        }
        if call.engages(&from.user) {
            return Err(Refusal::Busy);
        }
        // Glare: both rang, so both want to talk.
        let step = call.accept(from, *media, context)?;
        if step == Step::Changed {
            call.ver += 1;
            call.at = context.now;
        }
        return Ok(Invited::Existing(call, step));
    }
    if facts.caller_engaged {
        return Err(Refusal::Busy);
    }
    let ring_until = context.now.after(context.timing.ring);
    let leg = Leg { state: LegState::Inviting, media: *media, transport: Transport::None };
    let mut call = Call {
        id: id.clone(),
        conv: conv.clone(),
        scope: scope(conv, context.members),
        caller: from.clone(),
        media: *media,
        state: CallState::Inviting,
        reason: None,
        ver: 1,
        ring_until,
        lease_until: ring_until,
        created_at: context.now,
        connected_at: None,
        at: context.now,
        legs: BTreeMap::from([(from.clone(), leg)]),
    };
    if context.members.len() == 2 && facts.callee_engaged {
        call.end(EndReason::Busy);
    }
    Ok(Invited::New(call))
}
