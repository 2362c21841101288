//! Who is signed in at this box. Only a hash of each token is stored.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::error::StoreError;

/// A session; times are canonical, by the edge's steady clock, which no jump of the box's clock moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// The person.
    pub user: Uuid,
    /// When they last did something.
    pub last_seen_at: String,
    /// When it ends whatever they do.
    pub expires_at: String,
}

/// Adds a session.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn insert(tx: &Connection, token_hash: &[u8], session: &SessionRow) -> Result<(), StoreError> {
    let sql = "insert into sync_sessions (token_hash, user_id, created_at, last_seen_at, expires_at)
        values (?1, ?2, ?3, ?3, ?4)";
    let SessionRow { user, last_seen_at, expires_at } = session;
    tx.prepare_cached(sql)?.execute(params![token_hash, user.to_string(), last_seen_at, expires_at])?;
    Ok(())
}

/// The session of a token.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find(tx: &Connection, token_hash: &[u8]) -> Result<Option<SessionRow>, StoreError> {
    let sql = "select user_id, last_seen_at, expires_at from sync_sessions where token_hash = ?";
    let read = |row: &Row<'_>| {
        let user: String = row.get(0)?;
        let user = Uuid::try_parse(&user).unwrap_or_default();
        Ok(SessionRow { user, last_seen_at: row.get(1)?, expires_at: row.get(2)? })
    };
    Ok(tx.prepare_cached(sql)?.query_row([token_hash], read).optional()?)
}

/// The latest moment that the steady clock is known to have reached; `None` when nothing was kept.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn latest(tx: &Connection) -> Result<Option<String>, StoreError> {
    let sql = "select max(at) from (
        select max(last_seen_at) as at from sync_sessions union all select max(at) from sync_answers)";
    Ok(tx.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}

/// Notes that a session is in use.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn touch(tx: &Connection, token_hash: &[u8], now: &str) -> Result<(), StoreError> {
    let sql = "update sync_sessions set last_seen_at = ? where token_hash = ?";
    tx.prepare_cached(sql)?.execute(params![now, token_hash])?;
    Ok(())
}

/// Ends a session.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn remove(tx: &Connection, token_hash: &[u8]) -> Result<(), StoreError> {
    tx.prepare_cached("delete from sync_sessions where token_hash = ?")?.execute([token_hash])?;
    Ok(())
}

/// Ends the sessions that expired before `now` or were last used before `idle_since`.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn remove_expired(tx: &Connection, now: &str, idle_since: &str) -> Result<(), StoreError> {
    let sql = "delete from sync_sessions where expires_at <= ? or last_seen_at < ?";
    tx.prepare_cached(sql)?.execute([now, idle_since])?;
    Ok(())
}
