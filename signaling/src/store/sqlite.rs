//! The embedded store: SQLite with one writer thread, group commit, and a few reading threads.
//!
//! Durability: WAL with `synchronous=FULL` syncs the log at every commit, so what was acknowledged survives kill -9 and
//! the loss of power. One commit, and so one sync, is shared by all the transactions that wait for it: each is a savepoint of
//! its own, and its answer is sent after the commit.

mod attachments;
mod calls;
mod conversations;
mod expiry;
mod messages;
mod schema;
mod threads;

use std::{path::PathBuf, time::Duration};

use rusqlite::Connection;
use trunkline_signaling_api::{Attachment, CallState};
use trunkline_signaling_core::call::{Input, Invitation};
use trunkline_units::{AttachmentId, CallId, ConversationId, UnixMillis, UserId};

use super::{
    Appended, Bounds, CallChange, CallRules, Changes, ConversationChange, Created, DueCalls, Marks,
    MessagePage, NewConversation, NewMessage, Range, Reply, Roster, SessionState, Store, StoreError,
};
use threads::{Readers, Writer};

impl From<rusqlite::Error> for StoreError {
    fn from(fault: rusqlite::Error) -> Self {
        use rusqlite::{Error, ErrorCode};
        match &fault {
            Error::SqliteFailure(code, _) => match code.code {
                ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::ApiMisuse => {
                    StoreError::Internal(fault.to_string())
                }
                _ => StoreError::Unavailable(fault.to_string()),
            },
            _ => StoreError::Internal(fault.to_string()),
        }
    }
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file; its folder must exist.
    File(PathBuf),
    /// In memory, gone with the process.
    Memory,
}

/// See the module.
pub struct SqliteStore {
    writer: Writer,
    /// `None` in memory: there is only one connection then, the writer's.
    readers: Option<Readers>,
}

/// Reading threads. More: more history pages at once; each costs a connection with its page cache (2 MiB).
const READERS: usize = 2;

impl SqliteStore {
    /// Opens the database, makes it if there is none, and brings its schema up to date.
    pub fn open(place: &Place) -> Result<SqliteStore, StoreError> {
        let mut connection = connect(place)?;
        if let Place::File(_) = place {
            let mode: String =
                connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
            if mode != "wal" {
                return Err(StoreError::Unavailable(format!("no write-ahead log here, only {mode}")));
            }
        }
        connection.pragma_update(None, "synchronous", "FULL")?;
        schema::migrate(&mut connection)?;
        let readers = match place {
            Place::File(_) => {
                let connections = (0..READERS).map(|_| {
                    let connection = connect(place)?;
                    connection.pragma_update(None, "query_only", "ON")?;
                    Ok(connection)
                });
                Some(Readers::start(connections.collect::<Result<_, StoreError>>()?)?)
            }
            Place::Memory => None,
        };
        Ok(SqliteStore { writer: Writer::start(connection)?, readers })
    }

    pub(super) fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<T> {
        self.writer.submit(work)
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<T> {
        match &self.readers {
            Some(readers) => readers.submit(work),
            None => self.writer.submit(work),
        }
    }
}

fn connect(place: &Place) -> Result<Connection, StoreError> {
    let connection = match place {
        Place::File(path) => Connection::open(path)?,
        Place::Memory => Connection::open_in_memory()?,
    };
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

impl Store for SqliteStore {
    fn ping(&self) -> Reply<()> {
        self.write(|_| Ok(()))
    }

    fn create_conversation(&self, new: NewConversation) -> Reply<Created> {
        self.write(move |db| conversations::create(db, &new))
    }

    fn add_member(
        &self,
        conv: &ConversationId,
        actor: &UserId,
        user: &UserId,
        bounds: Bounds,
        rules: CallRules,
    ) -> Reply<ConversationChange> {
        let (conv, actor, user) = (conv.clone(), actor.clone(), user.clone());
        self.write(move |db| conversations::add(db, &conv, &actor, &user, bounds, rules.now))
    }

    fn remove_member(
        &self,
        conv: &ConversationId,
        actor: &UserId,
        user: &UserId,
        rules: CallRules,
    ) -> Reply<ConversationChange> {
        let (conv, actor, user) = (conv.clone(), actor.clone(), user.clone());
        self.write(move |db| conversations::remove(db, &conv, &actor, &user, &rules))
    }

    fn set_retention(
        &self,
        conv: &ConversationId,
        actor: &UserId,
        seconds: Option<u64>,
    ) -> Reply<ConversationChange> {
        let (conv, actor) = (conv.clone(), actor.clone());
        self.write(move |db| conversations::set_retention(db, &conv, &actor, seconds))
    }

    fn check_member(&self, conv: &ConversationId, user: &UserId) -> Reply<()> {
        let (conv, user) = (conv.clone(), user.clone());
        self.read(move |db| conversations::check_member(db, &conv, &user))
    }

    fn session_state(&self, user: &UserId, members_max: usize) -> Reply<SessionState> {
        let user = user.clone();
        self.read(move |db| conversations::session_state(db, &user, members_max))
    }

    fn roster(&self, conv: &ConversationId) -> Reply<Option<Roster>> {
        let conv = conv.clone();
        self.read(move |db| conversations::roster(db, &conv))
    }

    fn append(&self, message: NewMessage) -> Reply<Appended> {
        self.write(move |db| messages::append(db, &message))
    }

    fn page(
        &self,
        conv: &ConversationId,
        user: &UserId,
        range: Range,
        limit: u32,
        bytes_max: usize,
    ) -> Reply<MessagePage> {
        let (conv, user) = (conv.clone(), user.clone());
        self.read(move |db| messages::page(db, &conv, &user, range, limit, bytes_max))
    }

    fn mark(&self, conv: &ConversationId, user: &UserId, marks: Marks) -> Reply<Option<Marks>> {
        let (conv, user) = (conv.clone(), user.clone());
        self.write(move |db| messages::mark(db, &conv, &user, marks))
    }

    fn expire(&self, now: UnixMillis, retention: Option<Duration>, limit: u32) -> Reply<usize> {
        self.write(move |db| expiry::expire(db, now, retention, limit))
    }

    fn offer_attachment(
        &self,
        conv: &ConversationId,
        user: &UserId,
        attachment: Attachment,
        at: UnixMillis,
    ) -> Reply<()> {
        let (conv, user) = (conv.clone(), user.clone());
        self.write(move |db| attachments::offer(db, &conv, &user, &attachment, at))
    }

    fn attachment(&self, id: &AttachmentId, user: &UserId) -> Reply<Attachment> {
        let (id, user) = (id.clone(), user.clone());
        self.read(move |db| attachments::visible(db, &id, &user))
    }

    fn take_unreferenced(&self, before: UnixMillis, limit: u32) -> Reply<Vec<AttachmentId>> {
        self.write(move |db| attachments::take(db, before, limit))
    }

    fn forget_attachments(&self, ids: &[AttachmentId]) -> Reply<()> {
        let ids = ids.to_vec();
        self.write(move |db| attachments::forget(db, &ids))
    }

    fn invite(&self, invitation: Invitation, rules: CallRules) -> Reply<CallChange> {
        self.write(move |db| calls::invite_in(db, &invitation, &rules))
    }

    fn move_call(&self, call: &CallId, input: Input, rules: CallRules) -> Reply<CallChange> {
        let call = call.clone();
        self.write(move |db| calls::apply(db, &call, &input, &rules))
    }

    fn call(
        &self,
        call: &CallId,
        user: Option<&UserId>,
    ) -> Reply<Option<trunkline_signaling_core::call::Call>> {
        let (call, user) = (call.clone(), user.cloned());
        self.read(move |db| calls::visible(db, &call, user.as_ref()))
    }

    fn due_calls(&self, now: UnixMillis, limit: u32) -> Reply<DueCalls> {
        self.read(move |db| calls::due(db, now, limit))
    }

    fn live_calls(&self, states: &[CallState]) -> Reply<Vec<CallId>> {
        let states = states.to_vec();
        self.read(move |db| calls::live(db, &states))
    }

    fn changes(&self, rev: Option<u64>, limit: u32) -> Reply<Changes> {
        self.read(move |db| conversations::changes(db, rev, limit))
    }
}
