//! Uploads: what was promised, what came, and what became of it.

use rusqlite::{OptionalExtension, Row, Transaction, params};
use trunkline_units::{AttachmentId, ConversationId, UnixMillis, UserId};

use super::{OverQuota, Quota, Records, RecordsError, kind_number, kind_of};
use crate::{Kind, problem::Document};

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Bytes are awaited.
    Receiving,
    /// All of them are in the spool; it is being made an attachment.
    Received,
    /// The attachment can be sent; the larger variants are still being made.
    Ready,
    /// Nothing is left to do, and nothing in the spool.
    Done,
    /// It became no attachment.
    Failed,
}

/// Its part in a concatenation (tus 1.0.0, `Upload-Concat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// None.
    Whole,
    /// A part: becomes no attachment by itself.
    Partial,
    /// Made of parts: takes no bytes itself.
    Final,
}

/// An upload as recorded.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) id: AttachmentId,
    pub(crate) user: UserId,
    pub(crate) conv: ConversationId,
    pub(crate) tenant: String,
    pub(crate) kind: Kind,
    pub(crate) name: Option<String>,
    pub(crate) mime: Option<String>,
    /// `None` while the length is deferred.
    pub(crate) bytes: Option<u64>,
    pub(crate) bytes_max: u64,
    /// Durable so far.
    pub(crate) offset: u64,
    pub(crate) state: State,
    pub(crate) role: Role,
    /// `Upload-Metadata` and `Upload-Concat`, as the client gave them: `HEAD` gives them back.
    pub(crate) metadata: Option<String>,
    pub(crate) concat: Option<String>,
    /// The blob store's multipart upload, as it names it, of a direct upload.
    pub(crate) direct: Option<String>,
    /// What the client says that the bytes hash to, hex.
    pub(crate) sha256: Option<String>,
    pub(crate) problem: Option<Document>,
    pub(crate) expires_at: UnixMillis,
}

impl Records {
    /// Begins an upload without bytes, if there is room for it. `Ok(Err)`: there is not.
    pub(crate) async fn create(
        &self,
        new: Upload,
        quota: Quota,
    ) -> Result<Result<(), OverQuota>, RecordsError> {
        self.run(move |db| {
            // The parts of a final upload count already, and go with it.
            if new.role != Role::Final
                && let Err(over) = room(db, &new.tenant, &new.user, None, new.bytes.unwrap_or(0), quota)?
            {
                return Ok(Err(over));
            }
            let role = match new.role {
                Role::Whole => 0,
                Role::Partial => 1,
                Role::Final => 2,
            };
            db.prepare_cached(
                "INSERT INTO upload VALUES
                 (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, 0, ?10, ?11, ?12, ?13, ?14, NULL, ?15)",
            )?
            .execute(params![
                new.id.as_str(),
                new.user.as_str(),
                new.conv.as_str(),
                new.tenant,
                kind_number(new.kind),
                new.name,
                new.mime,
                new.bytes,
                new.bytes_max,
                role,
                new.metadata,
                new.concat,
                new.direct,
                new.sha256,
                new.expires_at.0,
            ])?;
            Ok(Ok(()))
        })
        .await
    }

    /// Whether `bytes` more would fit, without beginning anything.
    pub(crate) async fn has_room(
        &self,
        tenant: &str,
        user: &UserId,
        bytes: u64,
        quota: Quota,
    ) -> Result<Result<(), OverQuota>, RecordsError> {
        let (tenant, user) = (tenant.to_owned(), user.clone());
        self.run(move |db| room(db, &tenant, &user, None, bytes, quota)).await
    }

    /// The upload, if there is one.
    pub(crate) async fn upload(&self, id: &AttachmentId) -> Result<Option<Upload>, RecordsError> {
        let id = id.clone();
        self.run(move |db| load(db, &id)).await
    }

    /// Its bytes are durable up to `offset`; and it is alive until `expires_at`. With the last byte it is
    /// [`State::Received`], in the same transaction; but a part of a concatenation waits for the whole. `Ok(Err)`: its
    /// length is deferred, and it has outgrown its user's share.
    pub(crate) async fn advance(
        &self,
        id: &AttachmentId,
        offset: u64,
        expires_at: UnixMillis,
        quota: Quota,
    ) -> Result<Result<(), OverQuota>, RecordsError> {
        let id = id.clone();
        self.run(move |db| {
            let Some(upload) = load(db, &id)?.filter(|upload| upload.state == State::Receiving) else {
                return Ok(Ok(()));
            };
            if upload.bytes.is_none()
                && let Err(over) = room(db, &upload.tenant, &upload.user, Some(&id), offset, quota)?
            {
                return Ok(Err(over));
            }
            db.prepare_cached(
                "UPDATE upload SET offset = ?2, expires_at = ?3, state = (bytes IS ?2 AND role <> 1)
                 WHERE id = ?1",
            )?
            .execute(params![id.as_str(), offset, expires_at.0])?;
            Ok(Ok(()))
        })
        .await
    }

    /// A direct upload is whole in the blob store: from now on nothing more is asked of its client.
    pub(crate) async fn committed(&self, id: &AttachmentId) -> Result<(), RecordsError> {
        let id = id.clone();
        self.run(move |db| {
            db.prepare_cached("UPDATE upload SET state = 1 WHERE id = ?1 AND state = 0")?
                .execute([id.as_str()])?;
            Ok(())
        })
        .await
    }

    /// All bytes of a direct upload are in the spool.
    pub(crate) async fn fetched(&self, id: &AttachmentId, bytes: u64) -> Result<(), RecordsError> {
        let id = id.clone();
        self.run(move |db| {
            db.prepare_cached("UPDATE upload SET offset = ?2 WHERE id = ?1")?
                .execute(params![id.as_str(), bytes])?;
            Ok(())
        })
        .await
    }

    /// A deferred length is known now. `Ok(Err)`: there is no room for it.
    pub(crate) async fn declare(
        &self,
        upload: &Upload,
        bytes: u64,
        quota: Quota,
    ) -> Result<Result<(), OverQuota>, RecordsError> {
        let (id, tenant, user) = (upload.id.clone(), upload.tenant.clone(), upload.user.clone());
        self.run(move |db| {
            if let Err(over) = room(db, &tenant, &user, Some(&id), bytes, quota)? {
                return Ok(Err(over));
            }
            db.prepare_cached("UPDATE upload SET bytes = ?2 WHERE id = ?1 AND bytes IS NULL")?
                .execute(params![id.as_str(), bytes])?;
            Ok(Ok(()))
        })
        .await
    }

    /// Moves an upload on; it stays known until `expires_at`.
    pub(crate) async fn set_state(
        &self,
        id: &AttachmentId,
        state: State,
        expires_at: UnixMillis,
    ) -> Result<(), RecordsError> {
        let id = id.clone();
        self.run(move |db| {
            db.prepare_cached("UPDATE upload SET state = ?2, expires_at = ?3 WHERE id = ?1")?
                .execute(params![id.as_str(), number(state), expires_at.0])?;
            Ok(())
        })
        .await
    }

    /// It becomes no attachment.
    pub(crate) async fn fail(
        &self,
        id: &AttachmentId,
        problem: &Document,
        expires_at: UnixMillis,
    ) -> Result<(), RecordsError> {
        let (id, problem) = (id.clone(), serde_json::to_string(problem)?);
        self.run(move |db| {
            db.prepare_cached("UPDATE upload SET state = 4, problem = ?2, expires_at = ?3 WHERE id = ?1")?
                .execute(params![id.as_str(), problem, expires_at.0])?;
            Ok(())
        })
        .await
    }

    /// Forgets uploads; those that are gone already do not matter.
    pub(crate) async fn remove(&self, ids: Vec<AttachmentId>) -> Result<(), RecordsError> {
        self.run(move |db| {
            let mut statement = db.prepare_cached("DELETE FROM upload WHERE id = ?1")?;
            for id in ids {
                statement.execute([id.as_str()])?;
            }
            Ok(())
        })
        .await
    }

    /// Uploads past their time that nobody works on.
    pub(crate) async fn expired(&self, now: UnixMillis, limit: u32) -> Result<Vec<Upload>, RecordsError> {
        self.run(move |db| {
            let ids = ids(
                db,
                "SELECT id FROM upload WHERE expires_at < ?1 AND state IN (0, 3, 4) ORDER BY expires_at LIMIT ?2",
                params![now.0, limit],
            )?;
            let loaded: Result<Vec<_>, _> = ids.iter().map(|id| load(db, id)).collect();
            Ok(loaded?.into_iter().flatten().collect())
        })
        .await
    }

    /// Uploads that were being made attachments when the process last stopped.
    pub(crate) async fn working(&self) -> Result<Vec<AttachmentId>, RecordsError> {
        self.run(|db| ids(db, "SELECT id FROM upload WHERE state IN (1, 2) ORDER BY id", ())).await
    }

    /// Of these ids, those that are known uploads with something in the spool.
    pub(crate) async fn spooled(&self, ids: Vec<String>) -> Result<Vec<String>, RecordsError> {
        self.run(move |db| {
            let mut statement =
                db.prepare_cached("SELECT 1 FROM upload WHERE id = ?1 AND state IN (0, 1, 2)")?;
            let mut known = Vec::new();
            for id in ids {
                if statement.exists([&id])? {
                    known.push(id);
                }
            }
            Ok(known)
        })
        .await
    }

    /// The store's multiparts of direct uploads that are still awaited.
    pub(crate) async fn direct(&self) -> Result<Vec<String>, RecordsError> {
        self.run(|db| {
            let mut statement =
                db.prepare_cached("SELECT direct FROM upload WHERE direct IS NOT NULL AND state IN (0, 1)")?;
            let rows = statement.query_map((), |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
    }
}

/// Whether an upload of `bytes` fits beside what is stored and the user's other uploads: all but `own`, if it has begun.
fn room(
    db: &Transaction<'_>,
    tenant: &str,
    user: &UserId,
    own: Option<&AttachmentId>,
    bytes: u64,
    quota: Quota,
) -> Result<Result<(), OverQuota>, RecordsError> {
    let pending = |sql: &str, params: &[&dyn rusqlite::ToSql]| -> Result<(u64, u64), RecordsError> {
        Ok(db.prepare_cached(sql)?.query_row(params, |row| Ok((row.get(0)?, row.get(1)?)))?)
    };
    let stored = |user: &str| -> Result<(u64, u64), RecordsError> {
        let row = db
            .prepare_cached("SELECT bytes, files FROM usage WHERE tenant = ?1 AND user = ?2")?
            .query_row(params![tenant, user], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(row.unwrap_or_default())
    };
    let own = own.map_or("", AttachmentId::as_str);
    let (pending_bytes, pending_uploads) = pending(
        "SELECT coalesce(sum(max(coalesce(bytes, 0), offset)), 0), count(*) FROM upload
         WHERE tenant = ?1 AND user = ?2 AND state < 2 AND id <> ?3",
        &[&tenant, &user.as_str(), &own],
    )?;
    let (held_bytes, held_files) = stored(user.as_str())?;
    if pending_uploads >= quota.user_uploads {
        return Ok(Err(OverQuota::Uploads));
    }
    if held_files + pending_uploads >= quota.user_files {
        return Ok(Err(OverQuota::Files));
    }
    if held_bytes.saturating_add(pending_bytes).saturating_add(bytes) > quota.user_bytes {
        return Ok(Err(OverQuota::Bytes));
    }
    if quota.tenant_bytes > 0 {
        let (pending_bytes, _) = pending(
            "SELECT coalesce(sum(max(coalesce(bytes, 0), offset)), 0), count(*) FROM upload
             WHERE tenant = ?1 AND state < 2 AND id <> ?2",
            &[&tenant, &own],
        )?;
        let (held_bytes, _) = stored("")?;
        if held_bytes.saturating_add(pending_bytes).saturating_add(bytes) > quota.tenant_bytes {
            return Ok(Err(OverQuota::TenantBytes));
        }
    }
    Ok(Ok(()))
}

fn number(state: State) -> u8 {
    match state {
        State::Receiving => 0,
        State::Received => 1,
        State::Ready => 2,
        State::Done => 3,
        State::Failed => 4,
    }
}

pub(super) fn load(db: &Transaction<'_>, id: &AttachmentId) -> Result<Option<Upload>, RecordsError> {
    let mut statement = db.prepare_cached("SELECT * FROM upload WHERE id = ?1")?;
    let mut rows = statement.query([id.as_str()])?;
    rows.next()?.map(read).transpose()
}

fn read(row: &Row<'_>) -> Result<Upload, RecordsError> {
    let text = |column: &str| -> Result<String, RecordsError> { Ok(row.get(column)?) };
    let problem: Option<String> = row.get("problem")?;
    Ok(Upload {
        id: AttachmentId::new(&text("id")?)?,
        user: UserId::new(&text("user")?)?,
        conv: ConversationId::new(&text("conv")?)?,
        tenant: text("tenant")?,
        kind: kind_of(row.get("kind")?)?,
        name: row.get("name")?,
        mime: row.get("mime")?,
        bytes: row.get("bytes")?,
        bytes_max: row.get("bytes_max")?,
        offset: row.get("offset")?,
        state: match row.get::<_, u8>("state")? {
            0 => State::Receiving,
            1 => State::Received,
            2 => State::Ready,
            3 => State::Done,
            _ => State::Failed,
        },
        role: match row.get::<_, u8>("role")? {
            0 => Role::Whole,
            1 => Role::Partial,
            _ => Role::Final,
        },
        metadata: row.get("metadata")?,
        concat: row.get("concat")?,
        direct: row.get("direct")?,
        sha256: row.get("sha256")?,
        problem: problem.map(|text| serde_json::from_str(&text)).transpose()?,
        expires_at: UnixMillis(row.get("expires_at")?),
    })
}

fn ids(
    db: &Transaction<'_>,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<AttachmentId>, RecordsError> {
    let mut statement = db.prepare_cached(sql)?;
    let texts: Vec<String> = statement.query_map(params, |row| row.get(0))?.collect::<Result<_, _>>()?;
    texts.iter().map(|text| Ok(AttachmentId::new(text)?)).collect()
}
