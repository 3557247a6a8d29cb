//! One example of every frame and body: written to `fixtures/` by the tests, and read by every SDK's tests.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_units::{
    CallId, ConversationId, DeviceId, MessageId, RequestId, SessionId, UnixMillis, UserId,
};

use crate::{
    Ack, Bye, ByeCode, CallMedia, CallMessage, CallOk, CallRequest, CallRinging, CallState, CallView,
    CallWithMedia, ClientFrame, DeviceState, EndReason, ErrorCode, ErrorFrame, Gap, GapReason, Head, Hello,
    History, IceServer, Invite, LegState, LegView, Media, MediaAnswer, MediaGone, MediaOffer, MediaView,
    MemberView, Message, MissedOutcome, Ok, OutLimits, Page, Party, Read, Receipt, Relays, Role, Send,
    SendOk, ServerFrame, SlotAssignment, SlotView, Slots, Typing, TypingBy, VERSION, Welcome, rest,
};

const CONV: &str = "0190d2a0-7c00-7000-8000-00000000c001";
const CALL: &str = "0190d2a0-7c00-7000-8000-00000000ca11";
const MESSAGE: &str = "0190d2a0-7c00-7000-8000-0000000000a1";
const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n";
const VALID: &str = "every fixture id keeps the rules for ids";

fn user(text: &str) -> UserId {
    UserId::new(text).expect(VALID)
}

fn device(text: &str) -> DeviceId {
    DeviceId::new(text).expect(VALID)
}

fn conv() -> ConversationId {
    ConversationId::new(CONV).expect(VALID)
}

fn call() -> CallId {
    CallId::new(CALL).expect(VALID)
}

fn request(text: &str) -> RequestId {
    RequestId::new(text).expect(VALID)
}

fn message_id() -> MessageId {
    MessageId::new(MESSAGE).expect(VALID)
}

const fn both() -> Media {
    Media { audio: true, video: true }
}

fn at(offset: u64) -> UnixMillis {
    UnixMillis(1_764_000_000_000 + offset)
}

/// Every client frame, with the name of its file.
pub fn client() -> Vec<(&'static str, ClientFrame)> {
    let call_request = |id: &str| CallRequest { id: request(id), call: call() };
    vec![
        (
            "client.hello",
            ClientFrame::Hello(Hello {
                v: VERSION,
                token: "eyJhbGciOiJIUzI1NiJ9.e30.signature".into(),
                device: Some(device("laptop")),
                cursors: BTreeMap::from([(conv(), 17)]),
            }),
        ),
        (
            "client.send",
            ClientFrame::Send(Send {
                id: message_id(),
                conv: conv(),
                kind: "text".into(),
                body: json!({"text": "Good morning"}),
                attachments: vec![json!({"object": "photo-1", "bytes": 48_211})],
            }),
        ),
        ("client.ack", ClientFrame::Ack(Ack { conv: conv(), seq: 18 })),
        ("client.read", ClientFrame::Read(Read { conv: conv(), seq: 18 })),
        (
            "client.history.before",
            ClientFrame::History(History {
                id: request("h1"),
                conv: conv(),
                before: Some(18),
                after: None,
                limit: Some(50),
            }),
        ),
        (
            "client.history.after",
            ClientFrame::History(History {
                id: request("h2"),
                conv: conv(),
                before: None,
                after: Some(17),
                limit: None,
            }),
        ),
        ("client.typing", ClientFrame::Typing(Typing { conv: conv() })),
        (
            "client.call.invite",
            ClientFrame::CallInvite(Invite { id: request("r1"), conv: conv(), call: call(), media: both() }),
        ),
        ("client.call.ringing", ClientFrame::CallRinging(CallRinging { call: call() })),
        (
            "client.call.accept",
            ClientFrame::CallAccept(CallWithMedia { id: request("r2"), call: call(), media: both() }),
        ),
        ("client.call.decline", ClientFrame::CallDecline(call_request("r3"))),
        ("client.call.cancel", ClientFrame::CallCancel(call_request("r4"))),
        ("client.call.end", ClientFrame::CallEnd(call_request("r5"))),
        (
            "client.call.media",
            ClientFrame::CallMedia(CallMedia { call: call(), media: Media { audio: false, video: true } }),
        ),
        (
            "client.media.offer",
            ClientFrame::MediaOffer(MediaOffer { id: request("r6"), call: call(), sdp: OFFER.into() }),
        ),
        (
            "client.media.view",
            ClientFrame::MediaView(MediaView {
                call: call(),
                slots: vec![
                    SlotView { slot: 0, width: 1280, height: 720 },
                    SlotView { slot: 1, width: 0, height: 0 },
                ],
            }),
        ),
    ]
}

fn head() -> Head {
    Head {
        conv: conv(),
        title: Some("Weekend".into()),
        last_seq: 19,
        min_seq: 1,
        members: vec![
            MemberView { user: user("alice"), role: Role::Owner, delivered: 19, read: 17 },
            MemberView { user: user("bob"), role: Role::Member, delivered: 18, read: 18 },
        ],
    }
}

fn message() -> Message {
    Message {
        conv: conv(),
        seq: 18,
        id: message_id(),
        user: user("alice"),
        device: device("laptop"),
        kind: "text".into(),
        body: json!({"text": "Good morning"}),
        attachments: vec![json!({"object": "photo-1", "bytes": 48_211})],
        at: at(0),
    }
}

fn call_message() -> Message {
    let body = CallMessage {
        call: call(),
        outcome: MissedOutcome::Missed,
        caller: user("alice"),
        video: true,
        seconds: 0,
    };
    Message {
        conv: conv(),
        seq: 19,
        id: MessageId::new(CALL).expect(VALID),
        user: user("alice"),
        device: device("laptop"),
        kind: "call".into(),
        body: serde_json::to_value(body).expect("a CallMessage has string keys only"),
        attachments: Vec::new(),
        at: at(60_000),
    }
}

fn ringing() -> CallView {
    let leg =
        |who: &str, on: &str, state| LegView { user: user(who), device: device(on), state, media: both() };
    CallView {
        call: call(),
        conv: conv(),
        state: CallState::Ringing,
        ver: 2,
        caller: Party { user: user("alice"), device: device("laptop") },
        media: both(),
        ring_until: at(60_000),
        you: DeviceState::Ringing,
        legs: vec![leg("alice", "laptop", LegState::Inviting), leg("bob", "phone", LegState::Ringing)],
        reason: None,
        at: at(120),
    }
}

fn ended() -> CallView {
    let leg =
        |who: &str, on: &str, state| LegView { user: user(who), device: device(on), state, media: both() };
    CallView {
        state: CallState::Ended,
        ver: 6,
        you: DeviceState::AnsweredElsewhere,
        legs: vec![
            leg("alice", "laptop", LegState::Left),
            leg("bob", "phone", LegState::AnsweredElsewhere),
            leg("bob", "tablet", LegState::Left),
        ],
        reason: Some(EndReason::Ended),
        at: at(90_000),
        ..ringing()
    }
}

fn welcome() -> Welcome {
    Welcome {
        session: SessionId::new("0190d2a0-7c00-7000-8000-000000005e55").expect(VALID),
        user: user("bob"),
        device: device("phone"),
        now: at(200),
        heads: vec![head()],
        heads_more: false,
        calls: vec![ringing()],
        limits: OutLimits { frame_bytes: 65_536, body_bytes: 16_384, history: 200, sends_per_second: 20 },
        relays: Relays {
            ice_servers: vec![IceServer {
                urls: vec!["turn:turn.example.org:3478?transport=udp".into()],
                username: Some("1764043200:k3J9".into()),
                credential: Some("bm90IGEgcGFzc3dvcmQ=".into()),
            }],
            ttl_s: 43_200,
        },
    }
}

/// Every server frame, with the name of its file.
pub fn server() -> Vec<(&'static str, ServerFrame)> {
    vec![
        ("server.welcome", ServerFrame::Welcome(Box::new(welcome()))),
        (
            "server.ok.send",
            ServerFrame::Ok(Ok::Send(SendOk { id: message_id(), conv: conv(), seq: 18, at: at(0) })),
        ),
        ("server.ok.call", ServerFrame::Ok(Ok::Call(CallOk { id: request("r1"), call: call(), ver: 1 }))),
        (
            "server.error.request",
            ServerFrame::Error(ErrorFrame {
                id: Some(request("r1")),
                code: ErrorCode::RateLimited,
                text: "too many invitations".into(),
                retry_ms: Some(1_500),
            }),
        ),
        (
            "server.error.session",
            ServerFrame::Error(ErrorFrame {
                id: None,
                code: ErrorCode::BadFrame,
                text: "a frame is one JSON object".into(),
                retry_ms: None,
            }),
        ),
        ("server.message.text", ServerFrame::Message(message())),
        ("server.message.call", ServerFrame::Message(call_message())),
        (
            "server.receipt",
            ServerFrame::Receipt(Receipt { conv: conv(), user: user("bob"), delivered: 18, read: 17 }),
        ),
        (
            "server.page",
            ServerFrame::Page(Page {
                id: request("h1"),
                conv: conv(),
                messages: vec![message()],
                more: true,
            }),
        ),
        ("server.gap", ServerFrame::Gap(Gap { conv: conv(), from: 1, to: 16, why: GapReason::Expired })),
        ("server.behind", ServerFrame::Behind {}),
        ("server.typing", ServerFrame::Typing(TypingBy { conv: conv(), user: user("alice") })),
        ("server.conversation", ServerFrame::Conversation(head())),
        ("server.call.ringing", ServerFrame::Call(Box::new(ringing()))),
        ("server.call.ended", ServerFrame::Call(Box::new(ended()))),
        (
            "server.media.answer",
            ServerFrame::MediaAnswer(MediaAnswer { id: request("r6"), call: call(), sdp: OFFER.into() }),
        ),
        (
            "server.slots",
            ServerFrame::Slots(Slots {
                call: call(),
                slots: vec![
                    SlotAssignment {
                        slot: 0,
                        mid_audio: Some("2".into()),
                        mid_video: Some("3".into()),
                        user: Some(user("alice")),
                        device: Some(device("laptop")),
                    },
                    SlotAssignment {
                        slot: 1,
                        mid_audio: Some("4".into()),
                        mid_video: None,
                        user: None,
                        device: None,
                    },
                ],
            }),
        ),
        (
            "server.media.gone",
            ServerFrame::MediaGone(MediaGone { call: call(), why: "consent to send expired".into() }),
        ),
        ("server.bye", ServerFrame::Bye(Bye { code: ByeCode::Shutdown, retry_ms: [500, 5_000] })),
    ]
}

/// Every REST body, with the name of its file.
pub fn rest() -> Vec<(&'static str, Value)> {
    fn value(body: &impl serde::Serialize) -> Value {
        serde_json::to_value(body).expect("REST bodies have string keys only")
    }
    vec![
        (
            "rest.create_conversation",
            value(&rest::CreateConversation {
                members: vec![user("alice"), user("bob")],
                title: Some("Weekend".into()),
            }),
        ),
        ("rest.conversations", value(&rest::Conversations { heads: vec![head()] })),
        ("rest.add_member", value(&rest::AddMember { user: user("carol") })),
        ("rest.messages", value(&rest::Messages { conv: conv(), messages: vec![message()], more: false })),
        ("rest.demo_login", value(&rest::DemoLogin { user: user("alice"), device: None })),
        ("rest.demo_token", value(&rest::DemoToken { token: "eyJhbGciOiJIUzI1NiJ9.e30.signature".into() })),
        (
            "rest.problem",
            value(&rest::Problem {
                r#type: "about:blank".into(),
                title: "Forbidden".into(),
                status: 403,
                detail: "not a member of this conversation".into(),
                code: ErrorCode::NotMember,
                retry_ms: None,
            }),
        ),
    ]
}
