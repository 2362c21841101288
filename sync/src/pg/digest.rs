//! The centre's side of a comparison: what ranges of a table add up to, and rows as they are.
//!
//! Hashes are computed from the rows themselves, so a change that nobody captured shows. What is found uncaptured here is
//! stamped as a write of the centre before it is sent. A request reads [`ROWS_MAX`] rows at most, whatever it asks.

use std::collections::{BTreeMap, BTreeSet};

use tokio_postgres::{Client, GenericClient, IsolationLevel, Transaction};
use uuid::Uuid;

use super::edges::Edge;
use super::error::StoreError;
use super::{feed, rows, versions};
use crate::catalog::{self, Direction, Scope, Table};
use crate::merge::clock::Dot;
use crate::merge::ids::RowId;
use crate::merge::limits::PULL_BYTES_MAX;
use crate::merge::value::{Value, Values};
use crate::merge::version::Version;
use crate::wire::convert;
use crate::wire::digest::{answer, row_hash};
use crate::wire::message::PullRow;
use crate::wire::recovery::{DigestLine, Found, Range};
use crate::wire::version::{DotsText, VectorText};

/// Rows that are read for one request.
pub const ROWS_MAX: u64 = 150_000;
/// Rows read at once.
const PAGE_ROWS: usize = 2_000;

/// Answers as many ranges as one request may read.
pub async fn compare(client: &mut Client, edge: &Edge, ranges: &[Range]) -> Result<Vec<Found>, StoreError> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let tx = snapshot.start().await?;
    let (mut found, mut left) = (Vec::new(), ROWS_MAX);
    for range in ranges {
        let Some(table) = catalog::by_name(&range.table) else {
            // A table that a newer edge has: nothing here could differ from it.
            found.push(Found::Equal);
            continue;
        };
        let ends = (range.after, range.to);
        let (_, count) = rows::ranks(&tx, table, edge.tenant, ends, i64::MAX).await?;
        if count > left && left < ROWS_MAX {
            break;
        }
        if count > ROWS_MAX {
            found.push(Found::Parts(unread_parts(&tx, edge, table, range, count).await?));
            break;
        }
        left -= count;
        found.push(answer(table, range, &read(&tx, edge, table, ends).await?));
    }
    tx.commit().await?;
    Ok(found)
}

/// Parts that are small enough to be read, by their ends alone.
async fn unread_parts(
    tx: &Transaction<'_>,
    edge: &Edge,
    table: &'static Table,
    range: &Range,
    count: u64,
) -> Result<Vec<Range>, StoreError> {
    let each = ROWS_MAX / 8;
    let (ranks, _) = rows::ranks(tx, table, edge.tenant, (range.after, range.to), each.cast_signed()).await?;
    let mut parts = Vec::new();
    let (mut after, mut left) = (range.after, count);
    for to in ranks.into_iter().map(Some).chain([range.to]) {
        let rows = left.min(each);
        left -= rows;
        parts.push(Range { table: table.name.to_owned(), after, to, rows, hash: String::new() });
        after = to;
    }
    Ok(parts)
}

/// The rows of a range with their hashes. One that cannot be read has a hash that no edge has.
async fn read(
    tx: &Transaction<'_>,
    edge: &Edge,
    table: &'static Table,
    (mut after, to): (Option<Uuid>, Option<Uuid>),
) -> Result<Vec<(Uuid, u64)>, StoreError> {
    let mut hashes = Vec::new();
    loop {
        let found = rows::read_between(tx, table, edge.tenant, (after, to), PAGE_ROWS as i64).await?;
        let ids: Vec<Uuid> = found.rows.keys().chain(found.unreadable.keys()).map(|id| id.0).collect();
        let mut stored = feed::versions(tx, table, edge.tenant, &ids).await?;
        for (id, values) in found.rows.iter().filter(|(_, values)| is_for(edge, table, values)) {
            let version = stored.remove(id).and_then(Result::ok).unwrap_or_default().version;
            hashes.push((id.0, row_hash(table, *id, &version, values)));
        }
        hashes.extend(found.unreadable.keys().map(|id| (id.0, 0)));
        if ids.len() < PAGE_ROWS {
            break;
        }
        after = ids.iter().max().copied();
    }
    hashes.sort_unstable();
    Ok(hashes)
}

fn is_for(edge: &Edge, table: &Table, values: &Values) -> bool {
    table.scope != Scope::Site || values.get("site_id") == Some(&Value::text(edge.site.hyphenated().to_string()))
}

/// Rows as the centre has them, as many as fit into an answer.
pub async fn wanted(client: &Client, edge: &Edge, want: &[(String, Uuid)]) -> Result<Vec<DigestLine>, StoreError> {
    let mut lines = Vec::new();
    let mut bytes = 0;
    for table in catalog::TABLES {
        // Each once, however often it was asked for: the second answer would be that there is no such row.
        let ids: BTreeSet<Uuid> = want.iter().filter(|(name, _)| name == table.name).map(|(_, id)| *id).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        for ids in ids.chunks(100) {
            if bytes > PULL_BYTES_MAX {
                return Ok(lines);
            }
            let of_table = rows_of(client, edge, table, ids).await?;
            let size = |line: &DigestLine| serde_json::to_string(line).map_or(0, |text| text.len());
            bytes += of_table.iter().map(size).sum::<usize>();
            lines.extend(of_table);
        }
    }
    let unknown = want.iter().filter(|(name, _)| catalog::by_name(name).is_none());
    lines.extend(unknown.map(|(name, id)| DigestLine::Held(name.clone(), *id)));
    Ok(lines)
}

async fn rows_of(
    client: &Client,
    edge: &Edge,
    table: &'static Table,
    ids: &[Uuid],
) -> Result<Vec<DigestLine>, StoreError> {
    let mut stored = feed::versions(client, table, edge.tenant, ids).await?;
    let mut found = rows::read(client, table, edge.tenant, ids).await?;
    let line = |id: RowId| {
        let (version, values) =
            (stored.remove(&id), found.rows.remove(&id).filter(|values| is_for(edge, table, values)));
        let absent = DigestLine::Absent(table.name.to_owned(), id.0);
        if found.unreadable.contains_key(&id) {
            return DigestLine::Held(table.name.to_owned(), id.0);
        }
        match (version, values) {
            (Some(Err(_)), _) => DigestLine::Held(table.name.to_owned(), id.0),
            (Some(Ok(stored)), Some(values)) if stored.version.is_alive() => row(table, id, stored.version, &values),
            (Some(Ok(stored)), None) if !stored.version.is_alive() && table.scope != Scope::Referred => {
                let last = stored.last.filter(|_| table.direction == Direction::Both).unwrap_or_default();
                row(table, id, stored.version, &last)
            }
            (_, _) => absent,
        }
    };
    Ok(ids.iter().copied().map(RowId).map(line).collect())
}

fn row(table: &Table, id: RowId, version: Version, values: &Values) -> DigestLine {
    DigestLine::Row(PullRow {
        table: table.name.to_owned(),
        id: id.0,
        vv: VectorText(version.vv),
        gone: VectorText(version.gone),
        dots: DotsText(version.dots),
        values: convert::fields(table, values),
    })
}

/// Stamps those of the rows that were written or deleted while nobody captured it, as a write of the centre now; says how
/// many. Their version does not fit what is there: a row without a living version, or a living version without a row.
pub async fn mend(
    client: &mut Client,
    edge: &Edge,
    want: &[(String, Uuid)],
    unix_ms: u64,
) -> Result<usize, StoreError> {
    // One snapshot for rows and versions: between two, a write that is captured would look like one that is not.
    let tx = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).start().await?;
    let mut mended = 0;
    for table in catalog::TABLES {
        // Each once, however often it was asked for: the second answer would be that there is no such row.
        let ids: BTreeSet<Uuid> = want.iter().filter(|(name, _)| name == table.name).map(|(_, id)| *id).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        if !ids.is_empty() {
            mended += mend_table(&tx, edge, table, &ids, unix_ms).await?;
        }
    }
    tx.commit().await?;
    Ok(mended)
}

async fn mend_table(
    tx: &Transaction<'_>,
    edge: &Edge,
    table: &'static Table,
    ids: &[Uuid],
    unix_ms: u64,
) -> Result<usize, StoreError> {
    let tenant = if table.scope == Scope::Referred { Uuid::nil() } else { edge.tenant };
    let found = rows::read(tx, table, edge.tenant, ids).await?;
    let stored: BTreeMap<RowId, versions::Stored> = feed::versions(tx, table, edge.tenant, ids)
        .await?
        .into_iter()
        .filter_map(|(id, one)| Some((id, one.ok()?)))
        .collect();
    let mut mended = 0;
    for id in ids.iter().copied().map(RowId) {
        let there = found.rows.contains_key(&id) || found.unreadable.contains_key(&id);
        let known = stored.get(&id);
        let lives = known.is_some_and(|stored| stored.version.is_alive());
        // A user out of this tenant's sight may be there for another one.
        if there == lives || known.is_none() && !there || !there && table.scope == Scope::Referred {
            continue;
        }
        let mut version = known.map(|stored| stored.version.clone()).unwrap_or_default();
        let dot = Dot {
            replica: versions::centre(tx).await?,
            seq: versions::next_seq(tx).await?,
            hlc: version.hlc().tick(unix_ms),
            by: None,
        };
        match there {
            true => version.write(dot, &[]),
            false => version.delete(dot),
        }
        let last_row = (!there).then(|| "{}".to_owned());
        let write = versions::Write { table: table.id, id, version, echo_of: None, last_row };
        versions::store(tx, tenant, &[&write]).await?;
        mended += 1;
    }
    Ok(mended)
}

/// Sends rows again to every edge of the tenant: their contents changed and their version did not.
pub async fn resend(client: &mut Client, edge: &Edge, rows: &[(String, Uuid)]) -> Result<(), StoreError> {
    let tx = client.transaction().await?;
    for table in catalog::TABLES {
        let ids: Vec<Uuid> = rows.iter().filter(|(name, _)| name == table.name).map(|(_, id)| *id).collect();
        let tenant = if table.scope == Scope::Referred { Uuid::nil() } else { edge.tenant };
        versions::touch(&tx, tenant, table.id, &ids).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Notes what a comparison with the edge found.
pub async fn verified(client: &impl GenericClient, edge: Uuid, verification: &str) -> Result<(), StoreError> {
    let statement =
        "update sync.edges set verified_at = now(), verified = $2::text::jsonb, stale_at = null where id = $1";
    client.execute(statement, &[&edge, &verification]).await?;
    Ok(())
}

/// Whether somebody waits for a comparison, of a row of `sync.edges`.
const ASKED: &str = "coalesce(verify_asked_at > coalesce(verified_at, '-infinity'), false)";

/// Whether a comparison with the edge is due: somebody waits for one, or the last one is a day old. Edges have their turns
/// spread over a few hours.
pub async fn is_due(client: &impl GenericClient, edge: Uuid) -> Result<bool, StoreError> {
    let statement = format!(
        "select {ASKED}
        or coalesce(verified_at, enrolled_at) + interval '1 day' + (hashtext(id::text) & 16383) * interval '1 second'
          < now()
      from sync.edges where id = $1"
    );
    Ok(client.query_one(&statement, &[&edge]).await?.get(0))
}

/// Whether somebody waits for a comparison with the edge.
pub async fn is_asked(client: &impl GenericClient, edge: Uuid) -> Result<bool, StoreError> {
    let statement = format!("select {ASKED} from sync.edges where id = $1");
    Ok(client.query_one(&statement, &[&edge]).await?.get(0))
}

/// The tenants of the edges for whose comparison somebody has begun to wait in the last five minutes.
pub async fn asked_tenants(client: &impl GenericClient) -> Result<Vec<Uuid>, StoreError> {
    let statement = format!(
        "select distinct tenant_id from sync.edges
      where {ASKED} and verify_asked_at > now() - interval '5 minutes' and status <> 'revoked'"
    );
    Ok(client.query(&statement, &[]).await?.iter().map(|row| row.get(0)).collect())
}

/// Asks for a comparison; `None` when there is no such edge.
pub async fn ask(client: &impl GenericClient, name: &str) -> Result<Option<Uuid>, StoreError> {
    let statement = "update sync.edges set verify_asked_at = clock_timestamp() where name = $1 returning id";
    Ok(client.query_opt(statement, &[&name]).await?.map(|row| row.get(0)))
}

/// What the last comparison found, and when, RFC 3339.
pub async fn last(client: &impl GenericClient, edge: Uuid) -> Result<Option<(String, String)>, StoreError> {
    let statement = "select verified::text, to_char(verified_at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')
      from sync.edges where id = $1 and verified is not null";
    Ok(client.query_opt(statement, &[&edge]).await?.map(|row| (row.get(0), row.get(1))))
}
