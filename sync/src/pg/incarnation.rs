//! Which history of the centre this is (`sync.hub`, `sync.incarnations`).
//!
//! A database that was restored, or a standby that lagged when it took over, goes on from an earlier state and uses the
//! centre's numbers again. When that is noticed the centre gets a new replica id, what it wrote above the last number
//! that both histories share is renamed to it, and every token and cursor becomes void: each edge is told at its next
//! contact, renames its copies of the lost writes, and is compared.

use std::fmt;

use tokio_postgres::{Client, GenericClient, Row, Transaction};
use uuid::Uuid;

use super::error::StoreError;
use super::{fences, reach, versions};
use crate::catalog;
use crate::merge::fence::Rename;
use crate::merge::ids::{ReplicaId, RowId, TableId};
use crate::merge::rename::rename;

/// How long to wait for transactions that write under the former id, in milliseconds.
const LOCK_MS_MAX: u64 = 2_000;
/// Rows renamed at once.
const ROWS_MAX: i64 = 1_000;
/// How many replica ids a new incarnation steps over at least: those may have been given in the lost future.
const REPLICAS_SKIPPED: u32 = 1_000;

/// The present incarnation.
#[derive(Clone, PartialEq, Eq)]
pub struct Incarnation {
    /// Its id.
    pub id: Uuid,
    /// The centre's replica id in it.
    pub replica: ReplicaId,
    /// The key of cursors and tokens.
    pub key: Vec<u8>,
    /// Whether the database runs on another server or timeline, or is another one there, than when it was last asked.
    pub moved: bool,
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, replica, moved, .. } = self;
        f.debug_struct("Incarnation")
            .field("id", id)
            .field("replica", replica)
            .field("moved", moved)
            .finish_non_exhaustive()
    }
}

/// Why and from where on a new incarnation begins.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// What was found, for people.
    pub reason: String,
    /// Both histories share what the centre wrote up to this seq.
    pub above: u64,
    /// An incarnation of the lost future that an edge has shown.
    pub lost: Option<Uuid>,
    /// Random: the id of the new incarnation.
    pub id: Uuid,
}

/// The present incarnation, and whether the server is the one that it was.
pub async fn present(client: &impl GenericClient) -> Result<Incarnation, StoreError> {
    let statement = "select hub.hub_id, hub.replica, hub.seal_key, hub.system_identifier is not null
        and (hub.system_identifier, hub.timeline, coalesce(hub.database_oid, here.database_oid))
          is distinct from (here.system_identifier, here.timeline, here.database_oid)
      from sync.hub as hub cross join (
        select control.system_identifier::text as system_identifier,
          left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) as timeline,
          (select oid::bigint from pg_database where datname = current_database()) as database_oid
        from pg_control_system() as control
      ) as here";
    let row = client.query_one(statement, &[]).await?;
    Ok(Incarnation {
        id: row.get(0),
        replica: ReplicaId(row.get::<_, i32>(1).cast_unsigned()),
        key: row.get(2),
        moved: row.get(3),
    })
}

/// Notes on which server the database is, if nobody has, and which numbers of the centre can be told apart from now on.
pub async fn settle(client: &impl GenericClient) -> Result<(), StoreError> {
    let drawn: i64 = client.query_one("select last_value from sync.seq", &[]).await?.get(0);
    propose(client, drawn).await
}

/// Settles the last proposal if every transaction from before it has ended, and then makes the next one: `drawn` was read
/// before this statement's snapshot, so whoever drew it or an earlier one began before `candidate_xmax`.
async fn propose(client: &impl GenericClient, drawn: i64) -> Result<(), StoreError> {
    let statement = "update sync.hub set settled_seq = greatest(settled_seq, candidate_seq), candidate_seq = $1,
        candidate_xmax = pg_snapshot_xmax(pg_current_snapshot())::text::bigint, candidate_at = now(),
        system_identifier = coalesce(system_identifier, (select control.system_identifier::text from pg_control_system() as control)),
        timeline = coalesce(timeline, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)),
        database_oid = coalesce(database_oid, (select oid::bigint from pg_database where datname = current_database()))
      where candidate_at < now() - interval '1 second'
        and pg_snapshot_xmin(pg_current_snapshot())::text::bigint >= candidate_xmax";
    client.execute(statement, &[&drawn]).await?;
    Ok(())
}

/// What an edge has to rename that last agreed with incarnation `since`; `None` if this database never had that one.
pub async fn renames(client: &impl GenericClient, since: Uuid) -> Result<Option<Vec<Rename>>, StoreError> {
    let statement = "select former_id = $1 or $1 = any(lost_ids), former_replica, above_seq, lost_replica, id = $1
      from sync.incarnations order by number";
    let rows = client.query(statement, &[&since]).await?;
    let rename = |row: &Row| Rename {
        from: ReplicaId(row.get::<_, i32>(1).cast_unsigned()),
        above: row.get::<_, i64>(2).cast_unsigned(),
        to: ReplicaId(row.get::<_, i32>(3).cast_unsigned()),
    };
    let first = rows.iter().position(|row| row.get(0));
    let last = rows.last().is_some_and(|row| row.get(4));
    Ok(first.map(|first| rows[first..].iter().map(rename).collect()).or_else(|| last.then(Vec::new)))
}

/// The lowest common seq of all edges that ever had a cursor.
pub async fn common_seq(client: &impl GenericClient) -> Result<u64, StoreError> {
    let statement = "select coalesce(min(cursor_seq), 0) from sync.fences where cursor_count > 0";
    Ok(client.query_one(statement, &[]).await?.get::<_, i64>(0).cast_unsigned())
}

/// The common seq when it was the server that changed: no cursor was issued since, so the newest one counts.
pub async fn last_seq(client: &impl GenericClient) -> Result<u64, StoreError> {
    let statement = "select coalesce(max(cursor_seq), 0) from sync.fences";
    Ok(client.query_one(statement, &[]).await?.get::<_, i64>(0).cast_unsigned())
}

/// Begins a new incarnation after `former`. Says whether it did; somebody else may have been faster.
pub async fn begin(client: &mut Client, former: Uuid, rewind: &Rewind) -> Result<bool, StoreError> {
    let tx = client.transaction().await?;
    // Whoever writes a synced row reads sync.hub first, and holds that until its end. When this lock is granted nobody is
    // left who would still write under the former id.
    lock(&tx).await?;
    reach::everybody(&tx).await?;
    let present = present(&tx).await?;
    if present.id != former {
        return Ok(false);
    }
    let [first, second, third, ..] = *rewind.id.as_bytes();
    let jump = REPLICAS_SKIPPED + u32::from_be_bytes([0, first, second, third]) % 1_000_000;
    skip_replicas(&tx, jump).await?;
    let lost = insert_replica(&tx, &format!("centre, lost before {}", now(&tx).await?)).await?;
    let replica = insert_replica(&tx, "centre").await?;
    let rule = Rename { from: present.replica, above: rewind.above, to: replica };
    rename_rows(&tx, rule).await?;
    move_into_the_present(&tx).await?;
    record(&tx, &present, rewind, lost, replica).await?;
    set_hub(&tx, rewind.id, replica).await?;
    fences::invalidate_all(&tx).await?;
    tx.commit().await?;
    Ok(true)
}

async fn lock(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute(&format!("set local lock_timeout = {LOCK_MS_MAX}; lock table sync.hub in access exclusive mode"))
        .await?;
    Ok(())
}

async fn now(tx: &Transaction<'_>) -> Result<String, StoreError> {
    let statement = "select to_char(now() at time zone 'UTC', 'YYYY-MM-DD HH24:MI')";
    Ok(tx.query_one(statement, &[]).await?.get(0))
}

async fn skip_replicas(tx: &Transaction<'_>, jump: u32) -> Result<(), StoreError> {
    let statement = "select setval('sync.replica_ids', (select last_value from sync.replica_ids) + $1)";
    tx.query_one(statement, &[&i64::from(jump)]).await?;
    Ok(())
}

async fn insert_replica(tx: &Transaction<'_>, name: &str) -> Result<ReplicaId, StoreError> {
    let statement = "insert into sync.replicas (id, name) values (nextval('sync.replica_ids'), $1)
      on conflict (id) do nothing returning id";
    loop {
        if let Some(row) = tx.query_opt(statement, &[&name]).await? {
            return Ok(ReplicaId(row.get::<_, i32>(0).cast_unsigned()));
        }
    }
}

async fn rename_rows(tx: &Transaction<'_>, rule: Rename) -> Result<(), StoreError> {
    loop {
        let found = ambiguous(tx, rule).await?;
        if found.is_empty() {
            return Ok(());
        }
        for row in &found {
            let number: i16 = row.get(1);
            let table = u8::try_from(number).ok().and_then(|id| catalog::by_id(TableId(id)));
            let decoded = table.map(|table| (table, versions::decode(table, row, 2)));
            let Some((table, Ok(mut stored))) = decoded else {
                // What cannot be read cannot be compared either; it keeps its names and is listed as unsendable.
                set_aside(tx, row.get(0), number, row.get(2), rule).await?;
                continue;
            };
            rename(&mut stored.version, rule);
            versions::replace(tx, row.get(0), table.id, RowId(row.get(2)), &stored.version).await?;
        }
    }
}

async fn ambiguous(tx: &Transaction<'_>, rule: Rename) -> Result<Vec<Row>, StoreError> {
    let statement = format!(
        "select tenant_id, table_id, {} from sync.row_versions
         where (vv ->> $1)::bigint > $2 limit $3",
        versions::COLUMNS
    );
    Ok(tx.query(&statement, &[&rule.from.to_string(), &rule.above.cast_signed(), &ROWS_MAX]).await?)
}

async fn set_aside(tx: &Transaction<'_>, tenant: Uuid, table: i16, row: Uuid, rule: Rename) -> Result<(), StoreError> {
    let statement = "update sync.row_versions set vv = jsonb_set(vv, array[$4], to_jsonb($5::bigint))
      where tenant_id = $1 and table_id = $2 and row_id = $3";
    tx.execute(statement, &[&tenant, &table, &row, &rule.from.to_string(), &rule.above.cast_signed()]).await?;
    Ok(())
}

/// A dump that was restored on another server brings transaction numbers from beyond the present; no snapshot would ever
/// see them.
async fn move_into_the_present(tx: &Transaction<'_>) -> Result<(), StoreError> {
    for table in ["row_versions", "scope_changes", "conflicts"] {
        let statement = format!(
            "update sync.{table} set txid = pg_current_xact_id()::text::bigint
             where txid > pg_current_xact_id()::text::bigint"
        );
        tx.execute(&statement, &[]).await?;
    }
    Ok(())
}

async fn record(
    tx: &Transaction<'_>,
    former: &Incarnation,
    rewind: &Rewind,
    lost: ReplicaId,
    replica: ReplicaId,
) -> Result<(), StoreError> {
    let statement = "insert into sync.incarnations
        (former_id, id, former_replica, above_seq, lost_replica, replica, lost_ids, reason)
      values ($1, $2, $3, $4, $5, $6, $7, $8)";
    let lost_ids: Vec<Uuid> = rewind.lost.into_iter().collect();
    let [former_replica, lost, replica] = [former.replica, lost, replica].map(|replica| replica.0.cast_signed());
    let above = rewind.above.cast_signed();
    tx.execute(
        statement,
        &[&former.id, &rewind.id, &former_replica, &above, &lost, &replica, &lost_ids, &rewind.reason],
    )
    .await?;
    Ok(())
}

async fn set_hub(tx: &Transaction<'_>, id: Uuid, replica: ReplicaId) -> Result<(), StoreError> {
    let statement = "update sync.hub set hub_id = $1, replica = $2, candidate_xmax = 0, candidate_at = '-infinity',
        candidate_seq = 0, system_identifier = (select control.system_identifier::text from pg_control_system() as control),
        timeline = left(pg_walfile_name(pg_current_wal_insert_lsn()), 8),
        database_oid = (select oid::bigint from pg_database where datname = current_database())";
    tx.execute(statement, &[&id, &replica.0.cast_signed()]).await?;
    Ok(())
}
