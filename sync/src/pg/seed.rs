//! Inserts sample rows, given as a JSON array of objects for each table, and leaves rows that exist as they are.
//!
//! Every function returns how many rows it inserted. A row is known by its id. An insert names that key because devices have
//! a deferrable one, which a bare `on conflict do nothing` refuses; and because a sample row whose slug or address belongs to
//! somebody else is better refused than silently left out with all that refers to it.

use serde_json::Value;
use tokio_postgres::Transaction;

use super::error::StoreError;

/// Inserts rows of `tenants`: id, name, slug, type, status, metadata.
pub async fn insert_tenants(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.tenants (id, name, slug, type, status, metadata)
      select id, name, slug, type, status, metadata
      from jsonb_populate_recordset(null::public.tenants, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `users`: id, email, first_name, last_name, user_type.
pub async fn insert_users(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.users (id, email, first_name, last_name, user_type)
      select id, email, first_name, last_name, user_type
      from jsonb_populate_recordset(null::public.users, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `user_tenant_associations`: id, user_id, tenant_id, role, status.
pub async fn insert_associations(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.user_tenant_associations (id, user_id, tenant_id, role, status)
      select id, user_id, tenant_id, role, status
      from jsonb_populate_recordset(null::public.user_tenant_associations, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `sites`: id, tenant_id, name, address, latitude, longitude, timezone, metadata.
pub async fn insert_sites(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.sites (id, tenant_id, name, address, latitude, longitude, timezone, metadata)
      select id, tenant_id, name, address, latitude, longitude, timezone, metadata
      from jsonb_populate_recordset(null::public.sites, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `user_site_assignments`: id, user_id, site_id, tenant_id, assigned_by.
pub async fn insert_assignments(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.user_site_assignments (id, user_id, site_id, tenant_id, assigned_by)
      select id, user_id, site_id, tenant_id, assigned_by
      from jsonb_populate_recordset(null::public.user_site_assignments, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `devices`: id, site_id, name, type, serial_number, status, metadata; the tenant is the site's.
pub async fn insert_devices(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.devices (id, site_id, name, type, serial_number, status, metadata)
      select id, site_id, name, type, serial_number, status, metadata
      from jsonb_populate_recordset(null::public.devices, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `tasks`: all columns but created_at and updated_at.
pub async fn insert_tasks(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.tasks (
        id, tenant_id, user_id, site_id, device_id, title, description, status, priority, due_date, completed_at, metadata
      )
      select
        id, tenant_id, user_id, site_id, device_id, title, description, status, priority, due_date, completed_at, metadata
      from jsonb_populate_recordset(null::public.tasks, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `audit_logs`: all columns.
pub async fn insert_audit_logs(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.audit_logs (
        id, tenant_id, user_id, action, resource_type, resource_id, details, created_at
      )
      select id, tenant_id, user_id, action, resource_type, resource_id, details, created_at
      from jsonb_populate_recordset(null::public.audit_logs, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}

/// Inserts rows of `tenant_invitations`: id, email, tenant_id, role, token, expires_at, invited_by. A token
/// written in this program would be known to everybody, so the database makes one.
pub async fn insert_invitations(tx: &Transaction<'_>, rows: &Value) -> Result<u64, StoreError> {
    let statement = "insert into public.tenant_invitations (id, email, tenant_id, role, token, expires_at, invited_by)
      select
        id, email, tenant_id, role,
        encode(sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), 'hex'), expires_at, invited_by
      from jsonb_populate_recordset(null::public.tenant_invitations, $1)
      on conflict (id) do nothing";
    Ok(tx.execute(statement, &[rows]).await?)
}
