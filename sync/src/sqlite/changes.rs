//! The rows that changed here, in the order of the commits, whoever changed them.
//!
//! Triggers write the list; readers remember how far they have read. SQLite lets one transaction write at a time, so an
//! id that a reader has seen is never followed by a smaller one.

use rusqlite::{Connection, Row, Transaction};
use uuid::Uuid;

use super::error::StoreError;
use crate::catalog::{self, Table};
use crate::merge::ids::{RowId, TableId};

/// A row that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the list.
    pub id: i64,
    /// The table.
    pub table: &'static Table,
    /// The row.
    pub row: RowId,
}

/// The first and the last place that the list still has; `None` while nothing has ever changed.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn bounds(tx: &Connection) -> Result<Option<(i64, i64)>, StoreError> {
    let sql = "select (select min(id) from sync_changes), (select max(id) from sync_changes)";
    let read = |row: &Row<'_>| Ok(row.get::<_, Option<i64>>(0)?.zip(row.get(1)?));
    Ok(tx.prepare_cached(sql)?.query_row([], read)?)
}

/// What changed in the `limit` entries after a place. A row that changed more than once is listed at its last place
/// only. Credentials are left out: they are shown to nobody.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn after(tx: &Connection, place: i64, limit: u32) -> Result<Vec<Change>, StoreError> {
    let sql =
        "select max(id), tbl, row_id from (select id, tbl, row_id from sync_changes where id > ? order by id limit ?)
        group by tbl, row_id order by 1";
    let mut statement = tx.prepare_cached(sql)?;
    let read = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?));
    let mut changes = Vec::new();
    for entry in statement.query_map((place, limit), read)? {
        let (id, table, row): (i64, u8, String) = entry?;
        let table = catalog::by_id(TableId(table)).filter(|table| table.dumped);
        let Some((table, row)) = table.zip(Uuid::try_parse(&row).ok()) else { continue };
        changes.push(Change { id, table, row: RowId(row) });
    }
    Ok(changes)
}

/// Forgets all but the last `keep` entries. Returns how many went.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn cut(tx: &Transaction<'_>, keep: u32) -> Result<usize, StoreError> {
    let sql = "delete from sync_changes where id <= (select max(id) from sync_changes) - ?";
    Ok(tx.prepare_cached(sql)?.execute([keep.max(1)])?)
}
