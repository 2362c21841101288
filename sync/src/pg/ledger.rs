//! What must not be lost without a trace: conflicts, refused writes, and the audit records of sites.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{GenericClient, Row, Transaction};
use uuid::Uuid;

use super::batch::REASON_CHARACTERS_MAX;
use super::edges::Edge;
use super::error::StoreError;
use super::versions::number;
use crate::catalog;
use crate::merge::conflict::{Conflict, Kind, Status};
use crate::merge::ids::{ReplicaId, RowId, TableId};
use crate::wire::conflict;
use crate::wire::message::{Audit, PartyText, UNSTORABLE_MAX, Unstorable};
use crate::wire::refusals::RefusalCode;

/// The columns that [`decode`] reads.
pub(super) const CONFLICT_COLUMNS: &str =
    "id, table_id, row_id, kind, register, status, coalesce(winner, 'null')::text, loser::text";

/// Stands for "the whole row" in the column `register`.
const WHOLE_ROW: &str = "-";

/// A refused write.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The edge it came from; none for a row of the centre that cannot be sent.
    pub edge: Option<(Uuid, ReplicaId)>,
    /// The table's number, 0 for an audit record.
    pub table: i16,
    /// The row.
    pub row: Uuid,
    /// The highest seq of the edge in it.
    pub seq: u64,
    /// A stable code.
    pub code: RefusalCode,
    /// The reason in words.
    pub reason: String,
    /// What was refused, as JSON that PostgreSQL can hold.
    pub payload: String,
}

/// Stores conflicts, each joined with the copy that is there; those that bring nothing new are left alone, so that they
/// are not sent again. Those of `corrected` are sent in any case: their sender holds them with other stamps.
pub async fn record(
    tx: &Transaction<'_>,
    tenant: Uuid,
    conflicts: &[Conflict],
    corrected: &BTreeSet<Uuid>,
) -> Result<(), StoreError> {
    let mut joined: BTreeMap<Uuid, Conflict> = BTreeMap::new();
    for conflict in conflicts {
        let id = conflict.id();
        let one = match joined.remove(&id) {
            Some(other) => other.join(conflict.clone()),
            None => conflict.clone(),
        };
        joined.insert(id, one);
    }
    if joined.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = joined.keys().copied().collect();
    for (id, stored) in read_for_update(tx, tenant, &ids).await? {
        if let Some(new) = joined.remove(&id) {
            let both = stored.clone().join(new);
            if both != stored || corrected.contains(&id) {
                joined.insert(id, both);
            }
        }
    }
    let changed: Vec<(Uuid, Conflict)> = joined.into_iter().collect();
    store(tx, tenant, &changed).await
}

async fn read_for_update(
    tx: &Transaction<'_>,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<Vec<(Uuid, Conflict)>, StoreError> {
    let statement = format!(
        "select {CONFLICT_COLUMNS} from sync.conflicts where tenant_id = $1 and id = any($2) order by id for update"
    );
    let rows = tx.query(&statement, &[&tenant, &ids]).await?;
    Ok(rows.iter().filter_map(|row| Some((row.get(0), decode(row)?))).collect())
}

async fn store(tx: &Transaction<'_>, tenant: Uuid, conflicts: &[(Uuid, Conflict)]) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = conflicts.iter().map(|(id, _)| *id).collect();
    let tables: Vec<i16> = conflicts.iter().map(|(_, conflict)| number(conflict.table)).collect();
    let rows: Vec<Uuid> = conflicts.iter().map(|(_, conflict)| conflict.row.0).collect();
    let kinds: Vec<&str> = conflicts.iter().map(|(_, conflict)| kind_text(conflict.kind)).collect();
    let register = |(_, conflict): &(Uuid, Conflict)| conflict.register.clone().unwrap_or_else(|| WHOLE_ROW.to_owned());
    let registers: Vec<String> = conflicts.iter().map(register).collect();
    let statuses: Vec<&str> = conflicts.iter().map(|(_, conflict)| status_text(conflict.status)).collect();
    let winners: Vec<String> = conflicts.iter().map(|(_, conflict)| party_json(&conflict.winner)).collect();
    let losers: Vec<String> = conflicts.iter().map(|(_, conflict)| party_json(&conflict.loser)).collect();
    let statement = "
      insert into sync.conflicts (tenant_id, id, table_id, row_id, kind, register, status, winner, loser, txid)
      select $1, c.id, c.table_id, c.row_id, c.kind, c.register, c.status, c.winner::jsonb, c.loser::jsonb,
        pg_current_xact_id()::text::bigint
      from unnest($2::uuid[], $3::smallint[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[])
        as c (id, table_id, row_id, kind, register, status, winner, loser)
      on conflict (tenant_id, id) do update set
        status = excluded.status, winner = excluded.winner, loser = excluded.loser, txid = excluded.txid";
    tx.execute(statement, &[&tenant, &ids, &tables, &rows, &kinds, &registers, &statuses, &winners, &losers]).await?;
    Ok(())
}

/// Stores refused writes; a newer refusal of the same row by the same edge takes the place of the older one, and never
/// the other way round: the newest holds all unacknowledged columns.
pub async fn quarantine(client: &impl GenericClient, tenant: Uuid, refused: &[Refused]) -> Result<(), StoreError> {
    // One statement cannot store two entries under one key, and rows of two unknown tables may have one id.
    let key = |one: &Refused| (one.edge.map(|(edge, _)| edge), one.table, one.row);
    let refused: BTreeMap<_, &Refused> = refused.iter().map(|one| (key(one), one)).collect();
    let refused: Vec<&Refused> = refused.into_values().collect();
    let edges: Vec<Option<Uuid>> = refused.iter().map(|one| one.edge.map(|(edge, _)| edge)).collect();
    let replicas: Vec<Option<i32>> =
        refused.iter().map(|one| one.edge.map(|(_, replica)| replica.0.cast_signed())).collect();
    let tables: Vec<i16> = refused.iter().map(|one| one.table).collect();
    let rows: Vec<Uuid> = refused.iter().map(|one| one.row).collect();
    let seqs: Vec<i64> = refused.iter().map(|one| one.seq.cast_signed()).collect();
    let codes: Vec<&str> = refused.iter().map(|one| one.code.as_str()).collect();
    let reasons: Vec<&str> = refused.iter().map(|one| one.reason.as_str()).collect();
    let payloads: Vec<&str> = refused.iter().map(|one| one.payload.as_str()).collect();
    let statement = "
      insert into sync.quarantine (tenant_id, edge_id, replica_id, way, table_id, row_id, seq, code, reason, payload)
      select $1, q.edge_id, q.replica_id, case when q.edge_id is null then 'down' else 'up' end, q.table_id, q.row_id, q.seq,
        q.code, q.reason, q.payload::jsonb
      from unnest($2::uuid[], $3::integer[], $4::smallint[], $5::uuid[], $6::bigint[], $7::text[], $8::text[],
        $9::text[]) as q (edge_id, replica_id, table_id, row_id, seq, code, reason, payload)
      on conflict (edge_id, way, table_id, row_id) where status = 'open' do update set
        replica_id = excluded.replica_id, seq = excluded.seq, code = excluded.code, reason = excluded.reason,
        payload = excluded.payload
      where (sync.quarantine.seq, sync.quarantine.code, sync.quarantine.reason)
        is distinct from (excluded.seq, excluded.code, excluded.reason)
        and (coalesce(excluded.replica_id, 0), excluded.seq) >= (coalesce(sync.quarantine.replica_id, 0), sync.quarantine.seq)";
    client
        .execute(statement, &[&tenant, &edges, &replicas, &tables, &rows, &seqs, &codes, &reasons, &payloads])
        .await?;
    Ok(())
}

/// Lists exactly those rows of the centre that an edge says it cannot store; others that it said so of are closed.
pub async fn unstorable(client: &impl GenericClient, edge: &Edge, told: &[Unstorable]) -> Result<(), StoreError> {
    let plain = |text: &str| -> String {
        text.chars().filter(|letter| !letter.is_control()).take(REASON_CHARACTERS_MAX).collect()
    };
    let table = |name: &str| catalog::by_name(name).map_or(0, |table| number(table.id));
    let told = told.iter().take(UNSTORABLE_MAX).map(|one| ((table(&one.table), one.id), one));
    let told: BTreeMap<(i16, Uuid), &Unstorable> = told.collect();
    let (tables, rows): (Vec<i16>, Vec<Uuid>) = told.keys().copied().unzip();
    let codes: Vec<String> = told.values().map(|one| plain(&one.code)).collect();
    let reasons: Vec<String> = told.values().map(|one| plain(&one.reason)).collect();
    let statement = "
      with told as (
        select * from unnest($4::smallint[], $5::uuid[], $6::text[], $7::text[]) as t (table_id, row_id, code, reason)
      ), settled as (
        update sync.quarantine as entry set status = 'superseded', settled_at = now()
        where entry.edge_id = $2 and entry.way = 'down' and entry.status = 'open'
          and not exists (select from told where told.table_id = entry.table_id and told.row_id = entry.row_id)
      )
      insert into sync.quarantine (tenant_id, edge_id, replica_id, way, table_id, row_id, seq, code, reason, payload)
      select $1, $2, $3, 'down', told.table_id, told.row_id, 0, told.code, told.reason, '{}' from told
      on conflict (edge_id, way, table_id, row_id) where status = 'open' do update set
        code = excluded.code, reason = excluded.reason
      where (sync.quarantine.code, sync.quarantine.reason) is distinct from (excluded.code, excluded.reason)";
    let replica = edge.replica.0.cast_signed();
    client.execute(statement, &[&edge.tenant, &edge.id, &replica, &tables, &rows, &codes, &reasons]).await?;
    Ok(())
}

/// Closes the open entries of an edge's writes to rows, because they have been taken (`superseded`), released or
/// discarded.
pub async fn close(
    tx: &Transaction<'_>,
    edge: Uuid,
    tables: &[i16],
    rows: &[Uuid],
    status: &str,
) -> Result<(), StoreError> {
    let statement = "update sync.quarantine as entry set status = $4, settled_at = now()
      from unnest($2::smallint[], $3::uuid[]) as settled (table_id, row_id)
      where entry.edge_id = $1 and entry.table_id = settled.table_id and entry.row_id = settled.row_id
        and entry.way = 'up' and entry.status = 'open'";
    tx.execute(statement, &[&edge, &tables, &rows, &status]).await?;
    Ok(())
}

/// Closes the open entries whose writes the versions of their rows cover by now, on whichever way they came there.
pub async fn close_covered(
    client: &impl GenericClient,
    tenant: Uuid,
    tables: &[i16],
    rows: &[Uuid],
) -> Result<(), StoreError> {
    let statement = "update sync.quarantine as entry set status = 'superseded', settled_at = now()
      from unnest($2::smallint[], $3::uuid[]) as written (table_id, row_id), sync.row_versions as version
      where entry.tenant_id = $1 and entry.table_id = written.table_id and entry.row_id = written.row_id
        and entry.way = 'up' and entry.status = 'open' and entry.replica_id is not null and entry.seq > 0
        and version.tenant_id = $1 and version.table_id = written.table_id and version.row_id = written.row_id
        and coalesce((version.vv ->> entry.replica_id::text)::bigint, 0) >= entry.seq";
    client.execute(statement, &[&tenant, &tables, &rows]).await?;
    Ok(())
}

/// Closes the open entries about rows of the centre that can be sent again.
pub async fn repaired(client: &impl GenericClient, tenant: Uuid, rows: &[(i16, Uuid)]) -> Result<(), StoreError> {
    let (tables, rows): (Vec<i16>, Vec<Uuid>) = rows.iter().copied().unzip();
    let statement = "update sync.quarantine as entry set status = 'superseded', settled_at = now()
      from unnest($2::smallint[], $3::uuid[]) as sendable (table_id, row_id)
      where entry.tenant_id = $1 and entry.edge_id is null and entry.status = 'open'
        and entry.table_id = sendable.table_id and entry.row_id = sendable.row_id";
    client.execute(statement, &[&tenant, &tables, &rows]).await?;
    Ok(())
}

/// Adds an audit record of a site to the tenant's. One that is there already stays as it is.
pub async fn audit(tx: &Transaction<'_>, tenant: Uuid, records: &[&Audit]) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = records.iter().map(|record| record.id).collect();
    let users: Vec<Option<Uuid>> = records.iter().map(|record| record.user_id).collect();
    let actions: Vec<&str> = records.iter().map(|record| record.action.as_str()).collect();
    let types: Vec<&str> = records.iter().map(|record| record.resource_type.as_str()).collect();
    let resources: Vec<Option<Uuid>> = records.iter().map(|record| record.resource_id).collect();
    let details: Vec<&str> = records.iter().map(|record| record.details.get()).collect();
    let times: Vec<&str> = records.iter().map(|record| record.created_at.as_str()).collect();
    let statement = "
      insert into public.audit_logs
        (id, tenant_id, user_id, action, resource_type, resource_id, details, created_at)
      select a.id, $1, a.user_id, a.action::public.audit_action, a.resource_type::public.resource_type, a.resource_id,
        a.details::jsonb, a.created_at::timestamptz
      from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::text[], $8::text[])
        as a (id, user_id, action, resource_type, resource_id, details, created_at)
      on conflict do nothing";
    tx.execute(statement, &[&tenant, &ids, &users, &actions, &types, &resources, &details, &times]).await?;
    Ok(())
}

/// A conflict out of [`CONFLICT_COLUMNS`]; `None` for one that the catalog no longer knows.
pub(super) fn decode(row: &Row) -> Option<Conflict> {
    let table = catalog::by_id(TableId(u8::try_from(row.get::<_, i16>(1)).ok()?))?;
    let register = Some(row.get::<_, String>(4)).filter(|register| register != WHOLE_ROW);
    let party = |column: usize| {
        let text: PartyText = serde_json::from_str(&row.get::<_, String>(column)).ok()?;
        conflict::party(table, register.as_deref(), &text).ok()
    };
    Some(Conflict {
        table: table.id,
        row: RowId(row.get(2)),
        kind: if row.get::<_, &str>(3) == "edit_edit" { Kind::EditEdit } else { Kind::EditDelete },
        loser: party(7)?,
        winner: party(6)?,
        status: match row.get::<_, &str>(5) {
            "open" => Status::Open,
            "dismissed" => Status::Dismissed,
            _ => Status::Restored,
        },
        register,
    })
}

fn kind_text(kind: Kind) -> &'static str {
    match kind {
        Kind::EditEdit => "edit_edit",
        Kind::EditDelete => "edit_delete",
    }
}

fn status_text(status: Status) -> &'static str {
    match status {
        Status::Open => "open",
        Status::Dismissed => "dismissed",
        Status::Restored => "restored",
    }
}

fn party_json(party: &crate::merge::conflict::Party) -> String {
    // A party has only numbers, ids and canonical JSON in it.
    serde_json::to_string(&conflict::party_text(party)).unwrap_or_else(|_| "null".to_owned())
}
