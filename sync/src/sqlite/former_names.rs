//! The names that waiting writes had before this edge took another replica id (`sync_former_names`).
//!
//! They are sent with the row and forgotten when it waits no more. An edge that never was restored or copied has none.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};

use super::error::StoreError;
use crate::catalog::Table;
use crate::merge::clock::Dot;
use crate::merge::ids::{ReplicaId, RowId};
use crate::wire::message::FormerName;

/// The former names of a row's writes.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn load(tx: &Connection, table: &Table, id: RowId) -> Result<Vec<FormerName>, StoreError> {
    let select = "select replica, seq, hlc, now_seq from sync_former_names where tbl = ?1 and row_id = ?2";
    let mut statement = tx.prepare_cached(select)?;
    let name = |row: &rusqlite::Row<'_>| {
        let number = |column: usize| row.get::<_, i64>(column).map(i64::cast_unsigned);
        Ok(FormerName { replica: row.get(0)?, seq: number(1)?, hlc: number(2)?, now_seq: number(3)? })
    };
    let names = statement.query_map(params![table.id.0, id.to_string()], name)?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Notes that a row's writes `moved` have other names from now on: `renamed` says by which number of the new replica id each
/// name goes that was given up. `present` is the replica id until now.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn follow(
    tx: &Transaction<'_>,
    (table, id): (&Table, RowId),
    present: ReplicaId,
    moved: &[Dot],
    renamed: &BTreeMap<(ReplicaId, u64), u64>,
) -> Result<(), StoreError> {
    let former = load(tx, table, id)?;
    delete(tx, table, id)?;
    for name in former {
        // What the hub was found to have is known there by every name.
        if let Some(now_seq) = renamed.get(&(present, name.now_seq)) {
            insert(tx, table, id, FormerName { now_seq: *now_seq, ..name })?;
        }
    }
    for dot in moved {
        if let Some(now_seq) = renamed.get(&(dot.replica, dot.seq)) {
            let name = FormerName { replica: dot.replica.0, seq: dot.seq, hlc: dot.hlc.0, now_seq: *now_seq };
            insert(tx, table, id, name)?;
        }
    }
    Ok(())
}

/// Forgets the former names of rows that wait no more.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn forget_settled(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let delete = "delete from sync_former_names where not exists (select 1 from sync_rows as r
        where r.tbl = sync_former_names.tbl and r.row_id = sync_former_names.row_id and r.base is not null)";
    tx.prepare_cached(delete)?.execute([])?;
    Ok(())
}

fn insert(tx: &Transaction<'_>, table: &Table, id: RowId, name: FormerName) -> Result<(), StoreError> {
    let insert =
        "insert into sync_former_names (tbl, row_id, replica, seq, hlc, now_seq) values (?1, ?2, ?3, ?4, ?5, ?6)";
    let FormerName { replica, seq, hlc, now_seq } = name;
    let (seq, hlc, now_seq) = (seq.cast_signed(), hlc.cast_signed(), now_seq.cast_signed());
    tx.prepare_cached(insert)?.execute(params![table.id.0, id.to_string(), replica, seq, hlc, now_seq])?;
    Ok(())
}

fn delete(tx: &Transaction<'_>, table: &Table, id: RowId) -> Result<(), StoreError> {
    let delete = "delete from sync_former_names where tbl = ?1 and row_id = ?2";
    tx.prepare_cached(delete)?.execute(params![table.id.0, id.to_string()])?;
    Ok(())
}
