//! Clients that mean harm, and moments that do it without meaning to.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{io::AsyncWriteExt, net::TcpStream};
use trunkline_signaling::{
    MediaEvent, Place,
    bus::InProcessBus,
    store::{CallRules, SqliteStore, Store},
};
use trunkline_signaling_api::{CallState, EndReason, Party, ServerFrame};
use trunkline_signaling_core::call::{Input, Invitation};
use trunkline_units::{ConversationId, UnixMillis};

use crate::{
    faulty::Faulty,
    support::{AV, Client, PATIENCE, Server, Told, call_id, config, device, hello, user},
};

/// Who leaves a conversation and hangs up before the answer is out of the media all the same.
#[tokio::test]
async fn leaving_without_waiting_for_the_answer_ends_the_media() {
    let store = Arc::new(Faulty::new());
    let mut server = Server::on(config(), store.clone(), Arc::new(InProcessBus::new())).await;
    let conv = server.conversation(&["alice", "bob", "carol"], Some("Group")).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    alice.invite(&conv, "k").await.unwrap();
    bob.accept("k").await.unwrap();
    bob.offer("k", "v=0").await.unwrap();
    assert!(matches!(server.told().await, Told::Offer(..)));
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let request = format!(
        "DELETE /v1/conversations/{}/members/bob HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {}\r\n\r\n",
        conv.as_str(),
        Server::token("bob")
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // The write has begun once the conversation is without bob.
    while store.roster(&conv).await.unwrap().unwrap().heads.len() == 3 {}
    drop(stream);
    // Time enough for the server to see that the connection is gone.
    for _ in 0..50 {
        alice.settle(&conv).await;
    }
    store.removals.add_permits(1);
    while server.told().await != Told::Leave(call_id("k"), user("bob"), device("phone")) {}
}

/// Conversations that make a `welcome` of some forty kilobytes.
async fn many_conversations(server: &Server) -> Vec<ConversationId> {
    let others: Vec<String> = (0..40).map(|n| format!("{n:0>60}")).collect();
    let mut members = vec!["alice", "bob"];
    members.extend(others.iter().map(String::as_str));
    let mut all = Vec::new();
    for n in 0..12 {
        all.push(server.conversation(&members, Some(&format!("{n}"))).await);
    }
    all
}

#[tokio::test]
async fn who_does_not_read_its_welcome_keeps_no_seat() {
    let mut config = config();
    config.write_timeout = Duration::from_millis(50);
    config.limits.sessions = 1;
    let server = Server::narrow(config).await;
    many_conversations(&server).await;
    let mut bob = Client::open(server.address, Some(2_048)).await;
    bob.say(&hello("bob", "phone", BTreeMap::new())).await;
    let seated = async { while !server.takes_sessions().await {} };
    tokio::time::timeout(PATIENCE, seated).await.expect("the seat is never given back");
}

/// A welcome that is read late: what changed meanwhile is told, and who was removed meanwhile hears no more.
#[tokio::test]
async fn what_changes_during_a_greeting() {
    let mut config = config();
    config.limits.conversations_per_user = 5_000;
    let server = Server::narrow(config).await;
    let convs = many_conversations(&server).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = Client::open(server.address, Some(2_048)).await;
    bob.say(&hello("bob", "phone", BTreeMap::new())).await;
    // Its state has been read, and it is told; bob does not listen yet.
    bob.has_bytes().await;
    let path = format!("/v1/conversations/{}/members/bob", convs[0].as_str());
    let (status, _) = server.http("DELETE", &path, Some(&Server::token("alice")), None).await;
    assert_eq!(status, 204);
    let mut last = None;
    for n in 0..600 {
        last = Some(server.conversation(&["alice", "bob"], Some(&format!("new {n}"))).await);
    }
    let last = last.unwrap();
    let is_last = |f: &ServerFrame| matches!(f, ServerFrame::Conversation(h) if h.conv == last).then_some(());
    alice.wait(is_last).await;
    assert!(matches!(bob.next().await, ServerFrame::Welcome(_)));
    bob.wait(is_last).await;
    for conv in [&convs[0], &convs[1]] {
        alice.send(conv, conv.as_str()).await;
    }
    bob.wait(|f| matches!(f, ServerFrame::Message(m) if m.conv == convs[1]).then_some(())).await;
    let secret = |f: &ServerFrame| matches!(f, ServerFrame::Message(m) if m.conv == convs[0]).then_some(());
    assert!(!bob.holds(secret), "a message of a conversation that bob was removed from");
}

#[tokio::test]
async fn a_ring_that_does_not_fit_the_welcome_rings() {
    let store = Arc::new(SqliteStore::open(&Place::Memory).unwrap());
    let server = Server::on(config(), store.clone(), Arc::new(InProcessBus::new())).await;
    let bob = "b".repeat(64);
    let conv = server.conversation(&["alice", &bob], None).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let rules = CallRules { now: UnixMillis(0).after(now), timing: config().timing, legs_max: 128 };
    let from = Party { user: user("alice"), device: device("laptop") };
    let invitation = Invitation { call: call_id("k"), conv, from, media: AV };
    store.invite(invitation, rules).await.unwrap();
    for n in 0..127 {
        let ringing = Party { user: user(&bob), device: device(&format!("{n:0>64}")) };
        store.move_call(&call_id("k"), Input::Ringing(ringing), rules).await.unwrap();
    }
    let mut bob = server.client(&bob, "phone").await;
    assert!(bob.welcome().calls.is_empty());
    assert_eq!(bob.call("k", |_| true).await.state, CallState::Ringing);
    // And it is answered, full of devices as it is.
    bob.accept("k").await.unwrap();
}

#[tokio::test]
async fn an_event_of_the_media_plane_outlives_a_hiccup_of_the_store() {
    let store = Arc::new(Faulty::new());
    let server = Server::on(config(), store.clone(), Arc::new(InProcessBus::new())).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    alice.invite(&conv, "k").await.unwrap();
    bob.accept("k").await.unwrap();
    store.unavailable.store(2, Ordering::SeqCst);
    for (who, on) in [("alice", "laptop"), ("bob", "phone")] {
        let event = MediaEvent::Connected { call: call_id("k"), user: user(who), device: device(on) };
        server.events.send(event).await.unwrap();
    }
    alice.call("k", |c| c.state == CallState::Connected).await;
}

/// A call that cannot be read is not the end of all others' ends.
#[tokio::test]
async fn one_broken_call_does_not_keep_the_others_alive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("signaling.db");
    let mut config = config();
    config.database = Place::File(path.clone());
    config.timing.ring = Duration::from_millis(300);
    let server = Server::with(config).await;
    let broken = server.conversation(&["carol", "dave"], None).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut carol = server.client("carol", "x").await;
    let mut alice = server.client("alice", "laptop").await;
    carol.invite(&broken, "broken").await.unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute("UPDATE call SET state = 99 WHERE id = 'broken'", ()).unwrap();
    alice.invite(&conv, "k").await.unwrap();
    let ended = alice.call("k", |c| c.state == CallState::Ended).await;
    assert_eq!(ended.reason, Some(EndReason::TimedOut));
}
