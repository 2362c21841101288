//! Rows that left this edge's scope (`sync_evictions`).
//!
//! A row without unsent writes goes at once. One with some stays until the hub has them or has refused them, and that
//! is remembered in the file. What is removed here is forgotten: it is no delete, and nobody is told of it.

use rusqlite::{Connection, Transaction, params};

use super::error::StoreError;
use super::ledger::{self, Way};
use super::{hub_rows, rows, versions};
use crate::catalog::Table;
use crate::merge::ids::RowId;

/// Removes a row that left the scope, or remembers to when the hub has its unsent writes. Capture has to be paused.
///
/// # Errors
/// [`StoreError`] when the database fails or holds a damaged version.
pub(super) fn ask(tx: &Transaction<'_>, table: &'static Table, id: RowId) -> Result<(), StoreError> {
    ledger::settle(tx, Way::Down, table.id, id)?;
    if versions::load(tx, table, id)?.is_some_and(|tracked| tracked.base.is_some()) {
        return remember(tx, table, id);
    }
    remove(tx, table, id)
}

/// Forgets that a row was to go, because it came again.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn cancel(tx: &Transaction<'_>, table: &Table, id: RowId) -> Result<(), StoreError> {
    let delete = "delete from sync_evictions where tbl = ?1 and row_id = ?2";
    tx.prepare_cached(delete)?.execute(params![table.id.0, id.to_string()])?;
    Ok(())
}

/// Whether a row goes when nothing of it waits any more.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn is_due(tx: &Connection, table: &Table, id: RowId) -> Result<bool, StoreError> {
    let select = "select exists (select 1 from sync_evictions where tbl = ?1 and row_id = ?2)";
    Ok(tx.prepare_cached(select)?.query_row(params![table.id.0, id.to_string()], |row| row.get(0))?)
}

/// Removes a row with everything that is known of it. Capture has to be paused.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn remove(tx: &Transaction<'_>, table: &'static Table, id: RowId) -> Result<(), StoreError> {
    rows::delete(tx, table, id)?;
    rows::delete_last(tx, table, id)?;
    versions::delete(tx, table, id)?;
    hub_rows::delete(tx, table.id, id)?;
    cancel(tx, table, id)
}

fn remember(tx: &Transaction<'_>, table: &Table, id: RowId) -> Result<(), StoreError> {
    let insert = "insert into sync_evictions (tbl, row_id) values (?1, ?2) on conflict (tbl, row_id) do nothing";
    tx.prepare_cached(insert)?.execute(params![table.id.0, id.to_string()])?;
    Ok(())
}
