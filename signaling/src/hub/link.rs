//! One session, as the rest of the node sees it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};
use trunkline_signaling_api::{Bye, ByeCode, Gap, GapReason, Party, ServerFrame};
use trunkline_signaling_core::outgoing::{Class, Outgoing, Pushed};
use trunkline_units::{ConversationId, SessionId};

use crate::{frame::Frame, meters};

/// One session's queue and the bells around it.
pub(crate) struct Link {
    pub(crate) session: SessionId,
    pub(crate) party: Party,
    out: Mutex<Outgoing<Frame>>,
    /// Rung when there is something to send.
    wake: Notify,
    /// Rung when the queue has become short.
    room: Notify,
    /// Whether the session is to end once its queue is sent.
    closing: watch::Sender<bool>,
    welcomed: AtomicBool,
    reconnect_after: [Duration; 2],
}

impl Link {
    pub(crate) fn new(
        session: SessionId,
        party: Party,
        queue_bytes: usize,
        reconnect_after: [Duration; 2],
    ) -> Link {
        let behind = Frame::new(&ServerFrame::Behind {});
        Link {
            session,
            party,
            out: Mutex::new(Outgoing::new(queue_bytes, behind)),
            wake: Notify::new(),
            room: Notify::new(),
            closing: watch::channel(false).0,
            welcomed: AtomicBool::new(false),
            reconnect_after,
        }
    }

    /// Works on the queue, then rings for the writer and does what an overflow asks for.
    fn with(&self, work: impl FnOnce(&mut Outgoing<Frame>) -> Pushed) {
        let pushed = work(&mut self.out.lock().unwrap_or_else(PoisonError::into_inner));
        match pushed {
            Pushed::Fine => {}
            Pushed::DroppedEphemerals => meters::ephemerals_dropped(),
            Pushed::Behind => meters::behind(),
            Pushed::Hopeless => self.close(Some(ByeCode::Slow)),
        }
        self.wake.notify_one();
    }

    pub(crate) fn push(&self, class: Class, frame: &ServerFrame) {
        self.push_encoded(class, Frame::new(frame));
    }

    pub(crate) fn push_encoded(&self, class: Class, frame: Frame) {
        self.with(|out| out.push(class, frame));
    }

    pub(crate) fn answer(&self, frame: &ServerFrame) {
        self.push(Class::Answer, frame);
    }

    /// A live message.
    pub(crate) fn message(&self, conv: &ConversationId, seq: u64, frame: &Frame) {
        self.with(|out| out.message(conv, seq, frame));
    }

    /// A conversation's log reaches `last`.
    pub(crate) fn hint(&self, conv: &ConversationId, last: u64) {
        self.with(|out| {
            out.hint(conv, last);
            Pushed::Fine
        });
    }

    pub(crate) fn subscribe(&self, conv: &ConversationId, sent: u64, last: u64) {
        self.with(|out| {
            out.subscribe(conv, sent, last);
            Pushed::Fine
        });
    }

    pub(crate) fn unsubscribe(&self, conv: &ConversationId) {
        self.with(|out| {
            out.unsubscribe(conv);
            Pushed::Fine
        });
    }

    pub(crate) fn is_subscribed(&self, conv: &ConversationId) -> bool {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).is_subscribed(conv)
    }

    pub(crate) fn conversations(&self) -> Vec<ConversationId> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).subscribed().cloned().collect()
    }

    pub(crate) fn pop(&self) -> Option<Frame> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = out.pop();
        if !out.is_long() {
            self.room.notify_one();
        }
        frame
    }

    pub(crate) fn next_pull(&self) -> Option<(ConversationId, u64)> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).next_pull()
    }

    /// Takes what [`Self::next_pull`] asked for.
    pub(crate) fn pulled(&self, conv: &ConversationId, messages: Vec<(u64, Frame)>) {
        let gap = |from, to| gap_frame(conv, from, to);
        self.out.lock().unwrap_or_else(PoisonError::into_inner).pulled(conv, messages, gap);
    }

    /// Tells of messages that cannot be given.
    pub(crate) fn tell_gap(&self, conv: &ConversationId, from: u64, to: u64) {
        self.push_encoded(Class::Answer, gap_frame(conv, from, to));
    }

    /// Waits until there may be something to send.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Waits until more requests may be read. Only the reader waits here.
    pub(crate) async fn room(&self) {
        while self.out.lock().unwrap_or_else(PoisonError::into_inner).is_long() {
            self.room.notified().await;
        }
    }

    /// Ends the session after what is queued, with `bye` if a code is given. The first call decides.
    pub(crate) fn close(&self, code: Option<ByeCode>) {
        {
            // Under the queue's lock: a writer that sees the closing finds the bye in the queue.
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            if *self.closing.borrow() {
                return;
            }
            if let Some(code) = code {
                meters::bye(code);
                let retry_ms =
                    self.reconnect_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
                let bye = Frame::new(&ServerFrame::Bye(Bye { code, retry_ms }));
                let _ = out.push(Class::Answer, bye);
            }
            self.closing.send_replace(true);
        }
        self.wake.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits until the session is to end.
    pub(crate) async fn closed(&self) {
        // The sender lives as long as `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// From now on it hears of what it listens to.
    pub(crate) fn welcome(&self) {
        self.welcomed.store(true, Ordering::Release);
    }

    pub(crate) fn is_welcomed(&self) -> bool {
        self.welcomed.load(Ordering::Acquire)
    }
}

fn gap_frame(conv: &ConversationId, from: u64, to: u64) -> Frame {
    Frame::new(&ServerFrame::Gap(Gap { conv: conv.clone(), from, to, why: GapReason::Expired }))
}
