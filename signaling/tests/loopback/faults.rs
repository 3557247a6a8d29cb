//! What goes wrong: greetings, frames, limits, silence, shutdown.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio_tungstenite::tungstenite::Message as WsMessage;
use trunkline_signaling::{Claims, Rate, mint_token};
use trunkline_signaling_api::{ByeCode, ClientFrame, ErrorCode, Hello, ServerFrame};

use crate::support::{Client, Server, config, device, hello, key, user};

/// What a greeting that fails is told.
async fn refused(server: &Server, first: impl Into<String>) -> ErrorCode {
    let mut client = Client::open(server.address, None).await;
    client.say_text(first).await;
    let said = client.until_closed().await;
    match said.as_slice() {
        [ServerFrame::Error(fault)] => fault.code,
        other => panic!("{other:?}"),
    }
}

fn greeting(token: String, on: Option<&str>, v: u32) -> String {
    let hello = Hello { v, token, device: on.map(device), cursors: BTreeMap::new() };
    serde_json::to_string(&ClientFrame::Hello(hello)).unwrap()
}

#[tokio::test]
async fn greetings_that_fail() {
    let server = Server::start().await;
    let hour = Duration::from_secs(3_600);
    let good = Server::token("alice");
    let bound = mint_token(&key(), &user("alice"), Some(&device("laptop")), hour);
    let mut expired = Claims::of_user(&user("alice"), None, Duration::ZERO);
    expired.exp -= 60;
    let mut room = Claims::of_user(&user("alice"), None, hour);
    room.room = Some("stage".into());
    let other_key = trunkline_signaling::JwtKey::new(&[8; 32]).unwrap();
    for (first, code) in [
        ("nonsense".to_owned(), ErrorCode::BadFrame),
        (json!({"t": "typing", "conv": "c"}).to_string(), ErrorCode::BadFrame),
        (json!({"t": "nothing"}).to_string(), ErrorCode::UnknownType),
        (greeting(good.clone(), Some("laptop"), 2), ErrorCode::BadVersion),
        (greeting(good.clone(), None, 1), ErrorCode::BadFrame),
        (greeting(String::new(), Some("laptop"), 1), ErrorCode::BadToken),
        (
            greeting(mint_token(&other_key, &user("alice"), None, hour), Some("laptop"), 1),
            ErrorCode::BadToken,
        ),
        (greeting(bound.clone(), Some("phone"), 1), ErrorCode::BadToken),
        (greeting(expired.sign(&key()), Some("laptop"), 1), ErrorCode::ExpiredToken),
        (greeting(room.sign(&key()), Some("laptop"), 1), ErrorCode::BadToken),
        (json!({"t": "hello", "v": 1, "token": good, "device": "a b"}).to_string(), ErrorCode::BadId),
    ] {
        assert_eq!(refused(&server, first.clone()).await, code, "{first}");
    }
    // The token alone may name the device.
    let mut client = Client::open(server.address, None).await;
    client.say_text(greeting(bound, None, 1)).await;
    assert!(matches!(client.next().await, ServerFrame::Welcome(w) if w.device == device("laptop")));
}

#[tokio::test]
async fn silence_instead_of_a_greeting() {
    let mut config = config();
    config.hello_timeout = Duration::from_millis(20);
    let server = Server::with(config).await;
    let mut client = Client::open(server.address, None).await;
    let said = client.until_closed().await;
    assert!(matches!(said.as_slice(), [ServerFrame::Error(fault)] if fault.code == ErrorCode::BadFrame));
}

#[tokio::test]
async fn frames_that_are_none() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    for (text, code, id) in [
        ("{", "bad_frame", None),
        ("[1]", "bad_frame", None),
        (r#"{"t":"dance","id":"q"}"#, "unknown_type", Some("q")),
        (r#"{"t":"send","id":"q","conv":"c"}"#, "bad_frame", Some("q")),
        (r#"{"t":"call.end","id":"q","call":"a b"}"#, "bad_id", Some("q")),
    ] {
        alice.say_text(text).await;
        let pick =
            |f: &ServerFrame| if let ServerFrame::Error(fault) = f { Some(fault.clone()) } else { None };
        let fault = alice.wait(pick).await;
        assert_eq!((fault.code.as_str(), fault.id.as_ref().map(|id| id.as_str())), (code, id), "{text}");
    }
    for (id, body, kind, code) in [
        ("m1", json!("x".repeat(16_384)), "text", "too_large"),
        ("m2", json!(1), "call", "forbidden"),
        ("m3", json!(1), "no kind", "bad_frame"),
    ] {
        let frame = json!({"t": "send", "id": id, "conv": conv, "kind": kind, "body": body});
        alice.say_text(frame.to_string()).await;
        assert_eq!(alice.answer(id).await.unwrap_err().code.as_str(), code);
    }
    let both = json!({"t": "history", "id": "h", "conv": conv, "before": 1, "after": 1});
    alice.say_text(both.to_string()).await;
    assert_eq!(alice.answer("h").await.unwrap_err().code.as_str(), "bad_frame");
    // Still there.
    assert_eq!(alice.send(&conv, "m4").await.seq, 1);
}

fn bye(said: &[ServerFrame]) -> Option<ByeCode> {
    match said.last() {
        Some(ServerFrame::Bye(bye)) => {
            assert!(bye.retry_ms[0] <= bye.retry_ms[1]);
            Some(bye.code)
        }
        _ => None,
    }
}

#[tokio::test]
async fn a_broken_protocol_ends_the_session() {
    let server = Server::start().await;
    for message in [
        WsMessage::binary(vec![1, 2, 3]),
        WsMessage::text(serde_json::to_string(&hello("alice", "laptop", BTreeMap::new())).unwrap()),
        WsMessage::text(format!("{{\"t\":\"typing\",\"conv\":\"c\",\"x\":\"{}\"}}", "x".repeat(70_000))),
    ] {
        let mut alice = server.client("alice", "laptop").await;
        alice.say_raw(message).await;
        assert_eq!(bye(&alice.until_closed().await), Some(ByeCode::Protocol));
    }
}

#[tokio::test]
async fn the_same_device_again_replaces_itself() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut first = server.client("alice", "laptop").await;
    let mut second = server.client("alice", "laptop").await;
    assert_eq!(bye(&first.until_closed().await), Some(ByeCode::Replaced));
    assert_eq!(second.send(&conv, "m").await.seq, 1);
    assert_eq!(second.message().await.seq, 1);
}

#[tokio::test]
async fn sessions_of_a_user_are_bounded() {
    let mut config = config();
    config.limits.sessions_per_user = 2;
    let server = Server::with(config).await;
    let _one = server.client("alice", "one").await;
    let two = server.client("alice", "two").await;
    let code = refused(&server, greeting(Server::token("alice"), Some("three"), 1)).await;
    assert_eq!(code, ErrorCode::RateLimited);
    let _again = server.client("alice", "two").await;
    drop(two);
    let _other = server.client("bob", "three").await;
}

#[tokio::test]
async fn rates_are_told_with_a_time() {
    let mut config = config();
    config.limits.sends = Rate { per_second: 0.001, burst: 3.0 };
    config.limits.invites = Rate { per_second: 0.001, burst: 1.0 };
    let server = Server::with(config).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    for n in 0..3 {
        alice.send(&conv, &format!("m{n}")).await;
    }
    alice.say_send(&conv, "m3", json!(1)).await;
    let fault = alice.answer("m3").await.unwrap_err();
    assert_eq!(fault.code, ErrorCode::RateLimited);
    assert!(fault.retry_ms.unwrap() > 1_000);
    alice.invite(&conv, "k").await.unwrap();
    alice.cancel("k").await.unwrap();
    // A reconnect does not buy another invitation.
    let mut alice = server.client("alice", "laptop").await;
    assert_eq!(alice.invite(&conv, "l").await.unwrap_err().code, ErrorCode::RateLimited);
}

#[tokio::test]
async fn a_silent_client_is_let_go() {
    let mut config = config();
    config.idle_timeout = Duration::from_millis(30);
    config.ping_interval = Duration::from_secs(600);
    let server = Server::with(config).await;
    let mut alice = server.client("alice", "laptop").await;
    assert_eq!(alice.until_closed().await, []);
}

/// Pongs are signs of life: a client that only listens stays, here for 80 pings, which is twice the idle time.
#[tokio::test]
async fn a_client_that_listens_stays() {
    let mut config = config();
    config.idle_timeout = Duration::from_millis(800);
    config.ping_interval = Duration::from_millis(20);
    let server = Server::with(config).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut bob = server.client("bob", "phone").await;
    bob.pings(80).await;
    server.client("alice", "laptop").await.send(&conv, "m").await;
    assert_eq!(bob.message().await.seq, 1);
}

#[tokio::test]
async fn shutdown_says_goodbye() {
    let server = Server::start().await;
    assert!(server.signaling.is_ready().await);
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    // One that never greets does not hold it up.
    let mut mute = Client::open(server.address, None).await;
    alice.send(&conv, "m").await;
    let (_, alice_said, bob_said, mute_said) = tokio::join!(
        server.signaling.shutdown(),
        alice.until_closed(),
        bob.until_closed(),
        mute.until_closed()
    );
    assert_eq!(bye(&alice_said), Some(ByeCode::Shutdown));
    assert_eq!(bye(&bob_said), Some(ByeCode::Shutdown));
    assert!(
        matches!(mute_said.as_slice(), [ServerFrame::Error(fault)] if fault.code == ErrorCode::Unavailable)
    );
    assert!(!server.signaling.is_ready().await);
    let (status, problem) =
        server.http("GET", "/v1/conversations", Some(&Server::token("alice")), None).await;
    assert_eq!((status, problem["code"].as_str()), (503, Some("unavailable")));
}

#[tokio::test]
async fn another_subprotocol_is_refused() {
    let server = Server::start().await;
    let upgrade = "GET /v1/session HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
                   Sec-WebSocket-Protocol: something.else\r\n\r\n";
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 400");
}

#[tokio::test]
async fn greetings_have_a_rate() {
    let mut config = config();
    config.limits.greetings = Rate { per_second: 0.001, burst: 2.0 };
    let server = Server::with(config).await;
    let _first = server.client("alice", "laptop").await;
    let _second = server.client("alice", "laptop").await;
    let code = refused(&server, greeting(Server::token("alice"), Some("laptop"), 1)).await;
    assert_eq!(code, ErrorCode::RateLimited);
    let _other = server.client("bob", "phone").await;
}
