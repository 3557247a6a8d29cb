//! Calls, as clients see them.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use trunkline_signaling::Place;
use trunkline_signaling_api::{CallState, DeviceState, EndReason, LegState, Media, Message, ServerFrame};
use trunkline_units::ConversationId;

use crate::support::{AV, Client, Server, config, user};

async fn call_message(client: &mut Client) -> Message {
    client
        .wait(|frame| match frame {
            ServerFrame::Message(message) if message.kind == "call" => Some(message.clone()),
            _ => None,
        })
        .await
}

/// alice's laptop, bob's phone and tablet, and their conversation.
async fn three(server: &Server) -> (ConversationId, Client, Client, Client) {
    let conv = server.conversation(&["alice", "bob"], None).await;
    let alice = server.client("alice", "laptop").await;
    let phone = server.client("bob", "phone").await;
    let tablet = server.client("bob", "tablet").await;
    (conv, alice, phone, tablet)
}

#[tokio::test]
async fn ring_accept_and_answered_elsewhere() {
    let server = Server::start().await;
    let (conv, mut alice, mut phone, mut tablet) = three(&server).await;
    let ok = alice.invite(&conv, "k").await.unwrap();
    assert_eq!((ok.call.as_str(), ok.ver), ("k", 1));
    for device in [&mut phone, &mut tablet] {
        let ring = device.call("k", |c| c.state == CallState::Inviting).await;
        assert_eq!((ring.you, ring.caller.user, ring.media), (DeviceState::None, user("alice"), AV));
        device.ring("k").await;
    }
    // The caller learns which devices it reached.
    let ringing =
        alice.call("k", |c| c.legs.iter().filter(|l| l.state == LegState::Ringing).count() == 2).await;
    assert_eq!((ringing.state, ringing.you), (CallState::Ringing, DeviceState::Inviting));
    tablet.accept("k").await.unwrap();
    let elsewhere = phone.call("k", |c| c.you == DeviceState::AnsweredElsewhere).await;
    assert_eq!(elsewhere.state, CallState::Connecting);
    assert_eq!(alice.call("k", |c| c.state == CallState::Connecting).await.you, DeviceState::Joined);
    assert_eq!(phone.accept("k").await.unwrap_err().code.as_str(), "conflict");
    // The same again is the same answer.
    assert!(tablet.accept("k").await.is_ok());
    assert_eq!(alice.invite(&conv, "k").await.unwrap().ver, elsewhere.ver);
    phone.say_media("k", Media { audio: true, video: false }).await;
    tablet.say_media("k", Media { audio: false, video: true }).await;
    let muted = |l: &trunkline_signaling_api::LegView| l.state == LegState::Joined && !l.media.audio;
    alice.call("k", |c| c.legs.iter().any(muted)).await;
    assert_eq!(alice.end("k").await.unwrap().ver, muted_ver(&elsewhere) + 1);
    for client in [&mut alice, &mut phone, &mut tablet] {
        assert_eq!(client.call("k", |c| c.state == CallState::Ended).await.reason, Some(EndReason::Ended));
        let message = call_message(client).await;
        assert_eq!((message.body["outcome"].as_str(), message.id.as_str()), (Some("ended"), "k"));
        assert_eq!(
            (message.body["caller"].as_str(), message.body["video"].as_bool()),
            (Some("alice"), Some(true))
        );
    }
    assert!(tablet.end("k").await.is_ok());
    assert_eq!(tablet.accept("k").await.unwrap_err().code.as_str(), "call_ended");
}

/// One change of media came after this view.
fn muted_ver(view: &trunkline_signaling_api::CallView) -> u64 {
    view.ver + 1
}

#[tokio::test]
async fn decline_and_cancel_stop_every_device() {
    let server = Server::start().await;
    let (conv, mut alice, mut phone, mut tablet) = three(&server).await;
    alice.invite(&conv, "k1").await.unwrap();
    phone.call("k1", |_| true).await;
    phone.decline("k1").await.unwrap();
    for client in [&mut alice, &mut phone, &mut tablet] {
        assert_eq!(
            client.call("k1", |c| c.state == CallState::Ended).await.reason,
            Some(EndReason::Declined)
        );
        assert_eq!(call_message(client).await.body["outcome"], "declined");
    }
    alice.invite(&conv, "k2").await.unwrap();
    tablet.call("k2", |_| true).await;
    assert_eq!(tablet.cancel("k2").await.unwrap_err().code.as_str(), "forbidden");
    alice.cancel("k2").await.unwrap();
    for client in [&mut alice, &mut phone, &mut tablet] {
        assert_eq!(
            client.call("k2", |c| c.state == CallState::Ended).await.reason,
            Some(EndReason::Cancelled)
        );
        assert_eq!(call_message(client).await.body["outcome"], "cancelled");
    }
}

#[tokio::test]
async fn a_missed_call_is_in_the_log_and_never_rings() {
    let mut config = config();
    config.timing.ring = Duration::from_millis(50);
    let server = Server::with(config).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    alice.invite(&conv, "k").await.unwrap();
    let ended = alice.call("k", |c| c.state == CallState::Ended).await;
    assert_eq!(ended.reason, Some(EndReason::TimedOut));
    assert_eq!(call_message(&mut alice).await.seq, 1);
    let mut bob = server.resume("bob", "phone", BTreeMap::from([(conv.clone(), 0)])).await;
    assert!(bob.welcome().calls.is_empty());
    assert_eq!(call_message(&mut bob).await.body["outcome"], "missed");
    bob.settle(&conv).await;
    assert!(!bob.holds(|f| matches!(f, ServerFrame::Call(_)).then_some(())));
}

#[tokio::test]
async fn who_comes_on_line_while_it_rings_is_rung() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    alice.invite(&conv, "k").await.unwrap();
    let mut bob = server.client("bob", "phone").await;
    let ring = bob.welcome().calls[0].clone();
    assert_eq!((ring.call.as_str(), ring.you, ring.state), ("k", DeviceState::None, CallState::Inviting));
    bob.accept("k").await.unwrap();
    alice.call("k", |c| c.state == CallState::Connecting).await;
    // A session that drops does not end the call.
    drop(bob);
    let bob = server.client("bob", "phone").await;
    assert_eq!(bob.welcome().calls[0].you, DeviceState::Joined);
}

#[tokio::test]
async fn glare_joins_both() {
    let server = Server::start().await;
    let (conv, mut alice, mut phone, mut tablet) = three(&server).await;
    // Both before either hears of the other.
    let (a, b) = tokio::join!(alice.invite(&conv, "ka"), phone.invite(&conv, "kb"));
    let (a, b) = (a.unwrap().call, b.unwrap().call);
    assert_eq!(a, b);
    let call = a.as_str();
    for client in [&mut alice, &mut phone] {
        let view = client.call(call, |c| c.state == CallState::Connecting).await;
        assert_eq!(view.you, DeviceState::Joined);
    }
    let part = tablet.call(call, |c| c.state == CallState::Connecting).await.you;
    let elsewhere = if call == "ka" { DeviceState::AnsweredElsewhere } else { DeviceState::None };
    assert_eq!(part, elsewhere);
}

#[tokio::test]
async fn busy_leaves_a_trace() {
    let server = Server::start().await;
    let (conv, mut alice, mut phone, mut tablet) = three(&server).await;
    let with_carol = server.conversation(&["carol", "bob"], None).await;
    let mut carol = server.client("carol", "phone").await;
    alice.invite(&conv, "k").await.unwrap();
    phone.accept("k").await.unwrap();
    carol.invite(&with_carol, "l").await.unwrap();
    let ended = carol.call("l", |_| true).await;
    assert_eq!((ended.state, ended.reason), (CallState::Ended, Some(EndReason::Busy)));
    assert_eq!(call_message(&mut tablet).await.body["outcome"], "busy");
    assert_eq!(tablet.invite(&with_carol, "m").await.unwrap_err().code.as_str(), "busy");
    alice.end("k").await.unwrap();
    tablet.call("k", |c| c.state == CallState::Ended).await;
    assert!(tablet.invite(&with_carol, "m").await.is_ok());
}

#[tokio::test]
async fn a_group_call_is_joined_and_left() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob", "carol"], Some("Group")).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    let mut carol = server.client("carol", "phone").await;
    alice.invite(&conv, "k").await.unwrap();
    bob.call("k", |_| true).await;
    bob.decline("k").await.unwrap();
    let declined = carol.call("k", |c| !c.legs.is_empty() && c.legs.len() == 2).await;
    assert_ne!(declined.state, CallState::Ended);
    carol.accept("k").await.unwrap();
    bob.accept("k").await.unwrap();
    let all = alice.call("k", |c| c.legs.iter().filter(|l| l.state == LegState::Joined).count() == 3).await;
    assert_eq!(all.state, CallState::Connecting);
    // Inviting into a live call joins it; here: is in it already.
    assert_eq!(bob.invite(&conv, "other").await.unwrap().call.as_str(), "k");
    alice.end("k").await.unwrap();
    carol.end("k").await.unwrap();
    let left = bob.call("k", |c| c.legs.iter().filter(|l| l.state == LegState::Left).count() == 2).await;
    assert_ne!(left.state, CallState::Ended);
    bob.end("k").await.unwrap();
    assert_eq!(alice.call("k", |c| c.state == CallState::Ended).await.reason, Some(EndReason::Ended));
    assert_eq!(call_message(&mut alice).await.seq, 1);
}

#[tokio::test]
async fn a_third_who_is_added_may_join() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    let mut carol = server.client("carol", "phone").await;
    alice.invite(&conv, "k").await.unwrap();
    bob.accept("k").await.unwrap();
    let path = format!("/v1/conversations/{}/members", conv.as_str());
    server.http("POST", &path, Some(&Server::token("alice")), Some(json!({"user": "carol"}))).await;
    assert_eq!(carol.call("k", |_| true).await.you, DeviceState::None);
    carol.accept("k").await.unwrap();
    bob.end("k").await.unwrap();
    let two = alice.call("k", |c| c.legs.iter().filter(|l| l.state == LegState::Joined).count() == 2).await;
    assert_ne!(two.state, CallState::Ended);
    server.http("DELETE", &format!("{path}/carol"), Some(&Server::token("alice")), None).await;
    assert_eq!(alice.call("k", |c| c.state == CallState::Ended).await.reason, Some(EndReason::Ended));
}

#[tokio::test]
async fn strangers_learn_nothing_of_a_call() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut mallory = server.client("mallory", "x").await;
    alice.invite(&conv, "k").await.unwrap();
    for answer in [
        mallory.accept("k").await,
        mallory.decline("k").await,
        mallory.cancel("k").await,
        mallory.end("k").await,
        mallory.accept("none").await,
        mallory.invite(&conv, "l").await,
    ] {
        assert_eq!(answer.unwrap_err().code.as_str(), "not_found");
    }
    assert_eq!(mallory.offer("k", "v=0").await.unwrap_err().code.as_str(), "not_found");
    mallory.ring("k").await;
    assert_eq!(alice.cancel("k").await.unwrap().ver, 2);
}

#[tokio::test]
async fn a_call_with_a_stale_lease_ends_when_the_server_starts() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.database = Place::File(folder.path().join("signaling.db"));
    let server = Server::with(config.clone()).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let stale = server.conversation(&["carol", "dave"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    alice.invite(&conv, "live").await.unwrap();
    bob.accept("live").await.unwrap();
    server.stop().await;

    // As if the server had been away for longer than the lease.
    let mut brief = config.clone();
    brief.timing.lease = Duration::from_millis(1);
    brief.timing.rejoin = Duration::from_millis(1);
    let server = Server::with(brief.clone()).await;
    let mut carol = server.client("carol", "x").await;
    let mut dave = server.client("dave", "x").await;
    carol.invite(&stale, "stale").await.unwrap();
    let _ = dave.accept("stale").await;
    let ended = carol.call("stale", |c| c.state == CallState::Ended).await;
    assert_eq!(ended.reason, Some(EndReason::Failed));
    server.stop().await;

    let server = Server::with(config).await;
    let mut alice = server.resume("alice", "laptop", BTreeMap::from([(conv, 0)])).await;
    assert!(alice.welcome().calls.is_empty());
    assert_eq!(call_message(&mut alice).await.body["outcome"], "failed");
}
