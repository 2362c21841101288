//! Whose rows a connection of the hub touches: the second wall between tenants (`migrations/central/V0015__walls.sql`).
//!
//! Every statement names its tenant. Should one forget it, row level security keeps the hub's role within the tenant that was
//! entered all the same.

use deadpool_postgres::{Object, Pool, PoolError};
use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::error::StoreError;

/// Whose rows are touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Nobody's: only what the hub knows of its edges and of itself.
    Nobody,
    /// One tenant's.
    Tenant(Uuid),
    /// Everybody's, for what the hub does by itself.
    Everybody,
}

/// No connection that could be used.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// None is to be had.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The database does not let the hub in, above all because a policy would hide rows from it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The connections of a hub. None is used before it was said whose rows it is for.
#[derive(Clone, Debug)]
pub struct Connections(Pool);

impl Connections {
    /// Those of a pool.
    pub fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// A connection for the rows within `reach`.
    pub async fn get(&self, reach: Reach) -> Result<Object, ReachError> {
        let client = self.0.get().await?;
        enter(&**client, reach).await?;
        Ok(client)
    }

    /// Closes them all; whoever has one keeps it.
    pub fn close(&self) {
        self.0.close();
    }
}

/// Says whose rows a connection touches from now on.
pub async fn enter(client: &impl GenericClient, reach: Reach) -> Result<(), StoreError> {
    let said = match reach {
        Reach::Nobody => String::new(),
        Reach::Tenant(tenant) => tenant.hyphenated().to_string(),
        Reach::Everybody => "*".to_owned(),
    };
    client.batch_execute(&format!("select sync.enter('{said}')")).await?;
    Ok(())
}

/// Reaches everybody's rows until the transaction ends.
pub(super) async fn everybody(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute("set local waystation.tenant = '*'").await?;
    Ok(())
}
