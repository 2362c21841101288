//! What the operators of the centre decided about rows that somebody could not take, in the tenant's audit log.

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::error::StoreError;

/// What was decided about an entry of the quarantine, or of what was recovered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decided<'a> {
    /// The entry's tenant.
    pub(super) tenant: Uuid,
    /// The entry.
    pub(super) entry: Uuid,
    /// The row's table, by its number in the catalog.
    pub(super) table: i16,
    /// The row.
    pub(super) row: Uuid,
    /// The entry's status from now on.
    pub(super) status: &'a str,
}

/// Records a decision. It is made by whoever is connected to the database, as no person of the tenant.
pub(super) async fn record(tx: &Transaction<'_>, decided: Decided<'_>) -> Result<(), StoreError> {
    let Decided { tenant, entry, table, row, status } = decided;
    let action = if status == "discarded" { "delete" } else { "restore" };
    let statement = "insert into audit_logs (tenant_id, action, resource_type, resource_id, details)
      values ($1, $2::text::audit_action, 'quarantine', $3, jsonb_build_object(
        'decision', $4::text, 'table', sync.table_name($5), 'row', $6::uuid, 'by', session_user))";
    tx.execute(statement, &[&tenant, &action, &entry, &status, &table, &row]).await?;
    Ok(())
}
