//! Conversations and their members.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_signaling_api::{Head, MemberView, Role};
use trunkline_signaling_core::{
    Refusal,
    call::Input,
    conversation::{check_add, check_remove, check_retention, heir, pair_key, visible_from},
};
use trunkline_units::{CallId, ConversationId, UnixMillis, UserId};

use super::calls;
use crate::store::{
    Bounds, CallRules, Changed, Changes, ConversationChange, Created, LogBounds, NewConversation, Roster,
    SessionState, StoreError, stored,
};

/// Takes the next revision.
pub(super) fn next_rev(db: &Connection) -> Result<u64, StoreError> {
    Ok(db
        .prepare_cached("UPDATE revision SET rev = rev + 1 WHERE one = 1 RETURNING rev")?
        .query_row((), |row| row.get(0))?)
}

fn role_number(role: Role) -> i64 {
    match role {
        Role::Member => 0,
        Role::Admin => 1,
        Role::Owner => 2,
    }
}

fn role(number: i64) -> Role {
    match number {
        2 => Role::Owner,
        1 => Role::Admin,
        _ => Role::Member,
    }
}

struct Row {
    pair: bool,
    title: Option<String>,
    epoch: u64,
    retention_s: Option<u64>,
    last_seq: u64,
    min_seq: u64,
    members: Vec<MemberRow>,
}

struct MemberRow {
    user: UserId,
    role: Role,
    joined_seq: u64,
    joined_rev: u64,
    delivered: u64,
    read: u64,
}

impl Row {
    fn member(&self, user: &UserId) -> Option<&MemberRow> {
        self.members.iter().find(|member| member.user == *user)
    }

    /// As `user` sees it; as a stranger who may see nothing of the past if it is no member.
    fn head(&self, conv: &ConversationId, user: &UserId) -> Head {
        let joined_seq = self.member(user).map_or(self.last_seq, |member| member.joined_seq);
        let members = self.members.iter().map(|member| MemberView {
            user: member.user.clone(),
            role: member.role,
            delivered: member.delivered,
            read: member.read,
        });
        Head {
            conv: conv.clone(),
            title: self.title.clone(),
            last_seq: self.last_seq,
            min_seq: visible_from(self.min_seq, joined_seq),
            retention_s: self.retention_s,
            members: members.collect(),
        }
    }
}

/// Reads a conversation with its members, in the order of their ids.
fn load(db: &Connection, conv: &ConversationId) -> Result<Option<Row>, StoreError> {
    let row = db
        .prepare_cached(
            "SELECT pair_key IS NOT NULL, title, epoch, last_seq, min_seq, retention_s FROM conversation
             WHERE id = ?1",
        )?
        .query_row([conv.as_str()], |row| {
            Ok(Row {
                pair: row.get(0)?,
                title: row.get(1)?,
                epoch: row.get(2)?,
                last_seq: row.get(3)?,
                min_seq: row.get(4)?,
                retention_s: row.get(5)?,
                members: Vec::new(),
            })
        })
        .optional()?;
    let Some(mut row) = row else { return Ok(None) };
    let mut statement = db.prepare_cached(
        "SELECT user, role, joined_seq, joined_rev, delivered, read FROM member WHERE conv = ?1 ORDER BY user",
    )?;
    let mut rows = statement.query([conv.as_str()])?;
    while let Some(member) = rows.next()? {
        row.members.push(MemberRow {
            user: stored(UserId::new(&member.get::<_, String>(0)?))?,
            role: role(member.get(1)?),
            joined_seq: member.get(2)?,
            joined_rev: member.get(3)?,
            delivered: member.get(4)?,
            read: member.get(5)?,
        });
    }
    Ok(Some(row))
}

/// The present members.
pub(super) fn members(db: &Connection, conv: &ConversationId) -> Result<BTreeSet<UserId>, StoreError> {
    let mut statement = db.prepare_cached("SELECT user FROM member WHERE conv = ?1")?;
    let mut rows = statement.query([conv.as_str()])?;
    let mut members = BTreeSet::new();
    while let Some(row) = rows.next()? {
        members.insert(stored(UserId::new(&row.get::<_, String>(0)?))?);
    }
    Ok(members)
}

fn insert_member(
    db: &Connection,
    conv: &ConversationId,
    user: &UserId,
    role: Role,
    joined_seq: u64,
    rev: u64,
    conversations_max: usize,
) -> Result<(), StoreError> {
    let held: usize = db
        .prepare_cached("SELECT count(*) FROM member WHERE user = ?1")?
        .query_row([user.as_str()], |row| row.get(0))?;
    if held >= conversations_max {
        return Err(Refusal::TooLarge {
            what: "the number of someone's conversations",
            max: conversations_max,
        }
        .into());
    }
    db.prepare_cached("INSERT INTO member VALUES (?1, ?2, ?3, ?4, ?5, ?4, ?4)")?.execute(params![
        conv.as_str(),
        user.as_str(),
        role_number(role),
        joined_seq,
        rev
    ])?;
    Ok(())
}

fn reload(db: &Connection, conv: &ConversationId) -> Result<Row, StoreError> {
    load(db, conv)?.ok_or_else(|| StoreError::Internal("a conversation vanished".into()))
}

/// See [`Store::create_conversation`](crate::store::Store::create_conversation).
pub(super) fn create(db: &Connection, new: &NewConversation) -> Result<Created, StoreError> {
    let mut members: BTreeSet<&UserId> = new.members.iter().collect();
    members.insert(&new.maker);
    if members.len() > new.bounds.members {
        return Err(Refusal::TooLarge { what: "the number of members", max: new.bounds.members }.into());
    }
    let pair = match (&new.title, members.len()) {
        (None, 2) => members.first().zip(members.last()).map(|(a, b)| pair_key(a, b)),
        _ => None,
    };
    if let Some(pair) = &pair {
        let held: Option<String> = db
            .prepare_cached("SELECT id FROM conversation WHERE pair_key = ?1")?
            .query_row([pair], |row| row.get(0))
            .optional()?;
        if let Some(id) = held {
            let id = stored(ConversationId::new(&id))?;
            return Ok(Created { fresh: false, head: reload(db, &id)?.head(&id, &new.maker) });
        }
    }
    let rev = next_rev(db)?;
    db.prepare_cached(
        "INSERT INTO conversation (id, pair_key, title, epoch, epoch_rev, last_seq, min_seq, rev, active_at)
         VALUES (?1, ?2, ?3, 1, ?4, 0, 1, ?4, ?5)",
    )?
    .execute(params![new.id.as_str(), pair, new.title, rev, new.at.0])?;
    for user in members {
        let role = if *user == new.maker { Role::Owner } else { Role::Member };
        insert_member(db, &new.id, user, role, 0, rev, new.bounds.conversations)?;
    }
    Ok(Created { fresh: true, head: reload(db, &new.id)?.head(&new.id, &new.maker) })
}

/// Others are to be told of the head.
fn touch(db: &Connection, conv: &ConversationId, rev: u64) -> Result<(), StoreError> {
    db.prepare_cached("UPDATE conversation SET epoch = epoch + 1, epoch_rev = ?2, rev = ?2 WHERE id = ?1")?
        .execute(params![conv.as_str(), rev])?;
    Ok(())
}

/// Its members are others than before.
fn regroup(db: &Connection, conv: &ConversationId, rev: u64) -> Result<(), StoreError> {
    touch(db, conv, rev)?;
    db.prepare_cached("UPDATE conversation SET pair_key = NULL WHERE id = ?1")?.execute([conv.as_str()])?;
    // Its live call is no longer that of a pair: who has left must not come back into it by ringing the other elsewhere.
    db.prepare_cached("UPDATE call SET scope = 'conversation:' || conv WHERE conv = ?1 AND active = 1")?
        .execute([conv.as_str()])?;
    Ok(())
}

/// See [`Store::add_member`](crate::store::Store::add_member).
pub(super) fn add(
    db: &Connection,
    conv: &ConversationId,
    actor: &UserId,
    user: &UserId,
    bounds: Bounds,
    now: UnixMillis,
) -> Result<ConversationChange, StoreError> {
    let row = load(db, conv)?.ok_or(Refusal::NotFound)?;
    // Strangers do not learn whether it exists.
    let acting = row.member(actor).ok_or(Refusal::NotFound)?;
    if row.member(user).is_some() {
        return Ok(ConversationChange { changed: false, head: row.head(conv, actor), call: None });
    }
    check_add(acting.role, row.pair, row.members.len(), bounds.members)?;
    let rev = next_rev(db)?;
    insert_member(db, conv, user, Role::Member, row.last_seq, rev, bounds.conversations)?;
    regroup(db, conv, rev)?;
    db.prepare_cached("UPDATE conversation SET active_at = max(active_at, ?2) WHERE id = ?1")?
        .execute(params![conv.as_str(), now.0])?;
    Ok(ConversationChange { changed: true, head: reload(db, conv)?.head(conv, actor), call: None })
}

/// See [`Store::remove_member`](crate::store::Store::remove_member).
pub(super) fn remove(
    db: &Connection,
    conv: &ConversationId,
    actor: &UserId,
    user: &UserId,
    rules: &CallRules,
) -> Result<ConversationChange, StoreError> {
    let row = load(db, conv)?.ok_or(Refusal::NotFound)?;
    let acting = row.member(actor).ok_or(Refusal::NotFound)?;
    let Some(target) = row.member(user) else {
        return Ok(ConversationChange { changed: false, head: row.head(conv, actor), call: None });
    };
    check_remove(acting.role, target.role, actor == user, row.pair)?;
    let rev = next_rev(db)?;
    db.prepare_cached("DELETE FROM member WHERE conv = ?1 AND user = ?2")?
        .execute(params![conv.as_str(), user.as_str()])?;
    if target.role == Role::Owner {
        let mut others: Vec<&MemberRow> = row.members.iter().filter(|member| member.user != *user).collect();
        others.sort_by_key(|member| member.joined_rev);
        if let Some(heir) = heir(others.iter().map(|member| (&member.user, member.role))) {
            db.prepare_cached("UPDATE member SET role = ?3 WHERE conv = ?1 AND user = ?2")?
                .execute(params![conv.as_str(), heir.as_str(), role_number(Role::Owner)])?;
        }
    }
    regroup(db, conv, rev)?;
    let call = match calls::live_in(db, conv)? {
        Some(call) => Some(calls::apply(db, &call, &Input::MemberGone(user.clone()), rules)?),
        None => None,
    };
    Ok(ConversationChange { changed: true, head: reload(db, conv)?.head(conv, actor), call })
}

/// See [`Store::set_retention`](crate::store::Store::set_retention).
pub(super) fn set_retention(
    db: &Connection,
    conv: &ConversationId,
    actor: &UserId,
    seconds: Option<u64>,
) -> Result<ConversationChange, StoreError> {
    let row = load(db, conv)?.ok_or(Refusal::NotFound)?;
    let acting = row.member(actor).ok_or(Refusal::NotFound)?;
    check_retention(acting.role, row.pair, seconds)?;
    if row.retention_s == seconds {
        return Ok(ConversationChange { changed: false, head: row.head(conv, actor), call: None });
    }
    let rev = next_rev(db)?;
    db.prepare_cached("UPDATE conversation SET retention_s = ?2 WHERE id = ?1")?
        .execute(params![conv.as_str(), seconds])?;
    touch(db, conv, rev)?;
    Ok(ConversationChange { changed: true, head: reload(db, conv)?.head(conv, actor), call: None })
}

/// See [`Store::check_member`](crate::store::Store::check_member).
pub(super) fn check_member(db: &Connection, conv: &ConversationId, user: &UserId) -> Result<(), StoreError> {
    let is_member: bool = db
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM member WHERE conv = ?1 AND user = ?2)")?
        .query_row(params![conv.as_str(), user.as_str()], |row| row.get(0))?;
    if is_member { Ok(()) } else { Err(Refusal::NotFound.into()) }
}

/// See [`Store::session_state`](crate::store::Store::session_state).
pub(super) fn session_state(
    db: &Connection,
    user: &UserId,
    members_max: usize,
) -> Result<SessionState, StoreError> {
    let rev = db.prepare_cached("SELECT rev FROM revision")?.query_row((), |row| row.get(0))?;
    let mut state = SessionState { rev, ..SessionState::default() };
    let mut statement = db.prepare_cached(
        "SELECT c.id, c.last_seq, c.min_seq, m.joined_seq FROM member m JOIN conversation c ON c.id = m.conv
         WHERE m.user = ?1 ORDER BY c.active_at DESC, c.id",
    )?;
    let mut rows = statement.query([user.as_str()])?;
    while let Some(row) = rows.next()? {
        state.places.push(LogBounds {
            conv: stored(ConversationId::new(&row.get::<_, String>(0)?))?,
            last_seq: row.get(1)?,
            min_seq: visible_from(row.get(2)?, row.get(3)?),
        });
    }
    let mut members = 0;
    for LogBounds { conv, .. } in &state.places {
        if members >= members_max {
            break;
        }
        let head = reload(db, conv)?.head(conv, user);
        members += head.members.len();
        state.heads.push(head);
    }
    let live: Vec<String> = db
        .prepare_cached(
            "SELECT k.id FROM member m JOIN call k ON k.conv = m.conv AND k.active = 1
             WHERE m.user = ?1 ORDER BY k.id",
        )?
        .query_map([user.as_str()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in live {
        state.calls.extend(calls::load(db, &stored(CallId::new(&id))?)?);
    }
    Ok(state)
}

/// See [`Store::roster`](crate::store::Store::roster).
pub(super) fn roster(db: &Connection, conv: &ConversationId) -> Result<Option<Roster>, StoreError> {
    let Some(row) = load(db, conv)? else { return Ok(None) };
    let heads =
        row.members.iter().map(|member| (member.user.clone(), row.head(conv, &member.user))).collect();
    let call = match calls::live_in(db, conv)? {
        Some(call) => calls::load(db, &call)?,
        None => None,
    };
    Ok(Some(Roster { epoch: row.epoch, heads, call }))
}

/// See [`Store::changes`](crate::store::Store::changes).
pub(super) fn changes(db: &Connection, rev: Option<u64>, limit: u32) -> Result<Changes, StoreError> {
    let present: u64 = db.prepare_cached("SELECT rev FROM revision")?.query_row((), |row| row.get(0))?;
    let Some(rev) = rev else { return Ok(Changes { rev: present, ..Changes::default() }) };
    let mut statement = db.prepare_cached(
        "SELECT c.id, c.last_seq, c.epoch, c.rev, k.id, k.ver, c.epoch_rev > ?1
         FROM conversation c LEFT JOIN call k ON k.id = c.last_call
         WHERE c.rev > ?1 ORDER BY c.rev LIMIT ?2",
    )?;
    let mut rows = statement.query(params![rev, limit])?;
    let mut changes = Changes { rev, ..Changes::default() };
    while let Some(row) = rows.next()? {
        let call: Option<String> = row.get(4)?;
        let call = call.map(|id| stored(CallId::new(&id))).transpose()?;
        changes.conversations.push(Changed {
            conv: stored(ConversationId::new(&row.get::<_, String>(0)?))?,
            last_seq: row.get(1)?,
            epoch: row.get(2)?,
            call: call.zip(row.get::<_, Option<u64>>(5)?),
            membership: row.get(6)?,
        });
        changes.rev = row.get(3)?;
    }
    changes.more = changes.conversations.len() >= limit as usize;
    if !changes.more {
        changes.rev = present;
    }
    Ok(changes)
}
