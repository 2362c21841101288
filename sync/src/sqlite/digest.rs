//! What ranges of the mirror add up to.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::error::StoreError;
use super::{rows, versions};
use crate::catalog::{TABLES, Table};
use crate::merge::ids::RowId;
use crate::wire::digest::{CHUNK_ROWS, fold, row_hash};
use crate::wire::recovery::Range;

/// The whole mirror in ranges, table by table, each of about [`CHUNK_ROWS`] rows; and how many rows these are.
///
/// # Errors
/// [`StoreError`].
pub fn whole(connection: &mut Connection) -> Result<(Vec<Range>, u64), StoreError> {
    let tx = connection.transaction()?;
    let (mut ranges, mut count) = (Vec::new(), 0);
    for table in TABLES {
        let mut after = None;
        loop {
            let to = nth(&tx, table, after, CHUNK_ROWS)?;
            let range = fold(table, (after, to), &hashes(&tx, table, (after, to))?);
            count += range.rows;
            ranges.push(range);
            match to {
                Some(_) => after = to,
                None => break,
            }
        }
    }
    tx.commit()?;
    Ok((ranges, count))
}

/// The rows of a range with their hashes, by id. One that cannot be read has a hash that no centre has.
///
/// # Errors
/// [`StoreError`].
pub fn hashes(
    tx: &Connection,
    table: &'static Table,
    (after, to): (Option<Uuid>, Option<Uuid>),
) -> Result<Vec<(Uuid, u64)>, StoreError> {
    let select = format!(
        "select id from {} where (?1 is null or id > ?1) and (?2 is null or id <= ?2) order by id",
        table.sqlite
    );
    let mut statement = tx.prepare_cached(&select)?;
    let text = |id: Option<Uuid>| id.map(|id| id.to_string());
    let mut found = statement.query(params![text(after), text(to)])?;
    let mut hashes = Vec::new();
    while let Some(row) = found.next()? {
        let id: String = row.get(0)?;
        let Ok(id) = Uuid::try_parse(&id) else { continue };
        hashes.push((id, hash(tx, table, RowId(id))?));
    }
    Ok(hashes)
}

fn hash(tx: &Connection, table: &'static Table, id: RowId) -> Result<u64, StoreError> {
    let version = versions::load(tx, table, id)?.map(|tracked| tracked.version).unwrap_or_default();
    match rows::load(tx, table, id) {
        Ok(values) => Ok(row_hash(table, id, &version, &values.unwrap_or_default())),
        Err(StoreError::Row { .. }) => Ok(1),
        Err(error) => Err(error),
    }
}

/// The id with which a chunk ends; none when the table has no more than that.
fn nth(tx: &Connection, table: &Table, after: Option<Uuid>, rows: usize) -> Result<Option<Uuid>, StoreError> {
    let select = format!("select id from {} where ?1 is null or id > ?1 order by id limit 1 offset ?2", table.sqlite);
    let mut statement = tx.prepare_cached(&select)?;
    let offset = i64::try_from(rows).unwrap_or(i64::MAX);
    let mut found = statement.query(params![after.map(|id| id.to_string()), offset])?;
    let id: Option<String> = found.next()?.map(|row| row.get(0)).transpose()?;
    Ok(id.and_then(|id| Uuid::try_parse(&id).ok()))
}
