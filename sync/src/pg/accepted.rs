//! Which writes of edges were taken, exactly: replica, seq and stamp (`sync.accepted`).
//!
//! An edge that was restored asks before it writes again under a new id. What a row still shows is known from the row;
//! the rest is kept here, the last [`KEPT_MAX`] numbers of each replica. What is older counts as not taken: it is then
//! written again, and shows as a conflict rather than not at all.

use std::collections::BTreeSet;

use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::error::StoreError;
use super::versions;
use crate::catalog;
use crate::merge::clock::{Dot, Hlc};
use crate::merge::ids::ReplicaId;
use crate::wire::recovery::AcceptedRow;

/// How many numbers of a replica are kept.
pub const KEPT_MAX: u64 = 100_000;

/// A write by its name and stamp.
pub type Name = (u32, u64, u64);

/// Remembers writes, and forgets those that are too old.
pub async fn remember(tx: &Transaction<'_>, dots: &[Dot]) -> Result<(), StoreError> {
    if dots.is_empty() {
        return Ok(());
    }
    insert(tx, dots).await?;
    let mut highest: Vec<(ReplicaId, u64)> = dots.iter().map(|dot| (dot.replica, dot.seq)).collect();
    highest.sort_unstable();
    highest.reverse();
    highest.dedup_by_key(|(replica, _)| *replica);
    for (replica, seq) in highest.into_iter().filter(|(_, seq)| *seq > KEPT_MAX) {
        forget(tx, replica, seq - KEPT_MAX).await?;
    }
    Ok(())
}

/// Those of the asked writes that were taken exactly so. `own` are the ids of the edge that asks.
pub async fn find(
    client: &impl GenericClient,
    tenant: Uuid,
    own: &[ReplicaId],
    rows: &[AcceptedRow],
) -> Result<BTreeSet<Name>, StoreError> {
    let is_own = |name: &&Name| own.contains(&ReplicaId(name.0));
    let asked: BTreeSet<Name> = rows.iter().flat_map(|row| &row.dots).filter(is_own).copied().collect();
    let mut taken = kept(client, &asked).await?;
    for table in catalog::TABLES {
        let ids: Vec<Uuid> = rows.iter().filter(|row| row.table == table.name).map(|row| row.id).collect();
        if ids.is_empty() {
            continue;
        }
        for stored in versions::read(client, table, tenant, &ids).await?.into_values().flatten() {
            let shown = stored.version.dots.iter().map(|dot| (dot.replica.0, dot.seq, dot.hlc.0));
            taken.extend(shown.filter(|name| asked.contains(name)));
        }
    }
    Ok(taken)
}

async fn kept(client: &impl GenericClient, asked: &BTreeSet<Name>) -> Result<BTreeSet<Name>, StoreError> {
    let replicas: Vec<i32> = asked.iter().map(|(replica, ..)| replica.cast_signed()).collect();
    let seqs: Vec<i64> = asked.iter().map(|(_, seq, _)| seq.cast_signed()).collect();
    let clocks: Vec<i64> = asked.iter().map(|(.., hlc)| hlc.cast_signed()).collect();
    let statement = "select kept.replica_id, kept.seq, kept.hlc from sync.accepted as kept
      join unnest($1::integer[], $2::bigint[], $3::bigint[]) as asked (replica_id, seq, hlc)
        using (replica_id, seq, hlc)";
    let rows = client.query(statement, &[&replicas, &seqs, &clocks]).await?;
    let name = |row: &tokio_postgres::Row| {
        let (seq, Hlc(hlc)) = (row.get::<_, i64>(1).cast_unsigned(), Hlc(row.get::<_, i64>(2).cast_unsigned()));
        (row.get::<_, i32>(0).cast_unsigned(), seq, hlc)
    };
    Ok(rows.iter().map(name).collect())
}

async fn insert(tx: &Transaction<'_>, dots: &[Dot]) -> Result<(), StoreError> {
    let replicas: Vec<i32> = dots.iter().map(|dot| dot.replica.0.cast_signed()).collect();
    let seqs: Vec<i64> = dots.iter().map(|dot| dot.seq.cast_signed()).collect();
    let clocks: Vec<i64> = dots.iter().map(|dot| dot.hlc.0.cast_signed()).collect();
    let statement = "insert into sync.accepted (replica_id, seq, hlc)
      select * from unnest($1::integer[], $2::bigint[], $3::bigint[]) on conflict do nothing";
    tx.execute(statement, &[&replicas, &seqs, &clocks]).await?;
    Ok(())
}

async fn forget(tx: &Transaction<'_>, replica: ReplicaId, up_to: u64) -> Result<(), StoreError> {
    let statement = "delete from sync.accepted where replica_id = $1 and seq <= $2";
    tx.execute(statement, &[&replica.0.cast_signed(), &up_to.cast_signed()]).await?;
    Ok(())
}
