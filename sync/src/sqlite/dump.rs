//! The mirror as canonical text: equal at every replica of a tenant, byte for byte, when all are quiet.
//!
//! Tables in catalog order, rows by id, one JSON object a line. Of a row that is listed as refused it has the hub's version,
//! or nothing when the hub has none. A row without a canonical form is left out: it is listed too. Everything is read in
//! one transaction, and nothing is held in memory but a row and the hub's versions of refused ones.

use std::io::Write;

use rusqlite::Connection;

use super::error::StoreError;
use super::{hub_rows, rows};
use crate::catalog::{TABLES, Table};
use crate::merge::ids::RowId;
use crate::wire::convert::{self, Fields};

/// Writes one table, or all that dumps list, and returns the number of rows.
///
/// # Errors
/// [`StoreError::Output`] when `out` takes no more, [`StoreError::Sqlite`].
pub fn write(connection: &mut Connection, only: Option<&Table>, out: &mut impl Write) -> Result<u64, StoreError> {
    let mut count = 0;
    let tx = connection.transaction()?;
    for table in TABLES.iter().filter(|table| table.dumped && only.is_none_or(|only| only.id == table.id)) {
        let mut hubs = hub_rows::of_table(&tx, table)?.into_iter().peekable();
        let mut line = |line: Option<String>| {
            let Some(line) = line else { return Ok(()) };
            count += 1;
            writeln!(out, "{line}").map_err(StoreError::Output)
        };
        rows::for_each(&tx, table, |id, values| {
            while let Some((earlier, fields)) = hubs.next_if(|(hubs, _)| *hubs < id) {
                line(hub_line(table, earlier, fields))?;
            }
            match hubs.next_if(|(hubs, _)| *hubs == id) {
                Some((_, fields)) => line(hub_line(table, id, fields)),
                None => line(values.ok().map(|values| convert::dump_line(table, id, &values))),
            }
        })?;
        for (id, fields) in hubs {
            line(hub_line(table, id, fields))?;
        }
    }
    tx.commit()?;
    out.flush().map_err(StoreError::Output)?;
    Ok(count)
}

/// The hub's version of a refused row, if it lives there and can be read here.
fn hub_line(table: &'static Table, id: RowId, fields: Option<Fields>) -> Option<String> {
    let values = convert::values(table, &fields?).ok()?;
    Some(convert::dump_line(table, id, &values))
}
