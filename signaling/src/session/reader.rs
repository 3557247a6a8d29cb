//! What one client says: read, limited, and passed on.

use std::{sync::Arc, time::Instant};

use axum::extract::ws::{Message, WebSocket};
use futures_util::{StreamExt, stream::SplitStream};
use trunkline_signaling_api::{ByeCode, ClientFrame, ErrorCode};
use trunkline_signaling_core::bucket::TokenBucket;
use trunkline_units::RequestId;

use super::{
    parse::{BadFrame, parse},
    requests::{self, Completions},
};
use crate::{
    fault::Fault,
    hub::{Doing, Link},
    meters,
    service::Shared,
};

/// One session's reading half.
pub(super) struct Reader<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) link: &'a Arc<Link>,
    pub(super) completions: Completions,
    sends: TokenBucket,
    frames: TokenBucket,
}

/// Whether to read on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    Stop,
}

/// Reads until the client goes, is silent for too long, breaks the protocol, or the session is to end.
pub(super) async fn run(shared: &Arc<Shared>, link: &Arc<Link>, mut stream: SplitStream<WebSocket>) {
    let limits = &shared.config.limits;
    let now = Instant::now();
    let mut reader = Reader {
        shared,
        link,
        completions: Completions::new(shared, link),
        sends: TokenBucket::new(limits.sends, now),
        frames: TokenBucket::new(limits.frames, now),
    };
    loop {
        let next = async {
            // A client that asks without listening is not read until it listens.
            link.room().await;
            tokio::time::timeout(shared.config.idle_timeout, stream.next()).await
        };
        let message = tokio::select! {
            message = next => message,
            () = link.closed() => return,
        };
        let next = match message {
            Ok(Some(Ok(Message::Text(text)))) => Box::pin(reader.hear(&text)).await,
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => Next::Go,
            Ok(Some(Ok(Message::Binary(_)))) => {
                reader.fault(None, Fault::new(ErrorCode::BadFrame, "frames are text"));
                reader.protocol_broken()
            }
            Ok(Some(Err(fault))) => {
                // A frame that is too long, or bytes that are no WebSocket: nothing after it can be read.
                tracing::debug!(%fault, "a session's bytes could not be read");
                reader.protocol_broken()
            }
            Ok(Some(Ok(Message::Close(_))) | None) | Err(_) => Next::Stop,
        };
        if next == Next::Stop {
            return;
        }
    }
}

impl Reader<'_> {
    pub(super) fn fault(&self, id: Option<RequestId>, fault: Fault) {
        self.link.answer(&fault.frame(id));
    }

    fn protocol_broken(&self) -> Next {
        self.link.close(Some(ByeCode::Protocol));
        Next::Stop
    }

    async fn hear(&mut self, text: &str) -> Next {
        let now = Instant::now();
        let rate = self.shared.config.limits.frames;
        let frame = match parse(text) {
            Ok(frame) => frame,
            Err(BadFrame { id, fault }) => {
                meters::frame_received("bad");
                if self.frames.take(rate, now).is_err() {
                    return self.protocol_broken();
                }
                self.fault(id, fault);
                return Next::Go;
            }
        };
        meters::frame_received(frame.kind());
        let allowed = match &frame {
            ClientFrame::Send(_) => self
                .sends
                .take(self.shared.config.limits.sends, now)
                .and_then(|()| self.shared.hub.allow(&self.link.party.user, Doing::Sending)),
            ClientFrame::CallInvite(_) => self
                .frames
                .take(rate, now)
                .and_then(|()| self.shared.hub.allow(&self.link.party.user, Doing::Inviting)),
            _ => self.frames.take(rate, now),
        };
        if let Err(retry) = allowed {
            // Frames without an answer are dropped: the next of their kind says it better.
            if let Some(id) = requests::id_of(&frame) {
                self.fault(Some(id), Fault::rate_limited(retry));
            }
            return Next::Go;
        }
        if let ClientFrame::Hello(_) = frame {
            self.fault(None, Fault::new(ErrorCode::BadFrame, "hello is said once"));
            return self.protocol_broken();
        }
        self.handle(frame).await;
        Next::Go
    }
}
