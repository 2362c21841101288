//! Rows that only edges still hold (`sync.recovered`): kept until somebody accepts or discards them.

use tokio_postgres::{Client, GenericClient, Row, Transaction};
use uuid::Uuid;

use super::decisions::{self, Decided};
use super::edges::Edge;
use super::error::StoreError;
use super::{feed, rows, versions};
use crate::catalog::{self, Table};
use crate::merge::ids::{RowId, TableId};
use crate::merge::resolve::merge;
use crate::merge::value::Values;
use crate::merge::version::{Row as MergeRow, Version};
use crate::wire::convert;
use crate::wire::message::PullRow;

/// The name space of entries' ids (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x5b1f_77de_0c4a_5f3e_9d20_7761_7973_7461);

/// A row that only edges still hold.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Entry {
    /// Its id.
    pub id: Uuid,
    /// Its tenant's slug.
    pub tenant: Option<String>,
    /// The edge that offered it first.
    pub edge: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The row.
    pub row: Uuid,
    /// `open`, `accepted`, `discarded` or `superseded`.
    pub status: String,
    /// When it was offered, RFC 3339.
    pub offered_at: String,
    /// The row as the edge holds it.
    pub payload: serde_json::Value,
    #[serde(skip)]
    tenant_id: Uuid,
    #[serde(skip)]
    table_id: i16,
}

/// Keeps an edge's offers; says how many entries are new.
pub async fn keep(client: &mut Client, edge: &Edge, offered: &[PullRow]) -> Result<u64, StoreError> {
    let tx = client.transaction().await?;
    let mut kept = 0;
    for row in offered {
        let Some(table) = catalog::by_name(&row.table).filter(|table| table.dumped) else { continue };
        // Our own messages have nothing in them that JSON cannot hold.
        let payload = serde_json::to_string(row).unwrap_or_default();
        let id = Uuid::new_v5(&NAMESPACE, payload.as_bytes());
        kept += insert(&tx, edge, id, versions::number(table.id), row.id, &payload).await?;
    }
    tx.commit().await?;
    Ok(kept)
}

async fn insert(
    tx: &Transaction<'_>,
    edge: &Edge,
    id: Uuid,
    table: i16,
    row: Uuid,
    payload: &str,
) -> Result<u64, StoreError> {
    let statement = "insert into sync.recovered (id, tenant_id, edge_id, table_id, row_id, payload)
      values ($1, $2, $3, $4, $5, $6::text::jsonb) on conflict do nothing";
    Ok(tx.execute(statement, &[&id, &edge.tenant, &edge.id, &table, &row, &payload]).await?)
}

/// The open entries, parents first, or the one of this id.
pub async fn list(client: &impl GenericClient, id: Option<Uuid>) -> Result<Vec<Entry>, StoreError> {
    let statement =
        "select entry.id, tenant.slug, edge.name, sync.table_name(entry.table_id), entry.row_id, entry.status,
        to_char(entry.created_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), entry.payload, entry.tenant_id,
        entry.table_id
      from sync.recovered as entry
      left join public.tenants as tenant on tenant.id = entry.tenant_id
      left join sync.edges as edge on edge.id = entry.edge_id
      where entry.status = 'open' and ($1::uuid is null or entry.id = $1)
      order by entry.tenant_id, entry.table_id, entry.row_id, entry.id";
    let entry = |row: &Row| Entry {
        id: row.get(0),
        tenant: row.get(1),
        edge: row.get(2),
        table: row.get(3),
        row: row.get(4),
        status: row.get(5),
        offered_at: row.get(6),
        payload: row.get(7),
        tenant_id: row.get(8),
        table_id: row.get(9),
    };
    Ok(client.query(statement, &[&id]).await?.iter().map(entry).collect())
}

/// Closes the entries whose writes the centre has got by now from who made them.
pub async fn supersede(client: &mut Client) -> Result<(), StoreError> {
    let tx = client.transaction().await?;
    for entry in list(&tx, None).await? {
        let Some((table, offered)) = parse(&entry) else { continue };
        let stored = feed::versions(&tx, table, entry.tenant_id, &[entry.row]).await?.remove(&RowId(entry.row));
        let vv = stored.and_then(Result::ok).unwrap_or_default().version.vv;
        if vv.includes(&offered.version.vv) {
            close(&tx, &entry, "superseded").await?;
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Writes a recovered row as the centre's own: what it holds that wins against what is there by the merge. Says what was
/// done.
pub async fn accept(client: &mut Client, entry: &Entry) -> Result<&'static str, StoreError> {
    let tx = client.transaction().await?;
    let done = write(&tx, entry).await?;
    settle(&tx, entry, "accepted").await?;
    tx.commit().await?;
    Ok(done)
}

async fn write(tx: &Transaction<'_>, entry: &Entry) -> Result<&'static str, StoreError> {
    let Some((table, offered)) = parse(entry) else { return Ok("unreadable") };
    let (tenant, id) = (entry.tenant_id, RowId(entry.row));
    let stored = feed::versions(tx, table, tenant, &[id.0]).await?.remove(&id).and_then(Result::ok).unwrap_or_default();
    let there = rows::read(tx, table, tenant, &[id.0]).await?.rows.remove(&id);
    let here = MergeRow { version: stored.version, values: there.clone().or(stored.last).unwrap_or_default() };
    let joined = merge(table.id, id, &here, &offered, &table.quiet()).row;
    match (joined.version.is_alive(), there) {
        (true, None) => insert_row(tx, table, id, &joined.values).await.map(|_| "inserted"),
        (true, Some(_)) => rows::update(tx, table, tenant, &array(table, id, &joined.values)).await.map(|_| "updated"),
        (false, Some(_)) => rows::delete(tx, table, tenant, &[id.0]).await.map(|_| "deleted"),
        (false, None) => Ok("unchanged"),
    }
}

async fn insert_row(
    tx: &Transaction<'_>,
    table: &'static Table,
    id: RowId,
    values: &Values,
) -> Result<u64, StoreError> {
    rows::insert(tx, table, &array(table, id, values)).await
}

fn array(table: &'static Table, id: RowId, values: &Values) -> String {
    format!("[{}]", rows::json(table, id, values))
}

fn parse(entry: &Entry) -> Option<(&'static Table, MergeRow)> {
    let table = catalog::by_id(TableId(u8::try_from(entry.table_id).ok()?))?;
    let row: PullRow = serde_json::from_str(&entry.payload.to_string()).ok()?;
    let version = Version { vv: row.vv.0, gone: row.gone.0, dots: row.dots.0 };
    Some((table, MergeRow { version, values: convert::values(table, &row.values).ok()? }))
}

/// Marks an entry as not wanted; it stays on record.
pub async fn discard(client: &mut Client, entry: &Entry) -> Result<(), StoreError> {
    let tx = client.transaction().await?;
    settle(&tx, entry, "discarded").await?;
    tx.commit().await?;
    Ok(())
}

/// Closes an entry because somebody decided so.
async fn settle(tx: &Transaction<'_>, entry: &Entry, status: &str) -> Result<(), StoreError> {
    close(tx, entry, status).await?;
    let Entry { tenant_id: tenant, id, table_id: table, row, .. } = *entry;
    decisions::record(tx, Decided { tenant, entry: id, table, row, status }).await
}

async fn close(tx: &Transaction<'_>, entry: &Entry, status: &str) -> Result<(), StoreError> {
    let statement = "update sync.recovered set status = $3, settled_at = now() where tenant_id = $1 and id = $2";
    tx.execute(statement, &[&entry.tenant_id, &entry.id, &status]).await?;
    Ok(())
}
