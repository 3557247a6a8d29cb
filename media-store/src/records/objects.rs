//! Objects, their variants, and who refers to them.

use rusqlite::{OptionalExtension, Transaction, params};
use trunkline_units::{AttachmentId, UserId};

use super::{Records, RecordsError, kind_number};
use crate::{Attachment, attachment::Content};

/// Stored bytes under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// `320`, `original`, `audio`, `file`, …
    pub(crate) name: String,
    /// Where, in the blob store.
    pub(crate) key: String,
    /// What it is served as.
    pub(crate) mime: String,
    /// As stored.
    pub(crate) bytes: u64,
    /// Whether it is stored as zstd (RFC 8878).
    pub(crate) zstd: bool,
    /// Its size when it is not compressed.
    pub(crate) identity_bytes: u64,
    /// Strong, without quotes: a hash of what was stored.
    pub(crate) etag: String,
}

/// An object to make.
#[derive(Clone, Debug)]
pub(crate) struct NewObject {
    pub(crate) id: String,
    pub(crate) tenant: String,
    /// Of the bytes as uploaded, hex.
    pub(crate) sha256: String,
    pub(crate) content: Content,
    /// Whether `first` is all there is to it.
    pub(crate) whole: bool,
    pub(crate) first: Variant,
}

/// An object that has the bytes already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) object: String,
    pub(crate) content: Content,
    /// Whether every planned variant is there.
    pub(crate) whole: bool,
    /// The names of those that are.
    pub(crate) variants: Vec<String>,
}

impl Records {
    /// The living object with these bytes, of this tenant.
    pub(crate) async fn find(
        &self,
        tenant: &str,
        kind: crate::Kind,
        sha256: &str,
    ) -> Result<Option<Found>, RecordsError> {
        let (tenant, sha256) = (tenant.to_owned(), sha256.to_owned());
        self.run(move |db| find(db, &tenant, kind, &sha256)).await
    }

    /// Makes an object with its first variant. If another upload of the same bytes was faster, that one is given, and the
    /// caller's variant belongs to nobody.
    pub(crate) async fn add_object(&self, new: NewObject) -> Result<(Found, bool), RecordsError> {
        self.run(move |db| {
            if let Some(found) = find(db, &new.tenant, new.content.kind, &new.sha256)? {
                return Ok((found, false));
            }
            db.prepare_cached("INSERT INTO object VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)")?.execute(params![
                new.id,
                new.tenant,
                kind_number(new.content.kind),
                new.sha256,
                serde_json::to_string(&new.content)?,
                new.whole,
            ])?;
            let variants = vec![new.first.name.clone()];
            insert_variant(db, &new.id, &new.first)?;
            Ok((Found { object: new.id, content: new.content, whole: new.whole, variants }, true))
        })
        .await
    }

    /// Adds a variant. `false`: the object has it already, or is gone; the caller's bytes belong to nobody.
    pub(crate) async fn add_variant(&self, object: &str, variant: Variant) -> Result<bool, RecordsError> {
        let object = object.to_owned();
        self.run(move |db| {
            let alive =
                db.prepare_cached("SELECT 1 FROM object WHERE id = ?1 AND doomed = 0")?.exists([&object])?;
            let held = db
                .prepare_cached("SELECT 1 FROM variant WHERE object = ?1 AND name = ?2")?
                .exists(params![object, variant.name])?;
            if !alive || held {
                return Ok(false);
            }
            insert_variant(db, &object, &variant)?;
            Ok(true)
        })
        .await
    }

    /// Every planned variant is there; `bytes` and `type` are those of the best one.
    pub(crate) async fn complete(&self, object: &str, content: &Content) -> Result<(), RecordsError> {
        let (object, content) = (object.to_owned(), serde_json::to_string(content)?);
        self.run(move |db| {
            db.prepare_cached("UPDATE object SET whole = 1, content = ?2 WHERE id = ?1")?
                .execute(params![object, content])?;
            Ok(())
        })
        .await
    }

    /// Whether every planned variant is there.
    pub(crate) async fn is_whole(&self, object: &str) -> Result<bool, RecordsError> {
        let object = object.to_owned();
        self.run(move |db| {
            let whole = db
                .prepare_cached("SELECT whole FROM object WHERE id = ?1")?
                .query_row([&object], |row| row.get(0))
                .optional()?;
            Ok(whole.unwrap_or(false))
        })
        .await
    }

    /// Makes an attachment of an object, and counts it. Again is harmless. `None`: the object is doomed.
    pub(crate) async fn attach(
        &self,
        id: &AttachmentId,
        object: &str,
        user: &UserId,
        tenant: &str,
        name: Option<String>,
    ) -> Result<Option<Attachment>, RecordsError> {
        let (id, object, user, tenant) = (id.clone(), object.to_owned(), user.clone(), tenant.to_owned());
        self.run(move |db| {
            let content: Option<String> = db
                .prepare_cached("SELECT content FROM object WHERE id = ?1 AND doomed = 0")?
                .query_row([&object], |row| row.get(0))
                .optional()?;
            let Some(content) = content else { return Ok(None) };
            let content: Content = serde_json::from_str(&content)?;
            let fresh = db
                .prepare_cached("INSERT OR IGNORE INTO attachment VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![id.as_str(), object, user.as_str(), tenant, name, content.bytes])?;
            if fresh == 1 {
                charge(db, &tenant, user.as_str(), signed(content.bytes), 1)?;
            }
            Ok(Some(Attachment { id, name, content }))
        })
        .await
    }

    /// The attachment with the object's id.
    pub(crate) async fn attachment(
        &self,
        id: &AttachmentId,
    ) -> Result<Option<(Attachment, String)>, RecordsError> {
        let id = id.clone();
        self.run(move |db| {
            let row: Option<(Option<String>, String, String)> = db
                .prepare_cached(
                    "SELECT a.name, o.content, o.id FROM attachment a JOIN object o ON o.id = a.object
                     WHERE a.id = ?1",
                )?
                .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                .optional()?;
            let Some((name, content, object)) = row else { return Ok(None) };
            Ok(Some((Attachment { id, name, content: serde_json::from_str(&content)? }, object)))
        })
        .await
    }

    /// A variant of an object.
    pub(crate) async fn variant(&self, object: &str, name: &str) -> Result<Option<Variant>, RecordsError> {
        let (object, name) = (object.to_owned(), name.to_owned());
        self.run(move |db| {
            Ok(db
                .prepare_cached(
                    "SELECT name, key, mime, bytes, zstd, identity, etag FROM variant
                     WHERE object = ?1 AND name = ?2",
                )?
                .query_row(params![object, name], |row| {
                    Ok(Variant {
                        name: row.get(0)?,
                        key: row.get(1)?,
                        mime: row.get(2)?,
                        bytes: row.get(3)?,
                        zstd: row.get(4)?,
                        identity_bytes: row.get(5)?,
                        etag: row.get(6)?,
                    })
                })
                .optional()?)
        })
        .await
    }

    /// Ends attachments, gives their users' shares back, and dooms objects that nobody refers to any more.
    pub(crate) async fn detach(&self, ids: Vec<AttachmentId>) -> Result<(), RecordsError> {
        self.run(move |db| {
            for id in ids {
                let row: Option<(String, String, String, u64)> = db
                    .prepare_cached(
                        "DELETE FROM attachment WHERE id = ?1 RETURNING object, user, tenant, bytes",
                    )?
                    .query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
                    .optional()?;
                let Some((object, user, tenant, bytes)) = row else { continue };
                charge(db, &tenant, &user, -signed(bytes), -1)?;
                db.prepare_cached(
                    "UPDATE object SET doomed = 1
                     WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM attachment WHERE object = ?1)",
                )?
                .execute([&object])?;
            }
            Ok(())
        })
        .await
    }

    /// Doomed objects, with where their variants are.
    pub(crate) async fn doomed(&self, limit: u32) -> Result<Vec<(String, Vec<String>)>, RecordsError> {
        self.run(move |db| {
            let objects: Vec<String> = db
                .prepare_cached("SELECT id FROM object WHERE doomed = 1 LIMIT ?1")?
                .query_map([limit], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            let mut statement = db.prepare_cached("SELECT key FROM variant WHERE object = ?1")?;
            let with_keys = objects.into_iter().map(|object| {
                let keys = statement.query_map([&object], |row| row.get(0))?.collect::<Result<_, _>>()?;
                Ok((object, keys))
            });
            with_keys.collect()
        })
        .await
    }

    /// Forgets a doomed object whose bytes are gone.
    pub(crate) async fn forget(&self, object: &str) -> Result<(), RecordsError> {
        let object = object.to_owned();
        self.run(move |db| {
            db.prepare_cached("DELETE FROM variant WHERE object = ?1")?.execute([&object])?;
            db.prepare_cached("DELETE FROM object WHERE id = ?1 AND doomed = 1")?.execute([&object])?;
            Ok(())
        })
        .await
    }

    /// Of these keys, those that no variant has.
    pub(crate) async fn unknown_keys(&self, keys: Vec<String>) -> Result<Vec<String>, RecordsError> {
        self.run(move |db| {
            let mut statement = db.prepare_cached("SELECT 1 FROM variant WHERE key = ?1")?;
            let mut unknown = Vec::new();
            for key in keys {
                if !statement.exists([&key])? {
                    unknown.push(key);
                }
            }
            Ok(unknown)
        })
        .await
    }

    /// Living objects that no attachment refers to, while nothing is being finished that may still refer to one: what a
    /// process that died between the object and its attachment leaves, once its upload is gone too.
    pub(crate) async fn doom_unattached(&self) -> Result<usize, RecordsError> {
        self.run(|db| {
            Ok(db
                .prepare_cached(
                    "UPDATE object SET doomed = 1
                     WHERE doomed = 0 AND NOT EXISTS (SELECT 1 FROM attachment WHERE object = object.id)
                       AND NOT EXISTS (SELECT 1 FROM upload WHERE state IN (1, 2))",
                )?
                .execute(())?)
        })
        .await
    }
}

fn find(
    db: &Transaction<'_>,
    tenant: &str,
    kind: crate::Kind,
    sha256: &str,
) -> Result<Option<Found>, RecordsError> {
    let row: Option<(String, String, bool)> = db
        .prepare_cached(
            "SELECT id, content, whole FROM object
             WHERE tenant = ?1 AND kind = ?2 AND sha256 = ?3 AND doomed = 0",
        )?
        .query_row(params![tenant, kind_number(kind), sha256], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((object, content, whole)) = row else { return Ok(None) };
    let variants = db
        .prepare_cached("SELECT name FROM variant WHERE object = ?1")?
        .query_map([&object], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(Some(Found { content: serde_json::from_str(&content)?, object, whole, variants }))
}

fn insert_variant(db: &Transaction<'_>, object: &str, variant: &Variant) -> Result<(), RecordsError> {
    db.prepare_cached("INSERT INTO variant VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
        object,
        variant.name,
        variant.key,
        variant.mime,
        variant.bytes,
        variant.zstd,
        variant.identity_bytes,
        variant.etag,
    ])?;
    Ok(())
}

/// Adds to what a user has, and to what the tenant has.
fn charge(
    db: &Transaction<'_>,
    tenant: &str,
    user: &str,
    bytes: i64,
    files: i64,
) -> Result<(), RecordsError> {
    let mut statement = db.prepare_cached(
        "INSERT INTO usage VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant, user) DO UPDATE SET bytes = bytes + ?3, files = files + ?4",
    )?;
    for user in [user, ""] {
        statement.execute(params![tenant, user, bytes, files])?;
    }
    Ok(())
}

/// SQLite counts in 63 bits; no upload is as large.
fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
