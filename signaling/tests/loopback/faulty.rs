//! A store whose answers a test may hold back, or refuse.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::sync::Semaphore;
use trunkline_signaling::{
    Place,
    store::{
        Appended, Bounds, CallChange, CallRules, Changes, ConversationChange, Created, DueCalls, Marks,
        MessagePage, NewConversation, NewMessage, Range, Reply, Roster, SessionState, SqliteStore, Store,
        StoreError,
    },
};
use trunkline_signaling_api::{Attachment, CallState};
use trunkline_signaling_core::call::{Call, Input, Invitation};
use trunkline_units::{AttachmentId, CallId, ConversationId, UnixMillis, UserId};

pub(crate) struct Faulty {
    inner: SqliteStore,
    /// So many of the next moves of calls find the store unavailable.
    pub(crate) unavailable: AtomicU32,
    /// A removal is answered when there is a permit.
    pub(crate) removals: &'static Semaphore,
}

impl Faulty {
    pub(crate) fn new() -> Faulty {
        Faulty {
            inner: SqliteStore::open(&Place::Memory).unwrap(),
            unavailable: AtomicU32::new(0),
            removals: Box::leak(Box::new(Semaphore::new(0))),
        }
    }
}

macro_rules! pass {
    ($($name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $name(&self, $($arg: $type),*) -> Reply<$answer> { self.inner.$name($($arg),*) })*
    };
}

impl Store for Faulty {
    fn remove_member(
        &self,
        conv: &ConversationId,
        actor: &UserId,
        user: &UserId,
        rules: CallRules,
    ) -> Reply<ConversationChange> {
        let (reply, gate) = (self.inner.remove_member(conv, actor, user, rules), self.removals);
        Box::pin(async move {
            gate.acquire().await.unwrap().forget();
            reply.await
        })
    }

    fn move_call(&self, call: &CallId, input: Input, rules: CallRules) -> Reply<CallChange> {
        let one_less = |left: u32| left.checked_sub(1);
        if self.unavailable.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Box::pin(async { Err(StoreError::Unavailable("a hiccup".into())) });
        }
        self.inner.move_call(call, input, rules)
    }

    pass! {
        ping() -> ();
        create_conversation(new: NewConversation) -> Created;
        add_member(conv: &ConversationId, actor: &UserId, user: &UserId, bounds: Bounds, rules: CallRules) -> ConversationChange;
        set_retention(conv: &ConversationId, actor: &UserId, seconds: Option<u64>) -> ConversationChange;
        check_member(conv: &ConversationId, user: &UserId) -> ();
        session_state(user: &UserId, members_max: usize) -> SessionState;
        roster(conv: &ConversationId) -> Option<Roster>;
        append(message: NewMessage) -> Appended;
        page(conv: &ConversationId, user: &UserId, range: Range, limit: u32, bytes_max: usize) -> MessagePage;
        mark(conv: &ConversationId, user: &UserId, marks: Marks) -> Option<Marks>;
        expire(now: UnixMillis, retention: Option<Duration>, limit: u32) -> usize;
        offer_attachment(conv: &ConversationId, user: &UserId, attachment: Attachment, at: UnixMillis) -> ();
        attachment(id: &AttachmentId, user: &UserId) -> Attachment;
        take_unreferenced(before: UnixMillis, limit: u32) -> Vec<AttachmentId>;
        forget_attachments(ids: &[AttachmentId]) -> ();
        invite(invitation: Invitation, rules: CallRules) -> CallChange;
        call(call: &CallId, user: Option<&UserId>) -> Option<Call>;
        due_calls(now: UnixMillis, limit: u32) -> DueCalls;
        live_calls(states: &[CallState]) -> Vec<CallId>;
        changes(rev: Option<u64>, limit: u32) -> Changes;
    }
}
