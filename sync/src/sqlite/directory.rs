//! Which edge and site a replica id stands for, so that people read names (`sync_replicas`).

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, params};
use uuid::Uuid;

use super::error::StoreError;
use super::self_state;
use crate::merge::ids::ReplicaId;
use crate::wire::message::Replica;

/// Takes the hub's directory. Replicas are never taken away: one that is named in an old version keeps its name.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn replace(tx: &Transaction<'_>, directory: &[Replica]) -> Result<(), StoreError> {
    for replica in directory {
        save(tx, replica)?;
    }
    self_state::set_directory_size(tx, directory.len())
}

/// The replicas that are known by name.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn load(tx: &Connection) -> Result<BTreeMap<ReplicaId, Replica>, StoreError> {
    let select = "select id, name, site_id from sync_replicas";
    let mut statement = tx.prepare_cached(select)?;
    let mut rows = statement.query([])?;
    let mut directory = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (id, site): (u32, Option<String>) = (row.get(0)?, row.get(2)?);
        let site = site.and_then(|site| Uuid::try_parse(&site).ok());
        directory.insert(ReplicaId(id), Replica { id, name: row.get(1)?, site });
    }
    Ok(directory)
}

fn save(tx: &Transaction<'_>, replica: &Replica) -> Result<(), StoreError> {
    let insert = "insert into sync_replicas (id, name, site_id) values (?1, ?2, ?3)
        on conflict (id) do update set name = excluded.name, site_id = excluded.site_id";
    tx.prepare_cached(insert)?.execute(params![replica.id, replica.name, replica.site.map(|site| site.to_string())])?;
    Ok(())
}
