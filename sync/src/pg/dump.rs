//! The canonical dump of a tenant: what each of its edges holds when both are quiet.

use tokio_postgres::{Client, IsolationLevel};
use uuid::Uuid;

use super::error::StoreError;
use super::rows;
use crate::catalog::{TABLES, Table};
use crate::wire::convert;

/// Rows read at once.
const ROWS_MAX: usize = 1_000;

/// Hands every line of a tenant's dump to `line`, of one table or of all that are dumped, as of one moment. Returns the
/// rows that have no canonical form, each with the reason; no edge has them.
pub async fn dump(
    client: &mut Client,
    tenant: Uuid,
    only: Option<&'static Table>,
    mut line: impl FnMut(&str),
) -> Result<Vec<String>, StoreError> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let tx = snapshot.start().await?;
    let mut unreadable = Vec::new();
    for table in TABLES.iter().filter(|table| table.dumped && only.is_none_or(|only| only.id == table.id)) {
        let mut after = None;
        loop {
            let found = rows::read_after(&tx, table, tenant, after, ROWS_MAX as i64).await?;
            for (id, values) in &found.rows {
                line(&convert::dump_line(table, *id, values));
            }
            unreadable.extend(found.unreadable.iter().map(|(id, reason)| format!("{} {id}: {reason}", table.name)));
            let last = found.rows.keys().chain(found.unreadable.keys()).max().map(|id| id.0);
            if found.rows.len() + found.unreadable.len() < ROWS_MAX {
                break;
            }
            after = last;
        }
    }
    tx.commit().await?;
    Ok(unreadable)
}
