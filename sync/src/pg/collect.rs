//! Forgets what nobody needs any more: dead rows that every edge has been told of, and changes of scope likewise.
//!
//! A dead row is forgotten when every live replica of its tenant has acknowledged a cursor that saw its death, when it has been
//! dead for [`TOMBSTONE_DAYS_MIN`], and when no open entry of the quarantine and no open conflict refers to it. The cursor of
//! a window in the middle is where the window began, so what changes while an edge reads is never forgotten before it has
//! been told. An edge that was silent for [`RETENTION_DAYS`] is marked as stale and waited for no longer; when it returns
//! it compares itself with the centre, and its unsent edits of rows that are forgotten become conflicts.
//!
//! It is replica ids that are waited for, not edges: two copies of one box are one edge, and the slower one must not miss what
//! the other has seen. Nobody says that a former id has no box any more; one that was silent for [`FORMER_DAYS`] counts so,
//! and whoever uses it still is compared first, as after any long silence.

use tokio_postgres::{Client, GenericClient};

use super::error::StoreError;
use crate::merge::clock::Hlc;
use crate::merge::limits::{FORMER_DAYS, RETENTION_DAYS, TOMBSTONE_DAYS_MIN};

/// Dead rows that are forgotten in one transaction.
pub const ROWS_MAX: i64 = 5_000;
/// One hub of several collects at a time: the number of the advisory lock.
const LOCK: i64 = 0x5761_7953_636f_6c6c;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What was forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// Dead rows.
    pub tombstones: u64,
    /// Changes of scope.
    pub scope_changes: u64,
    /// Enrolment codes that had long expired.
    pub enrollments: u64,
    /// Edges that are now marked as stale, by name.
    pub stale: Vec<String>,
}

/// Forgets what nobody needs at `now_ms`; nothing when another hub is at it.
pub async fn collect(client: &mut Client, now_ms: u64) -> Result<Collected, StoreError> {
    let mut collected = Collected::default();
    loop {
        let tx = client.transaction().await?;
        if !lock(&tx).await? {
            return Ok(collected);
        }
        collected.stale.extend(mark_stale(&tx).await?);
        mark_stale_replicas(&tx).await?;
        let tombstones = forget_dead_rows(&tx, now_ms).await?;
        collected.scope_changes += forget_scope_changes(&tx).await?;
        collected.enrollments += forget_enrollments(&tx).await?;
        tx.commit().await?;
        collected.tombstones += tombstones;
        if tombstones < ROWS_MAX.unsigned_abs() {
            return Ok(collected);
        }
    }
}

async fn lock(tx: &impl GenericClient) -> Result<bool, StoreError> {
    Ok(tx.query_one("select pg_try_advisory_xact_lock($1)", &[&LOCK]).await?.get(0))
}

/// An edge that is marked is compared with the centre when it returns, and until then is waited for no longer.
async fn mark_stale(tx: &impl GenericClient) -> Result<Vec<String>, StoreError> {
    let statement = "
      update sync.edges set stale_at = now(), verify_asked_at = clock_timestamp(), cursor_acknowledged = null
      where status = 'enrolled' and stale_at is null
        and coalesce(last_seen_at, enrolled_at) < now() - make_interval(days => $1)
      returning name";
    let rows = tx.query(statement, &[&i32::from(RETENTION_DAYS)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The ids of stale edges, and those that nobody has used for long.
async fn mark_stale_replicas(tx: &impl GenericClient) -> Result<u64, StoreError> {
    let statement = "
      update sync.fences as fence set stale_at = now(), cursor_acknowledged = null
      from sync.edges as edge
      where edge.id = fence.edge_id and fence.stale_at is null
        and (edge.stale_at is not null or fence.last_seen_at < now() - make_interval(
          days => case when fence.replica_id = edge.replica_id then $1::integer else $2::integer end))";
    Ok(tx.execute(statement, &[&i32::from(RETENTION_DAYS), &i32::from(FORMER_DAYS)]).await?)
}

/// The horizon of a tenant is the first transaction that some live replica may not have seen; of users, who may be of any
/// tenant, that of all. A replica that has acknowledged nothing yet has seen nothing.
const HORIZONS: &str = "
  edge as materialized (
    select edge.tenant_id, coalesce(split_part(fence.cursor_acknowledged, ':', 1)::bigint, 0) as seen
    from sync.fences as fence join sync.edges as edge on edge.id = fence.edge_id
    where edge.status = 'enrolled' and fence.stale_at is null
  ),
  horizon as materialized (
    select t.tenant_id, coalesce((
      select min(seen) from edge where edge.tenant_id = t.tenant_id or t.tenant_id = '00000000-0000-0000-0000-000000000000'
    ), 9223372036854775807) as txid
    from (
      select tenant_id from sync.row_versions where gone is not null and last_row is not null
      union select tenant_id from sync.scope_changes
    ) as t
  )";

async fn forget_dead_rows(tx: &impl GenericClient, now_ms: u64) -> Result<u64, StoreError> {
    let age_ms = u64::from(TOMBSTONE_DAYS_MIN) * DAY_MS;
    let before = i64::try_from(Hlc::at(now_ms.saturating_sub(age_ms)).0).unwrap_or(i64::MAX);
    let statement = format!(
        "with {HORIZONS},
      dead as (
        select v.tenant_id, v.table_id, v.row_id
        from horizon join sync.row_versions as v using (tenant_id)
        where v.gone is not null and v.last_row is not null and v.txid < horizon.txid and v.hlc < $1
          and not exists (
            select 1 from sync.quarantine as q
            where q.tenant_id = v.tenant_id and q.table_id = v.table_id and q.row_id = v.row_id and q.status = 'open'
          )
          and not exists (
            select 1 from sync.conflicts as c
            where c.tenant_id = v.tenant_id and c.table_id = v.table_id and c.row_id = v.row_id and c.status = 'open'
          )
        order by v.tenant_id, v.txid limit $2
        for update of v skip locked
      )
      delete from sync.row_versions as v using dead
      where v.tenant_id = dead.tenant_id and v.table_id = dead.table_id and v.row_id = dead.row_id"
    );
    Ok(tx.execute(&statement, &[&before, &ROWS_MAX]).await?)
}

async fn forget_scope_changes(tx: &impl GenericClient) -> Result<u64, StoreError> {
    let statement = format!(
        "with {HORIZONS}
      delete from sync.scope_changes as s using horizon where s.tenant_id = horizon.tenant_id and s.txid < horizon.txid"
    );
    Ok(tx.execute(&statement, &[]).await?)
}

async fn forget_enrollments(tx: &impl GenericClient) -> Result<u64, StoreError> {
    let statement = "delete from sync.enrollments where expires_at < now() - interval '30 days'";
    Ok(tx.execute(statement, &[]).await?)
}
