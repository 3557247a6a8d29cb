//! What messages refer to.

use std::{sync::Arc, time::Duration};

use trunkline_signaling_api::{
    ATTACHMENT_BYTES_MAX, ATTACHMENTS_MAX, Attachment, AttachmentKind, BODY_BYTES_MAX, ErrorCode,
    FRAME_BYTES_MAX, ServerFrame,
};
use trunkline_units::{AttachmentId, UnixMillis};

use super::{BOUNDS, T0, code, conv, group, message, pair, rules, seqs, user};
use crate::store::{NewMessage, Range, Reply, Store};

fn id(name: &str) -> AttachmentId {
    AttachmentId::new(name).unwrap()
}

fn file(name: &str) -> Attachment {
    Attachment {
        id: id(name),
        kind: AttachmentKind::File,
        name: Some(format!("{name}.txt")),
        r#type: "text/plain".into(),
        bytes: 7,
        width: None,
        height: None,
        thumbhash: None,
        animated: false,
        duration_ms: None,
        waveform: None,
        variants: vec!["file".into()],
    }
}

/// Of a, in the pair's conversation.
async fn offer(store: &impl Store, name: &str) {
    store.offer_attachment(&conv("pair"), &user("a"), file(name), T0).await.unwrap();
}

fn with(from: &str, message_id: &str, attachments: &[&str]) -> NewMessage {
    NewMessage { attachments: attachments.iter().map(|name| id(name)).collect(), ..message(from, message_id) }
}

/// Everything that is idle, as of a time after everything here.
fn take(store: &impl Store) -> Reply<Vec<AttachmentId>> {
    store.take_unreferenced(UnixMillis::FAR, 99)
}

/// Forgets the messages sent before `at`; `at` is the present.
async fn expire(store: &impl Store, at: UnixMillis) -> usize {
    store.expire(at, Some(Duration::ZERO), 99).await.unwrap()
}

fn later(seconds: u64) -> UnixMillis {
    T0.after(Duration::from_secs(seconds))
}

pub(in crate::store::tests) async fn references_are_counted_once(store: Arc<impl Store>) {
    pair(&*store).await;
    for name in ["x", "y"] {
        offer(&*store, name).await;
    }
    let first = store.append(with("a/1", "m1", &["y", "x"])).await.unwrap();
    // In the order of the sender, and as the server knows them.
    assert_eq!((first.fresh, &first.attachments), (true, &vec![file("y"), file("x")]));
    let again = store.append(with("a/1", "m1", &["y", "x"])).await.unwrap();
    assert_eq!((again.fresh, again.seq, &again.attachments), (false, 1, &first.attachments));
    // Whatever a resend names, its first is what stands.
    assert_eq!(store.append(with("a/1", "m1", &["nothing"])).await.unwrap().attachments, first.attachments);
    let mut second = with("a/1", "m2", &["x"]);
    second.at = later(10);
    store.append(second).await.unwrap();
    let page = store.page(&conv("pair"), &user("b"), Range::After(0), 9, 1 << 20).await.unwrap();
    let held: Vec<_> = page.messages.into_iter().map(|message| message.attachments).collect();
    assert_eq!(held, [vec![file("y"), file("x")], vec![file("x")]]);
    assert!(take(&*store).await.unwrap().is_empty());
    // The first message goes: y is idle from then on, and x is not.
    assert_eq!(expire(&*store, later(5)).await, 1);
    assert!(store.take_unreferenced(later(5), 9).await.unwrap().is_empty());
    assert_eq!(store.take_unreferenced(later(6), 9).await.unwrap(), [id("y")]);
    // A resend of what expired still has its place, and refers to nothing.
    let gone = store.append(with("a/1", "m1", &["y", "x"])).await.unwrap();
    assert_eq!((gone.fresh, gone.seq, gone.attachments), (false, 1, vec![]));
    assert_eq!(expire(&*store, later(20)).await, 1);
    assert!(store.take_unreferenced(later(20), 9).await.unwrap() == [id("y")]);
    assert_eq!(take(&*store).await.unwrap(), [id("y"), id("x")]);
}

pub(in crate::store::tests) async fn what_is_taken_is_referred_to_no_more(store: Arc<impl Store>) {
    pair(&*store).await;
    for (n, name) in ["x", "y", "z"].into_iter().enumerate() {
        let at = later(n as u64);
        store.offer_attachment(&conv("pair"), &user("a"), file(name), at).await.unwrap();
    }
    // Its conversation never was: it is found all the same.
    store.offer_attachment(&conv("nowhere"), &user("q"), file("lost"), later(3)).await.unwrap();
    assert!(store.take_unreferenced(T0, 9).await.unwrap().is_empty());
    assert_eq!(store.take_unreferenced(later(2), 1).await.unwrap(), [id("x")]);
    // Given again, and first, until it is forgotten; never more than asked for.
    assert_eq!(store.take_unreferenced(later(2), 1).await.unwrap(), [id("x")]);
    assert_eq!(store.take_unreferenced(later(2), 9).await.unwrap(), [id("x"), id("y")]);
    assert_eq!(code(store.append(with("a/1", "m", &["y"]))).await, Some(ErrorCode::BadAttachment));
    assert_eq!(code(store.attachment(&id("y"), &user("a"))).await, Some(ErrorCode::NotFound));
    // What is not taken is not forgotten, whoever says so.
    store.forget_attachments(&[id("x"), id("z"), id("unknown")]).await.unwrap();
    assert_eq!(store.append(with("a/1", "m", &["z"])).await.unwrap().attachments, [file("z")]);
    store.forget_attachments(&[id("z")]).await.unwrap();
    assert_eq!(store.attachment(&id("z"), &user("b")).await.unwrap(), file("z"));
    assert_eq!(take(&*store).await.unwrap(), [id("y"), id("lost")]);
    store.forget_attachments(&[id("y"), id("lost")]).await.unwrap();
    assert!(take(&*store).await.unwrap().is_empty());
    assert_eq!(code(store.append(with("a/1", "n", &["x"]))).await, Some(ErrorCode::BadAttachment));
}

/// In one batch, in both orders: whoever comes first has it.
pub(in crate::store::tests) async fn taking_and_sending_at_once(store: Arc<impl Store>) {
    pair(&*store).await;
    for name in ["x", "y"] {
        offer(&*store, name).await;
    }
    let (sent, taken) = (store.append(with("a/1", "m1", &["x"])), take(&*store));
    assert_eq!(sent.await.unwrap().seq, 1);
    assert_eq!(taken.await.unwrap(), [id("y")]);
    offer(&*store, "z").await;
    let (taken, sent) = (take(&*store), store.append(with("a/1", "m2", &["z"])));
    let both = (store.append(with("a/1", "m3", &["x"])), take(&*store));
    assert_eq!(code(sent).await, Some(ErrorCode::BadAttachment));
    assert_eq!(taken.await.unwrap(), [id("y"), id("z")]);
    // What was refused took no number.
    assert_eq!(both.0.await.unwrap().seq, 2);
    assert_eq!(both.1.await.unwrap(), [id("y"), id("z")]);
}

pub(in crate::store::tests) async fn only_ones_own_attachments_of_this_conversation(store: Arc<impl Store>) {
    pair(&*store).await;
    group(&*store).await;
    offer(&*store, "x").await;
    store.offer_attachment(&conv("group"), &user("a"), file("elsewhere"), T0).await.unwrap();
    store.offer_attachment(&conv("pair"), &user("b"), file("theirs"), T0).await.unwrap();
    let eleven: Vec<String> = (0..=ATTACHMENTS_MAX).map(|n| format!("n{n}")).collect();
    for name in &eleven {
        offer(&*store, name).await;
    }
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    for bad in [
        &["elsewhere"][..],
        &["theirs"],
        &["unknown"],
        &["x", "x"],
        // One that is good does not help, and is not counted.
        &["x", "theirs"],
        &eleven,
    ] {
        let refused = code(store.append(with("a/1", "m", bad))).await;
        assert_eq!(refused, Some(ErrorCode::BadAttachment), "{bad:?}");
    }
    // The sender is no member (any more).
    assert_eq!(code(store.append(with("x/1", "m", &["x"]))).await, Some(ErrorCode::NotMember));
    assert!(seqs(&*store, "a", Range::After(0), 9).await.0.is_empty());
    assert_eq!(
        store.append(with("a/1", "m", &eleven[1..])).await.unwrap().attachments.len(),
        ATTACHMENTS_MAX
    );
    let mut idle = take(&*store).await.unwrap();
    idle.sort();
    assert_eq!(idle, [id("elsewhere"), id("n0"), id("theirs"), id("x")]);
}

pub(in crate::store::tests) async fn an_offer_again_is_harmless(store: Arc<impl Store>) {
    pair(&*store).await;
    offer(&*store, "x").await;
    let larger = Attachment { bytes: 9, ..file("x") };
    let offer_again = |who, view, at| store.offer_attachment(&conv("pair"), &user(who), view, at);
    offer_again("a", larger.clone(), later(10)).await.unwrap();
    assert!(store.take_unreferenced(later(10), 9).await.unwrap().is_empty());
    // An older repetition makes it no older; whose it is does not change.
    offer_again("a", larger.clone(), T0).await.unwrap();
    offer_again("b", file("x"), T0).await.unwrap();
    store.offer_attachment(&conv("nowhere"), &user("a"), file("x"), T0).await.unwrap();
    assert!(store.take_unreferenced(later(10), 9).await.unwrap().is_empty());
    assert_eq!(code(store.append(with("b/1", "m", &["x"]))).await, Some(ErrorCode::BadAttachment));
    assert_eq!(store.append(with("a/1", "m", &["x"])).await.unwrap().attachments, vec![larger.clone()]);
    // A message refers to it: what is known of it stays.
    offer_again("a", file("x"), later(20)).await.unwrap();
    assert_eq!(store.attachment(&id("x"), &user("b")).await.unwrap(), larger);
    // It is taken: it stays so.
    assert_eq!(expire(&*store, later(30)).await, 1);
    assert_eq!(take(&*store).await.unwrap(), [id("x")]);
    offer_again("a", file("x"), later(40)).await.unwrap();
    assert_eq!(take(&*store).await.unwrap(), [id("x")]);
    assert_eq!(code(store.append(with("a/1", "n", &["x"]))).await, Some(ErrorCode::BadAttachment));
    let long = Attachment { name: Some("x".repeat(ATTACHMENT_BYTES_MAX)), ..file("long") };
    assert_eq!(code(offer_again("a", long, T0)).await, Some(ErrorCode::TooLarge));
}

pub(in crate::store::tests) async fn who_may_have_links(store: Arc<impl Store>) {
    pair(&*store).await;
    offer(&*store, "x").await;
    let see = |name, who| store.attachment(&id(name), &user(who));
    // Not sent yet: its uploader's alone.
    assert_eq!(see("x", "a").await.unwrap(), file("x"));
    assert_eq!(code(see("x", "b")).await, Some(ErrorCode::NotMember));
    assert_eq!(code(see("x", "x")).await, Some(ErrorCode::NotMember));
    assert_eq!(code(see("unknown", "a")).await, Some(ErrorCode::NotFound));
    store.append(with("a/1", "m1", &["x"])).await.unwrap();
    assert_eq!(see("x", "b").await.unwrap(), file("x"));
    assert_eq!(code(see("x", "x")).await, Some(ErrorCode::NotMember));
    // Who came after the only message that refers to it.
    store.add_member(&conv("pair"), &user("a"), &user("c"), BOUNDS, rules(T0)).await.unwrap();
    assert_eq!(code(see("x", "c")).await, Some(ErrorCode::NotMember));
    let mut second = with("a/1", "m2", &["x"]);
    second.at = later(10);
    store.append(second).await.unwrap();
    assert_eq!(see("x", "c").await.unwrap(), file("x"));
    // Who left sees nothing; who comes back sees what is said from then on, and what it uploaded itself.
    store.offer_attachment(&conv("pair"), &user("c"), file("own"), T0).await.unwrap();
    store.remove_member(&conv("pair"), &user("a"), &user("c"), rules(T0)).await.unwrap();
    for name in ["x", "own"] {
        assert_eq!(code(see(name, "c")).await, Some(ErrorCode::NotMember));
    }
    store.add_member(&conv("pair"), &user("a"), &user("c"), BOUNDS, rules(T0)).await.unwrap();
    assert_eq!(code(see("x", "c")).await, Some(ErrorCode::NotMember));
    assert_eq!(see("own", "c").await.unwrap(), file("own"));
    // One message is enough, and with the last one it is over.
    assert_eq!(expire(&*store, later(5)).await, 1);
    assert_eq!(see("x", "b").await.unwrap(), file("x"));
    assert_eq!(expire(&*store, later(20)).await, 1);
    assert_eq!(code(see("x", "b")).await, Some(ErrorCode::NotMember));
}

pub(in crate::store::tests) async fn the_largest_message_fits_a_frame(store: Arc<impl Store>) {
    pair(&*store).await;
    let names: Vec<String> = (0..ATTACHMENTS_MAX).map(|n| format!("{n:0>64}")).collect();
    for name in &names {
        let short = serde_json::to_string(&file(name)).unwrap().len();
        let padded = format!("{name}.txt{}", "x".repeat(ATTACHMENT_BYTES_MAX - short));
        let view = Attachment { name: Some(padded), ..file(name) };
        assert_eq!(serde_json::to_string(&view).unwrap().len(), ATTACHMENT_BYTES_MAX);
        store.offer_attachment(&conv("pair"), &user("a"), view, T0).await.unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut large = with("a/1", "m", &names);
    large.body = format!("\"{}\"", "x".repeat(BODY_BYTES_MAX - 2));
    store.append(large).await.unwrap();
    let mut page = store.page(&conv("pair"), &user("b"), Range::Newest, 9, 1 << 20).await.unwrap();
    let frame = ServerFrame::Message(page.messages.remove(0));
    let bytes = serde_json::to_string(&frame).unwrap().len();
    assert!(bytes < FRAME_BYTES_MAX - 1_024, "a frame of {bytes} bytes");
}
