//! What the hub has of the rows that are listed as refused (`sync_hub_rows`).
//!
//! A refused row stays as it was written here, where its people see it. Whoever compares replicas is shown the hub's
//! version instead. It comes with the refusal, and a pull of the row renews it; a copy that was read earlier never takes
//! the place of a later one.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use uuid::Uuid;

use super::error::StoreError;
use super::versions::Key;
use crate::catalog::Table;
use crate::merge::ids::{RowId, TableId};
use crate::merge::vector::Vector;
use crate::wire::convert::Fields;
use crate::wire::message::PullRow;
use crate::wire::version::{parse_vector, vector_text};

/// Keeps the hub's version of a row, or that it has none. A copy that lacks writes of the one kept here is older.
///
/// # Errors
/// [`StoreError::Version`] when the record is damaged, [`StoreError::Text`], [`StoreError::Sqlite`].
pub(super) fn save(tx: &Transaction<'_>, table: TableId, id: RowId, hubs: Option<&PullRow>) -> Result<(), StoreError> {
    let none = Vector::default();
    let vv = hubs.map_or(&none, |hubs| &hubs.vv.0);
    if load_vv(tx, table, id)?.is_some_and(|kept| !vv.includes(&kept)) {
        return Ok(());
    }
    let alive = hubs.filter(|hubs| hubs.is_alive());
    let unwritable = |source| StoreError::Text { what: "the hub's version of a refused row", source };
    let fields = alive.map(|hubs| serde_json::to_string(&hubs.values)).transpose().map_err(unwritable)?;
    let insert = "insert into sync_hub_rows (tbl, row_id, vv, fields) values (?1, ?2, ?3, ?4)
        on conflict (tbl, row_id) do update set vv = excluded.vv, fields = excluded.fields";
    tx.prepare_cached(insert)?.execute(params![table.0, id.to_string(), vector_text(vv), fields])?;
    Ok(())
}

/// The rows of which the hub's version is kept.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn keys(tx: &Connection) -> Result<BTreeSet<Key>, StoreError> {
    let select = "select tbl, row_id from sync_hub_rows";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([])?;
    let mut keys = BTreeSet::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(1)?;
        let table = TableId(row.get(0)?);
        keys.extend(Uuid::try_parse(&id).map(|id| Key { table, id: RowId(id) }));
    }
    Ok(keys)
}

/// The hub's versions of a table's refused rows, in the order of ids; `None` for a row that the hub does not have.
///
/// # Errors
/// [`StoreError::Text`] when a record is damaged, [`StoreError::Sqlite`].
pub(super) fn of_table(tx: &Connection, table: &Table) -> Result<BTreeMap<RowId, Option<Fields>>, StoreError> {
    let select = "select row_id, fields from sync_hub_rows where tbl = ?1";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([table.id.0])?;
    let mut all = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (id, fields): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        let Ok(id) = Uuid::try_parse(&id) else { continue };
        let unreadable = |source| StoreError::Text { what: "the hub's version of a refused row", source };
        let fields = fields.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?;
        all.insert(RowId(id), fields);
    }
    Ok(all)
}

/// Forgets the hub's version of a row that is not listed as refused any more.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn forget(tx: &Transaction<'_>, table: TableId, id: RowId) -> Result<(), StoreError> {
    let delete = "delete from sync_hub_rows where tbl = ?1 and row_id = ?2 and not exists (
        select 1 from sync_quarantine as q where q.tbl = ?1 and q.row_id = ?2)";
    tx.prepare_cached(delete)?.execute(params![table.0, id.to_string()])?;
    Ok(())
}

/// Forgets the hub's version of a row that is none of this edge's any more.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn delete(tx: &Transaction<'_>, table: TableId, id: RowId) -> Result<(), StoreError> {
    let delete = "delete from sync_hub_rows where tbl = ?1 and row_id = ?2";
    tx.prepare_cached(delete)?.execute(params![table.0, id.to_string()])?;
    Ok(())
}

fn load_vv(tx: &Connection, table: TableId, id: RowId) -> Result<Option<Vector>, StoreError> {
    let select = "select vv from sync_hub_rows where tbl = ?1 and row_id = ?2";
    let mut statement = tx.prepare_cached(select)?;
    let vv: Option<String> = statement.query_row(params![table.0, id.to_string()], |row| row.get(0)).optional()?;
    Ok(vv.as_deref().map(parse_vector).transpose()?)
}
