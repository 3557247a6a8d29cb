//! What one session is owed, onto its socket.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::ws::{CloseFrame, Message, WebSocket, close_code},
};
use futures_util::{SinkExt, stream::SplitSink};
use trunkline_signaling_api::{HISTORY_MESSAGES_MAX, ServerFrame};
use trunkline_units::ConversationId;

use crate::{
    frame::Frame,
    hub::Link,
    service::Shared,
    store::{Range, StoreError},
};

/// Bytes that one pull of lagging messages takes from the store: a quarter of the queue.
const PULL_BYTES_MAX: usize = 64 * 1_024;

/// Sends until the socket fails, or the session is to end and its queue is empty or its time over.
pub(super) async fn run(shared: Arc<Shared>, link: Arc<Link>, sink: SplitSink<WebSocket, Message>) {
    let overdue = async {
        link.closed().await;
        tokio::time::sleep(shared.config.drain_timeout).await;
    };
    tokio::select! {
        () = Box::pin(pump(&shared, &link, sink)) => {}
        () = overdue => {}
    }
    // The reader may still be waiting for the other side.
    link.close(None);
}

/// The client takes too long, or is gone.
struct Dead;

struct Pipe<'a> {
    shared: &'a Shared,
    sink: SplitSink<WebSocket, Message>,
}

impl Pipe<'_> {
    async fn send(&mut self, message: Message) -> Result<(), Dead> {
        match tokio::time::timeout(self.shared.config.write_timeout, self.sink.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Dead),
        }
    }
}

async fn pump(shared: &Shared, link: &Arc<Link>, sink: SplitSink<WebSocket, Message>) {
    let mut pipe = Pipe { shared, sink };
    let mut ping = tokio::time::interval(shared.config.ping_interval);
    ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ping.reset();
    loop {
        while let Some(frame) = link.pop() {
            if pipe.send(Message::Text(frame.text())).await.is_err() {
                return;
            }
        }
        if link.is_closing() {
            // Something may have been queued between the last pop and the closing.
            while let Some(frame) = link.pop() {
                if pipe.send(Message::Text(frame.text())).await.is_err() {
                    return;
                }
            }
            let close = CloseFrame { code: close_code::NORMAL, reason: "".into() };
            let _ = pipe.send(Message::Close(Some(close))).await;
            return;
        }
        if let Some((conv, after)) = link.next_pull() {
            pull(shared, link, &conv, after).await;
            continue;
        }
        tokio::select! {
            () = link.woken() => {}
            _ = ping.tick() => {
                if pipe.send(Message::Ping(Bytes::new())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Reads what a lagging conversation owes this device.
async fn pull(shared: &Shared, link: &Arc<Link>, conv: &ConversationId, after: u64) {
    let page =
        shared.store.page(conv, &link.party.user, Range::After(after), HISTORY_MESSAGES_MAX, PULL_BYTES_MAX);
    match page.await {
        Ok(page) => {
            let frames = page.messages.into_iter().map(|message| {
                let seq = message.seq;
                (seq, Frame::new(&ServerFrame::Message(message)))
            });
            link.pulled(conv, frames.collect());
        }
        // No longer a member.
        Err(StoreError::Refused(_)) => {
            shared.hub.unwatch(conv, link);
            link.unsubscribe(conv);
        }
        Err(fault) => {
            tracing::warn!(%fault, "messages could not be read for a session; trying again");
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
    }
}
