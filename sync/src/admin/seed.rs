//! The sample data: four customers with people, places, equipment and work in every state.
//!
//! Ids are fixed, so a second run finds every row and changes nothing, also after somebody has edited the samples. Times
//! count from the `now` of the run that inserts a row. The rows themselves are in `sample_rows`.

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio_postgres::Client;

use super::sample_rows;
use crate::pg::{StoreError, seed as insert};

/// How many rows one run inserted; all zero when the sample data was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seeded {
    /// Rows of `tenants`.
    pub tenants: u64,
    /// Rows of `users`.
    pub users: u64,
    /// Rows of `user_tenant_associations`.
    pub associations: u64,
    /// Rows of `sites`.
    pub sites: u64,
    /// Rows of `user_site_assignments`.
    pub assignments: u64,
    /// Rows of `devices`.
    pub devices: u64,
    /// Rows of `tasks`.
    pub tasks: u64,
    /// Rows of `audit_logs`.
    pub audit_logs: u64,
    /// Rows of `tenant_invitations`.
    pub invitations: u64,
}

/// The sample rows of the synced tables, parents before children: each table's name, and a JSON array of objects whose
/// keys are columns. A column that is left out has its default; a device's tenant is its site's.
pub fn rows(now: DateTime<Utc>) -> [(&'static str, Value); 7] {
    [
        ("tenants", sample_rows::tenants()),
        ("users", sample_rows::users()),
        ("user_tenant_associations", sample_rows::associations()),
        ("sites", sample_rows::sites()),
        ("user_site_assignments", sample_rows::assignments()),
        ("devices", sample_rows::devices()),
        ("tasks", sample_rows::tasks(now)),
    ]
}

/// Inserts the sample rows that are missing, all in one transaction.
///
/// # Errors
/// [`StoreError::Constraint`] if another row holds a sample's slug, e-mail address or serial number; nothing is inserted.
pub async fn seed(client: &mut Client, now: DateTime<Utc>) -> Result<Seeded, StoreError> {
    let tx = client.transaction().await?;
    let seeded = Seeded {
        tenants: insert::insert_tenants(&tx, &sample_rows::tenants()).await?,
        users: insert::insert_users(&tx, &sample_rows::users()).await?,
        associations: insert::insert_associations(&tx, &sample_rows::associations()).await?,
        sites: insert::insert_sites(&tx, &sample_rows::sites()).await?,
        assignments: insert::insert_assignments(&tx, &sample_rows::assignments()).await?,
        devices: insert::insert_devices(&tx, &sample_rows::devices()).await?,
        tasks: insert::insert_tasks(&tx, &sample_rows::tasks(now)).await?,
        audit_logs: insert::insert_audit_logs(&tx, &sample_rows::audit_logs(now)).await?,
        invitations: insert::insert_invitations(&tx, &sample_rows::invitations(now)).await?,
    };
    tx.commit().await?;
    Ok(seeded)
}
