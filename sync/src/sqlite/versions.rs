//! The version of each row, and how far the hub knows it (`sync_rows`).
//!
//! Capture writes these records too, in SQL, in the same transaction as the row. Nothing here compares two versions.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::StoreError;
use super::quarantine;
use crate::catalog::Table;
use crate::merge::clock::Hlc;
use crate::merge::ids::{RowId, TableId};
use crate::merge::vector::Vector;
use crate::merge::version::Version;
use crate::wire::version::{dots_text, parse_dots, parse_vector, vector_text};

/// What is known about one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Tracked {
    /// Its version.
    pub version: Version,
    /// What the hub last had of it; `None` when nothing waits to be sent.
    pub base: Option<Vector>,
    /// Why the hub refused it, if it did.
    pub refused: Option<Refusal>,
    /// When the hub was first known to have it as it is here, in Unix milliseconds by the hub's clock. It says nothing
    /// while something waits, and is `None` for rows that were acknowledged before this was kept.
    pub hub_had_ms: Option<u64>,
}

/// Why a row is not taken. A later write of the row clears it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// A stable code.
    pub code: String,
    /// In words.
    pub reason: String,
    /// This replica's last write in what was refused.
    pub seq: u64,
}

/// Which row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The table's number.
    pub table: TableId,
    /// The row.
    pub id: RowId,
}

/// What is known about a row; `None` when this edge never had it.
///
/// # Errors
/// [`StoreError::Version`], [`StoreError::Text`] when the record is damaged, [`StoreError::Sqlite`].
pub fn load(tx: &Connection, table: &Table, id: RowId) -> Result<Option<Tracked>, StoreError> {
    let select = "select vv, dots, gone, base, refused, hub_had_ms from sync_rows where tbl = ?1 and row_id = ?2";
    let mut statement = tx.prepare_cached(select)?;
    statement.query_row(params![table.id.0, id.to_string()], |row| Ok(tracked(row))).optional()?.transpose()
}

/// Stores what is known about a row.
///
/// # Errors
/// [`StoreError::Text`], [`StoreError::Sqlite`].
pub fn save(tx: &Transaction<'_>, table: &Table, id: RowId, tracked: &Tracked) -> Result<(), StoreError> {
    let insert = "insert into sync_rows (tbl, row_id, vv, dots, gone, hlc, base, refused, hub_had_ms)
        values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        on conflict (tbl, row_id) do update set vv = excluded.vv, dots = excluded.dots, gone = excluded.gone,
          hlc = excluded.hlc, base = excluded.base, refused = excluded.refused, hub_had_ms = excluded.hub_had_ms";
    let Version { vv, gone, dots } = &tracked.version;
    let unreadable = |source| StoreError::Text { what: "a refusal", source };
    let refused = tracked.refused.as_ref().map(serde_json::to_string).transpose().map_err(unreadable)?;
    // A stamp has 63 bits, by its constructor.
    let hlc = i64::try_from(tracked.version.hlc().0).unwrap_or(i64::MAX);
    tx.prepare_cached(insert)?.execute(params![
        table.id.0,
        id.to_string(),
        vector_text(vv),
        dots_text(dots),
        (!gone.is_empty()).then(|| vector_text(gone)),
        hlc,
        tracked.base.as_ref().map(vector_text),
        refused,
        tracked.hub_had_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX)),
    ])?;
    Ok(())
}

/// Lets the next write of a row be stamped above `hlc` too: that of what it has taken the place of here.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn stamp_above(tx: &Transaction<'_>, table: &Table, id: RowId, hlc: Hlc) -> Result<(), StoreError> {
    let update = "update sync_rows set hlc = max(hlc, ?3) where tbl = ?1 and row_id = ?2";
    let hlc = i64::try_from(hlc.0).unwrap_or(i64::MAX);
    tx.prepare_cached(update)?.execute(params![table.id.0, id.to_string(), hlc])?;
    Ok(())
}

/// Forgets a row altogether.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn delete(tx: &Transaction<'_>, table: &Table, id: RowId) -> Result<(), StoreError> {
    let delete = "delete from sync_rows where tbl = ?1 and row_id = ?2";
    tx.prepare_cached(delete)?.execute(params![table.id.0, id.to_string()])?;
    Ok(())
}

/// Calls `each` with every row that waits to be sent and was not refused, by table and id, until it says to stop.
///
/// # Errors
/// What `each` says, and as [`load`].
pub fn for_each_pending(
    tx: &Connection,
    table: &Table,
    mut each: impl FnMut(RowId, Tracked) -> Result<Flow, StoreError>,
) -> Result<Flow, StoreError> {
    let select = "select vv, dots, gone, base, refused, hub_had_ms, row_id from sync_rows
        where base is not null and refused is null and tbl = ?1 order by row_id";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([table.id.0])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(6)?;
        let Ok(id) = Uuid::try_parse(&id) else { continue };
        if each(RowId(id), tracked(row)?)? == Flow::Stop {
            return Ok(Flow::Stop);
        }
    }
    Ok(Flow::GoOn)
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    GoOn,
    /// It has seen enough.
    Stop,
}

/// Forgets why rows were refused, so that they are sent again; of those that were given up, the hub is asked again.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn forgive(tx: &Transaction<'_>) -> Result<usize, StoreError> {
    quarantine::ask_again(tx)?;
    let update = "update sync_rows set refused = null where base is not null and refused is not null and not exists (
        select 1 from sync_quarantine as q where q.tbl = sync_rows.tbl and q.row_id = sync_rows.row_id and q.status <> 'open')";
    Ok(tx.prepare_cached(update)?.execute([])?)
}

/// Every row of which the hub lacks a write, refused ones too.
///
/// # Errors
/// As [`load`].
pub(super) fn load_all_pending(tx: &Connection, table: &Table) -> Result<Vec<(RowId, Tracked)>, StoreError> {
    let select =
        "select vv, dots, gone, base, refused, hub_had_ms, row_id from sync_rows where base is not null and tbl = ?1";
    load_all(tx, table, select)
}

/// Every row that this edge knows of.
///
/// # Errors
/// As [`load`].
pub(super) fn load_all_of(tx: &Connection, table: &Table) -> Result<Vec<(RowId, Tracked)>, StoreError> {
    let select = "select vv, dots, gone, base, refused, hub_had_ms, row_id from sync_rows where tbl = ?1";
    load_all(tx, table, select)
}

fn load_all(tx: &Connection, table: &Table, select: &str) -> Result<Vec<(RowId, Tracked)>, StoreError> {
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([table.id.0])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(6)?;
        let Ok(id) = Uuid::try_parse(&id) else { continue };
        all.push((RowId(id), tracked(row)?));
    }
    Ok(all)
}

fn tracked(row: &Row<'_>) -> Result<Tracked, StoreError> {
    let vv = parse_vector(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
    let dots = parse_dots(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
    let optional = |index: usize| -> Result<Option<Vector>, StoreError> {
        let text: Option<String> = row.get(index)?;
        Ok(text.as_deref().map(parse_vector).transpose()?)
    };
    let (gone, base) = (optional(2)?.unwrap_or_default(), optional(3)?);
    let refused: Option<String> = row.get(4)?;
    let unreadable = |source| StoreError::Text { what: "a refusal", source };
    let refused = refused.as_deref().map(serde_json::from_str).transpose().map_err(unreadable)?;
    let hub_had_ms: Option<i64> = row.get(5)?;
    let hub_had_ms = hub_had_ms.and_then(|ms| u64::try_from(ms).ok());
    Ok(Tracked { version: Version { vv, gone, dots }, base, refused, hub_had_ms })
}
