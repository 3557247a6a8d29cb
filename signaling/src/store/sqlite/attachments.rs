//! Attachments, and which messages refer to them: counted in the transactions of the messages themselves.

use rusqlite::{Connection, OptionalExtension, params};
use trunkline_signaling_api::{ATTACHMENT_BYTES_MAX, Attachment};
use trunkline_signaling_core::{Refusal, conversation::check_attachments};
use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

use super::messages::visible_from;
use crate::store::{StoreError, stored};

/// See [`Store::offer_attachment`](crate::store::Store::offer_attachment).
pub(super) fn offer(
    db: &Connection,
    conv: &ConversationId,
    user: &UserId,
    attachment: &Attachment,
    at: UnixMillis,
) -> Result<(), StoreError> {
    let view = to_json(attachment)?;
    if view.len() > ATTACHMENT_BYTES_MAX {
        return Err(Refusal::TooLarge { what: "an attachment in bytes", max: ATTACHMENT_BYTES_MAX }.into());
    }
    // Whose it is, and where it can be sent, is said once.
    db.prepare_cached(
        "INSERT INTO attachment (id, conv, user, view, refs, idle_at, taken) VALUES (?1, ?2, ?3, ?4, 0, ?5, 0)
         ON CONFLICT (id) DO UPDATE SET view = excluded.view, idle_at = max(idle_at, excluded.idle_at)
         WHERE refs = 0 AND taken = 0 AND conv = excluded.conv AND user = excluded.user",
    )?
    .execute(params![attachment.id.as_str(), conv.as_str(), user.as_str(), view, at.0])?;
    Ok(())
}

/// Counts the references of a message that `user` is about to append to `conv`; gives the views.
pub(super) fn refer(
    db: &Connection,
    conv: &ConversationId,
    user: &UserId,
    ids: &[AttachmentId],
) -> Result<Vec<Attachment>, StoreError> {
    check_attachments(ids)?;
    let one = |id: &AttachmentId| {
        let view: Option<String> = db
            .prepare_cached(
                "UPDATE attachment SET refs = refs + 1 WHERE id = ?1 AND conv = ?2 AND user = ?3 AND taken = 0
                 RETURNING view",
            )?
            .query_row(params![id.as_str(), conv.as_str(), user.as_str()], |row| row.get(0))
            .optional()?;
        // One text for all reasons: whether it exists for somebody else is not told.
        let view = view.ok_or(Refusal::BadAttachment("no attachment of yours in this conversation"))?;
        from_json(&view)
    };
    ids.iter().map(one).collect()
}

/// Writes down what [`refer`] has counted.
pub(super) fn note(
    db: &Connection,
    conv: &ConversationId,
    seq: u64,
    ids: &[AttachmentId],
) -> Result<(), StoreError> {
    for id in ids {
        db.prepare_cached("INSERT INTO message_attachment VALUES (?1, ?2, ?3)")?.execute(params![
            conv.as_str(),
            seq,
            id.as_str()
        ])?;
    }
    Ok(())
}

/// Gives back what the messages of a log below `upto` refer to. They go in the same transaction.
pub(super) fn release(
    db: &Connection,
    conv: &ConversationId,
    upto: u64,
    now: UnixMillis,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "UPDATE attachment SET refs = refs - gone.times, idle_at = iif(refs = gone.times, ?3, idle_at)
         FROM (SELECT attachment AS of, count(*) AS times FROM message_attachment
               WHERE conv = ?1 AND seq < ?2 GROUP BY attachment) AS gone
         WHERE attachment.id = gone.of",
    )?
    .execute(params![conv.as_str(), upto, now.0])?;
    db.prepare_cached("DELETE FROM message_attachment WHERE conv = ?1 AND seq < ?2")?
        .execute(params![conv.as_str(), upto])?;
    Ok(())
}

/// See [`Store::attachment`](crate::store::Store::attachment).
pub(super) fn visible(db: &Connection, id: &AttachmentId, user: &UserId) -> Result<Attachment, StoreError> {
    let held: Option<(String, String, String)> = db
        .prepare_cached("SELECT conv, user, view FROM attachment WHERE id = ?1 AND taken = 0")?
        .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let (conv, uploader, view) = held.ok_or(Refusal::NotFound)?;
    let floor = visible_from(db, &stored(ConversationId::new(&conv))?, user)?;
    let seen: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM message_attachment WHERE attachment = ?1 AND seq >= ?2)",
        )?
        .query_row(params![id.as_str(), floor], |row| row.get(0))?;
    if uploader != user.as_str() && !seen {
        return Err(Refusal::NotMember.into());
    }
    from_json(&view)
}

/// See [`Store::take_unreferenced`](crate::store::Store::take_unreferenced).
pub(super) fn take(db: &Connection, before: UnixMillis, limit: u32) -> Result<Vec<AttachmentId>, StoreError> {
    let mut ids: Vec<String> =
        db.prepare_cached(TAKEN)?.query_map([limit], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let room = u64::from(limit).saturating_sub(ids.len() as u64);
    let idle: Vec<String> = db
        .prepare_cached(IDLE)?
        .query_map(params![before.0, room], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for id in &idle {
        db.prepare_cached("UPDATE attachment SET taken = 1 WHERE id = ?1")?.execute([id])?;
    }
    ids.extend(idle);
    ids.iter().map(|id| stored(AttachmentId::new(id))).collect()
}

const TAKEN: &str = "SELECT id FROM attachment WHERE refs = 0 AND taken = 1 ORDER BY idle_at LIMIT ?1";
const IDLE: &str =
    "SELECT id FROM attachment WHERE refs = 0 AND taken = 0 AND idle_at < ?1 ORDER BY idle_at LIMIT ?2";

/// See [`Store::forget_attachments`](crate::store::Store::forget_attachments).
pub(super) fn forget(db: &Connection, ids: &[AttachmentId]) -> Result<(), StoreError> {
    for id in ids {
        db.prepare_cached("DELETE FROM attachment WHERE id = ?1 AND taken = 1")?.execute([id.as_str()])?;
    }
    Ok(())
}

fn to_json(attachment: &Attachment) -> Result<String, StoreError> {
    serde_json::to_string(attachment).map_err(|fault| StoreError::Internal(fault.to_string()))
}

fn from_json(view: &str) -> Result<Attachment, StoreError> {
    serde_json::from_str(view).map_err(|fault| StoreError::Internal(format!("a stored attachment: {fault}")))
}

#[cfg(test)]
mod tests {
    use super::super::schema::tests::{current, plan};
    use super::*;

    #[test]
    fn what_is_idle_is_found_by_its_index() {
        let db = current();
        for sql in [TAKEN, IDLE] {
            let plan = plan(&db, sql);
            assert!(plan.contains("attachment_idle") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
