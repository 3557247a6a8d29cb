//! The schema, and how older ones become it.

use rusqlite::{Connection, TransactionBehavior};

use super::RecordsError;

/// Migrations in order: the n-th brings `user_version` from n to n + 1. Never edited once released, only appended to.
const MIGRATIONS: &[&str] = &[FIRST];

const FIRST: &str = "
CREATE TABLE upload (
    id         TEXT PRIMARY KEY,        -- the attachment's id, once there is one
    user       TEXT NOT NULL,
    conv       TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    kind       INTEGER NOT NULL,        -- as declared: 0 photo, 1 voice, 2 file
    name       TEXT,
    mime       TEXT,
    bytes      INTEGER,                 -- declared; null while the length is deferred
    bytes_max  INTEGER NOT NULL,
    offset     INTEGER NOT NULL,        -- durable in the spool
    state      INTEGER NOT NULL,        -- 0 receiving, 1 received, 2 ready, 3 done, 4 failed
    role       INTEGER NOT NULL,        -- 0 whole, 1 partial, 2 final of a concatenation
    metadata   TEXT,                    -- Upload-Metadata and Upload-Concat as given
    concat     TEXT,
    direct     TEXT,                    -- the store's multipart upload, of a direct upload
    sha256     TEXT,                    -- as the client declared it, of a direct upload
    problem    TEXT,                    -- why it failed, RFC 9457
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_user ON upload (tenant, user) WHERE state < 2;
CREATE INDEX upload_expiry ON upload (expires_at);
CREATE INDEX upload_working ON upload (state) WHERE state IN (1, 2);

-- Stored bytes, whoever refers to them.
CREATE TABLE object (
    id       TEXT PRIMARY KEY,
    tenant   TEXT NOT NULL,
    kind     INTEGER NOT NULL,
    sha256   TEXT NOT NULL,             -- of the bytes as uploaded
    content  TEXT NOT NULL,             -- what is known of it, JSON
    whole    INTEGER NOT NULL,          -- every planned variant is there
    doomed   INTEGER NOT NULL           -- nothing refers to it any more, and nothing will
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX object_content ON object (tenant, kind, sha256) WHERE doomed = 0;
CREATE INDEX object_doomed ON object (doomed) WHERE doomed = 1;

CREATE TABLE variant (
    object   TEXT NOT NULL REFERENCES object (id),
    name     TEXT NOT NULL,
    key      TEXT NOT NULL UNIQUE,      -- in the blob store
    mime     TEXT NOT NULL,
    bytes    INTEGER NOT NULL,          -- as stored
    zstd     INTEGER NOT NULL,          -- whether they are stored compressed
    identity INTEGER NOT NULL,          -- bytes once decompressed
    etag     TEXT NOT NULL,
    PRIMARY KEY (object, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE attachment (
    id      TEXT PRIMARY KEY,
    object  TEXT NOT NULL REFERENCES object (id),
    user    TEXT NOT NULL,
    tenant  TEXT NOT NULL,
    name    TEXT,
    bytes   INTEGER NOT NULL            -- what it counts for in its user's share
) STRICT, WITHOUT ROWID;
CREATE INDEX attachment_object ON attachment (object);

-- Kept in step with `attachment`: summing it up for every grant would cost a row each.
CREATE TABLE usage (
    tenant TEXT NOT NULL,
    user   TEXT NOT NULL,               -- '' for the tenant as a whole: no user is called so
    bytes  INTEGER NOT NULL,
    files  INTEGER NOT NULL,
    PRIMARY KEY (tenant, user)
) STRICT, WITHOUT ROWID;
";

/// Brings the schema up to date, each step in a transaction of its own.
pub(super) fn migrate(db: &mut Connection) -> Result<(), RecordsError> {
    let held: usize = db.query_row("PRAGMA user_version", (), |row| row.get(0))?;
    if held > MIGRATIONS.len() {
        return Err(RecordsError(format!(
            "the media database has schema {held}, newer than this program's {}",
            MIGRATIONS.len()
        )));
    }
    for (number, step) in MIGRATIONS.iter().enumerate().skip(held) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", number + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
