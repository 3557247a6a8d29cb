//! From what somebody wants to say to a message that everyone hears of: the same for frames and for REST.

use std::time::Instant;

use serde_json::Value;
use trunkline_signaling_api::{ErrorCode, Message, Party, SendOk};
use trunkline_signaling_core::conversation::check_send;
use trunkline_units::{AttachmentId, ConversationId, MessageId};

use crate::{
    bus::Hint,
    clock,
    fault::Fault,
    meters,
    service::Shared,
    store::{Appended, NewMessage, Reply},
};

/// A message that is not in the log yet.
pub(crate) struct Draft {
    pub(crate) conv: ConversationId,
    pub(crate) from: Party,
    pub(crate) id: MessageId,
    pub(crate) kind: String,
    pub(crate) body: Value,
    pub(crate) attachments: Vec<AttachmentId>,
}

/// A message that was submitted to the store.
pub(crate) struct Submitted {
    draft: Draft,
    since: Instant,
}

/// A message that is durable: its sender is told, then everyone else.
pub(crate) struct Committed {
    draft: Draft,
    appended: Appended,
}

impl Draft {
    /// Checks it and submits it to the store. What is submitted is finished with [`Submitted::committed`] when the reply
    /// comes, whether its sender waits or not.
    pub(crate) fn submit(self, shared: &Shared) -> Result<(Submitted, Reply<Appended>), Fault> {
        let since = Instant::now();
        // A JSON value becomes JSON text again: it has string keys only.
        let Ok(body) = serde_json::to_string(&self.body) else {
            return Err(Fault::new(ErrorCode::BadFrame, "the body is no JSON"));
        };
        check_send(&self.kind, body.len(), &self.attachments)?;
        let reply = shared.store.append(NewMessage {
            conv: self.conv.clone(),
            from: self.from.clone(),
            id: self.id.clone(),
            kind: self.kind.clone(),
            body,
            attachments: self.attachments.clone(),
            at: clock::now(),
        });
        Ok((Submitted { draft: self, since }, reply))
    }
}

impl Submitted {
    pub(crate) fn id(&self) -> &MessageId {
        &self.draft.id
    }

    pub(crate) fn committed(self, appended: Appended) -> Committed {
        meters::message_committed(self.since.elapsed(), appended.fresh);
        Committed { draft: self.draft, appended }
    }
}

impl Committed {
    /// What its sender is told.
    pub(crate) fn ok(&self) -> SendOk {
        let Appended { seq, at, .. } = self.appended;
        SendOk { id: self.draft.id.clone(), conv: self.draft.conv.clone(), seq, at }
    }

    /// Tells everyone, if it is new.
    pub(crate) fn tell(self, shared: &Shared) {
        let Appended { seq, at, fresh, attachments } = self.appended;
        if !fresh {
            return;
        }
        let Draft { conv, from, id, kind, body, .. } = self.draft;
        shared.recent.keep(Message {
            conv: conv.clone(),
            seq,
            id,
            user: from.user,
            device: from.device,
            kind,
            body,
            attachments,
            at,
        });
        shared.bus.publish(Hint::Message { conv, seq });
    }
}
