//! What the media store knows: uploads, objects with their variants, attachments, and each user's share. SQLite, one
//! connection; every method is one transaction, durable (`synchronous=FULL`) when it returns.
//!
//! One lock around one connection, and no group commit: a record is written for some megabytes of upload, not for every
//! message.

mod objects;
mod schema;
#[cfg(test)]
mod tests;
mod uploads;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::{Kind, problem::Problem};

pub(crate) use objects::{Found, NewObject, Variant};
pub(crate) use uploads::{Role, State, Upload};

/// The records cannot be read or written, or hold something they should not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the media database: {0}")]
pub struct RecordsError(pub(crate) String);

impl From<rusqlite::Error> for RecordsError {
    fn from(fault: rusqlite::Error) -> Self {
        RecordsError(fault.to_string())
    }
}

impl From<serde_json::Error> for RecordsError {
    fn from(fault: serde_json::Error) -> Self {
        RecordsError(format!("a record is not JSON: {fault}"))
    }
}

impl From<trunkline_units::IdError> for RecordsError {
    fn from(fault: trunkline_units::IdError) -> Self {
        RecordsError(format!("a record has a bad id: {fault}"))
    }
}

impl From<RecordsError> for Problem {
    fn from(fault: RecordsError) -> Problem {
        tracing::error!(%fault, "the media database failed a request");
        Problem::unavailable("not available now")
    }
}

/// Why an upload may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OverQuota {
    /// Too many of the user's uploads are unfinished.
    Uploads,
    /// The user has too many attachments.
    Files,
    /// The user's share of bytes is used up.
    Bytes,
    /// The tenant's is.
    TenantBytes,
}

impl OverQuota {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            OverQuota::Uploads => "too many of your uploads are unfinished",
            OverQuota::Files => "you have too many attachments",
            OverQuota::Bytes => "your share of storage is used up",
            OverQuota::TenantBytes => "the storage of this service is used up",
        }
    }
}

/// The most of each that may be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) user_uploads: u64,
    pub(crate) user_files: u64,
    pub(crate) user_bytes: u64,
    /// 0: no bound.
    pub(crate) tenant_bytes: u64,
}

/// The records.
#[derive(Clone)]
pub(crate) struct Records(Arc<Mutex<Connection>>);

impl Records {
    /// Opens the database, makes it if there is none, and brings its schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Records, RecordsError> {
        let mut db = Connection::open(path)?;
        db.busy_timeout(std::time::Duration::from_secs(5))?;
        let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
        if mode != "wal" {
            return Err(RecordsError(format!("no write-ahead log here, only {mode}")));
        }
        db.pragma_update(None, "synchronous", "FULL")?;
        db.pragma_update(None, "foreign_keys", "ON")?;
        db.set_prepared_statement_cache_capacity(64);
        schema::migrate(&mut db)?;
        Ok(Records(Arc::new(Mutex::new(db))))
    }

    /// Runs one transaction on a thread that may block.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, RecordsError> + Send + 'static,
    ) -> Result<T, RecordsError> {
        let db = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A panic in `work` has rolled its transaction back: the connection is sound.
            let mut db = db.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        done.await.unwrap_or_else(|fault| Err(RecordsError(fault.to_string())))
    }
}

fn kind_number(kind: Kind) -> u8 {
    match kind {
        Kind::Photo => 0,
        Kind::Voice => 1,
        Kind::File => 2,
    }
}

fn kind_of(number: u8) -> Result<Kind, RecordsError> {
    match number {
        0 => Ok(Kind::Photo),
        1 => Ok(Kind::Voice),
        2 => Ok(Kind::File),
        other => Err(RecordsError(format!("kind {other}"))),
    }
}
