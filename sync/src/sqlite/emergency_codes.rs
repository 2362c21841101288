//! Codes that begin one session each. Only a hash of each is stored.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::error::StoreError;

/// A code as it is listed; times are canonical, by the box's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeRow {
    /// Its id, from which the code does not follow.
    pub id: Uuid,
    /// When it was made.
    pub created_at: String,
    /// When it was used.
    pub used_at: Option<String>,
    /// When it was revoked.
    pub revoked_at: Option<String>,
}

/// Adds a code.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn insert(tx: &Connection, id: Uuid, code_hash: &[u8], now: &str) -> Result<(), StoreError> {
    let sql = "insert into sync_emergency_codes (id, code_hash, created_at) values (?, ?, ?)";
    tx.prepare_cached(sql)?.execute(params![id.to_string(), code_hash, now])?;
    Ok(())
}

/// Uses a code up; its id, or `None` when there is none that is still good.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn use_up(tx: &Connection, code_hash: &[u8], now: &str) -> Result<Option<Uuid>, StoreError> {
    let sql = "update sync_emergency_codes set used_at = ?2
        where code_hash = ?1 and used_at is null and revoked_at is null returning id";
    let used: Option<String> =
        tx.prepare_cached(sql)?.query_row(params![code_hash, now], |row| row.get(0)).optional()?;
    Ok(used.map(|id| Uuid::try_parse(&id).unwrap_or_default()))
}

/// All of them, the newest first.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn list(tx: &Connection) -> Result<Vec<CodeRow>, StoreError> {
    let sql = "select id, created_at, used_at, revoked_at from sync_emergency_codes order by created_at desc, id";
    let read = |row: &Row<'_>| {
        let id: String = row.get(0)?;
        let id = Uuid::try_parse(&id).unwrap_or_default();
        Ok(CodeRow { id, created_at: row.get(1)?, used_at: row.get(2)?, revoked_at: row.get(3)? })
    };
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map([], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Makes a code good for nothing; says whether there is one with this id.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn revoke(tx: &Connection, id: Uuid, now: &str) -> Result<bool, StoreError> {
    let sql = "update sync_emergency_codes set revoked_at = coalesce(revoked_at, ?2) where id = ?1";
    Ok(tx.prepare_cached(sql)?.execute(params![id.to_string(), now])? > 0)
}
