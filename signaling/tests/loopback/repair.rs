//! A bus that loses every hint: the store is the record, so nothing is lost, only late.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use trunkline_signaling::{
    Place,
    bus::{Bus, Heard, Hint, Listener},
    store::SqliteStore,
};
use trunkline_signaling_api::{CallState, LegState, ServerFrame};

use crate::support::{Server, config};

struct Deaf;

#[async_trait]
impl Listener for Deaf {
    async fn next(&mut self) -> Option<Heard> {
        std::future::pending().await
    }
}

impl Bus for Deaf {
    fn publish(&self, _: Hint) {}

    fn listen(&self) -> Box<dyn Listener> {
        Box::new(Deaf)
    }
}

async fn deaf_server() -> Server {
    let mut config = config();
    config.repair_interval = Duration::from_millis(10);
    let store = Arc::new(SqliteStore::open(&Place::Memory).unwrap());
    Server::on(config, store, Arc::new(Deaf)).await
}

#[tokio::test]
async fn messages_calls_and_members_are_found() {
    let server = deaf_server().await;
    let mut bob = server.client("bob", "phone").await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    // Bob hears of a conversation that did not exist when he came.
    bob.wait(|f| matches!(f, ServerFrame::Conversation(head) if head.conv == conv).then_some(())).await;
    let mut alice = server.client("alice", "laptop").await;
    for seq in 1..=3 {
        alice.send(&conv, &format!("m{seq}")).await;
        assert_eq!(bob.message().await.seq, seq);
    }
    alice.invite(&conv, "k").await.unwrap();
    bob.call("k", |_| true).await;
    bob.accept("k").await.unwrap();
    alice.call("k", |c| c.state == CallState::Connecting).await;
    let mut carol = server.client("carol", "phone").await;
    let path = format!("/v1/conversations/{}/members", conv.as_str());
    server.http("POST", &path, Some(&Server::token("alice")), Some(json!({"user": "carol"}))).await;
    carol.call("k", |_| true).await;
    carol.accept("k").await.unwrap();
    bob.call("k", |c| c.legs.iter().filter(|l| l.state == LegState::Joined).count() == 3).await;
    for client in [&mut alice, &mut bob, &mut carol] {
        client.end("k").await.unwrap();
    }
    bob.wait(|f| matches!(f, ServerFrame::Message(m) if m.kind == "call").then_some(())).await;
    bob.call("k", |c| c.state == CallState::Ended).await;
}
