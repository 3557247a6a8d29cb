//! Nothing acknowledged is lost: the real binary, killed with -9 fifty times under load, and the log read afterwards.
//!
//! A killed process proves the order of `ok` and commit, resending and resumption. It does not prove the fsync: the
//! kernel keeps written pages when only the process dies. It was seen to fail with `ok` sent before the commit (the
//! listener meets a number again) and with the idempotency look-up left out (a message stands twice).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::random::Random;
use crate::server::{DataDir, Server, Session, http, token};

const KILLS: usize = 50;

/// Messages that may be on their way at a time.
const WINDOW: usize = 24;

/// Acknowledgements in one life of the server before it is killed: from, and how many more at most.
const ACKS: (u64, u64) = (5, 120);

/// What the sender knows.
#[derive(Default)]
struct Sender {
    /// Sent, not acknowledged: to be sent again after the next start.
    pending: BTreeSet<String>,
    acked: BTreeMap<String, u64>,
}

impl Sender {
    fn take(&mut self, frame: &Value) {
        if frame["t"] != "ok" {
            assert_ne!(frame["t"], "error", "{frame}");
            return;
        }
        let (id, seq) =
            (frame["id"].as_str().expect("an id").to_owned(), frame["seq"].as_u64().expect("a seq"));
        self.pending.remove(&id);
        if let Some(before) = self.acked.insert(id.clone(), seq) {
            assert_eq!(before, seq, "{id} was acknowledged twice, as two messages");
        }
    }

    /// Sends what is pending, then new messages, until `acks` more are acknowledged.
    async fn work(&mut self, session: &mut Session, conv: &str, acks: usize) {
        let frame =
            |id: &str| json!({"t": "send", "id": id, "conv": conv, "kind": "text", "body": {"text": id}});
        for id in self.pending.clone() {
            assert!(session.send(&frame(&id)).await);
        }
        let enough = self.acked.len() + acks;
        while self.acked.len() < enough {
            while self.pending.len() < WINDOW {
                let id = Uuid::now_v7().to_string();
                self.pending.insert(id.clone());
                assert!(session.send(&frame(&id)).await);
            }
            self.take(&session.next().await.expect("the server lives"));
        }
    }

    /// What the killed server had still said.
    async fn drain(&mut self, mut session: Session) {
        while let Some(frame) = session.next().await {
            self.take(&frame);
        }
    }
}

/// What arrives at a device that comes back with its cursor after each kill: no message twice, none left out.
async fn listen(mut session: Session, conv: String, mut cursor: u64) -> Vec<(u64, String)> {
    let mut heard = Vec::new();
    while let Some(frame) = session.next().await {
        assert!(frame["t"] != "gap" && frame["t"] != "behind", "{frame}");
        if frame["t"] == "message" && frame["conv"] == conv.as_str() {
            let seq = frame["seq"].as_u64().expect("a seq");
            assert_eq!(seq, cursor + 1, "a silent gap, or the same again");
            cursor = seq;
            heard.push((seq, frame["id"].as_str().expect("an id").to_owned()));
        }
    }
    heard
}

async fn whole_log(server: &Server, token: &str, conv: &str) -> Vec<(u64, String)> {
    let mut log: Vec<(u64, String)> = Vec::new();
    let mut session = Session::open(server, token, "reader", &BTreeMap::new()).await;
    loop {
        let after = log.last().map_or(0, |(seq, _)| *seq);
        let ask = json!({"t": "history", "id": "page", "conv": conv, "after": after, "limit": 200});
        assert!(session.send(&ask).await);
        let page = loop {
            let frame = session.next().await.expect("the server lives");
            if frame["id"] == "page" {
                break frame;
            }
        };
        assert_eq!(page["t"], "page", "{page}");
        let messages = page["messages"].as_array().expect("a page has messages");
        if messages.is_empty() {
            return log;
        }
        log.extend(messages.iter().map(|message| {
            (message["seq"].as_u64().expect("a seq"), message["id"].as_str().expect("an id").to_owned())
        }));
    }
}

#[tokio::test]
async fn fifty_kills_lose_nothing_double_nothing_and_leave_no_gap() {
    let data = DataDir::new();
    let start = || {
        Server::start(
            &data,
            &["--role", "signaling"],
            &[("TRUNKLINE_SIGNALING__SENDS_PER_SECOND", "1000000")],
        )
    };
    let (alice, bob) = (token(&data, "alice"), token(&data, "bob"));
    let mut random = Random(0x7275_6e6b);
    let mut sender = Sender::default();
    let mut heard: Vec<(u64, String)> = Vec::new();
    let mut conv = String::new();

    for kill in 0..KILLS {
        let server = start();
        if kill == 0 {
            let members = json!({"members": ["alice", "bob"]});
            let (status, head) = http(server.http(), "POST", "/v1/conversations", &alice, &members).await;
            assert_eq!(status, 201, "{head}");
            let head: Value = serde_json::from_str(&head).expect("a head");
            head["conv"].as_str().expect("an id").clone_into(&mut conv);
        }
        let cursor = heard.last().map_or(0, |(seq, _)| *seq);
        let cursors = BTreeMap::from([(conv.clone(), cursor)]);
        let listener = Session::open(&server, &bob, "phone", &cursors).await;
        let listener = tokio::spawn(listen(listener, conv.clone(), cursor));
        let mut session = Session::open(&server, &alice, "laptop", &BTreeMap::new()).await;
        let acks = ACKS.0 + random.below(ACKS.1);
        sender.work(&mut session, &conv, usize::try_from(acks).expect("small")).await;
        assert!(!sender.pending.is_empty(), "the kill must come while messages are on their way");
        server.kill();
        sender.drain(session).await;
        heard.extend(listener.await.expect("no silent gap"));
    }

    let server = start();
    let mut session = Session::open(&server, &alice, "laptop", &BTreeMap::new()).await;
    let rest = sender.pending.len();
    sender.work(&mut session, &conv, rest).await;
    while !sender.pending.is_empty() {
        sender.take(&session.next().await.expect("the server lives"));
    }

    let log = whole_log(&server, &bob, &conv).await;
    let seqs: Vec<u64> = log.iter().map(|(seq, _)| *seq).collect();
    assert!(seqs.iter().copied().eq(1..=u64::try_from(log.len()).expect("fits")), "not gapless: {seqs:?}");
    let by_id: BTreeMap<String, u64> = log.iter().map(|(seq, id)| (id.clone(), *seq)).collect();
    assert_eq!(by_id.len(), log.len(), "a message stands twice in the log");
    assert_eq!(by_id, sender.acked, "what was acknowledged is what there is");
    assert!(log.starts_with(&heard), "what was delivered is what there is");
    println!(
        "{KILLS} kills, {} messages acknowledged, {} delivered before the last kill",
        log.len(),
        heard.len()
    );
}
