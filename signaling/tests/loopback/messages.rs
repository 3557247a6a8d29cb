//! Delivery: order, resumption, resends, pages, receipts, slow readers.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::json;
use trunkline_signaling::{
    Place,
    bus::InProcessBus,
    store::{SqliteStore, Store},
};
use trunkline_signaling_api::{Ack, ClientFrame, Read, Receipt, ServerFrame, Typing};

use crate::support::{Client, Server, config, hello, user};

#[tokio::test]
async fn a_message_reaches_every_device_of_every_member() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut tablet = server.client("alice", "tablet").await;
    let mut bob = server.client("bob", "phone").await;
    let mut mallory = server.client("mallory", "phone").await;
    assert_eq!(bob.welcome().heads[0].conv, conv);
    assert_eq!(bob.welcome().limits.body_bytes, 16_384);
    let ok = alice.send(&conv, "m1").await;
    assert_eq!(ok.seq, 1);
    for client in [&mut alice, &mut tablet, &mut bob] {
        let message = client.message().await;
        assert_eq!((message.seq, message.id.as_str(), message.at), (1, "m1", ok.at));
        assert_eq!((message.user, message.body), (user("alice"), json!({"text": "m1"})));
    }
    mallory.say_send(&conv, "m1", json!(1)).await;
    assert_eq!(mallory.answer("m1").await.unwrap_err().code.as_str(), "not_member");
}

#[tokio::test]
async fn a_resend_has_one_place() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut bob = server.client("bob", "phone").await;
    let mut alice = server.client("alice", "laptop").await;
    let first = alice.send(&conv, "m1").await;
    drop(alice);
    let mut alice = server.client("alice", "laptop").await;
    assert_eq!(alice.send(&conv, "m1").await, first);
    assert_eq!(alice.send(&conv, "m2").await.seq, 2);
    assert_eq!(bob.message().await.seq, 1);
    assert_eq!(bob.message().await.seq, 2);
}

#[tokio::test]
async fn a_burst_keeps_its_order() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    for n in 0..300 {
        alice.say_send(&conv, &format!("a{n}"), json!(n)).await;
        bob.say_send(&conv, &format!("b{n}"), json!(n)).await;
    }
    let mut next = BTreeMap::from([(user("alice"), 0), (user("bob"), 0)]);
    for seq in 1..=600 {
        let message = bob.message().await;
        assert_eq!(message.seq, seq);
        let n = next.get_mut(&message.user).unwrap();
        assert_eq!(message.body, *n);
        *n += 1;
    }
    for n in 0..300 {
        alice.answer(&format!("a{n}")).await.unwrap();
    }
}

#[tokio::test]
async fn who_comes_back_gets_what_it_missed_then_what_comes() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let other = server.conversation(&["alice", "bob"], Some("Other")).await;
    let mut alice = server.client("alice", "laptop").await;
    for n in 1..=250 {
        alice.say_send(&conv, &format!("m{n}"), json!(n)).await;
    }
    alice.answer("m250").await.unwrap();
    alice.send(&other, "o1").await;
    let mut bob = server.resume("bob", "phone", BTreeMap::from([(conv.clone(), 17)])).await;
    let head = |c| bob.welcome().heads.iter().find(|h| h.conv == c).unwrap().last_seq;
    assert_eq!((head(conv.clone()), head(other.clone())), (250, 1));
    alice.send(&conv, "m251").await;
    alice.send(&other, "o2").await;
    let mut expected = 18;
    let mut live = 0;
    while expected <= 251 || live == 0 {
        let message = bob.message().await;
        if message.conv == other {
            // Not named: not replayed, but live.
            assert_eq!(message.seq, 2);
            live += 1;
        } else {
            assert_eq!(message.seq, expected);
            expected += 1;
        }
    }
    // A cursor beyond the log is current; one of a conversation that is none of bob's is ignored.
    drop(bob);
    let nowhere = trunkline_units::ConversationId::new("nowhere").unwrap();
    let cursors = BTreeMap::from([(conv.clone(), 9_000), (nowhere, 1)]);
    let mut bob = server.resume("bob", "phone", cursors).await;
    alice.send(&conv, "m252").await;
    assert_eq!(bob.message().await.seq, 252);
}

#[tokio::test]
async fn what_was_acknowledged_survives_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.database = Place::File(folder.path().join("signaling.db"));
    let server = Server::with(config.clone()).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    for n in 1..=20 {
        alice.send(&conv, &format!("m{n}")).await;
    }
    server.stop().await;
    let server = Server::with(config).await;
    let mut alice = server.client("alice", "laptop").await;
    assert_eq!(alice.send(&conv, "m20").await.seq, 20);
    assert_eq!(alice.send(&conv, "m21").await.seq, 21);
    let mut bob = server.resume("bob", "phone", BTreeMap::from([(conv, 0)])).await;
    for seq in 1..=21 {
        assert_eq!(bob.message().await.seq, seq);
    }
}

#[tokio::test]
async fn pages_go_both_ways_and_fit_a_frame() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    for n in 1..=12 {
        alice.say_send(&conv, &format!("m{n}"), json!({"text": "x".repeat(12_000)})).await;
    }
    alice.answer("m12").await.unwrap();
    let mut bob = server.client("bob", "phone").await;
    let newest = bob.history(&conv, None, None).await;
    assert!(newest.more && newest.messages.len() < 12);
    assert_eq!(newest.messages.last().unwrap().seq, 12);
    let mut seen: Vec<u64> = Vec::new();
    let mut after = 0;
    loop {
        let page = bob.history(&conv, None, Some(after)).await;
        seen.extend(page.messages.iter().map(|m| m.seq));
        after = *seen.last().unwrap();
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, (1..=12).collect::<Vec<_>>());
    let path = format!("/v1/conversations/{}/messages?before=4&limit=2", conv.as_str());
    let (status, page) = server.http("GET", &path, Some(&Server::token("bob")), None).await;
    let seqs: Vec<_> =
        page["messages"].as_array().unwrap().iter().map(|m| m["seq"].as_u64().unwrap()).collect();
    assert_eq!((status, seqs, page["more"].as_bool()), (200, vec![2, 3], Some(true)));
}

async fn receipt(client: &mut Client, of: &str, at_least: (u64, u64)) -> Receipt {
    client
        .wait(|frame| match frame {
            ServerFrame::Receipt(r)
                if r.user == user(of) && r.delivered >= at_least.0 && r.read >= at_least.1 =>
            {
                Some(r.clone())
            }
            _ => None,
        })
        .await
}

#[tokio::test]
async fn receipts_and_typing() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    let mut bob = server.client("bob", "phone").await;
    alice.send(&conv, "m1").await;
    alice.send(&conv, "m2").await;
    bob.say(&ClientFrame::Typing(Typing { conv: conv.clone() })).await;
    let typing = alice.wait(|f| if let ServerFrame::Typing(t) = f { Some(t.clone()) } else { None }).await;
    assert_eq!(typing.user, user("bob"));
    bob.say(&ClientFrame::Ack(Ack { conv: conv.clone(), seq: 2 })).await;
    let got = receipt(&mut alice, "bob", (2, 0)).await;
    assert_eq!((got.delivered, got.read), (2, 0));
    bob.say(&ClientFrame::Read(Read { conv: conv.clone(), seq: 1 })).await;
    let got = receipt(&mut alice, "bob", (2, 1)).await;
    assert_eq!((got.delivered, got.read), (2, 1));
    // Beyond the log, and back: neither.
    bob.say(&ClientFrame::Read(Read { conv: conv.clone(), seq: 99 })).await;
    assert_eq!(receipt(&mut alice, "bob", (2, 2)).await.read, 2);
    bob.say(&ClientFrame::Read(Read { conv: conv.clone(), seq: 1 })).await;
    bob.settle(&conv).await;
    let head = server.client("alice", "tablet").await.welcome().heads[0].clone();
    let marks: Vec<_> = head.members.iter().map(|m| (m.delivered, m.read)).collect();
    assert_eq!(marks, [(2, 2), (2, 2)]);
}

#[tokio::test]
async fn who_does_not_read_is_told_that_it_is_behind() {
    let mut config = config();
    config.limits.queue_bytes = 64 * 1_024;
    let server = Server::with(config).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    // A small window, so that the kernel holds little of what bob does not read.
    let mut bob = Client::open(server.address, Some(4_096)).await;
    bob.say(&hello("bob", "phone", BTreeMap::from([(conv.clone(), 0)]))).await;
    assert!(matches!(bob.next().await, ServerFrame::Welcome(_)));
    let mut alice = server.client("alice", "laptop").await;
    let total: u64 = 700;
    let text = "x".repeat(15_000);
    for n in 1..=total {
        alice.say_send(&conv, &format!("m{n}"), json!({"text": text, "n": n})).await;
        // Also reads what comes back: alice is not slow.
        assert_eq!(alice.message().await.seq, n);
    }
    let mut held = 0;
    let mut behind = false;
    while held < total {
        match bob.next().await {
            ServerFrame::Message(message) => {
                assert!(message.seq <= held + 1 || behind, "a silent gap: {held}, then {}", message.seq);
                held = held.max(message.seq);
            }
            ServerFrame::Behind {} => {
                behind = true;
                while held < total {
                    let page = bob.history(&conv, None, Some(held)).await;
                    for message in page.messages {
                        assert_eq!(message.seq, held + 1);
                        held = message.seq;
                    }
                }
            }
            _ => {}
        }
    }
    assert!(behind, "ten megabytes fit a queue of 64 KiB");
    // Live again.
    alice.send(&conv, "after").await;
    bob.wait(|f| matches!(f, ServerFrame::Message(m) if m.seq == total + 1).then_some(())).await;
}

#[tokio::test]
async fn what_expired_is_told_as_a_gap() {
    let mut config = config();
    config.retention = Some(Duration::from_secs(60));
    let store = Arc::new(SqliteStore::open(&Place::Memory).unwrap());
    let server = Server::on(config, store.clone(), Arc::new(InProcessBus::new())).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    let mut alice = server.client("alice", "laptop").await;
    for n in 1..=3 {
        alice.send(&conv, &format!("m{n}")).await;
    }
    // Their time is over.
    assert_eq!(store.expire(trunkline_units::UnixMillis::FAR, Some(Duration::ZERO), 100).await.unwrap(), 3);
    alice.send(&conv, "m4").await;
    let mut bob = server.resume("bob", "phone", BTreeMap::from([(conv, 1)])).await;
    assert_eq!((bob.welcome().heads[0].min_seq, bob.welcome().heads[0].last_seq), (4, 4));
    assert!(matches!(bob.next().await, ServerFrame::Gap(gap) if (gap.from, gap.to) == (2, 3)));
    assert_eq!(bob.message().await.seq, 4);
}
