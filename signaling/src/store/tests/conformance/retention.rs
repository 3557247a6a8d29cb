//! How long messages are kept.

use std::{sync::Arc, time::Duration};

use trunkline_signaling_api::{ErrorCode, Role};
use trunkline_units::UnixMillis;

use super::{BOUNDS, T0, code, conv, group, message, new, pair, rules, seqs, user};
use crate::store::{Range, Store};

/// Whole seconds after the beginning.
fn at(seconds: u64) -> UnixMillis {
    T0.after(Duration::from_secs(seconds))
}

/// Appends messages of these ages to a conversation.
async fn say(store: &impl Store, place: &str, seconds: &[u64]) {
    for (n, second) in seconds.iter().enumerate() {
        let mut new = message("a/1", &format!("{place}.{n}"));
        new.conv = conv(place);
        new.at = at(*second);
        store.append(new).await.unwrap();
    }
}

/// What of a conversation's log is left, and from where a member may read.
async fn left(store: &impl Store, place: &str) -> (u64, Vec<u64>) {
    let page = store.page(&conv(place), &user("a"), Range::After(0), 99, 1 << 20).await.unwrap();
    let heads = store.session_state(&user("a"), 100).await.unwrap().heads;
    let head = heads.into_iter().find(|head| head.conv == conv(place)).unwrap();
    (head.min_seq, page.messages.iter().map(|message| message.seq).collect())
}

pub(in crate::store::tests) async fn what_expires_leaves_no_hole(store: Arc<impl Store>) {
    pair(&*store).await;
    // The clock stepped back before the last.
    say(&*store, "pair", &[10, 20, 90, 30]).await;
    let kept = Some(Duration::from_secs(50));
    assert_eq!(store.expire(at(60), kept, 100).await.unwrap(), 0);
    assert_eq!(store.expire(at(1_000), None, 100).await.unwrap(), 0);
    assert_eq!(store.expire(at(100), kept, 100).await.unwrap(), 2);
    assert_eq!(store.expire(at(100), kept, 100).await.unwrap(), 0);
    assert_eq!(seqs(&*store, "b", Range::After(0), 9).await, (vec![3, 4], false));
    assert_eq!(store.session_state(&user("b"), 100).await.unwrap().heads[0].min_seq, 3);
    // A resend of what expired finds its place and does not come back.
    assert_eq!(store.append(message("a/1", "pair.0")).await.unwrap().seq, 1);
    assert_eq!(seqs(&*store, "b", Range::After(0), 9).await.0, [3, 4]);
    // All of it, and what comes after.
    assert_eq!(store.expire(at(200), kept, 100).await.unwrap(), 2);
    assert_eq!(left(&*store, "pair").await, (5, vec![]));
    assert_eq!(store.expire(at(9_999), kept, 100).await.unwrap(), 0);
    let mut fresh = message("a/1", "fresh");
    fresh.at = at(200);
    assert_eq!(store.append(fresh).await.unwrap().seq, 5);
    assert_eq!(store.expire(at(250), kept, 100).await.unwrap(), 0);
    assert_eq!(store.expire(at(251), kept, 100).await.unwrap(), 1);
}

pub(in crate::store::tests) async fn a_conversation_keeps_its_messages_as_long_as_it_says(
    store: Arc<impl Store>,
) {
    pair(&*store).await;
    group(&*store).await;
    store.create_conversation(new("long", "a", &["b"], Some("Long"))).await.unwrap();
    let ages: Vec<u64> = (0..10).map(|n| n * 100).collect();
    for place in ["pair", "group", "long"] {
        say(&*store, place, &ages).await;
    }
    let retain = |place, seconds| store.set_retention(&conv(place), &user("a"), seconds);
    assert_eq!(retain("group", Some(250)).await.unwrap().head.retention_s, Some(250));
    retain("long", Some(100_000)).await.unwrap();
    // With no time of the server's, only those that have one of their own; a few at a time.
    assert_eq!(store.expire(at(1_000), None, 3).await.unwrap(), 3);
    assert_eq!(left(&*store, "group").await, (4, vec![4, 5, 6, 7, 8, 9, 10]));
    assert_eq!(store.expire(at(1_000), None, 99).await.unwrap(), 5);
    assert_eq!(left(&*store, "group").await, (9, vec![9, 10]));
    assert_eq!(store.expire(at(1_000), None, 99).await.unwrap(), 0);
    assert_eq!(left(&*store, "pair").await.0, 1);
    // The server's own holds where nothing is said, and nowhere else.
    assert_eq!(store.expire(at(1_000), Some(Duration::from_secs(350)), 99).await.unwrap(), 7);
    assert_eq!(left(&*store, "pair").await, (8, vec![8, 9, 10]));
    assert_eq!(left(&*store, "group").await, (9, vec![9, 10]));
    assert_eq!(left(&*store, "long").await.0, 1);
    // Back to the server's; and a longer one brings nothing back.
    assert_eq!(retain("long", None).await.unwrap().head.retention_s, None);
    retain("group", Some(100_000)).await.unwrap();
    assert_eq!(store.expire(at(1_000), Some(Duration::from_secs(350)), 99).await.unwrap(), 7);
    assert_eq!(left(&*store, "long").await, (8, vec![8, 9, 10]));
    assert_eq!(left(&*store, "group").await, (9, vec![9, 10]));
}

pub(in crate::store::tests) async fn who_says_how_long(store: Arc<impl Store>) {
    pair(&*store).await;
    group(&*store).await;
    let start = store.changes(None, 0).await.unwrap().rev;
    let retain = |place, who, seconds| store.set_retention(&conv(place), &user(who), seconds);
    assert_eq!(code(retain("group", "b", Some(60))).await, Some(ErrorCode::Forbidden));
    assert_eq!(code(retain("group", "x", Some(60))).await, Some(ErrorCode::NotFound));
    assert_eq!(code(retain("nowhere", "a", Some(60))).await, Some(ErrorCode::NotFound));
    assert_eq!(code(retain("group", "a", Some(59))).await, Some(ErrorCode::BadFrame));
    assert_eq!(code(retain("group", "a", Some(u64::MAX))).await, Some(ErrorCode::BadFrame));
    assert!(store.changes(Some(start), 9).await.unwrap().conversations.is_empty());
    let set = retain("group", "a", Some(60)).await.unwrap();
    assert!(set.changed && set.call.is_none());
    assert!(!retain("group", "a", Some(60)).await.unwrap().changed);
    // Members are told, by hint or by the repair poll.
    let changes = store.changes(Some(start), 9).await.unwrap();
    assert!(changes.conversations.len() == 1 && changes.conversations[0].membership);
    let roster = store.roster(&conv("group")).await.unwrap().unwrap();
    assert!(roster.epoch == 2 && roster.heads.iter().all(|(_, head)| head.retention_s == Some(60)));
    // In a pair either may; and it stays that pair's.
    assert!(retain("pair", "b", Some(3_600)).await.unwrap().changed);
    let again = store.create_conversation(new("other", "b", &["a"], None)).await.unwrap();
    assert_eq!((again.fresh, again.head.retention_s), (false, Some(3_600)));
    let role = again.head.members.iter().find(|member| member.user == user("b")).unwrap().role;
    assert_eq!(role, Role::Member);
    store.add_member(&conv("pair"), &user("b"), &user("c"), BOUNDS, rules(T0)).await.unwrap();
    assert_eq!(code(retain("pair", "b", None)).await, Some(ErrorCode::Forbidden));
}

/// A log whose first message is young keeps what is behind it, and costs the others nothing.
pub(in crate::store::tests) async fn one_log_does_not_hold_up_another(store: Arc<impl Store>) {
    pair(&*store).await;
    group(&*store).await;
    let mut ages = vec![500];
    ages.extend([1; 20]);
    say(&*store, "pair", &ages).await;
    say(&*store, "group", &[2, 3, 4]).await;
    let kept = Some(Duration::from_secs(50));
    assert_eq!(store.expire(at(100), kept, 2).await.unwrap(), 2);
    assert_eq!(store.expire(at(100), kept, 2).await.unwrap(), 1);
    assert_eq!(store.expire(at(100), kept, 2).await.unwrap(), 0);
    assert_eq!(left(&*store, "group").await, (4, vec![]));
    assert_eq!(left(&*store, "pair").await.0, 1);
    // Then all of it at once.
    assert_eq!(store.expire(at(551), kept, 99).await.unwrap(), 21);
}
