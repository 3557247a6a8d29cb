//! Between calls and the media plane: who may offer, what is passed on, what a lost transport does.

use std::time::Duration;

use trunkline_signaling::{MediaEvent, Place, SlotAssignment, SlotView};
use trunkline_signaling_api::{CallState, ClientFrame, EndReason, LegState, MediaView, ServerFrame, Slots};
use trunkline_units::ConversationId;

use crate::support::{Client, Server, Told, call_id, config, device, user};

async fn accepted(server: &Server) -> (ConversationId, Client, Client) {
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    alice.invite(&conv, "k").await.unwrap();
    bob.accept("k").await.unwrap();
    (conv, alice, bob)
}

fn connected(who: &str, on: &str) -> MediaEvent {
    MediaEvent::Connected { call: call_id("k"), user: user(who), device: device(on) }
}

fn gone(who: &str, on: &str) -> MediaEvent {
    MediaEvent::Gone { call: call_id("k"), user: user(who), device: device(on), why: "consent".into() }
}

async fn slots(client: &mut Client) -> Slots {
    client.wait(|f| if let ServerFrame::Slots(slots) = f { Some(slots.clone()) } else { None }).await
}

#[tokio::test]
async fn nobody_offers_before_accept_or_after_the_end() {
    let mut server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    alice.invite(&conv, "k").await.unwrap();
    bob.ring("k").await;
    alice.call("k", |c| c.state == CallState::Ringing).await;
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.offer("k", "v=0").await.unwrap_err().code.as_str(), "not_joined");
    }
    bob.accept("k").await.unwrap();
    assert_eq!(alice.offer("k", "v=0").await.unwrap(), "answer to v=0");
    assert_eq!(server.told().await, Told::Offer(call_id("k"), user("alice"), device("laptop")));
    assert_eq!(bob.offer("k", "bad").await.unwrap_err().code.as_str(), "bad_sdp");
    server.told().await;
    let full = bob.offer("k", "full").await.unwrap_err();
    assert_eq!((full.code.as_str(), full.retry_ms.is_some()), ("unavailable", true));
    server.told().await;
    // Another device of theirs is not in it.
    let mut tablet = server.client("bob", "tablet").await;
    assert_eq!(tablet.offer("k", "v=0").await.unwrap_err().code.as_str(), "not_joined");
    alice.end("k").await.unwrap();
    let mut told = vec![server.told().await, server.told().await, server.told().await];
    assert_eq!(told.pop(), Some(Told::Close(call_id("k"))));
    assert!(told.contains(&Told::Leave(call_id("k"), user("bob"), device("phone"))));
    assert_eq!(bob.offer("k", "v=0").await.unwrap_err().code.as_str(), "call_ended");
}

#[tokio::test]
async fn connected_when_two_have_media() {
    let server = Server::start().await;
    let (_, mut alice, mut bob) = accepted(&server).await;
    server.events.send(connected("alice", "laptop")).await.unwrap();
    server.events.send(connected("bob", "phone")).await.unwrap();
    for client in [&mut alice, &mut bob] {
        client.call("k", |c| c.state == CallState::Connected).await;
    }
}

#[tokio::test]
async fn views_and_slots_pass() {
    let mut server = Server::start().await;
    let (conv, mut alice, bob) = accepted(&server).await;
    let view = vec![SlotView { slot: 0, width: 640, height: 360 }];
    let frame = ClientFrame::MediaView(MediaView { call: call_id("k"), slots: view.clone() });
    // Before an offer there is nothing to look at.
    alice.say(&frame).await;
    alice.offer("k", "v=0").await.unwrap();
    assert!(matches!(server.told().await, Told::Offer(..)));
    alice.say(&frame).await;
    assert_eq!(server.told().await, Told::View(call_id("k"), user("alice"), view));
    let assignment = SlotAssignment {
        slot: 0,
        mid_audio: Some("2".into()),
        mid_video: None,
        user: Some(user("bob")),
        device: Some(device("phone")),
    };
    let event = MediaEvent::Slots {
        call: call_id("k"),
        user: user("alice"),
        device: device("laptop"),
        slots: vec![assignment.clone()],
    };
    server.events.send(event).await.unwrap();
    assert_eq!(slots(&mut alice).await.slots, std::slice::from_ref(&assignment));
    // A session that comes back is told again.
    drop(alice);
    let mut alice = server.client("alice", "laptop").await;
    assert_eq!(slots(&mut alice).await.slots, [assignment]);
    alice.settle(&conv).await;
    drop(bob);
}

#[tokio::test]
async fn a_lost_transport_may_come_back_or_the_leg_leaves() {
    let mut config = config();
    config.timing.rejoin = Duration::from_millis(50);
    let server = Server::with(config).await;
    let (_, mut alice, mut bob) = accepted(&server).await;
    for (who, on) in [("alice", "laptop"), ("bob", "phone")] {
        server.events.send(connected(who, on)).await.unwrap();
    }
    bob.call("k", |c| c.state == CallState::Connected).await;
    server.events.send(gone("bob", "phone")).await.unwrap();
    bob.wait(|f| if let ServerFrame::MediaGone(gone) = f { Some(gone.call.clone()) } else { None }).await;
    let ended = alice.call("k", |c| c.state == CallState::Ended).await;
    assert_eq!(ended.reason, Some(EndReason::Ended));
    assert!(ended.legs.iter().all(|leg| leg.state == LegState::Left));
}

#[tokio::test]
async fn a_session_that_comes_back_is_told_that_its_transport_is_gone() {
    let mut server = Server::start().await;
    let (_, mut alice, mut bob) = accepted(&server).await;
    for (who, on) in [("alice", "laptop"), ("bob", "phone")] {
        server.events.send(connected(who, on)).await.unwrap();
    }
    alice.call("k", |c| c.state == CallState::Connected).await;
    bob.call("k", |c| c.state == CallState::Connected).await;
    drop(bob);
    server.events.send(gone("bob", "phone")).await.unwrap();
    // Followed once a later event is.
    let event = connected("mallory", "x");
    server.events.send(event).await.unwrap();
    assert_eq!(server.told().await, Told::Leave(call_id("k"), user("mallory"), device("x")));
    let mut bob = server.client("bob", "phone").await;
    bob.wait(|f| if let ServerFrame::MediaGone(gone) = f { Some(gone.call.clone()) } else { None }).await;
}

#[tokio::test]
async fn a_call_without_signs_of_life_ends() {
    let mut config = config();
    config.timing.lease = Duration::from_millis(100);
    let mut server = Server::with(config).await;
    let (_, mut alice, mut bob) = accepted(&server).await;
    for (who, on) in [("alice", "laptop"), ("bob", "phone")] {
        server.events.send(connected(who, on)).await.unwrap();
    }
    for client in [&mut alice, &mut bob] {
        let ended = client.call("k", |c| c.state == CallState::Ended).await;
        assert!(matches!(ended.reason, Some(EndReason::Ended | EndReason::Failed)));
    }
    loop {
        if server.told().await == Told::Close(call_id("k")) {
            break;
        }
    }
    // Media that goes on all the same is ended.
    server.events.send(MediaEvent::Alive { call: call_id("k") }).await.unwrap();
    assert_eq!(server.told().await, Told::Close(call_id("k")));
}

#[tokio::test]
async fn after_a_restart_the_joined_offer_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.database = Place::File(folder.path().join("signaling.db"));
    let server = Server::with(config.clone()).await;
    let (_, mut alice, bob) = accepted(&server).await;
    for (who, on) in [("alice", "laptop"), ("bob", "phone")] {
        server.events.send(connected(who, on)).await.unwrap();
    }
    alice.call("k", |c| c.state == CallState::Connected).await;
    drop((alice, bob));
    server.stop().await;
    let server = Server::with(config).await;
    for (who, on) in [("alice", "laptop"), ("bob", "phone")] {
        let mut client = server.client(who, on).await;
        assert_eq!(client.welcome().calls[0].state, CallState::Connected);
        client
            .wait(|f| if let ServerFrame::MediaGone(gone) = f { Some(gone.call.clone()) } else { None })
            .await;
        assert!(client.offer("k", "v=0").await.is_ok());
    }
}
