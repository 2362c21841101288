//! The record of what people did at this site. It only grows; a capture trigger marks every record for the hub.

use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::error::StoreError;

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Its id.
    pub id: Uuid,
    /// The tenant; `None` for what belongs to none.
    pub tenant: Option<Uuid>,
    /// The person; `None` when nobody is known.
    pub user: Option<Uuid>,
    /// What was done.
    pub action: String,
    /// To what kind of thing.
    pub resource_type: String,
    /// To which one.
    pub resource: Option<Uuid>,
    /// More, as a canonical JSON object.
    pub details: String,
    /// When, canonical.
    pub created_at: String,
}

/// Adds a record.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn insert(tx: &Connection, record: &AuditRow) -> Result<(), StoreError> {
    let sql = "insert into audit_logs (id, tenant_id, user_id, action, resource_type, resource_id, details, created_at)
        values (?, ?, ?, ?, ?, ?, ?, ?)";
    let text = |id: Option<Uuid>| id.map(|id| id.to_string());
    let AuditRow { id, tenant, user, action, resource_type, resource, details, created_at } = record;
    tx.prepare_cached(sql)?.execute(params![
        id.to_string(),
        text(*tenant),
        text(*user),
        action,
        resource_type,
        text(*resource),
        details,
        created_at
    ])?;
    Ok(())
}

/// The records of this site, the newest first, those before `before` (time and id).
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn list(
    tx: &Connection,
    tenant: Uuid,
    before: Option<(&str, &str)>,
    limit: u32,
) -> Result<Vec<AuditRow>, StoreError> {
    let sql = "select id, tenant_id, user_id, action, resource_type, resource_id, details, created_at from audit_logs
        where (tenant_id = ?1 or tenant_id is null) and (?2 is null or (created_at, id) < (?2, ?3))
        order by created_at desc, id desc limit ?4";
    let mut statement = tx.prepare_cached(sql)?;
    let (time, id) = before.unzip();
    let rows = statement.query_map(params![tenant.to_string(), time, id, limit], read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// A record out of a row of its columns in their order.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<AuditRow> {
    let uuid = |index: usize| -> rusqlite::Result<Option<Uuid>> {
        let text: Option<String> = row.get(index)?;
        Ok(text.and_then(|text| Uuid::try_parse(&text).ok()))
    };
    Ok(AuditRow {
        id: uuid(0)?.unwrap_or_default(),
        tenant: uuid(1)?,
        user: uuid(2)?,
        action: row.get(3)?,
        resource_type: row.get(4)?,
        resource: uuid(5)?,
        details: row.get(6)?,
        created_at: row.get(7)?,
    })
}
