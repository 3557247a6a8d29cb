//! The store: the only record. Each method of [`Store`] is one transaction.

mod sqlite;
#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin, time::Duration};

use trunkline_signaling_api::{Attachment, CallState, Head, Message, Party};
use trunkline_signaling_core::{
    Refusal,
    call::{Call, Input, Invitation, Step},
    limits::CallTiming,
};
use trunkline_units::{AttachmentId, CallId, ConversationId, DeviceId, MessageId, UnixMillis, UserId};

pub use sqlite::{Place, SqliteStore};

/// An answer to come. The work is submitted when the method is called, not when this is first polled: two `append`s
/// of one caller get their sequence numbers in the order of the calls. Dropping it does not take the work back.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// Why a transaction did not take place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The rules refuse it; trying again will not help.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store cannot do it now. Nothing was acknowledged; trying again is right.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The store holds something it should not. Trying again will not help.
    #[error("the store is inconsistent: {0}")]
    Internal(String),
}

/// A conversation to make.
#[derive(Clone, Debug)]
pub struct NewConversation {
    /// The id it gets, unless the pair has one already.
    pub id: ConversationId,
    /// The owner; a member whether named or not.
    pub maker: UserId,
    /// The members.
    pub members: Vec<UserId>,
    /// Its title.
    pub title: Option<String>,
    /// Now.
    pub at: UnixMillis,
    /// Bounds.
    pub bounds: Bounds,
}

/// Bounds that the store keeps, because only it can without a race.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most members of a conversation.
    pub members: usize,
    /// Most conversations of a user.
    pub conversations: usize,
}

/// The outcome of [`Store::create_conversation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Whether it is new; otherwise the pair had it.
    pub fresh: bool,
    /// As its maker sees it.
    pub head: Head,
}

/// The outcome of a change of membership or retention.
#[derive(Clone, Debug, PartialEq)]
pub struct ConversationChange {
    /// Whether anything changed.
    pub changed: bool,
    /// As the actor sees it; empty of members when the actor left as the last.
    pub head: Head,
    /// The live call of the conversation, moved by the change.
    pub call: Option<CallChange>,
}

/// A message to append.
#[derive(Clone, Debug)]
pub struct NewMessage {
    /// Where.
    pub conv: ConversationId,
    /// By whom.
    pub from: Party,
    /// The sender's id for it: with `from` the key of idempotence.
    pub id: MessageId,
    /// Its kind.
    pub kind: String,
    /// Its body as JSON text.
    pub body: String,
    /// What it refers to.
    pub attachments: Vec<AttachmentId>,
    /// Now.
    pub at: UnixMillis,
}

/// The outcome of [`Store::append`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its place.
    pub seq: u64,
    /// When it was first committed.
    pub at: UnixMillis,
    /// Whether it is new; otherwise it was appended before.
    pub fresh: bool,
    /// What it refers to, in the order of its sender; empty once it has expired.
    pub attachments: Vec<Attachment>,
}

/// Which messages of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// The newest.
    Newest,
    /// The newest below.
    Before(u64),
    /// The oldest above.
    After(u64),
}

/// Some messages, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct MessagePage {
    /// The messages.
    pub messages: Vec<Message>,
    /// Whether there are more in the direction asked for.
    pub more: bool,
}

/// What one member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// Delivered up to.
    pub delivered: u64,
    /// Read up to.
    pub read: u64,
}

/// The bounds of the call machine, and the time.
#[derive(Clone, Copy, Debug)]
pub struct CallRules {
    /// Now.
    pub now: UnixMillis,
    /// Deadlines to give.
    pub timing: CallTiming,
    /// Most legs.
    pub legs_max: usize,
}

/// What a transaction did to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallChange {
    /// The call as it is now.
    pub call: Call,
    /// What happened.
    pub step: Step,
    /// The devices that were in it before and are no longer.
    pub left: Vec<Party>,
    /// The sequence number of the message it left, if this ended it.
    pub message: Option<u64>,
}

/// Calls to tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DueCalls {
    /// Those whose deadline has passed, the oldest first.
    pub due: Vec<CallId>,
    /// The earliest deadline of the others.
    pub next: Option<UnixMillis>,
}

/// What of a conversation's log a member may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBounds {
    /// Which.
    pub conv: ConversationId,
    /// See [`Head::last_seq`].
    pub last_seq: u64,
    /// See [`Head::min_seq`].
    pub min_seq: u64,
}

/// What a new session needs, of one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionState {
    /// Changes up to here are in it: see [`Store::changes`].
    pub rev: u64,
    /// All of the user's conversations, those with the newest activity first.
    pub places: Vec<LogBounds>,
    /// The heads of the first of them.
    pub heads: Vec<Head>,
    /// Their live calls.
    pub calls: Vec<Call>,
}

/// A conversation for those who deliver to its members.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Roster {
    /// Grows with every change of membership, title or retention.
    pub epoch: u64,
    /// The head as each member sees it; only `min_seq` differs.
    pub heads: Vec<(UserId, Head)>,
    /// The live call.
    pub call: Option<Call>,
}

/// A conversation that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Which.
    pub conv: ConversationId,
    /// Its newest message.
    pub last_seq: u64,
    /// See [`Roster::epoch`].
    pub epoch: u64,
    /// Its newest call with that call's version.
    pub call: Option<(CallId, u64)>,
    /// Whether its membership, title or retention is among what changed.
    pub membership: bool,
}

/// What changed since some revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Where to go on.
    pub rev: u64,
    /// Each conversation once, the longest unchanged first.
    pub conversations: Vec<Changed>,
    /// Whether there are more.
    pub more: bool,
}

/// The record of conversations, messages and calls.
///
/// Every method is one transaction that has fully happened, durably, when its [`Reply`] says `Ok`; or has not
/// happened at all when it says [`StoreError::Refused`]. After [`StoreError::Unavailable`] it may have: callers
/// repeat, and idempotence does the rest.
pub trait Store: Send + Sync + 'static {
    /// Whether a write would succeed now.
    fn ping(&self) -> Reply<()>;

    /// Makes a conversation; two people without a title always get the same.
    fn create_conversation(&self, new: NewConversation) -> Reply<Created>;

    /// `actor` adds `user`. Adding a member again changes nothing.
    fn add_member(
        &self,
        conv: &ConversationId,
        actor: &UserId,
        user: &UserId,
        bounds: Bounds,
        rules: CallRules,
    ) -> Reply<ConversationChange>;

    /// `actor` removes `user`, or leaves.
    fn remove_member(
        &self,
        conv: &ConversationId,
        actor: &UserId,
        user: &UserId,
        rules: CallRules,
    ) -> Reply<ConversationChange>;

    /// `actor` says how long the conversation's messages are kept, in seconds; `None`: as long as the server keeps them.
    fn set_retention(
        &self,
        conv: &ConversationId,
        actor: &UserId,
        seconds: Option<u64>,
    ) -> Reply<ConversationChange>;

    /// Refuses who is no member, without telling whether there is such a conversation.
    fn check_member(&self, conv: &ConversationId, user: &UserId) -> Reply<()>;

    /// A member's view of all its conversations, and their live calls. Heads are read until they have `members_max`
    /// members together: a large one costs a row for each.
    fn session_state(&self, user: &UserId, members_max: usize) -> Reply<SessionState>;

    /// A conversation with everyone to deliver to; `None` if there is no such.
    fn roster(&self, conv: &ConversationId) -> Reply<Option<Roster>>;

    /// Appends a message at the next sequence number, or finds it appended before. Marks it delivered to and read by
    /// its sender, and counts what it refers to: each attachment must have been offered for this conversation and sender,
    /// and not be taken.
    fn append(&self, message: NewMessage) -> Reply<Appended>;

    /// Messages that `user` may see: at most `limit`, and at most about `bytes_max` as JSON, but at least one if there
    /// is any.
    fn page(
        &self,
        conv: &ConversationId,
        user: &UserId,
        range: Range,
        limit: u32,
        bytes_max: usize,
    ) -> Reply<MessagePage>;

    /// Moves a member's marks forward, never beyond the log, never back. `Some` if they moved.
    fn mark(&self, conv: &ConversationId, user: &UserId, marks: Marks) -> Reply<Option<Marks>>;

    /// Forgets messages that are older than their conversation's own retention, or than `retention` where it has none, at
    /// most `limit` at once, from the start of each log, and gives back what they refer to. Says how many.
    fn expire(&self, now: UnixMillis, retention: Option<Duration>, limit: u32) -> Reply<usize>;

    /// Makes an attachment known, for `user` to send into `conv`; neither need be there any more. Of one that is known, as
    /// long as no message refers to it, what is known is replaced and its time begins anew.
    fn offer_attachment(
        &self,
        conv: &ConversationId,
        user: &UserId,
        attachment: Attachment,
        at: UnixMillis,
    ) -> Reply<()>;

    /// An attachment, for a member that uploaded it or may see a message that refers to it.
    fn attachment(&self, id: &AttachmentId, user: &UserId) -> Reply<Attachment>;

    /// Takes attachments that no message has referred to since before an instant: from now on none can. Those taken
    /// earlier and not forgotten yet are given again, and first. At most `limit`.
    fn take_unreferenced(&self, before: UnixMillis, limit: u32) -> Reply<Vec<AttachmentId>>;

    /// Forgets attachments that were taken; others stay.
    fn forget_attachments(&self, ids: &[AttachmentId]) -> Reply<()>;

    /// Rings: see [`trunkline_signaling_core::call::invite`].
    fn invite(&self, invitation: Invitation, rules: CallRules) -> Reply<CallChange>;

    /// Moves a call: see [`Call::handle`]. A call that ends leaves its message in the same transaction.
    fn move_call(&self, call: &CallId, input: Input, rules: CallRules) -> Reply<CallChange>;

    /// A call, if `user` is a member of its conversation (`None`: whoever asks).
    fn call(&self, call: &CallId, user: Option<&UserId>) -> Reply<Option<Call>>;

    /// Calls whose deadline has passed.
    fn due_calls(&self, now: UnixMillis, limit: u32) -> Reply<DueCalls>;

    /// All calls in one of `states`; for start-up.
    fn live_calls(&self, states: &[CallState]) -> Reply<Vec<CallId>>;

    /// Conversations changed after revision `rev`, at most `limit`. With `rev` of `None` none, only the present one.
    fn changes(&self, rev: Option<u64>, limit: u32) -> Reply<Changes>;
}

/// The device that a message of kind `call` is from.
pub(crate) fn call_message_id(call: &CallId) -> Result<MessageId, StoreError> {
    MessageId::new(call.as_str()).map_err(|fault| StoreError::Internal(fault.to_string()))
}

/// Reads an id back from the store.
pub(crate) fn stored<T>(id: Result<T, trunkline_units::IdError>) -> Result<T, StoreError> {
    id.map_err(|fault| StoreError::Internal(format!("a stored id: {fault}")))
}

/// Makes a party of what the store holds.
pub(crate) fn stored_party(user: &str, device: &str) -> Result<Party, StoreError> {
    Ok(Party { user: stored(UserId::new(user))?, device: stored(DeviceId::new(device))? })
}
