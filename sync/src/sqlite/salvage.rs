//! What the hub does not have, taken out of a damaged file into a new one: rows that wait, with their versions, conflicts
//! that wait, audit records that wait, and the batch in flight. The rest comes from the hub again.
//!
//! A damaged file may say anything. What cannot be read, has no canonical form, or claims a write that is not this edge's
//! is left behind and counted; nothing of it reaches the new file, and so nothing of it is ever sent. An index and its table
//! are both asked, from both ends, because damage in one of them hides what lies behind it.

use std::collections::BTreeSet;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::audit::{self, AuditRow};
use super::error::StoreError;
use super::self_state::{self, SelfState};
use super::versions::{self, Tracked};
use super::{ledger, outbox, rows};
use crate::catalog::{Direction, TABLES, Table};
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::value::Values;
use crate::merge::vector::Vector;

/// What was taken over, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Rows that waited.
    pub rows: u64,
    /// Rows that are known to have waited and cannot be read, or make no sense.
    pub rows_lost: u64,
    /// Conflicts that waited.
    pub conflicts: u64,
    /// Audit records that waited.
    pub audits: u64,
    /// Audit records that waited and cannot be read.
    pub audits_lost: u64,
    /// Whether the file still says where its own count of writes stands. If not, the hub gives this edge a new replica id.
    pub knows_itself: bool,
}

/// Takes over what can be read. `to` is a new file that has its identity already.
///
/// # Errors
/// [`StoreError`] of the new file; those of the damaged one are counted.
pub fn copy(from: &Connection, to: &mut Connection) -> Result<Salvaged, StoreError> {
    // The parents of what is taken over come from the hub, and a label may be newer than this program.
    enforce_constraints(to, false)?;
    let copied = copy_all(from, to);
    enforce_constraints(to, true)?;
    copied
}

fn enforce_constraints(connection: &Connection, on: bool) -> Result<(), StoreError> {
    connection.pragma_update(None, "foreign_keys", on)?;
    connection.pragma_update(None, "ignore_check_constraints", !on)?;
    Ok(())
}

fn copy_all(from: &Connection, to: &mut Connection) -> Result<Salvaged, StoreError> {
    let mut salvaged = Salvaged::default();
    let tx = to.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let given = self_state::load(&tx)?;
    let kept = self_state::load(from).ok().filter(|kept| kept.edge == given.edge && kept.tenant == given.tenant);
    let own: BTreeSet<ReplicaId> =
        [Some(given.replica), kept.as_ref().map(|kept| kept.replica)].into_iter().flatten().collect();
    let mut seq = kept.as_ref().map_or(0, |kept| kept.seq);
    self_state::set_applying(&tx, true)?;
    for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
        for id in pending_ids(from, table) {
            match pending_row(from, table, id, &own) {
                Some((tracked, values)) => {
                    seq = own.iter().map(|replica| tracked.version.vv.seen(*replica)).fold(seq, u64::max);
                    store(&tx, table, id, &tracked, &values)?;
                    salvaged.rows += 1;
                }
                None => salvaged.rows_lost += 1,
            }
        }
    }
    self_state::set_applying(&tx, false)?;
    for kept in ledger::pending(from).unwrap_or_default() {
        ledger::record(&tx, kept.conflict)?;
        salvaged.conflicts += 1;
    }
    for id in texts(from, &both_ways("select id from sync_audit_outbox", "id"), []) {
        match audit_record(from, &id) {
            Some(record) => {
                audit::insert(&tx, &record)?;
                salvaged.audits += 1;
            }
            None => salvaged.audits_lost += 1,
        }
    }
    if let Some(kept) = kept {
        self_state::resume(&tx, &SelfState { seq, ..kept })?;
        if let Ok(Some(in_flight)) = outbox::load(from) {
            outbox::save(&tx, &in_flight)?;
        }
        salvaged.knows_itself = true;
    }
    tx.commit()?;
    Ok(salvaged)
}

/// The rows that are known to wait, by the table and by its index, forwards and backwards.
fn pending_ids(from: &Connection, table: &Table) -> BTreeSet<RowId> {
    let wait = "where base is not null and tbl = ?1";
    let by_index = both_ways(&format!("select row_id from sync_rows indexed by sync_rows_pending {wait}"), "row_id");
    let by_table = both_ways(&format!("select row_id from sync_rows not indexed {wait}"), "row_id");
    let found = by_index.into_iter().chain(by_table).collect::<Vec<_>>();
    texts(from, &found, [table.id.0]).iter().filter_map(|id| Uuid::try_parse(id).ok().map(RowId)).collect()
}

fn both_ways(select: &str, key: &str) -> [String; 2] {
    [format!("{select} order by {key}"), format!("{select} order by {key} desc")]
}

/// What every statement yields before it fails.
fn texts(from: &Connection, selects: &[String], parameters: impl rusqlite::Params + Clone) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for select in selects {
        let Ok(mut statement) = from.prepare(select) else { continue };
        let Ok(mut rows) = statement.query(parameters.clone()) else { continue };
        while let Ok(Some(row)) = rows.next() {
            found.extend(row.get::<_, String>(0));
        }
    }
    found
}

/// A row that waits, if it can be read and makes sense.
fn pending_row(
    from: &Connection,
    table: &'static Table,
    id: RowId,
    own: &BTreeSet<ReplicaId>,
) -> Option<(Tracked, Values)> {
    let tracked = versions::load(from, table, id).ok()??;
    let base = tracked.base.clone()?;
    let alive = tracked.version.is_alive();
    let values = if alive { rows::load(from, table, id) } else { rows::load_last(from, table, id) };
    let values = values.ok()?.or_else(|| (!alive).then(Values::default))?;
    makes_sense(&tracked, &base, own).then_some((Tracked { refused: None, ..tracked }, values))
}

/// Whether a version is one that capture writes: what the hub does not have is this edge's own, and covered.
fn makes_sense(tracked: &Tracked, base: &Vector, own: &BTreeSet<ReplicaId>) -> bool {
    let version = &tracked.version;
    let ours = |replica: ReplicaId, seq: u64| seq <= base.seen(replica) || own.contains(&replica);
    version.vv.includes(&version.gone)
        && version.vv.includes(base)
        && version.dots.iter().all(|dot| version.vv.covers(dot) && ours(dot.replica, dot.seq))
        && version.vv.iter().any(|(replica, seq)| own.contains(&replica) && seq > base.seen(replica))
}

fn store(
    tx: &Transaction<'_>,
    table: &'static Table,
    id: RowId,
    tracked: &Tracked,
    values: &Values,
) -> Result<(), StoreError> {
    match tracked.version.is_alive() {
        true => rows::save(tx, table, id, values)?,
        false if values.is_empty() => {}
        false => rows::save_last(tx, table, id, values)?,
    }
    versions::save(tx, table, id, tracked)
}

fn audit_record(from: &Connection, id: &str) -> Option<AuditRow> {
    let select =
        "select id, tenant_id, user_id, action, resource_type, resource_id, details, created_at from audit_logs
        where id = ?1";
    let mut statement = from.prepare_cached(select).ok()?;
    let record = statement.query_row(params![id], audit::read).ok()?;
    let whole = record.id.to_string() == id && serde_json::from_str::<serde_json::Value>(&record.details).is_ok();
    whole.then_some(record)
}
