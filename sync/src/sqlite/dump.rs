//! The mirror as canonical text: equal at every replica of a tenant, byte for byte, when all are quiet.
//!
//! Tables in catalog order, rows by id, one JSON object a line. A row that has no canonical form, and one that the hub
//! refused and never had, is left out: it is listed in the quarantine instead. Everything is read in one transaction,
//! and nothing is held in memory but a row and the list of what is left out.

use std::io::Write;

use rusqlite::Connection;

use super::error::StoreError;
use super::{rows, versions};
use crate::catalog::{TABLES, Table};
use crate::wire::convert;

/// Writes one table, or all that dumps list, and returns the number of rows.
///
/// # Errors
/// [`StoreError::Output`] when `out` takes no more, [`StoreError::Sqlite`].
pub fn write(connection: &mut Connection, only: Option<&Table>, out: &mut impl Write) -> Result<u64, StoreError> {
    let mut count = 0;
    let tx = connection.transaction()?;
    for table in TABLES.iter().filter(|table| table.dumped && only.is_none_or(|only| only.id == table.id)) {
        let refused = versions::refused_unknown(&tx, table)?;
        rows::for_each(&tx, table, |id, values| {
            let Some(values) = values.ok().filter(|_| !refused.contains(&id)) else { return Ok(()) };
            count += 1;
            writeln!(out, "{}", convert::dump_line(table, id, &values)).map_err(StoreError::Output)
        })?;
    }
    tx.commit()?;
    out.flush().map_err(StoreError::Output)?;
    Ok(count)
}
