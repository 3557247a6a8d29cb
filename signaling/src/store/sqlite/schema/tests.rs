use std::time::Duration;

use rusqlite::Connection;
use trunkline_units::{ConversationId, UnixMillis, UserId};

use super::*;
use crate::store::{Place, Range, SqliteStore, Store};

/// An empty database of the present schema.
pub(in crate::store::sqlite) fn current() -> Connection {
    let mut db = Connection::open_in_memory().unwrap();
    migrate(&mut db).unwrap();
    db
}

/// How SQLite would go about a query.
pub(in crate::store::sqlite) fn plan(db: &Connection, sql: &str) -> String {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let unbound = vec![0; statement.parameter_count()];
    let steps =
        statement.query_map(rusqlite::params_from_iter(unbound), |row| row.get::<_, String>(3)).unwrap();
    steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

/// What the program that knew only the first schema wrote: a log of which two messages had expired, one of which all had,
/// and attachments as clients liked them.
const OLD: &str = r#"
INSERT INTO conversation VALUES ('pair', 'a/b', NULL, 1, 1, 4, 3, 3, 90, NULL);
INSERT INTO conversation VALUES ('quiet', NULL, 'Quiet', 1, 2, 5, 6, 2, 40, NULL);
INSERT INTO member VALUES ('pair', 'a', 2, 0, 1, 4, 4), ('pair', 'b', 0, 0, 1, 0, 0), ('quiet', 'a', 2, 0, 2, 5, 5);
INSERT INTO message VALUES ('pair', 3, 'm3', 'a', '1', 'text', '{"text":"old"}', '[{"object":"o","bytes":7}]', 50);
INSERT INTO message VALUES ('pair', 4, 'm4', 'a', '1', 'text', '{"text":"new"}', NULL, 90);
INSERT INTO idempotency VALUES ('a', '1', 'm3', 'pair', 3, 50);
UPDATE revision SET rev = 3;
"#;

#[tokio::test]
async fn a_database_of_the_first_schema_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(FIRST).unwrap();
    old.execute_batch(OLD).unwrap();
    old.pragma_update(None, "user_version", 1).unwrap();
    drop(old);

    let store = SqliteStore::open(&Place::File(path.clone())).unwrap();
    let (conv, a) = (ConversationId::new("pair").unwrap(), UserId::new("a").unwrap());
    let seqs = async || {
        let page = store.page(&conv, &a, Range::After(0), 9, 1 << 20).await.unwrap();
        assert!(page.messages.iter().all(|message| message.attachments.is_empty()));
        page.messages.iter().map(|message| message.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs().await, [3, 4]);
    let heads = store.session_state(&a, 100).await.unwrap().heads;
    assert!(heads.iter().all(|head| head.retention_s.is_none()) && heads.len() == 2);
    // The age of its first message is known, and that there is none in the other.
    assert_eq!(store.expire(UnixMillis(60), Some(Duration::from_millis(10)), 9).await.unwrap(), 0);
    assert_eq!(store.expire(UnixMillis(61), Some(Duration::from_millis(10)), 9).await.unwrap(), 1);
    assert_eq!(seqs().await, [4]);
    drop(store);

    // And it is opened again as what it is.
    drop(SqliteStore::open(&Place::File(path.clone())).unwrap());
    let db = Connection::open(&path).unwrap();
    let version: usize = db.query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap();
    assert_eq!(version, MIGRATIONS.len());
    let mut broken = db.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(!broken.exists(()).unwrap());
    let oldest = "SELECT group_concat(id || ' ' || ifnull(oldest_at, 'none')) FROM conversation";
    assert_eq!(db.query_row(oldest, (), |row| row.get::<_, String>(0)).unwrap(), "pair 90,quiet none");
}

/// A way to delete messages that forgets what they refer to does not get far.
#[test]
fn no_message_goes_without_its_references() {
    let db = current();
    db.pragma_update(None, "foreign_keys", "ON").unwrap();
    db.execute_batch(
        "INSERT INTO conversation (id, epoch, epoch_rev, last_seq, min_seq, rev, active_at)
             VALUES ('c', 1, 1, 1, 1, 1, 1);
         INSERT INTO message (conv, seq, id, user, device, kind, body, at)
             VALUES ('c', 1, 'm', 'a', '1', 'text', '1', 1);
         INSERT INTO attachment VALUES ('x', 'c', 'a', '{}', 1, 1, 0);
         INSERT INTO message_attachment VALUES ('c', 1, 'x');",
    )
    .unwrap();
    assert!(db.execute("DELETE FROM message", ()).is_err());
    assert!(db.execute("DELETE FROM attachment", ()).is_err());
}
