//! REST, and the router of it all.

mod attachments;
mod caller;
mod problem;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use serde::{Deserialize, de::DeserializeOwned};
use trunkline_signaling_api::{
    ErrorCode, FRAME_BYTES_MAX, HISTORY_MESSAGES_MAX, Head, Party, SendOk,
    rest::{
        AddMember, Conversations, CreateConversation, DemoLogin, DemoToken, Messages, SendMessage,
        SetRetention,
    },
};
use trunkline_signaling_core::conversation::check_title;
use trunkline_units::{ConversationId, UserId};

use crate::{
    auth::mint_token,
    bus::Hint,
    clock,
    fault::Fault,
    hub::Doing,
    sending::Draft,
    service::Shared,
    session,
    store::{Bounds, ConversationChange, NewConversation, Range},
};
use caller::Caller;
use problem::Problem;

/// How long a demo login holds.
const DEMO_TTL: Duration = Duration::from_secs(12 * 3_600);

/// What a page of messages leaves of a frame for its own fields.
pub(crate) const PAGE_BYTES_MAX: usize = FRAME_BYTES_MAX - 2_048;

/// Messages in a page that says nothing else.
pub(crate) const PAGE_MESSAGES: u32 = 50;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new()
        .route("/v1/session", get(session::upgrade))
        .route("/v1/conversations", post(create).get(list))
        .route("/v1/conversations/{id}/members", post(add))
        .route("/v1/conversations/{id}/members/{user}", delete(remove))
        .route("/v1/conversations/{id}/messages", get(messages).post(send))
        .route("/v1/conversations/{id}/retention", put(set_retention))
        .route("/v1/conversations/{id}/uploads", post(attachments::request_upload))
        .route("/v1/attachments/{id}/links", get(attachments::links));
    if shared.config.demo_logins {
        router = router.route("/v1/demo/login", post(demo_login));
    }
    router.layer(DefaultBodyLimit::max(FRAME_BYTES_MAX)).with_state(shared)
}

type Shareds = State<Arc<Shared>>;

/// Runs a change to its end even if its client does not wait: a handler is dropped when its connection goes, and what a
/// committed change means to the media plane must not be dropped with it.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Fault>> + Send + 'static,
) -> Result<T, Fault> {
    tokio::spawn(work).await.unwrap_or_else(|_| Err(Fault::new(ErrorCode::Internal, "a fault of the server")))
}

fn body<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|fault| session::explain(&fault))
}

fn id<T>(id: Result<T, trunkline_units::IdError>) -> Result<T, Fault> {
    id.map_err(|fault| Fault::new(ErrorCode::BadId, fault.to_string()))
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Fault> {
    query.map(|Query(query)| query).map_err(|fault| Fault::new(ErrorCode::BadFrame, fault.body_text()))
}

fn bounds(shared: &Shared) -> Bounds {
    let limits = &shared.config.limits;
    Bounds { members: limits.members, conversations: limits.conversations_per_user }
}

async fn create(State(shared): Shareds, headers: HeaderMap, bytes: Bytes) -> Result<Response, Problem> {
    let maker = Caller::of(&shared, &headers)?.user;
    let CreateConversation { members, title } = body(&bytes)?;
    if let Some(title) = &title {
        check_title(title).map_err(Fault::from)?;
    }
    let fresh = ConversationId::new(&uuid::Uuid::now_v7().to_string());
    let new = NewConversation {
        id: fresh.expect("a UUID keeps the rules for ids"),
        maker,
        members,
        title,
        at: clock::now(),
        bounds: bounds(&shared),
    };
    let created = to_the_end(async move {
        let created = shared.store.create_conversation(new).await?;
        if created.fresh {
            shared.bus.publish(Hint::Members { conv: created.head.conv.clone() });
        }
        Ok(created)
    });
    let created = created.await?;
    let status = if created.fresh { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(created.head)).into_response())
}

async fn list(State(shared): Shareds, headers: HeaderMap) -> Result<Json<Conversations>, Problem> {
    let user = Caller::of(&shared, &headers)?.user;
    let state = shared.store.session_state(&user, usize::MAX).await.map_err(Fault::from)?;
    Ok(Json(Conversations { heads: state.heads }))
}

/// Tells of a change of membership or retention, and of what it did to a live call.
fn tell(shared: &Shared, change: ConversationChange) -> Head {
    if let Some(call) = &change.call {
        shared.calls.settle(call);
        shared.calls.tell(call);
    }
    if change.changed {
        shared.bus.publish(Hint::Members { conv: change.head.conv.clone() });
    }
    change.head
}

async fn add(
    State(shared): Shareds,
    Path(conv): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Head>, Problem> {
    let actor = Caller::of(&shared, &headers)?.user;
    let conv = id(ConversationId::new(&conv))?;
    let AddMember { user } = body(&bytes)?;
    let head = to_the_end(async move {
        let change = shared.store.add_member(&conv, &actor, &user, bounds(&shared), shared.calls.rules());
        Ok(tell(&shared, change.await?))
    });
    Ok(Json(head.await?))
}

async fn remove(
    State(shared): Shareds,
    Path((conv, target)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let actor = Caller::of(&shared, &headers)?.user;
    let (conv, target) = (id(ConversationId::new(&conv))?, id(UserId::new(&target))?);
    let removed = to_the_end(async move {
        let change = shared.store.remove_member(&conv, &actor, &target, shared.calls.rules());
        Ok(tell(&shared, change.await?))
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_retention(
    State(shared): Shareds,
    Path(conv): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<Head>, Problem> {
    let actor = Caller::of(&shared, &headers)?.user;
    let conv = id(ConversationId::new(&conv))?;
    let SetRetention { seconds } = body(&bytes)?;
    let head = to_the_end(async move {
        let change = shared.store.set_retention(&conv, &actor, seconds);
        Ok(tell(&shared, change.await?))
    });
    Ok(Json(head.await?))
}

/// The query of a page.
#[derive(Deserialize)]
struct PageQuery {
    before: Option<u64>,
    after: Option<u64>,
    limit: Option<u32>,
}

/// Which messages a client asks for.
pub(crate) fn range(before: Option<u64>, after: Option<u64>) -> Result<Range, Fault> {
    match (before, after) {
        (None, None) => Ok(Range::Newest),
        (Some(before), None) => Ok(Range::Before(before)),
        (None, Some(after)) => Ok(Range::After(after)),
        (Some(_), Some(_)) => Err(Fault::new(ErrorCode::BadFrame, "before and after do not go together")),
    }
}

/// How many messages a client gets at most.
pub(crate) fn page_limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(PAGE_MESSAGES).clamp(1, HISTORY_MESSAGES_MAX)
}

async fn messages(
    State(shared): Shareds,
    Path(conv): Path<String>,
    asked: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Messages>, Problem> {
    let user = Caller::of(&shared, &headers)?.user;
    let conv = id(ConversationId::new(&conv))?;
    let PageQuery { before, after, limit } = query(asked)?;
    let range = range(before, after)?;
    let page = shared.store.page(&conv, &user, range, page_limit(limit), PAGE_BYTES_MAX);
    let page = page.await.map_err(Fault::from)?;
    Ok(Json(Messages { conv, messages: page.messages, more: page.more }))
}

async fn send(
    State(shared): Shareds,
    Path(conv): Path<String>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Json<SendOk>, Problem> {
    let caller = Caller::of(&shared, &headers)?;
    caller.allow(&shared, Doing::Sending)?;
    let conv = id(ConversationId::new(&conv))?;
    let SendMessage { id, kind, body, attachments, device } = body(&bytes)?;
    let device = caller.device(device)?;
    let from = Party { user: caller.user, device };
    let draft = Draft { conv, from, id, kind, body, attachments };
    let ok = to_the_end(async move {
        let (send, reply) = draft.submit(&shared)?;
        let message = send.committed(reply.await?);
        let ok = message.ok();
        message.tell(&shared);
        Ok(ok)
    });
    Ok(Json(ok.await?))
}

async fn demo_login(State(shared): Shareds, bytes: Bytes) -> Result<Json<DemoToken>, Problem> {
    let DemoLogin { user, device } = body(&bytes)?;
    shared
        .logins
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take(shared.config.limits.logins, Instant::now())
        .map_err(Fault::rate_limited)?;
    let token = mint_token(&shared.config.jwt_key, &user, device.as_ref(), DEMO_TTL);
    Ok(Json(DemoToken { token }))
}

/// A fault as an HTTP response.
pub(crate) fn problem_of(fault: Fault) -> impl IntoResponse {
    Problem::from(fault)
}
