//! The feed: what an edge has not seen yet, in pages.
//!
//! A window is what a snapshot did not see; its rows are read as they are now, so a row is never sent in a state that
//! was overwritten. A page is one short read-only transaction. Nothing is skipped, because a window is defined by
//! what was visible and not by numbers; nothing waits for a foreign transaction but that transaction's own rows.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::{Client, GenericClient, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::cursor::{CONFLICTS, Cursor, Snapshot, Window};
use super::edges::Edge;
use super::error::StoreError;
use super::ledger::{self, Refused};
use super::{rows, versions};
use crate::catalog::{self, Direction, Scope, Table};
use crate::merge::ids::{RowId, TableId};
use crate::merge::limits::{BODY_BYTES_MAX, PULL_BYTES_MAX, PULL_ROWS_MAX};
use crate::merge::value::{Value, Values};
use crate::wire::message::{Evict, PullLine, PullRow};
use crate::wire::refusals;
use crate::wire::version::{DotsText, VectorText};
use crate::wire::{conflict, convert};

/// The tenant of rows that belong to no single one: users.
const NIL: Uuid = Uuid::nil();
/// A line that leaves no room for a page's first and last ones cannot be sent.
const LINE_BYTES_MAX: usize = BODY_BYTES_MAX - 64 * 1024;
/// Rows read at once at the beginning of a page, doubled while they are small.
const CHUNK_ROWS_MIN: usize = 16;
/// And at most.
const CHUNK_ROWS_MAX: usize = 1_024;

/// A page of the feed.
#[derive(Debug)]
pub struct Page {
    /// Its lines, between head and end.
    pub lines: Vec<Box<RawValue>>,
    /// Where to go on.
    pub cursor: Cursor,
    /// Whether the window ends with it.
    pub complete: bool,
    /// About how many rows the window has, if this is the first page of several.
    pub rows_total: Option<u64>,
    /// How many replicas the tenant's directory has.
    pub replicas: u64,
    /// Rows that have no form in which they could be sent.
    pub unsendable: Vec<Refused>,
    /// All others that the page has dealt with, by the number of their table.
    pub sendable: Vec<(i16, Uuid)>,
}

/// Reads the page after `cursor` for an edge.
pub async fn page(client: &mut Client, edge: &Edge, cursor: &Cursor) -> Result<Page, StoreError> {
    let snapshot = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let tx = snapshot.start().await?;
    let now = snapshot_of(&tx).await?;
    let (end, after) = match &cursor.window {
        Some(window) => (window.end.clone(), window.after),
        None => (now, (0, NIL)),
    };
    let window = Scan { edge, start: cursor.start.as_ref(), after };
    let keys = keys(&tx, &window, PULL_ROWS_MAX + 1).await?;
    let mut builder =
        Builder { edge, first: cursor.start.is_none(), bytes: 0, lines: Vec::new(), unsendable: Vec::new() };
    let sent = builder.fill(&tx, &keys[..keys.len().min(PULL_ROWS_MAX)]).await?;
    let complete = sent == keys.len();
    let rows_total = match cursor.window {
        None if !complete => Some(count(&tx, &window).await?),
        _ => None,
    };
    let replicas = count_replicas(&tx, edge.tenant).await?;
    tx.commit().await?;
    let next = match keys[..sent].last() {
        Some(last) if !complete => {
            Cursor { start: cursor.start.clone(), window: Some(Window { end, after: *last }), ..cursor.clone() }
        }
        _ => Cursor { start: Some(end), window: None, ..cursor.clone() },
    };
    let Builder { lines, unsendable, .. } = builder;
    let refused: BTreeSet<(i16, Uuid)> = unsendable.iter().map(|one| (one.table, one.row)).collect();
    let sendable = keys[..sent].iter().filter(|key| !refused.contains(key)).copied().collect();
    Ok(Page { lines, cursor: next, complete, rows_total, replicas, unsendable, sendable })
}

/// The tenants with something new since a snapshot, the nil id when it concerns users, and the snapshot up to which that
/// is said. Without a snapshot: only where to begin.
pub async fn changed_since(
    client: &impl GenericClient,
    since: Option<&Snapshot>,
) -> Result<(Snapshot, Vec<Uuid>), StoreError> {
    let statement = "
      select pg_current_snapshot()::text, array(
        select tenant_id from sync.row_versions where txid >= $1 or txid = any($2)
        union select tenant_id from sync.scope_changes where txid >= $1 or txid = any($2)
        union select tenant_id from sync.conflicts where txid >= $1 or txid = any($2)
      )";
    let (xmax, xip) = since.map_or((i64::MAX, Vec::new()), |since| (since.xmax, since.xip.clone()));
    let row = client.query_one(statement, &[&xmax, &xip]).await?;
    Ok((parse_snapshot(&row), row.get(1)))
}

/// The snapshot of the present statement or transaction.
pub async fn snapshot_of(client: &impl GenericClient) -> Result<Snapshot, StoreError> {
    let row = client.query_one("select pg_current_snapshot()::text", &[]).await?;
    Ok(parse_snapshot(&row))
}

/// The key with which cursors are sealed.
pub async fn seal_key(client: &impl GenericClient) -> Result<Vec<u8>, StoreError> {
    Ok(client.query_one("select seal_key from sync.hub", &[]).await?.get(0))
}

fn parse_snapshot(row: &Row) -> Snapshot {
    // What PostgreSQL prints as a snapshot is one; a snapshot that sees nothing would at worst send everything again.
    Snapshot::parse(row.get(0)).unwrap_or(Snapshot { xmax: 0, xip: Vec::new() })
}

/// A window and how far it has been read.
struct Scan<'a> {
    edge: &'a Edge,
    start: Option<&'a Snapshot>,
    after: (i16, Uuid),
}

impl Scan<'_> {
    fn xmax(&self) -> i64 {
        self.start.map_or(0, |start| start.xmax)
    }

    /// Nobody for the first window: an edge that holds nothing is sent its own writes too.
    fn replica(&self) -> i32 {
        self.start.map_or(-1, |_| self.edge.replica.0.cast_signed())
    }

    fn xip(&self) -> Vec<i64> {
        self.start.map(|start| start.xip.clone()).unwrap_or_default()
    }
}

/// The keys of a window in the order of pages: table, then row.
async fn keys(tx: &Transaction<'_>, scan: &Scan<'_>, limit: usize) -> Result<Vec<(i16, Uuid)>, StoreError> {
    let statement = format!("{} order by 1, 2 limit $8", selection(scan.start.is_none(), "order by 1, 2 limit $8"));
    let Edge { tenant, site, .. } = scan.edge;
    let (limit, replica) = (limit as i64, scan.replica());
    let (xmax, xip) = (scan.xmax(), scan.xip());
    let rows =
        tx.query(&statement, &[tenant, site, &replica, &xmax, &xip, &scan.after.0, &scan.after.1, &limit]).await?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

async fn count(tx: &Transaction<'_>, scan: &Scan<'_>) -> Result<u64, StoreError> {
    let statement = format!("select count(*) from ({}) as window_rows", selection(scan.start.is_none(), ""));
    let Edge { tenant, site, .. } = scan.edge;
    let (xmax, xip, replica) = (scan.xmax(), scan.xip(), scan.replica());
    let row = tx.query_one(&statement, &[tenant, site, &replica, &xmax, &xip, &scan.after.0, &scan.after.1]).await?;
    Ok(row.get::<_, i64>(0).cast_unsigned())
}

/// What a window selects: $1 tenant, $2 site, $3 the asking replica, $4 and $5 the snapshot, $6 and $7 the position.
/// The first one has every living row; a later one has every version, scope entry and conflict that the snapshot did
/// not see. The branch that may be long ends with `bound`.
fn selection(first: bool, bound: &str) -> String {
    let living = if first { "v.last_row is null" } else { "true" };
    let unseen = |alias: &str| format!("({alias}.txid >= $4::bigint or {alias}.txid = any($5::bigint[]))");
    let (versions, scopes, conflicts) = (unseen("v"), unseen("s"), unseen("c"));
    // Few versions of users are new, but all of a tenant's users are in its first window.
    let users = if first {
        "select 2::smallint, s.user_id from sync.user_scopes as s
           where s.tenant_id = $1 and $6 <= 2 and (2, s.user_id) > ($6, $7)"
            .to_owned()
    } else {
        format!(
            "select v.table_id, v.row_id from sync.row_versions as v
               where v.tenant_id = '{NIL}' and v.table_id = 2 and $6 <= 2 and (2, v.row_id) > ($6, $7) and {versions}
                 and exists (select from sync.user_scopes as s where s.tenant_id = $1 and s.user_id = v.row_id)"
        )
    };
    format!(
        "(select v.table_id, v.row_id from sync.row_versions as v
           where v.tenant_id = $1 and v.table_id <> 6 and (v.table_id, v.row_id) > ($6::smallint, $7::uuid)
             and {versions} and {living} and v.echo_of is distinct from $3 {bound})
         union
         select v.table_id, v.row_id from sync.row_versions as v
           where v.tenant_id = $1 and v.table_id = 6 and (6, v.row_id) > ($6, $7) and {versions} and {living}
             and (not {first} or exists (select from sync.credentials as c where c.id = v.row_id and c.site_id = $2))
         union
         {users}
         union
         select 2::smallint, s.user_id from sync.scope_changes as s
           where s.tenant_id = $1 and (2, s.user_id) > ($6, $7) and {scopes} and not {first}
         union
         select {CONFLICTS}::smallint, c.id from sync.conflicts as c
           where c.tenant_id = $1 and ({CONFLICTS}, c.id) > ($6, $7) and {conflicts}"
    )
}

async fn count_replicas(tx: &Transaction<'_>, tenant: Uuid) -> Result<u64, StoreError> {
    let statement = "select count(*) from sync.replicas where tenant_id = $1 or tenant_id is null";
    Ok(tx.query_one(statement, &[&tenant]).await?.get::<_, i64>(0).cast_unsigned())
}

struct Builder<'a> {
    edge: &'a Edge,
    first: bool,
    bytes: usize,
    lines: Vec<Box<RawValue>>,
    unsendable: Vec<Refused>,
}

impl Builder<'_> {
    /// Turns keys into lines until the page is full; returns how many keys are in it.
    async fn fill(&mut self, tx: &Transaction<'_>, keys: &[(i16, Uuid)]) -> Result<usize, StoreError> {
        let (mut done, mut chunk) = (0, CHUNK_ROWS_MIN);
        while done < keys.len() {
            let table = keys[done].0;
            let same = keys[done..].iter().take(chunk).take_while(|(other, _)| *other == table);
            let ids: Vec<Uuid> = same.map(|(_, id)| *id).collect();
            let before = self.bytes;
            let sent = match table {
                CONFLICTS => self.conflicts(tx, &ids).await?,
                _ => self.table(tx, table, &ids).await?,
            };
            done += sent;
            if sent < ids.len() || self.bytes >= PULL_BYTES_MAX {
                break;
            }
            let each = (self.bytes - before) / ids.len().max(1) + 1;
            chunk = (chunk * 2).min(CHUNK_ROWS_MAX).min((PULL_BYTES_MAX - self.bytes) / each + 1);
        }
        Ok(done)
    }

    async fn table(&mut self, tx: &Transaction<'_>, table: i16, ids: &[Uuid]) -> Result<usize, StoreError> {
        let known = u8::try_from(table).ok().and_then(|id| catalog::by_id(TableId(id)));
        // A number that a newer hub wrote is none of this one's tables.
        let Some(table) = known else { return Ok(ids.len()) };
        let mut stored = versions(tx, table, self.edge.tenant, ids).await?;
        let mut found = rows::read(tx, table, self.edge.tenant, ids).await?;
        for (sent, id) in ids.iter().copied().map(RowId).enumerate() {
            if self.bytes >= PULL_BYTES_MAX {
                return Ok(sent);
            }
            let (version, values) = (stored.remove(&id), found.rows.remove(&id));
            if let Some(reason) = found.unreadable.remove(&id) {
                self.refuse(table, id, reason);
                continue;
            }
            match version {
                Some(Err(reason)) => self.refuse(table, id, reason),
                Some(Ok(version)) => self.row(table, id, version, values),
                None if table.scope == Scope::Referred => self.evict(table, id),
                None => {}
            }
        }
        Ok(ids.len())
    }

    fn row(&mut self, table: &'static Table, id: RowId, stored: versions::Stored, values: Option<Values>) {
        let alive = stored.version.is_alive();
        let here =
            |values: &Values| values.get("site_id") == Some(&Value::text(self.edge.site.hyphenated().to_string()));
        match (table.scope, values) {
            (Scope::Referred, None) => self.evict(table, id),
            (Scope::Site, Some(values)) if alive && !here(&values) => self.evict(table, id),
            (Scope::Site, None) if !stored.last.as_ref().is_some_and(here) => {}
            (_, Some(values)) if alive => self.send(table, id, stored, &values),
            // A version that lives without its row: somebody wrote while capture was off, and there is nothing to send.
            (_, _) if alive => {}
            (_, _) if table.direction == Direction::Both => {
                let last = stored.last.clone().unwrap_or_default();
                self.send(table, id, stored, &last);
            }
            (_, _) => self.send(table, id, stored, &Values::new()),
        }
    }

    fn send(&mut self, table: &'static Table, id: RowId, stored: versions::Stored, values: &Values) {
        if let Err(reason) = self.push(&PullLine::Row(pull_row(table, id, stored, values))) {
            self.refuse(table, id, reason);
        }
    }

    fn evict(&mut self, table: &'static Table, id: RowId) {
        if !self.first {
            // Two short fields are never too large.
            let _ = self.push(&PullLine::Evict(Evict { table: table.name.to_owned(), id: id.0 }));
        }
    }

    async fn conflicts(&mut self, tx: &Transaction<'_>, ids: &[Uuid]) -> Result<usize, StoreError> {
        for text in conflicts(tx, self.edge.tenant, ids).await? {
            // One that is too large to send holds a value that could not have come from an edge.
            let _ = self.push(&PullLine::Conflict(text));
        }
        Ok(ids.len())
    }

    fn push(&mut self, line: &impl Serialize) -> Result<(), String> {
        let raw = serde_json::value::to_raw_value(line).map_err(|error| error.to_string())?;
        if raw.get().len() > LINE_BYTES_MAX {
            return Err(format!("the row has {} bytes, {LINE_BYTES_MAX} at most", raw.get().len()));
        }
        self.bytes += raw.get().len() + 1;
        self.lines.push(raw);
        Ok(())
    }

    fn refuse(&mut self, table: &'static Table, id: RowId, reason: String) {
        self.unsendable.push(Refused {
            edge: None,
            table: versions::number(table.id),
            row: id.0,
            seq: 0,
            code: refusals::UNSENDABLE,
            reason,
            payload: "{}".to_owned(),
        });
    }
}

/// A row as an edge is sent it.
pub(super) fn pull_row(table: &'static Table, id: RowId, stored: versions::Stored, values: &Values) -> PullRow {
    PullRow {
        table: table.name.to_owned(),
        id: id.0,
        vv: VectorText(stored.version.vv),
        gone: VectorText(stored.version.gone),
        dots: DotsText(stored.version.dots),
        values: convert::fields(table, values),
    }
}

pub(super) async fn versions(
    tx: &impl GenericClient,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<versions::Known, StoreError> {
    let tenant = if table.scope == Scope::Referred { NIL } else { tenant };
    versions::read(tx, table, tenant, ids).await
}

async fn conflicts(
    tx: &Transaction<'_>,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<Vec<crate::wire::message::ConflictText>, StoreError> {
    let statement = format!(
        "select {} from sync.conflicts where tenant_id = $1 and id = any($2) order by id",
        ledger::CONFLICT_COLUMNS
    );
    let rows = tx.query(&statement, &[&tenant, &ids]).await?;
    Ok(rows.iter().filter_map(ledger::decode).filter_map(|one| conflict::text(&one)).collect())
}
