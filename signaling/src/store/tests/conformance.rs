//! What every store must do, as functions over any [`Store`].

mod attachments;
mod retention;

use std::{sync::Arc, time::Duration};

use trunkline_signaling_api::{CallState, EndReason, ErrorCode, LegState, Media, Party, Role};
use trunkline_signaling_core::{
    call::{Input, Invitation, Step},
    limits::CallTiming,
};
use trunkline_units::{CallId, ConversationId, DeviceId, MessageId, UnixMillis, UserId};

use crate::store::{
    Bounds, CallChange, CallRules, Marks, NewConversation, NewMessage, Range, Reply, Store, StoreError,
};

pub(super) use attachments::{
    an_offer_again_is_harmless, only_ones_own_attachments_of_this_conversation, references_are_counted_once,
    taking_and_sending_at_once, the_largest_message_fits_a_frame, what_is_taken_is_referred_to_no_more,
    who_may_have_links,
};
pub(super) use retention::{
    a_conversation_keeps_its_messages_as_long_as_it_says, one_log_does_not_hold_up_another,
    what_expires_leaves_no_hole, who_says_how_long,
};

const T0: UnixMillis = UnixMillis(1_000_000);
const AV: Media = Media { audio: true, video: true };
const BOUNDS: Bounds = Bounds { members: 4, conversations: 5 };

pub(super) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(super) fn party(name: &str) -> Party {
    let (user, device) = name.split_once('/').unwrap();
    Party { user: self::user(user), device: DeviceId::new(device).unwrap() }
}

pub(super) fn conv(name: &str) -> ConversationId {
    ConversationId::new(name).unwrap()
}

fn call(name: &str) -> CallId {
    CallId::new(name).unwrap()
}

fn rules(now: UnixMillis) -> CallRules {
    CallRules { now, timing: CallTiming::default(), legs_max: 16 }
}

fn new(id: &str, maker: &str, members: &[&str], title: Option<&str>) -> NewConversation {
    NewConversation {
        id: conv(id),
        maker: user(maker),
        members: members.iter().map(|name| user(name)).collect(),
        title: title.map(str::to_owned),
        at: T0,
        bounds: BOUNDS,
    }
}

/// The conversation `pair` of a and b.
pub(super) async fn pair(store: &impl Store) {
    store.create_conversation(new("pair", "a", &["b"], None)).await.unwrap();
}

async fn group(store: &impl Store) {
    store.create_conversation(new("group", "a", &["b", "c"], Some("Group"))).await.unwrap();
}

pub(super) fn message(from: &str, id: &str) -> NewMessage {
    NewMessage {
        conv: conv("pair"),
        from: party(from),
        id: MessageId::new(id).unwrap(),
        kind: "text".into(),
        body: "{\"text\":\"hello\"}".into(),
        attachments: Vec::new(),
        at: T0,
    }
}

async fn code<T>(reply: Reply<T>) -> Option<ErrorCode> {
    match reply.await {
        Err(StoreError::Refused(refusal)) => Some(refusal.code()),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    }
}

async fn seqs(store: &impl Store, who: &str, range: Range, limit: u32) -> (Vec<u64>, bool) {
    let page = store.page(&conv("pair"), &user(who), range, limit, 1 << 20).await.unwrap();
    (page.messages.iter().map(|m| m.seq).collect(), page.more)
}

pub(super) async fn sequences_are_gapless_under_concurrency(store: Arc<impl Store>) {
    pair(&*store).await;
    // Submitted in order by each device, answered whenever: each device's own order holds.
    let mut tasks = Vec::new();
    for device in 0..4 {
        let store = store.clone();
        tasks.push(tokio::spawn(async move {
            let who = if device % 2 == 0 { format!("a/{device}") } else { format!("b/{device}") };
            let replies: Vec<_> = (0..50).map(|n| store.append(message(&who, &format!("m{n}")))).collect();
            let mut got = Vec::new();
            for reply in replies {
                got.push(reply.await.unwrap().seq);
            }
            got
        }));
    }
    let mut all = Vec::new();
    for task in tasks {
        let got = task.await.unwrap();
        assert!(got.is_sorted(), "a device's own messages out of order");
        all.extend(got);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=200).collect::<Vec<_>>());
    assert_eq!(seqs(&*store, "a", Range::After(0), 200).await.0, all);
}

pub(super) async fn a_resend_finds_its_first(store: Arc<impl Store>) {
    pair(&*store).await;
    group(&*store).await;
    let first = store.append(message("a/1", "m")).await.unwrap();
    assert!(first.fresh);
    store.append(message("a/1", "n")).await.unwrap();
    let mut later = message("a/1", "m");
    later.at = T0.after(Duration::from_secs(9));
    let again = store.append(later).await.unwrap();
    assert_eq!((again.seq, again.at, again.fresh), (first.seq, first.at, false));
    // The id is the device's own.
    assert_eq!(store.append(message("a/2", "m")).await.unwrap().seq, 3);
    assert_eq!(store.append(message("b/1", "m")).await.unwrap().seq, 4);
    let mut elsewhere = message("a/1", "m");
    elsewhere.conv = conv("group");
    assert_eq!(code(store.append(elsewhere)).await, Some(ErrorCode::Conflict));
    // Two of one id in one batch.
    let (x, y) = (store.append(message("a/1", "z")), store.append(message("a/1", "z")));
    assert_eq!(x.await.unwrap().seq, y.await.unwrap().seq);
}

pub(super) async fn strangers_append_and_read_nothing(store: Arc<impl Store>) {
    pair(&*store).await;
    assert_eq!(code(store.append(message("x/1", "m"))).await, Some(ErrorCode::NotMember));
    let mut nowhere = message("a/1", "m");
    nowhere.conv = conv("nowhere");
    assert_eq!(code(store.append(nowhere)).await, Some(ErrorCode::NotMember));
    let page = store.page(&conv("pair"), &user("x"), Range::Newest, 9, 1 << 20);
    assert_eq!(code(page).await, Some(ErrorCode::NotMember));
    let marks = Marks { delivered: 1, read: 1 };
    assert_eq!(code(store.mark(&conv("pair"), &user("x"), marks)).await, Some(ErrorCode::NotMember));
    let added = store.add_member(&conv("pair"), &user("x"), &user("x"), BOUNDS, rules(T0));
    assert_eq!(code(added).await, Some(ErrorCode::NotFound));
    assert!(store.session_state(&user("x"), 100).await.unwrap().heads.is_empty());
    assert_eq!(seqs(&*store, "a", Range::After(0), 9).await, (vec![], false));
}

pub(super) async fn pages_meet_in_the_middle(store: Arc<impl Store>) {
    pair(&*store).await;
    for n in 0..10 {
        store.append(message("a/1", &format!("m{n}"))).await.unwrap();
    }
    assert_eq!(seqs(&*store, "b", Range::Newest, 3).await, (vec![8, 9, 10], true));
    assert_eq!(seqs(&*store, "b", Range::Before(8), 3).await, (vec![5, 6, 7], true));
    assert_eq!(seqs(&*store, "b", Range::Before(3), 3).await, (vec![1, 2], false));
    assert_eq!(seqs(&*store, "b", Range::Before(1), 3).await, (vec![], false));
    assert_eq!(seqs(&*store, "b", Range::Before(0), 3).await, (vec![], false));
    assert_eq!(seqs(&*store, "b", Range::After(7), 3).await, (vec![8, 9, 10], false));
    assert_eq!(seqs(&*store, "b", Range::After(6), 3).await, (vec![7, 8, 9], true));
    assert_eq!(seqs(&*store, "b", Range::After(u64::MAX), 3).await, (vec![], false));
    assert_eq!(seqs(&*store, "b", Range::Before(u64::MAX), 3).await, (vec![8, 9, 10], true));
}

pub(super) async fn pages_fit_their_bytes(store: Arc<impl Store>) {
    pair(&*store).await;
    for n in 0..6 {
        let mut big = message("a/1", &format!("m{n}"));
        big.body = format!("\"{}\"", "x".repeat(10_000));
        store.append(big).await.unwrap();
    }
    let page = store.page(&conv("pair"), &user("a"), Range::After(0), 200, 33_000).await.unwrap();
    assert_eq!((page.messages.len(), page.more), (3, true));
    let page = store.page(&conv("pair"), &user("a"), Range::Before(5), 200, 1).await.unwrap();
    assert_eq!((page.messages.len(), page.messages[0].seq, page.more), (1, 4, true));
}

pub(super) async fn a_pair_has_one_conversation(store: Arc<impl Store>) {
    let first = store.create_conversation(new("one", "a", &["a", "b"], None)).await.unwrap();
    assert!(first.fresh);
    let again = store.create_conversation(new("two", "b", &["a"], None)).await.unwrap();
    assert_eq!((again.fresh, &again.head), (false, &first.head));
    let titled = store.create_conversation(new("three", "b", &["a"], Some("T"))).await.unwrap();
    assert!(titled.fresh);
    assert_eq!(titled.head.title.as_deref(), Some("T"));
    let role = |name: &str| titled.head.members.iter().find(|m| m.user == user(name)).unwrap().role;
    assert_eq!((role("a"), role("b")), (Role::Member, Role::Owner));
    // A third makes it a group, and the pair gets a new one.
    let rules = rules(T0);
    let grown = store.add_member(&conv("one"), &user("b"), &user("c"), BOUNDS, rules).await.unwrap();
    assert_eq!(grown.head.members.len(), 3);
    assert!(store.create_conversation(new("four", "b", &["a"], None)).await.unwrap().fresh);
    let crowd = new("five", "a", &["b", "c", "d", "e"], None);
    assert_eq!(code(store.create_conversation(crowd)).await, Some(ErrorCode::TooLarge));
    store.create_conversation(new("six", "a", &["z"], None)).await.unwrap();
    store.create_conversation(new("seven", "a", &["y"], None)).await.unwrap();
    let much = store.create_conversation(new("eight", "a", &["w"], None));
    assert_eq!(code(much).await, Some(ErrorCode::TooLarge));
    // Nothing of the refused one is left.
    assert!(store.session_state(&user("w"), 100).await.unwrap().heads.is_empty());
    assert_eq!(store.roster(&conv("eight")).await.unwrap(), None);
}

pub(super) async fn membership_and_roles(store: Arc<impl Store>) {
    group(&*store).await;
    let group = conv("group");
    let add = |actor: &str, who: &str| store.add_member(&group, &user(actor), &user(who), BOUNDS, rules(T0));
    let remove = |actor: &str, who: &str| store.remove_member(&group, &user(actor), &user(who), rules(T0));
    assert_eq!(code(add("b", "d")).await, Some(ErrorCode::Forbidden));
    assert!(add("a", "d").await.unwrap().changed);
    assert!(!add("a", "d").await.unwrap().changed);
    assert_eq!(code(add("a", "e")).await, Some(ErrorCode::TooLarge));
    assert_eq!(code(remove("b", "c")).await, Some(ErrorCode::Forbidden));
    assert!(remove("a", "c").await.unwrap().changed);
    assert!(!remove("a", "c").await.unwrap().changed);
    // The owner leaves; who joined first inherits.
    let left = remove("a", "a").await.unwrap();
    let owner = left.head.members.iter().find(|m| m.role == Role::Owner).unwrap();
    assert_eq!(owner.user, user("b"));
    assert!(store.session_state(&user("a"), 100).await.unwrap().heads.is_empty());
    assert!(remove("b", "d").await.unwrap().changed);
    assert!(remove("b", "b").await.unwrap().head.members.is_empty());
    pair(&*store).await;
    let leave = store.remove_member(&conv("pair"), &user("a"), &user("a"), rules(T0));
    assert_eq!(code(leave).await, Some(ErrorCode::Conflict));
}

pub(super) async fn newcomers_see_from_their_joining_on(store: Arc<impl Store>) {
    pair(&*store).await;
    for n in 0..3 {
        store.append(message("a/1", &format!("m{n}"))).await.unwrap();
    }
    store.add_member(&conv("pair"), &user("a"), &user("c"), BOUNDS, rules(T0)).await.unwrap();
    assert_eq!(seqs(&*store, "c", Range::After(0), 9).await, (vec![], false));
    store.append(message("b/1", "m")).await.unwrap();
    assert_eq!(seqs(&*store, "c", Range::After(0), 9).await, (vec![4], false));
    assert_eq!(seqs(&*store, "c", Range::Newest, 9).await, (vec![4], false));
    let head = store.session_state(&user("c"), 100).await.unwrap().heads.remove(0);
    assert_eq!((head.min_seq, head.last_seq), (4, 4));
    let roster = store.roster(&conv("pair")).await.unwrap().unwrap();
    let floor = |name: &str| roster.heads.iter().find(|(u, _)| *u == user(name)).unwrap().1.min_seq;
    assert_eq!((floor("a"), floor("c"), roster.epoch), (1, 4, 2));
}

pub(super) async fn marks_only_grow(store: Arc<impl Store>) {
    pair(&*store).await;
    for n in 0..3 {
        store.append(message("a/1", &format!("m{n}"))).await.unwrap();
    }
    let mark = |delivered, read| store.mark(&conv("pair"), &user("b"), Marks { delivered, read });
    assert_eq!(mark(2, 0).await.unwrap(), Some(Marks { delivered: 2, read: 0 }));
    assert_eq!(mark(1, 0).await.unwrap(), None);
    assert_eq!(mark(0, 3).await.unwrap(), Some(Marks { delivered: 3, read: 3 }));
    assert_eq!(mark(u64::MAX >> 1, 99).await.unwrap(), None);
    let head = store.session_state(&user("b"), 100).await.unwrap().heads.remove(0);
    let marks: Vec<_> = head.members.iter().map(|m| (m.delivered, m.read)).collect();
    // The sender has what it sent.
    assert_eq!(marks, [(3, 3), (3, 3)]);
}

pub(super) async fn changes_are_found_once(store: Arc<impl Store>) {
    let start = store.changes(None, 10).await.unwrap().rev;
    pair(&*store).await;
    group(&*store).await;
    store.append(message("a/1", "m")).await.unwrap();
    let found = store.changes(Some(start), 10).await.unwrap();
    let names: Vec<_> = found.conversations.iter().map(|c| (c.conv.as_str(), c.last_seq)).collect();
    assert_eq!(names, [("group", 0), ("pair", 1)]);
    assert!(!found.more && store.changes(Some(found.rev), 10).await.unwrap().conversations.is_empty());
    let first = store.changes(Some(start), 1).await.unwrap();
    assert!(first.more);
    assert_eq!(store.changes(Some(first.rev), 9).await.unwrap().conversations[0].conv, conv("pair"));
    invite(&*store, "k", "pair", "a/1").await.unwrap();
    let found = store.changes(Some(found.rev), 10).await.unwrap();
    assert_eq!(found.conversations[0].call, Some((call("k"), 1)));
    let state = store.session_state(&user("b"), 100).await.unwrap();
    assert_eq!((state.rev, state.calls.len()), (found.rev, 1));
    // Heads are as many as asked for; where the logs stand is told of all.
    let few = store.session_state(&user("b"), 1).await.unwrap();
    assert_eq!((few.heads.len(), few.places.len(), state.heads.len()), (1, 2, 2));
    let heads = state.heads.iter().map(|h| (&h.conv, h.last_seq, h.min_seq));
    assert!(heads.eq(few.places.iter().map(|p| (&p.conv, p.last_seq, p.min_seq))));
}

fn invite(store: &impl Store, id: &str, place: &str, from: &str) -> Reply<CallChange> {
    invite_at(store, id, place, from, T0)
}

fn invite_at(store: &impl Store, id: &str, place: &str, from: &str, now: UnixMillis) -> Reply<CallChange> {
    let invitation = Invitation { call: call(id), conv: conv(place), from: party(from), media: AV };
    store.invite(invitation, rules(now))
}

async fn step(store: &impl Store, id: &str, input: Input) -> CallChange {
    store.move_call(&call(id), input, rules(T0)).await.unwrap()
}

pub(super) async fn a_call_ends_with_its_message(store: Arc<impl Store>) {
    pair(&*store).await;
    let made = invite(&*store, "k", "pair", "a/1").await.unwrap();
    assert_eq!((made.step, made.call.ver, made.message), (Step::Changed, 1, None));
    assert_eq!(invite(&*store, "k", "pair", "a/1").await.unwrap().step, Step::Unchanged);
    step(&*store, "k", Input::Ringing(party("b/1"))).await;
    let accepted = step(&*store, "k", Input::Accept(party("b/1"), AV)).await;
    // What the store gives back is what it holds.
    assert_eq!(store.call(&call("k"), Some(&user("a"))).await.unwrap(), Some(accepted.call));
    assert_eq!(store.call(&call("k"), Some(&user("x"))).await.unwrap(), None);
    step(&*store, "k", Input::Connected(party("a/1"))).await;
    step(&*store, "k", Input::Connected(party("b/1"))).await;
    step(&*store, "k", Input::Gone(party("b/1"))).await;
    let held = store.call(&call("k"), None).await.unwrap().unwrap();
    assert_eq!(
        (held.state, held.deadline()),
        (CallState::Connected, Some(T0.after(Duration::from_secs(15))))
    );
    let ended = step(&*store, "k", Input::End(party("a/1"))).await;
    assert_eq!(ended.left, [party("a/1"), party("b/1")]);
    assert_eq!(ended.message, Some(1));
    let page = store.page(&conv("pair"), &user("b"), Range::Newest, 9, 1 << 20).await.unwrap();
    let message = &page.messages[0];
    assert_eq!((message.kind.as_str(), &message.body["outcome"]), ("call", &"ended".into()));
    assert_eq!((message.id.as_str(), message.user.clone()), ("k", user("a")));
    let again = step(&*store, "k", Input::End(party("a/1"))).await;
    assert_eq!((again.step, again.message), (Step::Unchanged, None));
    assert!(store.session_state(&user("a"), 100).await.unwrap().calls.is_empty());
    assert_eq!(code(store.move_call(&call("none"), Input::Tick, rules(T0))).await, Some(ErrorCode::NotFound));
}

pub(super) async fn one_live_call_a_pair(store: Arc<impl Store>) {
    pair(&*store).await;
    store.create_conversation(new("titled", "a", &["b"], Some("T"))).await.unwrap();
    // Both ring at once, in different conversations even.
    let (x, y) = (invite(&*store, "x", "pair", "a/1"), invite(&*store, "y", "titled", "b/1"));
    let (x, y) = (x.await.unwrap(), y.await.unwrap());
    assert_eq!((x.call.id, &y.call.id), (call("x"), &call("x")));
    assert_eq!((y.call.state, y.call.joined().count()), (CallState::Connecting, 2));
    assert_eq!(store.call(&call("y"), None).await.unwrap(), None);
    step(&*store, "x", Input::End(party("b/1"))).await;
    assert_eq!(invite(&*store, "y", "titled", "b/1").await.unwrap().call.id, call("y"));
    // An id that was used stays used.
    assert_eq!(code(invite(&*store, "x", "titled", "b/1")).await, Some(ErrorCode::Conflict));
}

pub(super) async fn one_winner(store: Arc<impl Store>) {
    pair(&*store).await;
    invite(&*store, "k", "pair", "a/1").await.unwrap();
    let devices: Vec<Party> = (0..8).map(|n| party(&format!("b/{n}"))).collect();
    for device in &devices {
        step(&*store, "k", Input::Ringing(device.clone())).await;
    }
    let replies: Vec<_> = devices
        .iter()
        .map(|device| store.move_call(&call("k"), Input::Accept(device.clone(), AV), rules(T0)))
        .collect();
    let mut won = 0;
    for reply in replies {
        match code(reply).await {
            None => won += 1,
            other => assert_eq!(other, Some(ErrorCode::Conflict)),
        }
    }
    assert_eq!(won, 1);
    let held = store.call(&call("k"), None).await.unwrap().unwrap();
    let elsewhere = held.legs.values().filter(|leg| leg.state == LegState::AnsweredElsewhere).count();
    assert_eq!((held.joined().count(), elsewhere), (2, 7));
}

pub(super) async fn busy_is_a_call_born_ended(store: Arc<impl Store>) {
    pair(&*store).await;
    store.create_conversation(new("ac", "a", &["c"], None)).await.unwrap();
    store.create_conversation(new("cd", "c", &["d"], None)).await.unwrap();
    invite(&*store, "k", "pair", "a/1").await.unwrap();
    // a waits for b: busy for c; but b, who only rings, is not.
    let busy = invite(&*store, "l", "ac", "c/1").await.unwrap();
    assert_eq!((busy.call.reason, busy.message), (Some(EndReason::Busy), Some(1)));
    assert_eq!(code(invite(&*store, "m", "ac", "a/2")).await, Some(ErrorCode::Busy));
    // c is free again: its call was never live.
    let ring = invite(&*store, "n", "cd", "d/1").await.unwrap();
    assert!(ring.call.is_live());
    step(&*store, "n", Input::Accept(party("c/1"), AV)).await;
    let taken = store.move_call(&call("k"), Input::Accept(party("b/1"), AV), rules(T0)).await.unwrap();
    assert_eq!(taken.call.state, CallState::Connecting);
}

pub(super) async fn deadlines_are_found(store: Arc<impl Store>) {
    pair(&*store).await;
    store.create_conversation(new("cd", "c", &["d"], None)).await.unwrap();
    invite(&*store, "k", "pair", "a/1").await.unwrap();
    invite_at(&*store, "l", "cd", "c/1", T0.after(Duration::from_secs(5))).await.unwrap();
    let first = T0.after(Duration::from_secs(60));
    let second = T0.after(Duration::from_secs(65));
    let none = store.due_calls(T0, 10).await.unwrap();
    assert_eq!((none.due.len(), none.next), (0, Some(first)));
    let one = store.due_calls(first, 10).await.unwrap();
    assert_eq!((one.due, one.next), (vec![call("k")], Some(second)));
    assert_eq!(store.due_calls(second, 10).await.unwrap().due, [call("k"), call("l")]);
    let ringing = [CallState::Inviting, CallState::Ringing];
    assert_eq!(store.live_calls(&ringing).await.unwrap(), [call("k"), call("l")]);
    let ended = store.move_call(&call("k"), Input::Tick, rules(second)).await.unwrap();
    assert_eq!(ended.call.reason, Some(EndReason::TimedOut));
    let page = store.page(&conv("pair"), &user("b"), Range::Newest, 9, 1 << 20).await.unwrap();
    assert_eq!(page.messages[0].body["outcome"], "missed");
    assert_eq!(store.due_calls(second, 10).await.unwrap().due, [call("l")]);
    assert_eq!(store.live_calls(&ringing).await.unwrap(), [call("l")]);
}

pub(super) async fn removal_ends_a_leg(store: Arc<impl Store>) {
    group(&*store).await;
    invite(&*store, "k", "group", "a/1").await.unwrap();
    step(&*store, "k", Input::Accept(party("b/1"), AV)).await;
    step(&*store, "k", Input::Accept(party("c/1"), AV)).await;
    let removed = store.remove_member(&conv("group"), &user("a"), &user("c"), rules(T0)).await.unwrap();
    let change = removed.call.unwrap();
    assert_eq!((change.left, change.call.is_live()), (vec![party("c/1")], true));
    let again = store.move_call(&call("k"), Input::Accept(party("c/1"), AV), rules(T0));
    assert_eq!(code(again).await, Some(ErrorCode::NotMember));
}

pub(super) async fn who_was_removed_does_not_come_back_by_another_way(store: Arc<impl Store>) {
    pair(&*store).await;
    store.create_conversation(new("titled", "a", &["b"], Some("T"))).await.unwrap();
    invite(&*store, "k", "titled", "a/1").await.unwrap();
    step(&*store, "k", Input::Accept(party("b/1"), AV)).await;
    store.add_member(&conv("titled"), &user("a"), &user("c"), BOUNDS, rules(T0)).await.unwrap();
    step(&*store, "k", Input::Accept(party("c/1"), AV)).await;
    store.remove_member(&conv("titled"), &user("a"), &user("b"), rules(T0)).await.unwrap();
    // The call was of this pair once.
    let rung = invite(&*store, "l", "pair", "b/1").await.unwrap();
    assert_eq!((rung.call.id, rung.call.reason), (call("l"), Some(EndReason::Busy)));
    let held = store.call(&call("k"), None).await.unwrap().unwrap();
    assert!(held.is_live() && !held.has_joined(&party("b/1")));
}
