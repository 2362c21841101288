//! Which rows refer to which, as far as a push has to know before it writes.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::error::StoreError;
use super::versions;
use crate::catalog::{self, Table};
use crate::merge::ids::{RowId, TableId};

/// A reference between tables that edges write: child, column, parent.
const REFERENCES: &[(&str, &str, &str)] =
    &[("devices", "site_id", "sites"), ("tasks", "site_id", "sites"), ("tasks", "device_id", "devices")];

/// Tables written at the centre only whose rows an edge loses with their site.
const LOST_WITH_SITE: &[&str] = &["user_site_assignments", "credentials"];

/// A row that refers to a parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Child {
    /// The child's table.
    pub(super) table: TableId,
    /// The child.
    pub(super) id: RowId,
    /// Its parent.
    pub(super) parent: RowId,
}

/// The tables whose rows others refer to, children before parents.
pub(super) fn parents() -> Vec<&'static Table> {
    let is_parent = |table: &&Table| REFERENCES.iter().any(|(_, _, parent)| *parent == table.name);
    catalog::TABLES.iter().rev().filter(is_parent).collect()
}

/// The rows that refer to `parents` now.
pub(super) async fn children(
    tx: &Transaction<'_>,
    table: &Table,
    tenant: Uuid,
    parents: &[Uuid],
) -> Result<Vec<Child>, StoreError> {
    let mut children = Vec::new();
    for (child, column, _) in REFERENCES.iter().filter(|(_, _, parent)| *parent == table.name) {
        if let Some(child) = catalog::by_name(child) {
            children.extend(referring(tx, child, column, tenant, parents).await?);
        }
    }
    Ok(children)
}

async fn referring(
    tx: &Transaction<'_>,
    child: &Table,
    column: &str,
    tenant: Uuid,
    parents: &[Uuid],
) -> Result<Vec<Child>, StoreError> {
    let statement = format!("select id, {column} from {} where tenant_id = $1 and {column} = any($2)", child.pg);
    let rows = tx.query(&statement, &[&tenant, &parents]).await?;
    Ok(rows.iter().map(|row| Child { table: child.id, id: RowId(row.get(0)), parent: RowId(row.get(1)) }).collect())
}

/// Sends again what an edge lost by deleting a site that stays.
pub(super) async fn send_again(tx: &Transaction<'_>, tenant: Uuid, sites: &[Uuid]) -> Result<(), StoreError> {
    for table in LOST_WITH_SITE.iter().filter_map(|name| catalog::by_name(name)) {
        let lost = referring(tx, table, "site_id", tenant, sites).await?;
        let ids: Vec<Uuid> = lost.iter().map(|child| child.id.0).collect();
        versions::touch(tx, tenant, table.id, &ids).await?;
    }
    Ok(())
}

/// Which devices of the tenant have these serial numbers.
pub(super) async fn holders(
    tx: &Transaction<'_>,
    tenant: Uuid,
    numbers: &[&str],
) -> Result<BTreeMap<String, Uuid>, StoreError> {
    let statement = "select serial_number, id from public.devices where tenant_id = $1 and serial_number = any($2)";
    let rows = tx.query(statement, &[&tenant, &numbers]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Those of the users who are members of the tenant.
pub(super) async fn members(tx: &Transaction<'_>, tenant: Uuid, users: &[Uuid]) -> Result<BTreeSet<Uuid>, StoreError> {
    let statement = "select user_id from public.user_tenant_associations where tenant_id = $1 and user_id = any($2)";
    let rows = tx.query(statement, &[&tenant, &users]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}
