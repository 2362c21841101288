//! Lists of conflicts. What is known of each is the ledger's.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::error::StoreError;

/// The ids of conflicts in their order, those after `after`, with one of `statuses` (any when empty), of one row if it
/// is given.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn ids(
    tx: &Connection,
    statuses: &[String],
    row: Option<Uuid>,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Uuid>, StoreError> {
    let select = "select id from sync_conflicts where (?1 = '' or instr(?1, ',' || status || ',') > 0)
        and (?2 is null or row_id = ?2) and id > ?3 order by id limit ?4";
    let statuses = if statuses.is_empty() { String::new() } else { format!(",{},", statuses.join(",")) };
    let after = after.map(|id| id.to_string()).unwrap_or_default();
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query(params![statuses, row.map(|id| id.to_string()), after, limit])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        let id: String = row.get(0)?;
        ids.extend(Uuid::try_parse(&id));
    }
    Ok(ids)
}
