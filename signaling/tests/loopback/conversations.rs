//! Making conversations, over REST; and what sessions hear of it.

use std::collections::BTreeMap;

use serde_json::json;
use trunkline_signaling_api::{Head, ServerFrame};
use trunkline_units::ConversationId;

use crate::support::{Client, Server, user};

async fn conversation_frame(client: &mut Client, conv: &ConversationId, members: usize) -> Head {
    client
        .wait(|frame| match frame {
            ServerFrame::Conversation(head) if head.conv == *conv && head.members.len() == members => {
                Some(head.clone())
            }
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_pair_has_one_and_both_hear_of_it() {
    let server = Server::start().await;
    let mut bob = server.client("bob", "phone").await;
    assert!(bob.welcome().heads.is_empty());
    let (alice, body) = (Server::token("alice"), json!({"members": ["bob"]}));
    let (status, head) = server.http("POST", "/v1/conversations", Some(&alice), Some(body)).await;
    assert_eq!(status, 201);
    let conv = serde_json::from_value::<Head>(head).unwrap().conv;
    let heard = conversation_frame(&mut bob, &conv, 2).await;
    assert_eq!((heard.last_seq, heard.min_seq), (0, 1));
    let body = json!({"members": ["alice", "bob"]});
    let (status, again) =
        server.http("POST", "/v1/conversations", Some(&Server::token("bob")), Some(body)).await;
    assert_eq!((status, again["conv"].as_str()), (200, Some(conv.as_str())));
    let (status, list) = server.http("GET", "/v1/conversations", Some(&alice), None).await;
    assert_eq!((status, list["heads"].as_array().unwrap().len()), (200, 1));
}

#[tokio::test]
async fn members_come_and_go() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    let mut carol = server.client("carol", "phone").await;
    alice.send(&conv, "before").await;
    let path = format!("/v1/conversations/{}/members", conv.as_str());
    let body = json!({"user": "carol"});
    let (status, _) = server.http("POST", &path, Some(&Server::token("alice")), Some(body.clone())).await;
    assert_eq!(status, 200);
    let head = conversation_frame(&mut carol, &conv, 3).await;
    assert_eq!((head.last_seq, head.min_seq), (1, 2));
    conversation_frame(&mut bob, &conv, 3).await;
    // A newcomer gets what is said from now on, and nothing before.
    alice.send(&conv, "welcome").await;
    assert_eq!(carol.message().await.seq, 2);
    assert_eq!(carol.history(&conv, None, Some(0)).await.messages.len(), 1);
    let (status, problem) =
        server.http("POST", &path, Some(&Server::token("bob")), Some(json!({"user": "dave"}))).await;
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden")));

    let (status, _) =
        server.http("DELETE", &format!("{path}/carol"), Some(&Server::token("alice")), None).await;
    assert_eq!(status, 204);
    let last = conversation_frame(&mut carol, &conv, 2).await;
    assert!(last.members.iter().all(|member| member.user != user("carol")));
    conversation_frame(&mut alice, &conv, 2).await;
    alice.send(&conv, "without-carol").await;
    bob.wait(|f| matches!(f, ServerFrame::Message(m) if m.seq == 3).then_some(())).await;
    carol.say_send(&conv, "m", json!(1)).await;
    assert_eq!(carol.answer("m").await.unwrap_err().code.as_str(), "not_member");
    assert!(!carol.holds(|f| matches!(f, ServerFrame::Message(m) if m.seq == 3).then_some(())));
}

#[tokio::test]
async fn who_resumes_after_joining_is_told_of_the_gap() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    for n in 0..3 {
        alice.send(&conv, &format!("m{n}")).await;
    }
    let path = format!("/v1/conversations/{}/members", conv.as_str());
    server.http("POST", &path, Some(&Server::token("bob")), Some(json!({"user": "carol"}))).await;
    alice.send(&conv, "m3").await;
    let mut carol = server.resume("carol", "phone", BTreeMap::from([(conv, 0)])).await;
    match carol.next().await {
        ServerFrame::Gap(gap) => assert_eq!((gap.from, gap.to), (1, 3)),
        other => panic!("{other:?}"),
    }
    assert_eq!(carol.message().await.seq, 4);
}

#[tokio::test]
async fn problems_have_their_form() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let messages = format!("/v1/conversations/{}/messages", conv.as_str());
    let mallory = Server::token("mallory");
    let cases = [
        ("GET", "/v1/conversations", None, None, 401, "bad_token"),
        ("GET", "/v1/conversations", Some("x.y.z"), None, 401, "bad_token"),
        ("GET", &messages, Some(&mallory), None, 403, "not_member"),
        ("GET", "/v1/conversations/nowhere/messages", Some(&mallory), None, 403, "not_member"),
        ("GET", "/v1/conversations/a%20b/messages", Some(&mallory), None, 400, "bad_id"),
        ("GET", "/v1/conversations/c/messages?before=x", Some(&mallory), None, 400, "bad_frame"),
        ("GET", "/v1/conversations/c/messages?before=1&after=1", Some(&mallory), None, 400, "bad_frame"),
        ("POST", "/v1/conversations", Some(&mallory), Some(json!({"members": ["a b"]})), 400, "bad_id"),
        ("POST", "/v1/conversations", Some(&mallory), Some(json!({"members": 7})), 400, "bad_frame"),
        (
            "POST",
            "/v1/conversations",
            Some(&mallory),
            Some(json!({"members": [], "title": ""})),
            400,
            "bad_frame",
        ),
        (
            "POST",
            "/v1/conversations/nowhere/members",
            Some(&mallory),
            Some(json!({"user": "a"})),
            404,
            "not_found",
        ),
        ("DELETE", "/v1/conversations/nowhere/members/a", Some(&mallory), None, 404, "not_found"),
    ];
    for (method, path, token, body, status, code) in cases {
        let (got, problem) = server.http(method, path, token, body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{method} {path}: {problem}");
        assert_eq!(problem["status"], status);
    }
    let (head, _) = server.raw_http("GET", "/v1/conversations", "", "").await;
    let head = head.to_lowercase();
    assert!(head.contains("application/problem+json") && head.contains("www-authenticate: bearer"), "{head}");
}

#[tokio::test]
async fn demo_logins_only_where_they_are_on() {
    let server = Server::start().await;
    let body = json!({"user": "alice", "device": "laptop"});
    let (status, answer) = server.http("POST", "/v1/demo/login", None, Some(body.clone())).await;
    assert_eq!(status, 200);
    let (status, _) = server.http("GET", "/v1/conversations", answer["token"].as_str(), None).await;
    assert_eq!(status, 200);
    let mut config = crate::support::config();
    config.demo_logins = false;
    let server = Server::with(config).await;
    let (status, _) = server.http("POST", "/v1/demo/login", None, Some(body)).await;
    assert_eq!(status, 404);
}
