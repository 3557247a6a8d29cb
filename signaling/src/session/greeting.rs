//! `hello` and `welcome`.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use trunkline_signaling_api::{
    BODY_BYTES_MAX, ClientFrame, ErrorCode, FRAME_BYTES_MAX, HISTORY_MESSAGES_MAX, Hello, MediaGone,
    OutLimits, Party, ServerFrame, VERSION, Welcome,
};
use trunkline_signaling_core::{
    call::Transport,
    conversation,
    outgoing::{Class, StateKey},
};
use trunkline_units::{SessionId, UserId};

use super::parse;
use crate::{
    auth::Claims,
    clock, dispatch,
    fault::Fault,
    frame::Frame,
    hub::{Doing, Link},
    meters,
    service::Shared,
    store::SessionState,
};

/// Bytes of a `welcome` for heads, and for calls: both with the rest fit a frame.
const HEADS_BYTES_MAX: usize = 40 * 1_024;
const CALLS_BYTES_MAX: usize = 20 * 1_024;

/// Members of the heads that are read for a `welcome`: as JSON they fill [`HEADS_BYTES_MAX`], whatever their names.
const HEADS_MEMBERS_MAX: usize = 1_000;

/// A hello whose token is good.
pub(super) struct Greeted {
    party: Party,
    hello: Hello,
}

/// Waits for `hello` and checks it. `Err(None)`: the client went away.
pub(super) async fn hear(shared: &Shared, socket: &mut WebSocket) -> Result<Greeted, Option<Fault>> {
    let text = loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => break text,
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => {
                return Err(Some(Fault::new(ErrorCode::BadFrame, "frames are text")));
            }
            Some(Err(_)) => return Err(Some(Fault::new(ErrorCode::TooLarge, "no frame of this protocol"))),
            Some(Ok(Message::Close(_))) | None => return Err(None),
        }
    };
    let ClientFrame::Hello(hello) = parse::parse(&text).map_err(|bad| Some(bad.fault))? else {
        return Err(Some(Fault::new(ErrorCode::BadFrame, "the first frame is hello")));
    };
    meters::frame_received("hello");
    check(shared, hello).map_err(Some)
}

fn check(shared: &Shared, hello: Hello) -> Result<Greeted, Fault> {
    if hello.v != VERSION {
        return Err(Fault::new(ErrorCode::BadVersion, format!("this server speaks version {VERSION}")));
    }
    let claims = Claims::check_user(&hello.token, &shared.config.jwt_key)?;
    let device = match (claims.device, &hello.device) {
        (Some(bound), Some(said)) if bound != *said => {
            return Err(Fault::new(ErrorCode::BadToken, "the token is for another device"));
        }
        (Some(bound), _) => bound,
        (None, Some(said)) => said.clone(),
        (None, None) => {
            return Err(Fault::new(ErrorCode::BadFrame, "neither token nor hello names a device"));
        }
    };
    Ok(Greeted { party: Party { user: claims.sub, device }, hello })
}

/// Enters the session into the hub and sends `welcome`. Says to which revision of the store it is current.
pub(super) async fn welcome(
    shared: &Arc<Shared>,
    socket: &mut WebSocket,
    Greeted { party, hello }: Greeted,
) -> Result<(Arc<Link>, u64), Option<Fault>> {
    shared.hub.allow(&party.user, Doing::Greeting).map_err(|retry| Some(Fault::rate_limited(retry)))?;
    let session = SessionId::new(&uuid::Uuid::now_v7().to_string()).expect("a UUID keeps the rules for ids");
    let config = &shared.config;
    let link = Arc::new(Link::new(session, party, config.limits.queue_bytes, config.reconnect_after));
    if !shared.hub.enter(&link) {
        let fault = Fault::rate_limited(config.idle_timeout);
        return Err(Some(Fault { text: "too many sessions of this user".into(), ..fault }));
    }
    match prepare(shared, socket, &link, &hello).await {
        Ok(rev) => Ok((link, rev)),
        Err(fault) => {
            shared.hub.leave(&link);
            Err(fault)
        }
    }
}

async fn prepare(
    shared: &Arc<Shared>,
    socket: &mut WebSocket,
    link: &Arc<Link>,
    hello: &Hello,
) -> Result<u64, Option<Fault>> {
    let state = shared
        .store
        .session_state(&link.party.user, HEADS_MEMBERS_MAX)
        .await
        .map_err(|fault| Some(fault.into()))?;
    let welcome = compose(shared, link, &state);
    let calls_told = welcome.calls.len();
    let frame = Frame::new(&ServerFrame::Welcome(Box::new(welcome)));
    let sent = tokio::time::timeout(shared.config.write_timeout, socket.send(Message::Text(frame.text())));
    tokio::select! {
        biased;
        sent = sent => match sent {
            Ok(Ok(())) => {}
            // Gone, or it does not read: nobody keeps a seat that way.
            Ok(Err(_)) | Err(_) => return Err(None),
        },
        () = link.closed() => return Err(None),
    }
    // A ring is not lost for want of room in `welcome`. Before it listens: what it hears then is newer.
    for call in state.calls.iter().skip(calls_told) {
        dispatch::push_call(link, call);
    }
    for place in &state.places {
        // A conversation not named is not replayed: it is delivered from now on.
        let resume = match hello.cursors.get(&place.conv) {
            Some(cursor) => conversation::resume(*cursor, place.min_seq, place.last_seq),
            None => conversation::resume(place.last_seq, place.min_seq, place.last_seq),
        };
        if let Some((from, to)) = resume.gap {
            link.tell_gap(&place.conv, from, to);
        }
        link.subscribe(&place.conv, resume.after, place.last_seq);
        shared.hub.watch(&place.conv, link);
    }
    link.welcome();
    remind(shared, link, &state);
    Ok(state.rev)
}

/// What belongs to the calls this device is in: who is in its slots, and whether it has to offer again.
fn remind(shared: &Shared, link: &Link, state: &SessionState) {
    for call in &state.calls {
        let Some(leg) = call.legs.get(&link.party) else { continue };
        if let Some(slots) = shared.calls.slots_of(&call.id, &link.party) {
            link.push_encoded(Class::State(StateKey::Slots(call.id.clone())), slots);
        }
        if matches!(leg.transport, Transport::Gone(_)) {
            let gone = MediaGone { call: call.id.clone(), why: "the transport was lost".into() };
            link.push(Class::Answer, &ServerFrame::MediaGone(gone));
        }
    }
}

fn compose(shared: &Shared, link: &Link, state: &SessionState) -> Welcome {
    let heads = fitting(state.heads.iter().cloned(), HEADS_BYTES_MAX);
    let calls = fitting(state.calls.iter().map(|call| call.view(&link.party)), CALLS_BYTES_MAX);
    let user: &UserId = &link.party.user;
    Welcome {
        session: link.session.clone(),
        user: user.clone(),
        device: link.party.device.clone(),
        now: clock::now(),
        heads_more: heads.len() < state.places.len(),
        heads,
        calls,
        limits: OutLimits {
            frame_bytes: to_u32(FRAME_BYTES_MAX),
            body_bytes: to_u32(BODY_BYTES_MAX),
            history: HISTORY_MESSAGES_MAX,
            sends_per_second: shared.config.limits.sends.per_second as u32,
        },
        relays: shared.relays.mint(user),
    }
}

fn to_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

/// As many as fit, from the first.
fn fitting<T: serde::Serialize>(items: impl Iterator<Item = T>, bytes_max: usize) -> Vec<T> {
    let mut bytes = 0;
    items
        .take_while(|item| {
            bytes += serde_json::to_string(item).map_or(usize::MAX / 2, |text| text.len() + 1);
            bytes <= bytes_max
        })
        .collect()
}
