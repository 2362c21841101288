//! Who is signed in at this box. Only a hash of each token is stored.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::error::StoreError;

/// A session; times are canonical, by the edge's steady clock, which no jump of the box's clock moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// By which it is listed and ended; the token does not follow from it.
    pub id: Uuid,
    /// The person; nil for nobody's.
    pub user: Uuid,
    /// The emergency code that began it.
    pub code: Option<Uuid>,
    /// When it began.
    pub created_at: String,
    /// When they last did something.
    pub last_seen_at: String,
    /// When it ends whatever they do.
    pub expires_at: String,
}

const SESSION: &str = "select id, user_id, code_id, created_at, last_seen_at, expires_at from sync_sessions";

/// Adds a session.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn insert(tx: &Connection, token_hash: &[u8], session: &SessionRow) -> Result<(), StoreError> {
    let sql = "insert into sync_sessions (token_hash, id, user_id, code_id, created_at, last_seen_at, expires_at)
        values (?, ?, ?, ?, ?, ?, ?)";
    let SessionRow { id, user, code, created_at, last_seen_at, expires_at } = session;
    let (id, user, code) = (id.to_string(), user.to_string(), code.map(|code| code.to_string()));
    tx.prepare_cached(sql)?.execute(params![token_hash, id, user, code, created_at, last_seen_at, expires_at])?;
    Ok(())
}

/// The session of a token.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find(tx: &Connection, token_hash: &[u8]) -> Result<Option<SessionRow>, StoreError> {
    let sql = format!("{SESSION} where token_hash = ?");
    Ok(tx.prepare_cached(&sql)?.query_row([token_hash], session).optional()?)
}

/// Every session, the last used first.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn list(tx: &Connection) -> Result<Vec<SessionRow>, StoreError> {
    let mut statement = tx.prepare_cached(&format!("{SESSION} order by last_seen_at desc, id"))?;
    let rows = statement.query_map([], session)?;
    Ok(rows.collect::<Result<_, _>>()?)
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

/// Ends the session with an id.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn remove_by_id(tx: &Connection, id: Uuid) -> Result<(), StoreError> {
    tx.prepare_cached("delete from sync_sessions where id = ?")?.execute([id.to_string()])?;
    Ok(())
}

/// Ends the session that an emergency code began.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn remove_of_code(tx: &Connection, code: Uuid) -> Result<(), StoreError> {
    tx.prepare_cached("delete from sync_sessions where code_id = ?")?.execute([code.to_string()])?;
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

fn session(row: &Row<'_>) -> rusqlite::Result<SessionRow> {
    let id = |index: usize| -> rusqlite::Result<Option<Uuid>> {
        let text: Option<String> = row.get(index)?;
        Ok(text.and_then(|text| Uuid::try_parse(&text).ok()))
    };
    Ok(SessionRow {
        id: id(0)?.unwrap_or_default(),
        user: id(1)?.unwrap_or_default(),
        code: id(2)?,
        created_at: row.get(3)?,
        last_seen_at: row.get(4)?,
        expires_at: row.get(5)?,
    })
}
