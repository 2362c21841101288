//! Failed sign-ins by e-mail address, whether anybody has it or not.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::error::StoreError;

/// What is known of the failed sign-ins with an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lockout {
    /// How many since the last success.
    pub failures: u32,
    /// When the PIN was set that was not given, by the centre's clock; empty when there was none. Kept as
    /// `last_failed_at`.
    pub pin_set_at: String,
    /// How long to wait after it, in milliseconds.
    pub wait_ms: u64,
}

/// The failed sign-ins with an address in lower case.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find(tx: &Connection, email: &str) -> Result<Option<Lockout>, StoreError> {
    let sql = "select failures, coalesce(last_failed_at, ''), wait_ms from sync_lockouts where email = ?";
    let read = |row: &Row<'_>| {
        let wait_ms: i64 = row.get(2)?;
        Ok(Lockout {
            failures: row.get(0)?,
            pin_set_at: row.get(1)?,
            wait_ms: u64::try_from(wait_ms).unwrap_or_default(),
        })
    };
    Ok(tx.prepare_cached(sql)?.query_row([email], read).optional()?)
}

/// Stores them. `locked_until` is for people to read.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn store(tx: &Connection, email: &str, lockout: &Lockout, locked_until: &str) -> Result<(), StoreError> {
    let sql = "insert into sync_lockouts (email, failures, last_failed_at, locked_until, wait_ms)
        values (?1, ?2, ?3, ?4, ?5) on conflict (email) do update set failures = excluded.failures,
        last_failed_at = excluded.last_failed_at, locked_until = excluded.locked_until, wait_ms = excluded.wait_ms";
    let wait_ms = i64::try_from(lockout.wait_ms).unwrap_or(i64::MAX);
    let Lockout { failures, pin_set_at, .. } = lockout;
    tx.prepare_cached(sql)?.execute(params![email, failures, pin_set_at, locked_until, wait_ms])?;
    Ok(())
}

/// Forgets the failures with an address.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn clear(tx: &Connection, email: &str) -> Result<(), StoreError> {
    tx.prepare_cached("delete from sync_lockouts where email = ?")?.execute([email])?;
    Ok(())
}

/// Forgets the oldest failures with addresses that nobody has, all but `keep`, so that guessing addresses does not fill
/// the disk. Those of people are kept.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn trim(tx: &Connection, keep: u32) -> Result<(), StoreError> {
    let sql = "delete from sync_lockouts where email in (
        select l.email from sync_lockouts as l where not exists (select 1 from users as u where lower(u.email) = l.email)
        order by l.locked_until desc limit -1 offset ?)";
    tx.prepare_cached(sql)?.execute([keep])?;
    Ok(())
}
