//! One example of every frame and body: written to `fixtures/` by the tests, and read by every SDK's tests.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use trunkline_units::{
    AttachmentId, CallId, ConversationId, DeviceId, MessageId, RequestId, SessionId, UnixMillis, UserId,
};

use crate::{
    Ack, Attachment, AttachmentKind, Bye, ByeCode, CallMedia, CallMessage, CallOk, CallRequest, CallRinging,
    CallState, CallView, CallWithMedia, ClientFrame, DeviceState, EndReason, ErrorCode, ErrorFrame, Gap,
    GapReason, Head, Hello, History, IceServer, Invite, LegState, LegView, Media, MediaAnswer, MediaGone,
    MediaOffer, MediaView, MemberView, Message, MissedOutcome, Ok, OutLimits, Page, Party, Read, Receipt,
    Relays, Role, Send, SendOk, ServerFrame, SlotAssignment, SlotView, Slots, Typing, TypingBy, VERSION,
    Welcome, rest,
};

const CONV: &str = "0190d2a0-7c00-7000-8000-00000000c001";
const CALL: &str = "0190d2a0-7c00-7000-8000-00000000ca11";
const MESSAGE: &str = "0190d2a0-7c00-7000-8000-0000000000a1";
const PHOTO: &str = "6f1c4b1e-93d0-4a57-9d1b-2f0e8c7a5b31";
const VOICE: &str = "b0a4e6d2-5c1f-4e89-8a37-c9d2f1e06b54";
const FILE: &str = "3d9e27f8-1b64-4c0a-b5e2-70f8a6c4d912";
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

fn attachment_id(text: &str) -> AttachmentId {
    AttachmentId::new(text).expect(VALID)
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
                attachments: vec![attachment_id(PHOTO)],
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
        retention_s: Some(604_800),
        members: vec![
            MemberView { user: user("alice"), role: Role::Owner, delivered: 19, read: 17 },
            MemberView { user: user("bob"), role: Role::Member, delivered: 18, read: 18 },
        ],
    }
}

/// A moving picture, whose `original` moves.
fn photo() -> Attachment {
    Attachment {
        id: attachment_id(PHOTO),
        kind: AttachmentKind::Photo,
        name: Some("фото.gif".into()),
        r#type: "image/gif".into(),
        bytes: 482_113,
        width: Some(1_600),
        height: Some(1_200),
        thumbhash: Some("1QcSHQRnh493V4dIh4eXh1h4kJUI".into()),
        animated: true,
        duration_ms: None,
        waveform: None,
        variants: ["320", "1280", "2048", "original"].map(str::to_owned).to_vec(),
    }
}

fn voice() -> Attachment {
    Attachment {
        id: attachment_id(VOICE),
        kind: AttachmentKind::Voice,
        name: None,
        r#type: "audio/ogg".into(),
        bytes: 48_211,
        width: None,
        height: None,
        thumbhash: None,
        animated: false,
        duration_ms: Some(12_480),
        // 64 bytes: 0, 4, 8, … 252.
        waveform: Some(
            "AAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/A==".into(),
        ),
        variants: vec!["audio".into()],
    }
}

fn file() -> Attachment {
    Attachment {
        id: attachment_id(FILE),
        kind: AttachmentKind::File,
        name: Some("minutes.pdf".into()),
        r#type: "application/pdf".into(),
        bytes: 1_204_224,
        width: None,
        height: None,
        thumbhash: None,
        animated: false,
        duration_ms: None,
        waveform: None,
        variants: vec!["file".into()],
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
        attachments: vec![photo()],
        at: at(0),
    }
}

/// Of a chat server, with attachments alone.
fn message_with_files() -> Message {
    Message {
        seq: 20,
        id: MessageId::new("0190d2a0-7c00-7000-8000-0000000000a2").expect(VALID),
        device: device("server"),
        body: json!({"text": ""}),
        attachments: vec![voice(), file()],
        at: at(90_000),
        ..message()
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
        ("server.message.files", ServerFrame::Message(message_with_files())),
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

fn links() -> rest::AttachmentLinks {
    let link = |variant: &str| {
        (variant.to_owned(), format!("/v1/media/{PHOTO}/{variant}?k=1764046800.{variant}.c2lnbmF0dXJl"))
    };
    rest::AttachmentLinks {
        id: attachment_id(PHOTO),
        expires_at: at(46_800_000),
        links: ["320", "1280", "2048", "original"].into_iter().map(link).collect(),
    }
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
        (
            "rest.send_message",
            value(&rest::SendMessage {
                id: message_id(),
                kind: "text".into(),
                body: json!({"text": "Good morning"}),
                attachments: vec![attachment_id(PHOTO)],
                device: Some(device("bot")),
            }),
        ),
        ("rest.send_ok", value(&SendOk { id: message_id(), conv: conv(), seq: 18, at: at(0) })),
        ("rest.set_retention", value(&rest::SetRetention { seconds: Some(604_800) })),
        ("rest.set_retention.default", value(&rest::SetRetention { seconds: None })),
        (
            "rest.request_upload",
            value(&rest::RequestUpload {
                kind: AttachmentKind::Photo,
                bytes: Some(482_113),
                name: Some("фото.gif".into()),
                r#type: Some("image/gif".into()),
            }),
        ),
        (
            "rest.upload_grant",
            value(&rest::UploadGrant {
                grant: "eyJhbGciOiJIUzI1NiJ9.e30.signature".into(),
                endpoint: "/v1/uploads".into(),
                expires_at: at(3_600_000),
                bytes_max: 482_113,
                direct: false,
            }),
        ),
        ("rest.attachment_links", value(&links())),
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
                limit: None,
            }),
        ),
        (
            "rest.problem.limit",
            value(&rest::Problem {
                r#type: "about:blank".into(),
                title: "Payload Too Large".into(),
                status: 413,
                detail: "at most 52428800 bytes".into(),
                code: ErrorCode::TooLarge,
                retry_ms: None,
                limit: Some(52_428_800),
            }),
        ),
    ]
}
