//! The schema, and how older ones become it.

use rusqlite::Connection;

use crate::store::StoreError;

/// Migrations in order: the n-th brings `user_version` from n to n + 1. Never edited once released, only appended to.
const MIGRATIONS: &[&str] = &[FIRST, SECOND];

const FIRST: &str = "
-- Counts every transaction that changed a conversation.
CREATE TABLE revision (one INTEGER PRIMARY KEY CHECK (one = 1), rev INTEGER NOT NULL);
INSERT INTO revision VALUES (1, 0);

CREATE TABLE conversation (
    id        TEXT PRIMARY KEY,
    pair_key  TEXT UNIQUE,              -- of two people without a title
    title     TEXT,
    epoch     INTEGER NOT NULL,         -- grows with every change of membership or title
    epoch_rev INTEGER NOT NULL,         -- the revision of the last such change
    last_seq  INTEGER NOT NULL,
    min_seq   INTEGER NOT NULL,         -- what is below has expired
    rev       INTEGER NOT NULL,         -- the revision that last changed it
    active_at INTEGER NOT NULL,
    last_call TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX conversation_rev ON conversation (rev);

CREATE TABLE member (
    conv       TEXT NOT NULL REFERENCES conversation (id),
    user       TEXT NOT NULL,
    role       INTEGER NOT NULL,        -- 0 member, 1 admin, 2 owner
    joined_seq INTEGER NOT NULL,        -- sees what is above
    joined_rev INTEGER NOT NULL,        -- the order of joining
    delivered  INTEGER NOT NULL,
    read       INTEGER NOT NULL,
    PRIMARY KEY (conv, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX member_user ON member (user);

CREATE TABLE message (
    conv        TEXT NOT NULL REFERENCES conversation (id),
    seq         INTEGER NOT NULL,
    id          TEXT NOT NULL,
    user        TEXT NOT NULL,
    device      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    body        TEXT NOT NULL,
    attachments TEXT,
    at          INTEGER NOT NULL,
    PRIMARY KEY (conv, seq)
) STRICT;
CREATE INDEX message_at ON message (at);

-- Kept longer than messages: a message sent again after it expired must not come back.
CREATE TABLE idempotency (
    user      TEXT NOT NULL,
    device    TEXT NOT NULL,
    client_id TEXT NOT NULL,
    conv      TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    PRIMARY KEY (user, device, client_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE call (
    id            TEXT PRIMARY KEY,
    conv          TEXT NOT NULL REFERENCES conversation (id),
    scope         TEXT NOT NULL,
    active        INTEGER NOT NULL,
    caller_user   TEXT NOT NULL,
    caller_device TEXT NOT NULL,
    media         INTEGER NOT NULL,     -- 1 audio, 2 video
    state         INTEGER NOT NULL,
    reason        INTEGER,
    ver           INTEGER NOT NULL,
    ring_until    INTEGER NOT NULL,
    lease_until   INTEGER NOT NULL,
    deadline      INTEGER,              -- when to tick; null once ended
    created_at    INTEGER NOT NULL,
    connected_at  INTEGER,
    at            INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- One live call a pair and a conversation: what decides glare.
CREATE UNIQUE INDEX call_live_scope ON call (scope) WHERE active = 1;
CREATE UNIQUE INDEX call_live_conv ON call (conv) WHERE active = 1;
CREATE INDEX call_deadline ON call (deadline) WHERE active = 1;

CREATE TABLE call_leg (
    call      TEXT NOT NULL REFERENCES call (id),
    user      TEXT NOT NULL,
    device    TEXT NOT NULL,
    state     INTEGER NOT NULL,
    media     INTEGER NOT NULL,
    transport INTEGER NOT NULL,         -- 0 none, 1 awaited, 2 up, 3 gone
    due       INTEGER,                  -- until when it is awaited
    PRIMARY KEY (call, user, device)
) STRICT, WITHOUT ROWID;
-- Inviting and joined: who is engaged. Ended calls have none, so the index stays small.
CREATE INDEX call_leg_engaged ON call_leg (user) WHERE state IN (0, 2);
";

/// Attachments that messages refer to, and a retention for each conversation.
const SECOND: &str = "
-- Until now clients put there what they liked. It is given to nobody any more, and goes with its message.
ALTER TABLE message RENAME COLUMN attachments TO opaque;
ALTER TABLE message ADD COLUMN attachments TEXT;    -- the views of them, a JSON array

-- No foreign keys: what outlives its conversation must be swept all the same.
CREATE TABLE attachment (
    id      TEXT PRIMARY KEY,
    conv    TEXT NOT NULL,              -- the only one it can be sent to
    user    TEXT NOT NULL,              -- uploaded it, and alone can send it
    view    TEXT NOT NULL,              -- as messages carry it, JSON
    refs    INTEGER NOT NULL CHECK (refs >= 0),
    idle_at INTEGER NOT NULL,           -- since when no message has referred to it; of no use while one does
    taken   INTEGER NOT NULL            -- 1: its bytes go, and no message can refer to it any more
) STRICT;
CREATE INDEX attachment_idle ON attachment (taken, idle_at) WHERE refs = 0;

-- Its foreign keys see to it that a message does not go without giving back what it refers to.
CREATE TABLE message_attachment (
    conv       TEXT NOT NULL,
    seq        INTEGER NOT NULL,
    attachment TEXT NOT NULL REFERENCES attachment (id),
    PRIMARY KEY (conv, seq, attachment),
    FOREIGN KEY (conv, seq) REFERENCES message (conv, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_attachment_of ON message_attachment (attachment, seq);

ALTER TABLE conversation ADD COLUMN retention_s INTEGER;    -- null: the server's
ALTER TABLE conversation ADD COLUMN oldest_at INTEGER;      -- of the message at min_seq; null while there is none
UPDATE conversation SET oldest_at =
    (SELECT m.at FROM message m WHERE m.conv = conversation.id AND m.seq = conversation.min_seq);
-- Which logs have something to expire: a look at these costs what there is to do, not what there is.
CREATE INDEX conversation_own_expiry ON conversation (oldest_at + retention_s * 1000) WHERE retention_s IS NOT NULL;
CREATE INDEX conversation_oldest ON conversation (oldest_at) WHERE retention_s IS NULL;
DROP INDEX message_at;
";

/// Brings the schema up to date, each step in a transaction of its own.
pub(super) fn migrate(db: &mut Connection) -> Result<(), StoreError> {
    let held: usize = db.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if held > MIGRATIONS.len() {
        return Err(StoreError::Internal(format!(
            "the database has schema {held}, newer than this program's {}",
            MIGRATIONS.len()
        )));
    }
    for (number, step) in MIGRATIONS.iter().enumerate().skip(held) {
        let transaction = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests;
