//! Row versions: `sync.row_versions` as the merge sees it.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row, Transaction};
use uuid::Uuid;

use super::error::StoreError;
use super::rows;
use crate::catalog::{Scope, Table};
use crate::merge::clock::Hlc;
use crate::merge::ids::{ReplicaId, RowId, TableId};
use crate::merge::value::Values;
use crate::merge::version::Version;
use crate::wire::version::{dots_text, parse_dots, parse_vector, vector_text};

/// The columns that [`decode`] reads.
pub(super) const COLUMNS: &str = "row_id, vv::text, dots::text, gone::text, last_row::text";

/// A stored version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The version.
    pub version: Version,
    /// The last values of a dead row.
    pub last: Option<Values>,
}

/// A version to store.
#[derive(Clone, Debug)]
pub struct Write {
    /// The table.
    pub table: TableId,
    /// The row.
    pub id: RowId,
    /// Its version.
    pub version: Version,
    /// The replica that need not be told, because it has exactly this.
    pub echo_of: Option<ReplicaId>,
    /// The last values of a dead row, as a JSON object.
    pub last_row: Option<String>,
}

/// The versions of rows, each readable or with the reason why not.
pub type Known = BTreeMap<RowId, Result<Stored, String>>;

/// Locks and reads the versions that nobody else holds; a dead row has no other lock.
pub async fn lock(
    tx: &Transaction<'_>,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<Known, StoreError> {
    let statement = format!(
        "select {COLUMNS} from sync.row_versions
         where tenant_id = $1 and table_id = $2 and row_id = any($3) order by row_id for update skip locked"
    );
    let found = tx.query(&statement, &[&tenant, &number(table.id), &ids]).await?;
    Ok(found.iter().map(|row| (RowId(row.get(0)), decode(table, row, 0))).collect())
}

/// Reads versions without locking them.
pub async fn read(
    client: &impl GenericClient,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<Known, StoreError> {
    let statement =
        format!("select {COLUMNS} from sync.row_versions where tenant_id = $1 and table_id = $2 and row_id = any($3)");
    let found = client.query(&statement, &[&tenant, &number(table.id), &ids]).await?;
    Ok(found.iter().map(|row| (RowId(row.get(0)), decode(table, row, 0))).collect())
}

/// Which of the rows have a version.
pub async fn present(
    tx: &Transaction<'_>,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<BTreeSet<RowId>, StoreError> {
    let statement = "select row_id from sync.row_versions
      where tenant_id = $1 and table_id = $2 and row_id = any($3)";
    let found = tx.query(statement, &[&tenant, &number(table.id), &ids]).await?;
    Ok(found.iter().map(|row| RowId(row.get(0))).collect())
}

/// Stores versions under the current transaction's id.
pub async fn store(tx: &Transaction<'_>, tenant: Uuid, writes: &[&Write]) -> Result<(), StoreError> {
    let tables: Vec<i16> = writes.iter().map(|write| number(write.table)).collect();
    let ids: Vec<Uuid> = writes.iter().map(|write| write.id.0).collect();
    let clocks: Vec<i64> = writes.iter().map(|write| write.version.hlc().0.cast_signed()).collect();
    let vectors: Vec<String> = writes.iter().map(|write| vector_text(&write.version.vv)).collect();
    let dots: Vec<String> = writes.iter().map(|write| dots_text(&write.version.dots)).collect();
    let gone = |write: &&Write| (!write.version.gone.is_empty()).then(|| vector_text(&write.version.gone));
    let gone: Vec<Option<String>> = writes.iter().map(gone).collect();
    let echoes: Vec<Option<i32>> = writes.iter().map(|write| write.echo_of.map(|echo| echo.0.cast_signed())).collect();
    let last: Vec<Option<&str>> = writes.iter().map(|write| write.last_row.as_deref()).collect();
    let statement = "
      insert into sync.row_versions (tenant_id, table_id, row_id, txid, hlc, vv, dots, gone, echo_of, last_row)
      select $1, w.table_id, w.row_id, pg_current_xact_id()::text::bigint, w.hlc, w.vv::jsonb, w.dots::jsonb,
        w.gone::jsonb, w.echo_of, w.last_row::jsonb
      from unnest($2::smallint[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::integer[], $9::text[])
        as w (table_id, row_id, hlc, vv, dots, gone, echo_of, last_row)
      on conflict (tenant_id, table_id, row_id) do update set
        txid = excluded.txid, hlc = excluded.hlc, vv = excluded.vv, dots = excluded.dots, gone = excluded.gone,
        echo_of = excluded.echo_of, last_row = excluded.last_row";
    tx.execute(statement, &[&tenant, &tables, &ids, &clocks, &vectors, &dots, &gone, &echoes, &last]).await?;
    Ok(())
}

/// Replaces one version by another that names the same writes otherwise. Nobody holds exactly it any more.
pub async fn replace(
    tx: &Transaction<'_>,
    tenant: Uuid,
    table: TableId,
    id: RowId,
    version: &Version,
) -> Result<(), StoreError> {
    let statement = "update sync.row_versions set vv = $4::text::jsonb, dots = $5::text::jsonb, gone = $6::text::jsonb,
        txid = pg_current_xact_id()::text::bigint, echo_of = null
      where tenant_id = $1 and table_id = $2 and row_id = $3";
    let gone = (!version.gone.is_empty()).then(|| vector_text(&version.gone));
    let (vv, dots) = (vector_text(&version.vv), dots_text(&version.dots));
    tx.execute(statement, &[&tenant, &number(table), &id.0, &vv, &dots, &gone]).await?;
    Ok(())
}

/// Stores the version of a row that has none, and says whether it had none.
pub async fn store_new(tx: &Transaction<'_>, tenant: Uuid, write: &Write) -> Result<bool, StoreError> {
    let Version { vv, dots, gone } = &write.version;
    let gone = (!gone.is_empty()).then(|| vector_text(gone));
    let statement = "
      insert into sync.row_versions (tenant_id, table_id, row_id, txid, hlc, vv, dots, gone, last_row)
      values ($1, $2, $3, pg_current_xact_id()::text::bigint, $4, $5::text::jsonb, $6::text::jsonb, $7::text::jsonb,
        $8::text::jsonb)
      on conflict (tenant_id, table_id, row_id) do nothing";
    let (table, hlc) = (number(write.table), write.version.hlc().0.cast_signed());
    let (vv, dots) = (vector_text(vv), dots_text(dots));
    let parameters: [&(dyn ToSql + Sync); 8] = [&tenant, &table, &write.id.0, &hlc, &vv, &dots, &gone, &write.last_row];
    Ok(tx.execute(statement, &parameters).await? > 0)
}

/// Gives a version to every row of a table that has none, as a write of the centre: they were written while the capture
/// triggers were not there. Returns how many.
pub async fn adopt(tx: &Transaction<'_>, table: &'static Table, unix_ms: u64) -> Result<u64, StoreError> {
    let tenant = match table.scope {
        Scope::Itself => "r.id",
        Scope::Referred => "'00000000-0000-0000-0000-000000000000'::uuid",
        Scope::Tenant | Scope::Site => "r.tenant_id",
    };
    let statement = format!(
        "insert into sync.row_versions (tenant_id, table_id, row_id, txid, hlc, vv, dots)
         select n.tenant_id, $1::smallint, n.id, pg_current_xact_id()::text::bigint, $2::bigint,
           jsonb_build_object(n.replica::text, n.seq),
           jsonb_build_object('*', jsonb_build_array(n.replica, n.seq, $2::bigint))
         from (
           select {tenant} as tenant_id, r.id, hub.replica, nextval('sync.seq') as seq
           from {} as r cross join sync.hub as hub
           where not exists (
             select from sync.row_versions as v
             where v.tenant_id = {tenant} and v.table_id = $1 and v.row_id = r.id
           )
         ) as n",
        table.pg
    );
    Ok(tx.execute(&statement, &[&number(table.id), &Hlc::at(unix_ms).0.cast_signed()]).await?)
}

/// Sends rows again to every edge of the tenant, unchanged.
pub async fn touch(tx: &Transaction<'_>, tenant: Uuid, table: TableId, ids: &[Uuid]) -> Result<(), StoreError> {
    let statement = "update sync.row_versions set txid = pg_current_xact_id()::text::bigint, echo_of = null
      where tenant_id = $1 and table_id = $2 and row_id = any($3)";
    tx.execute(statement, &[&tenant, &number(table), &ids]).await?;
    Ok(())
}

/// Announces rows to the capture triggers: what each is to be after this transaction's write of it, as a JSON object,
/// or nothing for a delete.
pub async fn announce(
    tx: &Transaction<'_>,
    tables: &[i16],
    ids: &[Uuid],
    finals: &[Option<&str>],
) -> Result<(), StoreError> {
    let statement = "insert into sync.announced (txid, table_id, row_id, final)
      select pg_current_xact_id()::text::bigint, a.table_id, a.row_id, a.final::jsonb
      from unnest($1::smallint[], $2::uuid[], $3::text[]) as a (table_id, row_id, final)";
    tx.execute(statement, &[&tables, &ids, &finals]).await?;
    Ok(())
}

/// Takes back every announcement of this transaction.
pub async fn unannounce(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("delete from sync.announced where txid = pg_current_xact_id()::text::bigint", &[]).await?;
    Ok(())
}

/// The centre's replica id.
pub async fn centre(client: &impl GenericClient) -> Result<ReplicaId, StoreError> {
    let row = client.query_one("select replica from sync.hub", &[]).await?;
    Ok(ReplicaId(row.get::<_, i32>(0).cast_unsigned()))
}

/// The centre's next seq. Taken only under the lock of the row that it is for.
pub async fn next_seq(tx: &Transaction<'_>) -> Result<u64, StoreError> {
    let row = tx.query_one("select nextval('sync.seq')", &[]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// A table's number as it is stored.
pub(super) fn number(table: TableId) -> i16 {
    i16::from(table.0)
}

/// A version out of [`COLUMNS`], of which the first stands at `first`.
pub(super) fn decode(table: &'static Table, row: &Row, first: usize) -> Result<Stored, String> {
    let text = |offset: usize| row.get::<_, Option<String>>(first + offset);
    let vv = parse_vector(&text(1).unwrap_or_default()).map_err(|error| error.to_string())?;
    let dots = parse_dots(&text(2).unwrap_or_default()).map_err(|error| error.to_string())?;
    let gone = text(3).map(|gone| parse_vector(&gone)).transpose().map_err(|error| error.to_string())?;
    let last = text(4).map(|last| rows::from_json(table, &last)).transpose().map_err(|error| error.to_string())?;
    Ok(Stored { version: Version { vv, gone: gone.unwrap_or_default(), dots }, last })
}
