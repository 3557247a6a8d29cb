//! Calls: the machine runs here, inside the transaction that persists its result.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, params};
use trunkline_signaling_api::{CallState, EndReason, LegState, Media, Party};
use trunkline_signaling_core::{
    Refusal,
    call::{Call, Context, Input, Invitation, InviteFacts, Invited, Leg, Step, Transport, invite, scope},
};
use trunkline_units::{CallId, ConversationId, UnixMillis, UserId};

use super::{conversations, messages};
use crate::store::{CallChange, CallRules, DueCalls, StoreError, stored, stored_party};

/// See [`Store::invite`](crate::store::Store::invite).
pub(super) fn invite_in(
    db: &Connection,
    invitation: &Invitation,
    rules: &CallRules,
) -> Result<CallChange, StoreError> {
    let members = conversations::members(db, &invitation.conv)?;
    let same_id = load(db, &invitation.call)?;
    let live: Option<String> = db
        .prepare_cached(
            "SELECT id FROM call WHERE active = 1 AND scope = ?1
             UNION SELECT id FROM call WHERE active = 1 AND conv = ?2 LIMIT 1",
        )?
        .query_row(params![scope(&invitation.conv, &members), invitation.conv.as_str()], |row| row.get(0))
        .optional()?;
    let live = match live {
        Some(id) => load(db, &stored(CallId::new(&id))?)?,
        None => None,
    };
    let before = live.clone();
    let from = &invitation.from.user;
    let caller_engaged = engaged(db, from, live.as_ref().map(|call| &call.id))?;
    let callee_engaged = match members.iter().find(|user| *user != from) {
        Some(callee) if members.len() == 2 => engaged(db, callee, None)?,
        _ => false,
    };
    let context = Context {
        now: rules.now,
        timing: &rules.timing,
        members: &members,
        engaged_elsewhere: caller_engaged,
        legs_max: rules.legs_max,
    };
    let facts = InviteFacts { same_id, live, caller_engaged, callee_engaged };
    match invite(invitation, facts, &context)? {
        Invited::New(call) => {
            insert(db, &call)?;
            db.prepare_cached(
                "UPDATE conversation SET last_call = ?2, active_at = max(active_at, ?3) WHERE id = ?1",
            )?
            .execute(params![call.conv.as_str(), call.id.as_str(), rules.now.0])?;
            finish(db, None, call, Step::Changed)
        }
        Invited::Existing(call, step) => {
            if step != Step::Unchanged {
                update(db, &call, before.as_ref().map_or(0, |call| call.ver))?;
            }
            finish(db, before.as_ref(), call, step)
        }
    }
}

/// See [`Store::move_call`](crate::store::Store::move_call).
pub(super) fn apply(
    db: &Connection,
    id: &CallId,
    input: &Input,
    rules: &CallRules,
) -> Result<CallChange, StoreError> {
    let before = load(db, id)?.ok_or(Refusal::NotFound)?;
    let members = conversations::members(db, &before.conv)?;
    let engaged_elsewhere = match input {
        Input::Accept(party, _) => engaged(db, &party.user, Some(id))?,
        _ => false,
    };
    let context = Context {
        now: rules.now,
        timing: &rules.timing,
        members: &members,
        engaged_elsewhere,
        legs_max: rules.legs_max,
    };
    let mut call = before.clone();
    let step = call.handle(input, &context)?;
    if step != Step::Unchanged {
        update(db, &call, before.ver)?;
    }
    finish(db, Some(&before), call, step)
}

/// Tells the conversation that its call changed, and leaves the message of an ended one.
fn finish(db: &Connection, before: Option<&Call>, call: Call, step: Step) -> Result<CallChange, StoreError> {
    let ended = step == Step::Changed && !call.is_live() && before.is_none_or(Call::is_live);
    let message = if ended { Some(messages::append_epitaph(db, &call)?) } else { None };
    if step == Step::Changed && !ended {
        let rev = conversations::next_rev(db)?;
        db.prepare_cached("UPDATE conversation SET rev = ?2 WHERE id = ?1")?
            .execute(params![call.conv.as_str(), rev])?;
    }
    let left = match before {
        Some(before) => before.joined().filter(|party| !call.has_joined(party)).cloned().collect(),
        None => Vec::new(),
    };
    Ok(CallChange { call, step, left, message })
}

/// Whether a user is engaged in a live call other than `but`.
fn engaged(db: &Connection, user: &UserId, but: Option<&CallId>) -> Result<bool, StoreError> {
    Ok(db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM call_leg l JOIN call c ON c.id = l.call
             WHERE l.user = ?1 AND l.state IN (0, 2) AND c.active = 1 AND c.id IS NOT ?2)",
        )?
        .query_row(params![user.as_str(), but.map(CallId::as_str)], |row| row.get(0))?)
}

/// The live call of a conversation.
pub(super) fn live_in(db: &Connection, conv: &ConversationId) -> Result<Option<CallId>, StoreError> {
    let id: Option<String> = db
        .prepare_cached("SELECT id FROM call WHERE conv = ?1 AND active = 1")?
        .query_row([conv.as_str()], |row| row.get(0))
        .optional()?;
    id.map(|id| stored(CallId::new(&id))).transpose()
}

/// See [`Store::call`](crate::store::Store::call).
pub(super) fn visible(
    db: &Connection,
    id: &CallId,
    user: Option<&UserId>,
) -> Result<Option<Call>, StoreError> {
    let Some(call) = load(db, id)? else { return Ok(None) };
    let Some(user) = user else { return Ok(Some(call)) };
    let member: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM member WHERE conv = ?1 AND user = ?2)")?
        .query_row(params![call.conv.as_str(), user.as_str()], |row| row.get(0))?;
    Ok(member.then_some(call))
}

/// See [`Store::due_calls`](crate::store::Store::due_calls).
pub(super) fn due(db: &Connection, now: UnixMillis, limit: u32) -> Result<DueCalls, StoreError> {
    let ids: Vec<String> = db
        .prepare_cached("SELECT id FROM call WHERE active = 1 AND deadline <= ?1 ORDER BY deadline LIMIT ?2")?
        .query_map(params![now.0, limit], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let next: Option<u64> = db
        .prepare_cached("SELECT min(deadline) FROM call WHERE active = 1 AND deadline > ?1")?
        .query_row([now.0], |row| row.get(0))?;
    let due = ids.iter().map(|id| stored(CallId::new(id))).collect::<Result<_, _>>()?;
    Ok(DueCalls { due, next: next.map(UnixMillis) })
}

/// See [`Store::live_calls`](crate::store::Store::live_calls).
pub(super) fn live(db: &Connection, states: &[CallState]) -> Result<Vec<CallId>, StoreError> {
    let mut statement = db.prepare_cached("SELECT id, state FROM call WHERE active = 1 ORDER BY id")?;
    let mut rows = statement.query(())?;
    let mut calls = Vec::new();
    while let Some(row) = rows.next()? {
        if states.contains(&STATES.read(row.get(1)?)?) {
            calls.push(stored(CallId::new(&row.get::<_, String>(0)?))?);
        }
    }
    Ok(calls)
}

/// How an enum stands in a column: by its place in this list, which is only ever appended to.
struct Numbers<T: 'static>(&'static [T]);

impl<T: Copy + PartialEq> Numbers<T> {
    fn write(&self, value: T) -> u64 {
        self.0.iter().position(|held| *held == value).map_or(u64::MAX >> 1, |place| place as u64)
    }

    fn read(&self, number: u64) -> Result<T, StoreError> {
        let place = usize::try_from(number).ok();
        place.and_then(|place| self.0.get(place).copied()).ok_or_else(|| {
            StoreError::Internal(format!("a stored call has {number} where an enum should be"))
        })
    }
}

const STATES: Numbers<CallState> = Numbers(&[
    CallState::Inviting,
    CallState::Ringing,
    CallState::Connecting,
    CallState::Connected,
    CallState::Ended,
]);
const REASONS: Numbers<EndReason> = Numbers(&[
    EndReason::Declined,
    EndReason::Cancelled,
    EndReason::TimedOut,
    EndReason::Busy,
    EndReason::Failed,
    EndReason::Ended,
]);
/// The queries and the index `call_leg_engaged` know 0 and 2 by number.
const LEG_STATES: Numbers<LegState> = Numbers(&[
    LegState::Inviting,
    LegState::Ringing,
    LegState::Joined,
    LegState::Left,
    LegState::Declined,
    LegState::AnsweredElsewhere,
]);

fn media_number(media: Media) -> u64 {
    u64::from(media.audio) | (u64::from(media.video) << 1)
}

fn media(number: u64) -> Media {
    Media { audio: number & 1 != 0, video: number & 2 != 0 }
}

/// Reads a call with its legs.
pub(super) fn load(db: &Connection, id: &CallId) -> Result<Option<Call>, StoreError> {
    let mut statement = db.prepare_cached("SELECT * FROM call WHERE id = ?1")?;
    let mut rows = statement.query([id.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let mut call = call(id, row)?;
    let mut statement = db.prepare_cached(
        "SELECT user, device, state, media, transport, due FROM call_leg WHERE call = ?1 ORDER BY user, device",
    )?;
    let mut rows = statement.query([id.as_str()])?;
    while let Some(row) = rows.next()? {
        let party = stored_party(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?)?;
        let due = UnixMillis(row.get::<_, Option<u64>>(5)?.unwrap_or(0));
        let transport = match row.get::<_, u64>(4)? {
            1 => Transport::Awaited(due),
            2 => Transport::Up,
            3 => Transport::Gone(due),
            _ => Transport::None,
        };
        let leg = Leg { state: LEG_STATES.read(row.get(2)?)?, media: media(row.get(3)?), transport };
        call.legs.insert(party, leg);
    }
    Ok(Some(call))
}

fn call(id: &CallId, row: &Row<'_>) -> Result<Call, StoreError> {
    let text = |column: &str| -> Result<String, StoreError> { Ok(row.get(column)?) };
    let number = |column: &str| -> Result<u64, StoreError> { Ok(row.get(column)?) };
    let reason: Option<u64> = row.get("reason")?;
    let connected_at: Option<u64> = row.get("connected_at")?;
    Ok(Call {
        id: id.clone(),
        conv: stored(ConversationId::new(&text("conv")?))?,
        scope: text("scope")?,
        caller: stored_party(&text("caller_user")?, &text("caller_device")?)?,
        media: media(number("media")?),
        state: STATES.read(number("state")?)?,
        reason: reason.map(|number| REASONS.read(number)).transpose()?,
        ver: number("ver")?,
        ring_until: UnixMillis(number("ring_until")?),
        lease_until: UnixMillis(number("lease_until")?),
        created_at: UnixMillis(number("created_at")?),
        connected_at: connected_at.map(UnixMillis),
        at: UnixMillis(number("at")?),
        legs: BTreeMap::new(),
    })
}

fn insert(db: &Connection, call: &Call) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO call VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    )?
    .execute(params![
        call.id.as_str(),
        call.conv.as_str(),
        call.scope,
        call.is_live(),
        call.caller.user.as_str(),
        call.caller.device.as_str(),
        media_number(call.media),
        STATES.write(call.state),
        call.reason.map(|reason| REASONS.write(reason)),
        call.ver,
        call.ring_until.0,
        call.lease_until.0,
        call.deadline().map(|at| at.0),
        call.created_at.0,
        call.connected_at.map(|at| at.0),
        call.at.0
    ])?;
    write_legs(db, call)
}

/// Writes what may have changed; refuses if another wrote since version `ver` was read.
fn update(db: &Connection, call: &Call, ver: u64) -> Result<(), StoreError> {
    let written = db
        .prepare_cached(
            "UPDATE call SET active = ?3, state = ?4, reason = ?5, ver = ?6, lease_until = ?7, deadline = ?8,
             connected_at = ?9, at = ?10 WHERE id = ?1 AND ver = ?2",
        )?
        .execute(params![
            call.id.as_str(),
            ver,
            call.is_live(),
            STATES.write(call.state),
            call.reason.map(|reason| REASONS.write(reason)),
            call.ver,
            call.lease_until.0,
            call.deadline().map(|at| at.0),
            call.connected_at.map(|at| at.0),
            call.at.0
        ])?;
    if written != 1 {
        return Err(StoreError::Internal("a call changed under a transaction".into()));
    }
    write_legs(db, call)
}

fn write_legs(db: &Connection, call: &Call) -> Result<(), StoreError> {
    db.prepare_cached("DELETE FROM call_leg WHERE call = ?1")?.execute([call.id.as_str()])?;
    for (Party { user, device }, leg) in &call.legs {
        let (transport, due) = match leg.transport {
            Transport::None => (0, None),
            Transport::Awaited(due) => (1, Some(due.0)),
            Transport::Up => (2, None),
            Transport::Gone(due) => (3, Some(due.0)),
        };
        db.prepare_cached("INSERT INTO call_leg VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
            call.id.as_str(),
            user.as_str(),
            device.as_str(),
            LEG_STATES.write(leg.state),
            media_number(leg.media),
            transport,
            due
        ])?;
    }
    Ok(())
}
