//! Answers kept for requests that may be repeated (draft-ietf-httpapi-idempotency-key-header).

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use uuid::Uuid;

use super::error::StoreError;

/// An answer, and what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerRow {
    /// A hash of what was asked.
    pub request: String,
    /// The HTTP status.
    pub status: u16,
    /// The version of the row that it carries, if it carries one.
    pub version: Option<String>,
    /// The body.
    pub body: String,
}

/// The answer that a person got under a key, unless it is from before `since`.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find(tx: &Connection, user: Uuid, key: &str, since: &str) -> Result<Option<AnswerRow>, StoreError> {
    let sql = "select request, status, version, body from sync_answers where user_id = ? and key = ? and at >= ?";
    let read = |row: &Row<'_>| {
        Ok(AnswerRow { request: row.get(0)?, status: row.get(1)?, version: row.get(2)?, body: row.get(3)? })
    };
    Ok(tx.prepare_cached(sql)?.query_row(params![user.to_string(), key, since], read).optional()?)
}

/// Keeps an answer, in place of an older one under the same key.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn keep(tx: &Transaction<'_>, user: Uuid, key: &str, answer: &AnswerRow, at: &str) -> Result<(), StoreError> {
    let sql = "insert into sync_answers (user_id, key, request, status, version, body, at) values (?, ?, ?, ?, ?, ?, ?)
        on conflict (user_id, key) do update set
          request = excluded.request, status = excluded.status, version = excluded.version, body = excluded.body,
          at = excluded.at";
    let AnswerRow { request, status, version, body } = answer;
    tx.prepare_cached(sql)?.execute(params![user.to_string(), key, request, status, version, body, at])?;
    Ok(())
}

/// Forgets the answers from before `since`.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn forget(tx: &Transaction<'_>, since: &str) -> Result<(), StoreError> {
    tx.prepare_cached("delete from sync_answers where at < ?")?.execute([since])?;
    Ok(())
}
