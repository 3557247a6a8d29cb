//! Sessions: one WebSocket each, from the upgrade to the last frame.

mod greeting;
mod parse;
mod reader;
mod requests;
mod writer;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;
use trunkline_signaling_api::{ErrorCode, FRAME_BYTES_MAX, SUBPROTOCOL};

use crate::{
    dispatch, fault::Fault, frame::Frame, hub::Link, meters, rest, service::Shared, store::StoreError,
};

pub(crate) use parse::explain;

/// Until a new session asks a store again that was not available.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(500);

/// `GET /v1/session`.
pub(crate) async fn upgrade(State(shared): State<Arc<Shared>>, socket: WebSocketUpgrade) -> Response {
    if shared.is_stopping() {
        return problem(Fault::unavailable("the server is stopping"));
    }
    let Ok(seat) = shared.seats.clone().try_acquire_owned() else {
        return problem(Fault::unavailable("no more sessions on this node"));
    };
    let offered = socket.requested_protocols().next().is_some();
    // Small buffers: tungstenite's defaults cost 128 KiB a connection each way.
    let socket = socket
        .protocols([SUBPROTOCOL])
        .read_buffer_size(1_024)
        .write_buffer_size(0)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX);
    if offered && socket.selected_protocol().is_none() {
        return problem(Fault::new(ErrorCode::BadVersion, format!("this server speaks {SUBPROTOCOL}")));
    }
    socket.on_upgrade(move |socket| run(shared, socket, seat))
}

fn problem(fault: Fault) -> Response {
    rest::problem_of(fault).into_response()
}

/// One session. `seat` is given back at its end.
async fn run(shared: Arc<Shared>, mut socket: WebSocket, seat: OwnedSemaphorePermit) {
    let greeted = tokio::select! {
        greeted = greeting::hear(&shared, &mut socket) => greeted,
        () = tokio::time::sleep(shared.config.hello_timeout) => {
            Err(Some(Fault::new(ErrorCode::BadFrame, "no hello in time")))
        }
        () = shared.stopped() => Err(Some(Fault::unavailable("the server is stopping"))),
    };

    let link = match greeted {
        Ok(hello) => Box::pin(greeting::welcome(&shared, &mut socket, hello)).await,
        Err(fault) => Err(fault),
    };
    match link {
        Ok((link, rev)) => {
            meters::session_opened();
            Box::pin(serve(&shared, socket, &link, rev)).await;
            shared.hub.leave(&link);
            meters::session_closed();
        }
        Err(Some(fault)) => refuse(&shared, socket, fault).await,
        // The client went away.
        Err(None) => {}
    }
    drop(seat);
}

/// Reads and writes until one side has had enough.
async fn serve(shared: &Arc<Shared>, socket: WebSocket, link: &Arc<Link>, rev: u64) {
    let (sink, stream) = socket.split();
    let writer = tokio::spawn(writer::run(shared.clone(), link.clone(), sink));
    while let Err(fault) = dispatch::catch_up_link(shared, link, rev).await {
        // The repair poll may be past `rev` already: only this session can find what it missed.
        tracing::warn!(%fault, "a new session could not be brought up to date");
        if !matches!(fault, StoreError::Unavailable(_)) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(CATCH_UP_PAUSE) => {}
            () = link.closed() => break,
        }
    }
    // It may have stopped between the greeting and now.
    if shared.is_stopping() {
        link.close(Some(trunkline_signaling_api::ByeCode::Shutdown));
    }
    Box::pin(reader::run(shared, link, stream)).await;
    link.close(None);
    // The writer ends by itself: it bounds the time for what is queued.
    let _ = writer.await;
}

/// Tells why there is no session, and closes.
async fn refuse(shared: &Shared, mut socket: WebSocket, fault: Fault) {
    let reason = fault.code.as_str();
    let frame = Frame::new(&fault.frame(None));
    let close = CloseFrame { code: close_code::POLICY, reason: reason.into() };
    let goodbye = async {
        let sent = socket.send(Message::Text(frame.text())).await;
        if sent.is_ok() && socket.send(Message::Close(Some(close))).await.is_ok() {
            // RFC 6455 §7.1.1: the other side's close comes before ours of the TCP connection, or the error may be lost.
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    // A client that does not listen is not waited for.
    let _ = tokio::time::timeout(shared.config.drain_timeout, goodbye).await;
}
