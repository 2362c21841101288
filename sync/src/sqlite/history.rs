//! What is known of one row beside its values: who wrote, what was done to it, what of it was refused.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::audit::{self, AuditRow};
use super::error::StoreError;
use super::ledger::{self, Quarantined, Way};
use super::records;
use crate::catalog::Table;
use crate::merge::ids::RowId;
use crate::merge::vector::Vector;
use crate::wire::version::vector_text;

/// Somebody behind an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The name, or the address when there is none.
    pub name: String,
    /// The address.
    pub email: String,
}

/// The user with an id, member or not; `None` when this edge does not hold them.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn person(tx: &Connection, user: Uuid) -> Result<Option<Known>, StoreError> {
    let sql = "select coalesce(nullif(trim(coalesce(first_name, '') || ' ' || coalesce(last_name, '')), ''), email),
        email from users where id = ?";
    let read = |row: &Row<'_>| Ok(Known { name: row.get(0)?, email: row.get(1)? });
    Ok(tx.prepare_cached(sql)?.query_row([user.to_string()], read).optional()?)
}

/// The audit records of a row and of its conflicts, the newest first.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn events(
    tx: &Connection,
    table: &Table,
    tenant: Uuid,
    id: RowId,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let sql = "select id, tenant_id, user_id, action, resource_type, resource_id, details, created_at from audit_logs
        where resource_id in (select ?2 union all select id from sync_conflicts where tbl = ?3 and row_id = ?2)
        and (tenant_id = ?1 or tenant_id is null) order by created_at desc, id desc limit ?4";
    let mut statement = tx.prepare_cached(sql)?;
    let rows = statement.query_map(params![tenant.to_string(), id.to_string(), table.id.0, limit], audit::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The open refusal of a row on a way.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn refusal(tx: &Connection, way: Way, table: &Table, id: RowId) -> Result<Option<Quarantined>, StoreError> {
    let entry = ledger::quarantine_id(way, table.id, id);
    let sql = "select code, reason, created_at, status <> 'open' from sync_quarantine where id = ? and status in ('open', 'discarding')";
    let read = |row: &Row<'_>| {
        Ok(Quarantined {
            id: entry,
            table: table.id,
            row: id,
            code: row.get(0)?,
            reason: row.get(1)?,
            created_at: row.get(2)?,
            discarded: row.get(3)?,
        })
    };
    Ok(tx.prepare_cached(sql)?.query_row([entry.to_string()], read).optional()?)
}

/// The word that stands for a version of a row, as [`records::Record::version`] has it.
pub fn version_word(id: RowId, vv: &Vector) -> String {
    records::word(id, &vector_text(vv))
}
