//! What a write beats whose writer had not seen the row as it is: two people at one edge, or one and the centre.
//!
//! The write itself is plain SQL and stamped by capture like any other. Around it, the row is looked at before, and
//! afterwards the merge is asked what the write beat. Nothing here decides that; the conflicts are recorded in the
//! writer's transaction, so that they travel with the row.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};

use super::error::StoreError;
use super::{ledger, rows, versions};
use crate::catalog::Table;
use crate::merge::clock::Dot;
use crate::merge::ids::RowId;
use crate::merge::plan::{Late, plan_late};
use crate::merge::value::{Register, Value};
use crate::merge::vector::Vector;
use crate::merge::version::Row;
use crate::wire::version::parse_vector;

/// A row that holds writes which somebody who is about to write it had not seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Unseen {
    present: Row,
    past: Vector,
}

/// What somebody has seen of a row, out of the text that their page was filled with; `None` when it is no such text.
pub fn past(text: &str) -> Option<Vector> {
    parse_vector(text).ok()
}

/// The row as it is before a write by somebody who had seen only `past` of it; `None` when there is no more to it.
///
/// # Errors
/// [`StoreError::Row`] when a value has no canonical form, [`StoreError::Version`] when the record is damaged,
/// [`StoreError::Sqlite`].
pub fn unseen(tx: &Connection, table: &'static Table, id: RowId, past: &Vector) -> Result<Option<Unseen>, StoreError> {
    let Some(tracked) = versions::load(tx, table, id)? else { return Ok(None) };
    if past.includes(&tracked.version.vv) {
        return Ok(None);
    }
    Ok(Some(Unseen { present: row(tx, table, id, tracked)?, past: past.clone() }))
}

/// Records what the write that has just been made here beat, and says how much that was.
///
/// # Errors
/// As [`unseen`], and as [`ledger::record`].
pub fn record(tx: &Transaction<'_>, table: &'static Table, id: RowId, unseen: &Unseen) -> Result<u64, StoreError> {
    let Some(tracked) = versions::load(tx, table, id)? else { return Ok(0) };
    let Unseen { present, past } = unseen;
    let after = row(tx, table, id, tracked)?;
    let fresh = |dot: &Dot| !present.version.vv.covers(dot);
    let Some(dot) = after.version.dots.edits().copied().filter(fresh).max() else { return Ok(0) };
    let written = |register: &Register| after.version.dots.of(register).is_some_and(|last| last.same_write(&dot));
    let registers = after.values.keys().chain(after.version.dots.named.keys()).filter(|register| written(register));
    let values: BTreeMap<Register, Option<Value>> =
        registers.map(|register| (register.clone(), after.values.get(register).cloned())).collect();
    let merged = plan_late(table.id, id, present, &Late { dot, past: past.clone(), values }, &table.quiet());
    ledger::record_all(tx, merged.conflicts)
}

fn row(tx: &Connection, table: &'static Table, id: RowId, tracked: versions::Tracked) -> Result<Row, StoreError> {
    let alive = tracked.version.is_alive();
    let values = if alive { rows::load(tx, table, id) } else { rows::load_last(tx, table, id) };
    Ok(Row { version: tracked.version, values: values?.unwrap_or_default() })
}
