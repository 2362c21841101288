//! Refused rows that somebody gives up. The list is the ledger's.
//!
//! Giving up is the hub's to carry out: its row supersedes what was refused, and comes with a pull. Until then the entry
//! stays on the list. Its status goes from `open` to `discarding`, which the hub has not heard of, and to `discarded`,
//! which it has carried out. A later write here makes it `open` again.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use super::error::StoreError;
use super::ledger::{self, Way};
use super::self_state;
use super::versions::{self, Key, Refusal, Tracked};
use crate::catalog;
use crate::merge::ids::{RowId, TableId};

/// What became of a wish to give a refused row up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// The hub is asked at the next exchange.
    Asked,
    /// There is no such entry.
    Unknown,
    /// It is the hub's row, which this edge cannot store: nothing was written here that could be given up.
    Hubs,
}

/// Gives up what was written here to a refused row and the hub does not have.
///
/// # Errors
/// [`StoreError::Version`], [`StoreError::Text`] when the row's record is damaged, [`StoreError::Sqlite`].
pub fn discard(tx: &Transaction<'_>, id: Uuid) -> Result<Discard, StoreError> {
    let Some((key, code, reason)) = find(tx, id)? else { return Ok(Discard::Unknown) };
    if ledger::quarantine_id(Way::Up, key.table, key.id) != id {
        return Ok(Discard::Hubs);
    }
    let table = catalog::by_id(key.table);
    let tracked = table.map(|table| versions::load(tx, table, key.id)).transpose()?.flatten();
    let (Some(table), Some(tracked)) = (table, tracked) else {
        // The row has left this edge's scope; the entry is all that is left of it here.
        ledger::settle(tx, Way::Up, key.table, key.id)?;
        return Ok(Discard::Asked);
    };
    let seq = tracked.version.vv.seen(self_state::load(tx)?.replica);
    versions::save(tx, table, key.id, &Tracked { refused: Some(Refusal { code, reason, seq }), ..tracked })?;
    set_status(tx, key, "discarding")?;
    Ok(Discard::Asked)
}

/// The rows that are given up and of which the hub has not heard that.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn given_up(tx: &Connection) -> Result<Vec<Key>, StoreError> {
    let select = "select tbl, row_id from sync_quarantine where status = 'discarding' order by tbl, row_id";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(1)?;
        let table = TableId(row.get(0)?);
        keys.extend(Uuid::try_parse(&id).map(|id| Key { table, id: RowId(id) }));
    }
    Ok(keys)
}

/// Notes that the hub has superseded what was given up; its row is on its way. Nothing for a row written again since.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn carried_out(tx: &Transaction<'_>, key: Key) -> Result<(), StoreError> {
    set_status(tx, key, "discarded")
}

/// Takes back that a row is given up.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn reopen(tx: &Transaction<'_>, key: Key) -> Result<(), StoreError> {
    set_status(tx, key, "open")
}

/// Asks the hub once more for the rows of which nothing has come since it said that it had superseded them.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn ask_again(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.prepare_cached("update sync_quarantine set status = 'discarding' where status = 'discarded'")?.execute([])?;
    Ok(())
}

fn set_status(tx: &Transaction<'_>, key: Key, status: &str) -> Result<(), StoreError> {
    let update = "update sync_quarantine set status = ?2 where id = ?1";
    let id = ledger::quarantine_id(Way::Up, key.table, key.id);
    tx.prepare_cached(update)?.execute(params![id.to_string(), status])?;
    Ok(())
}

fn find(tx: &Connection, id: Uuid) -> Result<Option<(Key, String, String)>, StoreError> {
    let select = "select tbl, row_id, code, reason from sync_quarantine where id = ?1";
    let mut statement = tx.prepare_cached(select)?;
    let entry = statement
        .query_row([id.to_string()], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?)));
    let Some((table, row, code, reason)) = entry.optional()? else { return Ok(None) };
    let key = |row| Key { table: TableId(table), id: RowId(row) };
    Ok(Uuid::try_parse(&row).ok().map(|row| (key(row), code, reason)))
}
