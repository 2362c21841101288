//! Forgets rows that have long been dead here, with their last values.
//!
//! The hub knows of every death that it has acknowledged, and sends a row whole that an edit made elsewhere revives. What
//! is kept here is only what a person may still want back, so it goes by age: never a row with writes that the hub lacks,
//! never one that it refused, and never one that a conflict nobody has decided is about.

use rusqlite::Transaction;

use super::error::StoreError;
use crate::catalog::{Direction, TABLES};
use crate::merge::clock::Hlc;

/// Forgets what died before a moment. Returns how many rows that were.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn forget(tx: &Transaction<'_>, before: Hlc) -> Result<usize, StoreError> {
    let mut forgotten = 0;
    for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
        let (on, tbl) = (table.sqlite, table.id.0);
        // A row is dead when it is not there; that its version says the same is what capture and apply keep to.
        let dead = format!(
            "select row_id from sync_rows as v where v.tbl = {tbl} and v.gone is not null and v.hlc < ?1
              and v.base is null and v.refused is null
              and not exists (select 1 from {on} as t where t.id = v.row_id)
              and not exists (
                select 1 from sync_conflicts as c where c.tbl = {tbl} and c.row_id = v.row_id and c.status = 'open'
              )"
        );
        let before = i64::try_from(before.0).unwrap_or(i64::MAX);
        tx.execute(&format!("delete from sync_last_{on} where id in ({dead})"), [before])?;
        forgotten +=
            tx.execute(&format!("delete from sync_rows where tbl = {tbl} and row_id in ({dead})"), [before])?;
    }
    Ok(forgotten)
}
