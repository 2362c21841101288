//! Which writes of edges were taken, exactly: replica, seq and stamp (`sync.accepted`).
//!
//! An edge that was restored asks before it writes again under a new id. What a row still shows is known from the row;
//! the rest is kept here, the last [`KEPT_MAX`] numbers of each replica. What is older counts as not taken: it is then
//! written again, and shows as a conflict rather than not at all.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{GenericClient, Transaction};
use uuid::Uuid;

use super::error::StoreError;
use super::{rows, versions};
use crate::catalog;
use crate::merge::clock::Dot;
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::plan::Push;
use crate::merge::vector::Vector;
use crate::merge::version::Row;
use crate::wire::digest::{contents, contradicts, differ, is_part};
use crate::wire::recovery::AcceptedRow;

/// How many numbers of a replica are kept.
pub const KEPT_MAX: u64 = 100_000;

/// A write by its name and stamp.
pub type Name = (u32, u64, u64);

/// A write that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row.
    pub row: RowId,
    /// The name under which somebody may ask for it.
    pub name: Name,
    /// The replica and number under which it was sent, where that is another: its edge had taken another id.
    pub now: Option<(u32, u64)>,
    /// What it said, register by register ([`crate::wire::digest::contents`]).
    pub contents: Contents,
}

/// Hashes of values by register.
type Contents = BTreeMap<String, String>;

/// A write that is kept: the name under which it was sent, and what it said if that is known.
type Kept = ((u32, u64), Option<Contents>);

/// Remembers writes, and forgets those that are too old.
pub async fn remember(tx: &Transaction<'_>, writes: &[Write]) -> Result<(), StoreError> {
    if writes.is_empty() {
        return Ok(());
    }
    insert(tx, writes).await?;
    let mut highest: BTreeMap<u32, u64> = BTreeMap::new();
    for Write { name: (replica, seq, _), .. } in writes.iter().filter(|write| write.now.is_none()) {
        let highest = highest.entry(*replica).or_default();
        *highest = (*highest).max(*seq);
    }
    for (replica, seq) in highest.into_iter().filter(|(_, seq)| *seq > KEPT_MAX) {
        forget(tx, ReplicaId(replica), seq - KEPT_MAX).await?;
    }
    Ok(())
}

/// Those of the asked writes that were taken exactly so, row by row, each with the name under which it was sent. `own` are the
/// ids of the edge that asks.
pub async fn find(
    client: &impl GenericClient,
    tenant: Uuid,
    own: &[ReplicaId],
    asked_rows: &[AcceptedRow],
) -> Result<Vec<BTreeMap<Name, (u32, u64)>>, StoreError> {
    let mut found = Vec::new();
    for row in asked_rows {
        let asked: BTreeSet<Name> = row.dots.iter().filter(|name| own.contains(&ReplicaId(name.0))).copied().collect();
        let kept = kept(client, row.id, &asked).await?;
        let mut taken: BTreeMap<Name, (u32, u64)> = kept.iter().map(|(name, (now, _))| (*name, *now)).collect();
        if let Some(table) = catalog::by_name(&row.table) {
            let stored = versions::read(client, table, tenant, &[row.id]).await?;
            let mut values = rows::read(client, table, tenant, &[row.id]).await?.rows;
            for stored in stored.into_values().flatten() {
                let shown = stored.version.dots.iter().map(|dot| (dot.replica.0, dot.seq, dot.hlc.0));
                for name in shown.filter(|name| asked.contains(name)) {
                    taken.entry(name).or_insert((name.0, name.1));
                }
                let values = values.remove(&RowId(row.id)).or(stored.last).unwrap_or_default();
                let here = Row { version: stored.version, values };
                for (name, contents) in row.dots.iter().zip(&row.contents) {
                    if taken.get(name).is_some_and(|now| contradicts(&here, *now, contents)) {
                        taken.remove(name);
                    }
                }
            }
        }
        for (name, contents) in row.dots.iter().zip(&row.contents) {
            if let Some((_, Some(said))) = kept.get(name)
                && differ(said, contents)
            {
                taken.remove(name);
            }
        }
        found.push(taken);
    }
    Ok(found)
}

/// What was taken of the rows' writes, for each a vector. A write is told by its name and by what it says: its stamp may have
/// been lowered when it was taken.
pub(super) async fn acknowledged(
    tx: &Transaction<'_>,
    asked: &[(RowId, &Push)],
) -> Result<BTreeMap<RowId, Vector>, StoreError> {
    let mut acknowledged: BTreeMap<RowId, Vector> = BTreeMap::new();
    if asked.is_empty() {
        return Ok(acknowledged);
    }
    let dots: Vec<(RowId, &Push, Dot)> =
        asked.iter().flat_map(|(id, push)| push.version.dots.iter().map(|dot| (*id, *push, *dot))).collect();
    let rows: Vec<Uuid> = dots.iter().map(|(id, ..)| id.0).collect();
    let replicas: Vec<i32> = dots.iter().map(|(.., dot)| dot.replica.0.cast_signed()).collect();
    let seqs: Vec<i64> = dots.iter().map(|(.., dot)| dot.seq.cast_signed()).collect();
    let statement = "select asked.place, kept.contents::text from sync.accepted as kept
      join unnest($1::uuid[], $2::integer[], $3::bigint[]) with ordinality as asked (row_id, replica_id, seq, place)
        using (row_id, replica_id, seq)";
    for kept in tx.query(statement, &[&rows, &replicas, &seqs]).await? {
        let place = usize::try_from(kept.get::<_, i64>(0) - 1).unwrap_or(usize::MAX);
        let Some((id, push, dot)) = dots.get(place) else { continue };
        let said = kept.get::<_, Option<String>>(1).and_then(|text| serde_json::from_str(&text).ok());
        let row = Row { version: push.version.clone(), values: push.values.clone() };
        if said.is_some_and(|said| is_part(&contents(&row, dot), &said)) {
            acknowledged.entry(*id).or_default().observe(dot.replica, dot.seq);
        }
    }
    Ok(acknowledged)
}

/// Those of the asked writes of a row that are kept.
async fn kept(
    client: &impl GenericClient,
    row: Uuid,
    asked: &BTreeSet<Name>,
) -> Result<BTreeMap<Name, Kept>, StoreError> {
    let replicas: Vec<i32> = asked.iter().map(|(replica, ..)| replica.cast_signed()).collect();
    let seqs: Vec<i64> = asked.iter().map(|(_, seq, _)| seq.cast_signed()).collect();
    let clocks: Vec<i64> = asked.iter().map(|(.., hlc)| hlc.cast_signed()).collect();
    let statement = "select kept.replica_id, kept.seq, kept.hlc, coalesce(kept.now_replica_id, kept.replica_id),
        coalesce(kept.now_seq, kept.seq), kept.contents::text
      from sync.accepted as kept
      join unnest($1::integer[], $2::bigint[], $3::bigint[]) as asked (replica_id, seq, hlc)
        using (replica_id, seq, hlc)
      where kept.row_id = $4";
    let rows = client.query(statement, &[&replicas, &seqs, &clocks, &row]).await?;
    let replica = |row: &tokio_postgres::Row, column| row.get::<_, i32>(column).cast_unsigned();
    let number = |row: &tokio_postgres::Row, column| row.get::<_, i64>(column).cast_unsigned();
    let kept = |row: &tokio_postgres::Row| {
        let said = row.get::<_, Option<String>>(5).and_then(|text| serde_json::from_str(&text).ok());
        ((replica(row, 0), number(row, 1), number(row, 2)), ((replica(row, 3), number(row, 4)), said))
    };
    Ok(rows.iter().map(kept).collect())
}

async fn insert(tx: &Transaction<'_>, writes: &[Write]) -> Result<(), StoreError> {
    let replicas: Vec<i32> = writes.iter().map(|write| write.name.0.cast_signed()).collect();
    let seqs: Vec<i64> = writes.iter().map(|write| write.name.1.cast_signed()).collect();
    let clocks: Vec<i64> = writes.iter().map(|write| write.name.2.cast_signed()).collect();
    let rows: Vec<Uuid> = writes.iter().map(|write| write.row.0).collect();
    let now_replicas: Vec<Option<i32>> = writes.iter().map(|write| write.now.map(|now| now.0.cast_signed())).collect();
    let now_seqs: Vec<Option<i64>> = writes.iter().map(|write| write.now.map(|now| now.1.cast_signed())).collect();
    // Names and hashes are text that JSON can hold.
    let contents: Vec<String> =
        writes.iter().map(|write| serde_json::to_string(&write.contents).unwrap_or_default()).collect();
    let statement = "insert into sync.accepted (replica_id, seq, hlc, row_id, now_replica_id, now_seq, contents)
      select replica_id, seq, hlc, row_id, now_replica_id, now_seq, contents::jsonb
      from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::uuid[], $5::integer[], $6::bigint[], $7::text[])
        as write (replica_id, seq, hlc, row_id, now_replica_id, now_seq, contents)
      on conflict do nothing";
    tx.execute(statement, &[&replicas, &seqs, &clocks, &rows, &now_replicas, &now_seqs, &contents]).await?;
    Ok(())
}

async fn forget(tx: &Transaction<'_>, replica: ReplicaId, up_to: u64) -> Result<(), StoreError> {
    let statement = "delete from sync.accepted where replica_id = $1 and seq <= $2";
    tx.execute(statement, &[&replica.0.cast_signed(), &up_to.cast_signed()]).await?;
    Ok(())
}
