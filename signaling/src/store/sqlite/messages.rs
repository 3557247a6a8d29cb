//! The log.

use rusqlite::{Connection, OptionalExtension, Row, params};
use trunkline_signaling_api::{Attachment, Message, Party};
use trunkline_signaling_core::{Refusal, call::Call, conversation};
use trunkline_units::{ConversationId, MessageId, UnixMillis, UserId};

use super::{attachments, conversations::next_rev};
use crate::store::{
    Appended, Marks, MessagePage, NewMessage, Range, StoreError, call_message_id, stored, stored_party,
};

/// See [`Store::append`](crate::store::Store::append).
pub(super) fn append(db: &Connection, new: &NewMessage) -> Result<Appended, StoreError> {
    let key = params![new.from.user.as_str(), new.from.device.as_str(), new.id.as_str()];
    let before: Option<(String, u64, u64)> = db
        .prepare_cached(
            "SELECT conv, seq, at FROM idempotency WHERE user = ?1 AND device = ?2 AND client_id = ?3",
        )?
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    if let Some((conv, seq, at)) = before {
        if conv != new.conv.as_str() {
            return Err(Refusal::Conflict("this message id was sent to another conversation").into());
        }
        let attachments = views(db, &new.conv, seq)?;
        return Ok(Appended { seq, at: UnixMillis(at), fresh: false, attachments });
    }
    visible_from(db, &new.conv, &new.from.user)?;
    let attachments = attachments::refer(db, &new.conv, &new.from.user, &new.attachments)?;
    let seq = insert(db, &new.conv, &new.from, &new.id, &new.kind, &new.body, &attachments, new.at)?;
    attachments::note(db, &new.conv, seq, &new.attachments)?;
    db.prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        new.from.user.as_str(),
        new.from.device.as_str(),
        new.id.as_str(),
        new.conv.as_str(),
        seq,
        new.at.0
    ])?;
    db.prepare_cached("UPDATE member SET delivered = ?3, read = ?3 WHERE conv = ?1 AND user = ?2")?
        .execute(params![new.conv.as_str(), new.from.user.as_str(), seq])?;
    Ok(Appended { seq, at: new.at, fresh: true, attachments })
}

/// Writes the message that an ended call leaves. Written once, by the transaction that ends the call: it needs no
/// idempotence of its own.
pub(super) fn append_epitaph(db: &Connection, call: &Call) -> Result<u64, StoreError> {
    let internal = |why: &str| StoreError::Internal(why.into());
    let body = call.epitaph().ok_or_else(|| internal("a call that has not ended left a message"))?;
    let body = serde_json::to_string(&body).map_err(|fault| internal(&fault.to_string()))?;
    let id = call_message_id(&call.id)?;
    insert(db, &call.conv, &call.caller, &id, conversation::KIND_CALL, &body, &[], call.at)
}

#[expect(
    clippy::too_many_arguments,
    reason = "a row has that many columns; a struct would be named once, here"
)]
fn insert(
    db: &Connection,
    conv: &ConversationId,
    from: &Party,
    id: &MessageId,
    kind: &str,
    body: &str,
    attachments: &[Attachment],
    at: UnixMillis,
) -> Result<u64, StoreError> {
    let views = match attachments {
        [] => None,
        some => Some(serde_json::to_string(some).map_err(|fault| StoreError::Internal(fault.to_string()))?),
    };
    let rev = next_rev(db)?;
    let seq: u64 = db
        .prepare_cached(
            "UPDATE conversation SET last_seq = last_seq + 1, active_at = max(active_at, ?2), rev = ?3,
             oldest_at = coalesce(oldest_at, ?2) WHERE id = ?1 RETURNING last_seq",
        )?
        .query_row(params![conv.as_str(), at.0, rev], |row| row.get(0))
        .optional()?
        .ok_or(Refusal::NotFound)?;
    db.prepare_cached(
        "INSERT INTO message (conv, seq, id, user, device, kind, body, attachments, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?
    .execute(params![
        conv.as_str(),
        seq,
        id.as_str(),
        from.user.as_str(),
        from.device.as_str(),
        kind,
        body,
        views,
        at.0
    ])?;
    Ok(seq)
}

/// What a message refers to; nothing once it has expired.
fn views(db: &Connection, conv: &ConversationId, seq: u64) -> Result<Vec<Attachment>, StoreError> {
    let views: Option<Option<String>> = db
        .prepare_cached("SELECT attachments FROM message WHERE conv = ?1 AND seq = ?2")?
        .query_row(params![conv.as_str(), seq], |row| row.get(0))
        .optional()?;
    parse_views(views.flatten().as_deref())
}

fn parse_views(views: Option<&str>) -> Result<Vec<Attachment>, StoreError> {
    let read = views.map_or(Ok(Vec::new()), serde_json::from_str);
    read.map_err(|fault| StoreError::Internal(format!("a stored message: {fault}")))
}

/// The first sequence number a member may see; refuses others without telling whether the conversation exists.
pub(super) fn visible_from(db: &Connection, conv: &ConversationId, user: &UserId) -> Result<u64, StoreError> {
    let bounds: Option<(u64, u64)> = db
        .prepare_cached(
            "SELECT c.min_seq, m.joined_seq FROM member m JOIN conversation c ON c.id = m.conv
             WHERE m.conv = ?1 AND m.user = ?2",
        )?
        .query_row(params![conv.as_str(), user.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (min_seq, joined_seq) = bounds.ok_or(Refusal::NotMember)?;
    Ok(conversation::visible_from(min_seq, joined_seq))
}

/// What a message adds to a page beside its body and attachments: its ids and field names.
const ENVELOPE_BYTES: usize = 480;

/// See [`Store::page`](crate::store::Store::page).
pub(super) fn page(
    db: &Connection,
    conv: &ConversationId,
    user: &UserId,
    range: Range,
    limit: u32,
    bytes_max: usize,
) -> Result<MessagePage, StoreError> {
    let floor = visible_from(db, conv, user)?;
    let (sql, from, to) = match range {
        Range::After(after) => (
            "SELECT * FROM message WHERE conv = ?1 AND seq >= ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4",
            floor.max(after.saturating_add(1)),
            LAST,
        ),
        Range::Before(before) => (NEWEST_FIRST, floor, before.saturating_sub(1)),
        Range::Newest => (NEWEST_FIRST, floor, LAST),
    };
    let mut statement = db.prepare_cached(sql)?;
    let mut rows =
        statement.query(params![conv.as_str(), from.min(LAST), to.min(LAST), u64::from(limit) + 1])?;
    let mut messages = Vec::new();
    let mut bytes = 0;
    let mut more = false;
    while let Some(row) = rows.next()? {
        let (message, size) = message(conv, row)?;
        bytes += size + ENVELOPE_BYTES;
        if messages.len() >= limit as usize || (bytes > bytes_max && !messages.is_empty()) {
            more = true;
            break;
        }
        messages.push(message);
    }
    if !matches!(range, Range::After(_)) {
        messages.reverse();
    }
    Ok(MessagePage { messages, more })
}

const NEWEST_FIRST: &str =
    "SELECT * FROM message WHERE conv = ?1 AND seq >= ?2 AND seq <= ?3 ORDER BY seq DESC LIMIT ?4";

/// The greatest number SQLite holds.
const LAST: u64 = i64::MAX as u64;

fn message(conv: &ConversationId, row: &Row<'_>) -> Result<(Message, usize), StoreError> {
    let text = |column: &str| -> Result<String, StoreError> { Ok(row.get(column)?) };
    let parse = |fault: serde_json::Error| StoreError::Internal(format!("a stored message: {fault}"));
    let party = stored_party(&text("user")?, &text("device")?)?;
    let body = text("body")?;
    let attachments: Option<String> = row.get("attachments")?;
    let size = body.len() + attachments.as_ref().map_or(0, String::len);
    let message = Message {
        conv: conv.clone(),
        seq: row.get("seq")?,
        id: stored(MessageId::new(&text("id")?))?,
        user: party.user,
        device: party.device,
        kind: text("kind")?,
        body: serde_json::from_str(&body).map_err(parse)?,
        attachments: parse_views(attachments.as_deref())?,
        at: UnixMillis(row.get("at")?),
    };
    Ok((message, size))
}

/// See [`Store::mark`](crate::store::Store::mark).
pub(super) fn mark(
    db: &Connection,
    conv: &ConversationId,
    user: &UserId,
    marks: Marks,
) -> Result<Option<Marks>, StoreError> {
    let held: Option<(u64, u64, u64)> = db
        .prepare_cached(
            "SELECT m.delivered, m.read, c.last_seq FROM member m JOIN conversation c ON c.id = m.conv
             WHERE m.conv = ?1 AND m.user = ?2",
        )?
        .query_row(params![conv.as_str(), user.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (delivered, read, last_seq) = held.ok_or(Refusal::NotMember)?;
    let new_read = read.max(marks.read.min(last_seq));
    // What was read was delivered.
    let new_delivered = delivered.max(marks.delivered.min(last_seq)).max(new_read);
    if (new_delivered, new_read) == (delivered, read) {
        return Ok(None);
    }
    db.prepare_cached("UPDATE member SET delivered = ?3, read = ?4 WHERE conv = ?1 AND user = ?2")?
        .execute(params![conv.as_str(), user.as_str(), new_delivered, new_read])?;
    Ok(Some(Marks { delivered: new_delivered, read: new_read }))
}
