//! Every store passes `conformance`; the embedded one is also opened again after being dropped.

mod conformance;

use std::sync::Arc;

use trunkline_units::UnixMillis;

use super::{Place, Range, SqliteStore, Store, StoreError};
use conformance::{conv, message, pair, party, user};

/// Runs each function of the suite against stores made by `$open`.
macro_rules! suite {
    ($name:ident, $open:expr, $($case:ident),* $(,)?) => {
        mod $name {
            use super::*;
            $(
                #[tokio::test]
                async fn $case() {
                    let (store, _guard) = $open;
                    conformance::$case(Arc::new(store)).await;
                }
            )*
        }
    };
}

macro_rules! everywhere {
    ($($case:ident),* $(,)?) => {
        suite!(memory, (SqliteStore::open(&Place::Memory).unwrap(), ()), $($case),*);
        suite!(file, in_a_folder(), $($case),*);
    };
}

everywhere!(
    sequences_are_gapless_under_concurrency,
    a_resend_finds_its_first,
    strangers_append_and_read_nothing,
    pages_meet_in_the_middle,
    pages_fit_their_bytes,
    a_pair_has_one_conversation,
    membership_and_roles,
    newcomers_see_from_their_joining_on,
    marks_only_grow,
    what_expires_leaves_no_hole,
    a_conversation_keeps_its_messages_as_long_as_it_says,
    who_says_how_long,
    one_log_does_not_hold_up_another,
    references_are_counted_once,
    what_is_taken_is_referred_to_no_more,
    taking_and_sending_at_once,
    only_ones_own_attachments_of_this_conversation,
    an_offer_again_is_harmless,
    who_may_have_links,
    the_largest_message_fits_a_frame,
    changes_are_found_once,
    a_call_ends_with_its_message,
    one_live_call_a_pair,
    one_winner,
    busy_is_a_call_born_ended,
    deadlines_are_found,
    removal_ends_a_leg,
    who_was_removed_does_not_come_back_by_another_way,
);

fn in_a_folder() -> (SqliteStore, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&Place::File(folder.path().join("store.db"))).unwrap();
    (store, folder)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::File(folder.path().join("store.db"));
    for round in 0..3_u64 {
        let store = SqliteStore::open(&place).unwrap();
        pair(&store).await;
        for n in 0..10 {
            let appended = store.append(message("a/1", &format!("m{round}.{n}"))).await.unwrap();
            assert_eq!(appended.seq, round * 10 + n + 1);
        }
    }
    let store = SqliteStore::open(&place).unwrap();
    let page = store.page(&conv("pair"), &user("b"), Range::After(0), 100, 1 << 20).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| m.seq).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    assert_eq!(store.append(message("a/1", "m0.0")).await.unwrap().seq, 1);
}

/// The log that a killed process leaves is what the next one reads: nothing is copied into the file on the way.
#[tokio::test]
async fn what_was_acknowledged_is_in_the_log_before_any_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&Place::File(folder.path().join("store.db"))).unwrap();
    pair(&store).await;
    for n in 0..20 {
        store.append(message("a/1", &format!("m{n}"))).await.unwrap();
    }
    // As after kill -9: the files as they are, while the first process still has them open.
    let other = tempfile::tempdir().unwrap();
    for file in ["store.db", "store.db-wal"] {
        std::fs::copy(folder.path().join(file), other.path().join(file)).unwrap();
    }
    let copy = SqliteStore::open(&Place::File(other.path().join("store.db"))).unwrap();
    let page = copy.page(&conv("pair"), &user("b"), Range::After(0), 100, 1 << 20).await.unwrap();
    assert_eq!(page.messages.len(), 20);
}

#[test]
fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(&Place::File(path)), Err(StoreError::Internal(_))));
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&Place::File(folder.path().join("store.db"))).unwrap();
    pair(&store).await;
    let pages: u64 = store
        .write(|db| {
            let pages: u64 = db.query_row("PRAGMA page_count", (), |row| row.get(0))?;
            db.pragma_update(None, "max_page_count", pages + 2)?;
            Ok(pages)
        })
        .await
        .unwrap();
    let big = |n: u32| {
        let mut new = message("a/1", &format!("m{n}"));
        new.body = format!("\"{}\"", "x".repeat(16_000));
        new
    };
    let mut acknowledged = 0;
    let answers: Vec<_> = (0..8).map(|n| store.append(big(n))).collect();
    for answer in answers {
        match answer.await {
            Ok(_) => acknowledged += 1,
            Err(StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
    store.write(move |db| Ok(db.pragma_update(None, "max_page_count", pages + 10_000)?)).await.unwrap();
    let page = store.page(&conv("pair"), &user("b"), Range::After(0), 100, 1 << 20).await.unwrap();
    assert_eq!(page.messages.len(), acknowledged);
    assert!(acknowledged < 8);
    for n in 0..8 {
        store.append(big(n)).await.unwrap();
    }
    let page = store.page(&conv("pair"), &user("b"), Range::After(0), 100, 1 << 20).await.unwrap();
    assert_eq!(page.messages.iter().map(|m| m.seq).collect::<Vec<_>>(), (1..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_panic_in_a_transaction_is_its_own() {
    let store = SqliteStore::open(&Place::Memory).unwrap();
    pair(&store).await;
    let bad = store.write(|db| -> Result<(), StoreError> {
        db.execute("DELETE FROM member", ())?;
        panic!("planted")
    });
    let good = store.append(message("a/1", "m1"));
    assert!(matches!(bad.await, Err(StoreError::Internal(_))));
    assert_eq!(good.await.unwrap().seq, 1);
    assert_eq!(store.session_state(&user("b"), 100).await.unwrap().heads[0].members.len(), 2);
    assert_eq!(party("a/1").user, user("a"));
    assert!(store.expire(UnixMillis(0), None, 10).await.unwrap() == 0);
}
