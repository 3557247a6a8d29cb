//! The end of messages: each log loses its oldest, never one from its middle.

use std::time::Duration;

use rusqlite::{Connection, params};
use trunkline_units::{ConversationId, UnixMillis};

use super::attachments;
use crate::store::{StoreError, stored};

/// A log whose first message is too old, and what is too old for it.
struct Due {
    conv: ConversationId,
    before: UnixMillis,
}

/// See [`Store::expire`](crate::store::Store::expire).
pub(super) fn expire(
    db: &Connection,
    now: UnixMillis,
    retention: Option<Duration>,
    limit: u32,
) -> Result<usize, StoreError> {
    let mut due = with_own_retention(db, now, limit)?;
    if let Some(retention) = retention {
        due.extend(with_the_servers(db, now.before(retention), limit)?);
    }
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut gone = 0;
    for log in due {
        if gone >= most {
            break;
        }
        gone += shorten(db, &log, most - gone, now)?;
    }
    Ok(gone)
}

const OWN: &str = "SELECT id, retention_s FROM conversation
     WHERE retention_s IS NOT NULL AND oldest_at + retention_s * 1000 < ?1
     ORDER BY oldest_at + retention_s * 1000 LIMIT ?2";

const SERVERS: &str = "SELECT id FROM conversation
     WHERE retention_s IS NULL AND oldest_at < ?1 ORDER BY oldest_at LIMIT ?2";

fn with_own_retention(db: &Connection, now: UnixMillis, limit: u32) -> Result<Vec<Due>, StoreError> {
    let mut statement = db.prepare_cached(OWN)?;
    let mut rows = statement.query(params![now.0, limit])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let conv = stored(ConversationId::new(&row.get::<_, String>(0)?))?;
        due.push(Due { conv, before: now.before(Duration::from_secs(row.get(1)?)) });
    }
    Ok(due)
}

fn with_the_servers(db: &Connection, before: UnixMillis, limit: u32) -> Result<Vec<Due>, StoreError> {
    let mut statement = db.prepare_cached(SERVERS)?;
    let mut rows = statement.query(params![before.0, limit])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        due.push(Due { conv: stored(ConversationId::new(&row.get::<_, String>(0)?))?, before });
    }
    Ok(due)
}

/// Forgets a log's first messages, at most `most`, up to the first that is young enough: clocks that stepped must not
/// make holes.
fn shorten(db: &Connection, log: &Due, most: usize, now: UnixMillis) -> Result<usize, StoreError> {
    let conv = log.conv.as_str();
    let mut gone = 0;
    let mut upto = None;
    let mut oldest_at: Option<u64> = None;
    {
        let mut statement = db.prepare_cached("SELECT seq, at FROM message WHERE conv = ?1 ORDER BY seq")?;
        let mut rows = statement.query([conv])?;
        while let Some(row) = rows.next()? {
            let (seq, at): (u64, u64) = (row.get(0)?, row.get(1)?);
            if gone >= most || at >= log.before.0 {
                oldest_at = Some(at);
                break;
            }
            gone += 1;
            upto = Some(seq + 1);
        }
    }
    if let Some(upto) = upto {
        attachments::release(db, &log.conv, upto, now)?;
        db.prepare_cached("DELETE FROM message WHERE conv = ?1 AND seq < ?2")?
            .execute(params![conv, upto])?;
    }
    db.prepare_cached(
        "UPDATE conversation SET min_seq = max(min_seq, coalesce(?2, 0)), oldest_at = ?3 WHERE id = ?1",
    )?
    .execute(params![conv, upto, oldest_at])?;
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::super::schema::tests::{current, plan};
    use super::*;

    /// Thousands of quiet conversations cost a look nothing.
    #[test]
    fn logs_that_are_due_are_found_by_their_indexes() {
        let db = current();
        for (sql, index) in [(OWN, "conversation_own_expiry"), (SERVERS, "conversation_oldest")] {
            let plan = plan(&db, sql);
            assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
