//! What stands in the way of a refused row, so that it is sent again when that changes.
//!
//! A row that refers to one which the hub does not have waits for it, and so for whatever that one waits for; a device
//! whose serial number is taken waits for the one that has it. What nobody can name is tried once a session and once in a
//! while.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, params};
use uuid::Uuid;

use super::error::StoreError;
use super::ledger::{self, Way};
use super::rows;
use super::versions::Key;
use crate::catalog::{self, Table};
use crate::merge::ids::{RowId, TableId};
use crate::merge::value::Value;
use crate::wire::message::PullRow;

/// The columns that refer to other rows, and their tables.
const REFERENCES: &[(&str, &str)] = &[("site_id", "sites"), ("device_id", "devices"), ("user_id", "users")];

/// The rows to which a row refers, as it is here.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn referred(tx: &Connection, table: &'static Table, id: RowId) -> Result<Vec<Key>, StoreError> {
    let values = match rows::load(tx, table, id) {
        Ok(values) => values.unwrap_or_default(),
        Err(StoreError::Row { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let key = |(column, parent): &(&str, &str)| match values.get(*column) {
        Some(Value::Text(id)) => {
            Some(Key { table: catalog::by_name(parent)?.id, id: RowId(Uuid::try_parse(id).ok()?) })
        }
        _ => None,
    };
    Ok(REFERENCES.iter().filter_map(key).collect())
}

/// Notes what stands in the way of a refused row.
///
/// # Errors
/// [`StoreError::Text`], [`StoreError::Sqlite`].
pub(super) fn save(tx: &Transaction<'_>, refused: Key, blockers: &[Key]) -> Result<(), StoreError> {
    let pairs: Vec<(u8, Uuid)> = blockers.iter().map(|key| (key.table.0, key.id.0)).collect();
    let unwritable = |source| StoreError::Text { what: "what stands in the way of a refused row", source };
    let text = (!pairs.is_empty()).then(|| serde_json::to_string(&pairs)).transpose().map_err(unwritable)?;
    let update = "update sync_quarantine set blockers = ?2 where id = ?1";
    let id = ledger::quarantine_id(Way::Up, refused.table, refused.id);
    tx.prepare_cached(update)?.execute(params![id.to_string(), text])?;
    Ok(())
}

/// Whether one of the rows was refused itself.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn any_refused(tx: &Connection, keys: &[Key]) -> Result<bool, StoreError> {
    let select = "select exists (select 1 from sync_quarantine where id = ?1)";
    let mut statement = tx.prepare_cached(select)?;
    for key in keys {
        let id = ledger::quarantine_id(Way::Up, key.table, key.id);
        if statement.query_row([id.to_string()], |row| row.get(0))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The rows that a pulled one stands for: itself, and the person of a membership.
pub(super) fn stands_for(incoming: &PullRow) -> impl Iterator<Item = Key> {
    let own = catalog::by_name(&incoming.table).map(|table| Key { table: table.id, id: RowId(incoming.id) });
    let membership = incoming.table == "user_tenant_associations";
    let person = incoming.values.get("user_id").filter(|_| membership);
    let person = person.and_then(|raw| serde_json::from_str(raw.get()).ok()).zip(catalog::by_name("users"));
    own.into_iter().chain(person.map(|(id, users)| Key { table: users.id, id: RowId(id) }))
}

/// Lets the refused rows be sent once more in whose way one of `changed` stood, and says how many there are.
///
/// # Errors
/// [`StoreError::Text`] when a record is damaged, [`StoreError::Sqlite`].
pub(super) fn retry(tx: &Transaction<'_>, changed: &BTreeSet<Key>) -> Result<u64, StoreError> {
    let mut retried = 0;
    for (key, blockers) in blocked(tx)? {
        if blockers.iter().any(|blocker| changed.contains(blocker)) {
            retried += forgive(tx, key)?;
        }
    }
    Ok(retried)
}

/// Lets a refused row be sent once more, unless it was given up; says how many that were.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn forgive(tx: &Transaction<'_>, key: Key) -> Result<u64, StoreError> {
    let update = "update sync_rows set refused = null
        where tbl = ?1 and row_id = ?2 and base is not null and refused is not null and not exists (
          select 1 from sync_quarantine as q where q.tbl = ?1 and q.row_id = ?2 and q.status <> 'open')";
    let count = tx.prepare_cached(update)?.execute(params![key.table.0, key.id.to_string()])?;
    Ok(u64::try_from(count).unwrap_or(u64::MAX))
}

fn blocked(tx: &Connection) -> Result<Vec<(Key, Vec<Key>)>, StoreError> {
    let select = "select tbl, row_id, blockers from sync_quarantine where blockers is not null order by tbl, row_id";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([])?;
    let mut blocked = Vec::new();
    while let Some(row) = rows.next()? {
        let (table, id, text): (u8, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Ok(id) = Uuid::try_parse(&id) else { continue };
        let unreadable = |source| StoreError::Text { what: "what stands in the way of a refused row", source };
        let pairs: Vec<(u8, Uuid)> = serde_json::from_str(&text).map_err(unreadable)?;
        let keys = pairs.into_iter().map(|(table, id)| Key { table: TableId(table), id: RowId(id) }).collect();
        blocked.push((Key { table: TableId(table), id: RowId(id) }, keys));
    }
    Ok(blocked)
}
