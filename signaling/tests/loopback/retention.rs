//! How long a conversation keeps its messages, as clients say and see it.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use trunkline_signaling::{
    Place,
    bus::InProcessBus,
    store::{NewMessage, SqliteStore, Store},
};
use trunkline_signaling_api::{Party, ServerFrame};
use trunkline_units::{ConversationId, MessageId, UnixMillis};

use crate::{
    grants::photo,
    support::{PATIENCE, Server, attachment_id, config, device, user},
};

fn retention(conv: &ConversationId) -> String {
    format!("/v1/conversations/{}/retention", conv.as_str())
}

#[tokio::test]
async fn members_are_told_how_long() {
    let server = Server::start().await;
    let conv = server.conversation(&["alice", "bob"], Some("Group")).await;
    let mut bob = server.client("bob", "phone").await;
    assert_eq!(bob.welcome().heads[0].retention_s, None);
    let put = async |who: &str, body: Value| {
        server.http("PUT", &retention(&conv), Some(&Server::token(who)), Some(body)).await
    };
    let (status, head) = put("alice", json!({"seconds": 604_800})).await;
    assert_eq!((status, &head["retention_s"], &head["conv"]), (200, &json!(604_800), &json!(conv)));
    let told = |seconds: u64| {
        let conv = &conv;
        move |f: &ServerFrame| match f {
            ServerFrame::Conversation(head) if head.conv == *conv => {
                (head.retention_s == Some(seconds)).then_some(())
            }
            _ => None,
        }
    };
    bob.wait(told(604_800)).await;
    put("alice", json!({"seconds": 86_400})).await;
    bob.wait(told(86_400)).await;
    let (status, head) = put("alice", json!({"seconds": null})).await;
    assert_eq!((status, head.get("retention_s")), (200, None));
    for (who, body, status, code) in [
        ("bob", json!({"seconds": 60}), 403, "forbidden"),
        ("mallory", json!({"seconds": 60}), 404, "not_found"),
        ("alice", json!({"seconds": 59}), 400, "bad_frame"),
        ("alice", json!({"seconds": 315_360_001}), 400, "bad_frame"),
        ("alice", json!({"seconds": u64::MAX}), 400, "bad_frame"),
        ("alice", json!({"seconds": -60}), 400, "bad_frame"),
        ("alice", json!({"seconds": "60"}), 400, "bad_frame"),
        ("alice", json!({}), 400, "bad_frame"),
    ] {
        let (got, problem) = put(who, body).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
    let head = server.client("bob", "tablet").await.welcome().heads[0].clone();
    assert_eq!(head.retention_s, None);
}

/// Where the server keeps everything, a conversation that does not is shortened all the same, attachments included.
#[tokio::test]
async fn the_sweeper_runs_without_a_retention_of_the_servers() {
    let store = Arc::new(SqliteStore::open(&Place::Memory).unwrap());
    let server = Server::on(config(), store.clone(), Arc::new(InProcessBus::new())).await;
    let conv = server.conversation(&["alice", "bob"], None).await;
    store.offer_attachment(&conv, &user("alice"), photo("x"), UnixMillis(1)).await.unwrap();
    store
        .append(NewMessage {
            conv: conv.clone(),
            from: Party { user: user("alice"), device: device("laptop") },
            id: MessageId::new("old").unwrap(),
            kind: "text".into(),
            body: "1".into(),
            attachments: vec![attachment_id("x")],
            // Long ago.
            at: UnixMillis(1),
        })
        .await
        .unwrap();
    server.client("alice", "laptop").await.send(&conv, "new").await;
    let body = Some(json!({"seconds": 86_400}));
    assert_eq!(server.http("PUT", &retention(&conv), Some(&Server::token("bob")), body).await.0, 200);
    server.stop().await;

    let server = Server::on(config(), store.clone(), Arc::new(InProcessBus::new())).await;
    let swept = async {
        loop {
            let heads = store.session_state(&user("bob"), 9).await.unwrap().heads;
            if heads[0].min_seq == 2 {
                return heads[0].last_seq;
            }
        }
    };
    let last_seq = tokio::time::timeout(PATIENCE, swept).await.expect("nothing was swept");
    assert_eq!(last_seq, 2);
    // Its grace begins with the end of the message.
    let references = server.signaling.references();
    let before = UnixMillis(UnixMillis::FAR.0).before(Duration::from_millis(1));
    assert!(references.take_unreferenced(UnixMillis(1_000), 9).await.unwrap().is_empty());
    assert_eq!(references.take_unreferenced(before, 9).await.unwrap(), [attachment_id("x")]);
    let mut bob = server.resume("bob", "phone", [(conv, 0)].into()).await;
    assert!(matches!(bob.next().await, ServerFrame::Gap(gap) if (gap.from, gap.to) == (1, 1)));
    assert_eq!(bob.message().await.seq, 2);
}
