//! A page of the centre's changes, stored.
//!
//! One transaction for a page, the cursor in it, foreign keys and checks off: parents may come after children in a
//! later page, and a label that this edge does not know is no reason to refuse a row. Who wins is the merge's to say;
//! this carries its plan out. A row that cannot be stored is kept in the quarantine and stops nothing.

use std::collections::BTreeSet;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::blockers;
use super::error::StoreError;
use super::evictions;
use super::hub_rows;
use super::ledger::{self, Refused, Way};
use super::rows;
use super::self_state::{self, SelfState};
use super::versions::{self, Key, Tracked};
use crate::catalog::{self, Direction, Table};
use crate::merge::ids::{RowId, TableId};
use crate::merge::plan::{PullPlan, plan_pull};
use crate::merge::value::Values;
use crate::merge::vector::Vector;
use crate::merge::version::{Row, Version};
use crate::wire::conflict;
use crate::wire::convert;
use crate::wire::frames::PulledPage;
use crate::wire::message::{Evict, PullRow};

/// What a page did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows that it brought or took away.
    pub rows: u64,
    /// Rows of it that could not be stored.
    pub refused: u64,
    /// What was found in storing it and waits to be sent: conflicts, and refused rows that are worth another try.
    pub found: u64,
    /// Whether its window is complete.
    pub complete: bool,
}

/// Stores a page and how far it reaches. The answer to the last push has to be stored before.
///
/// # Errors
/// [`StoreError`] when the database fails or holds a damaged version; then nothing of the page is stored.
pub fn page(connection: &mut Connection, page: &PulledPage, now_ms: u64) -> Result<Applied, StoreError> {
    // Each change of these makes SQLite compile every statement anew, so a page without rows leaves them alone.
    if page.rows.is_empty() && page.evicted.is_empty() {
        return store(connection, page, now_ms);
    }
    enforce_constraints(connection, false)?;
    let applied = store(connection, page, now_ms);
    enforce_constraints(connection, true)?;
    applied
}

/// SQLite ignores the first of these inside of a transaction.
fn enforce_constraints(connection: &Connection, on: bool) -> Result<(), StoreError> {
    connection.pragma_update(None, "foreign_keys", on)?;
    connection.pragma_update(None, "ignore_check_constraints", !on)?;
    Ok(())
}

fn store(connection: &mut Connection, page: &PulledPage, now_ms: u64) -> Result<Applied, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let this = self_state::load(&tx)?;
    self_state::set_applying(&tx, true)?;
    let mut applied = Applied { complete: page.end.complete, ..Applied::default() };
    let (mut refused_here, mut changed) = (hub_rows::keys(&tx)?, BTreeSet::new());
    for incoming in &page.rows {
        applied.rows += 1;
        let key = catalog::by_name(&incoming.table).map(|table| Key { table: table.id, id: RowId(incoming.id) });
        if let Some(key) = key.filter(|key| refused_here.contains(key)) {
            hub_rows::save(&tx, key.table, key.id, Some(incoming))?;
        }
        changed.extend(blockers::stands_for(incoming));
        match row(&tx, &this, incoming)? {
            Ok(found) => applied.found += found,
            Err(refused) => {
                applied.refused += 1;
                ledger::refuse(&tx, &refused, now_ms)?;
                if let Some(key) = key {
                    hub_rows::save(&tx, key.table, key.id, Some(incoming))?;
                    refused_here.insert(key);
                }
            }
        }
    }
    applied.found += blockers::retry(&tx, &changed)?;
    for evicted in &page.evicted {
        applied.rows += 1;
        evict(&tx, evicted)?;
    }
    for text in &page.conflicts {
        match conflict::parse(text) {
            Ok(conflict) => ledger::receive(&tx, conflict)?,
            Err(error) => {
                let table = catalog::by_name(&text.table).map_or(TableId(0), |table| table.id);
                let payload = serde_json::to_string(text).unwrap_or_default();
                let refused = refusal(table, RowId(text.row), "unreadable_conflict", error.to_string(), payload);
                ledger::refuse(&tx, &refused, now_ms)?;
            }
        }
    }
    self_state::set_cursor(&tx, &page.end.cursor, !page.end.complete)?;
    self_state::heard(&tx, now_ms, page.head.unix_ms)?;
    self_state::set_applying(&tx, false)?;
    tx.commit()?;
    Ok(applied)
}

/// Stores a row and says how many conflicts that made, or why it cannot be stored.
fn row(tx: &Transaction<'_>, this: &SelfState, incoming: &PullRow) -> Result<Result<u64, Refused>, StoreError> {
    let id = RowId(incoming.id);
    let payload = || serde_json::to_string(incoming).unwrap_or_default();
    let Some(table) = catalog::by_name(&incoming.table) else {
        let reason = format!("this edge does not know the table {:?}", incoming.table);
        return Ok(Err(refusal(TableId(0), id, "unknown_table", reason, payload())));
    };
    evictions::cancel(tx, table, id)?;
    let values = match convert::values(table, &incoming.values) {
        Ok(values) => values,
        Err(error) => return Ok(Err(refusal(table.id, id, "unreadable", error.to_string(), payload()))),
    };
    let version = Version { vv: incoming.vv.0.clone(), gone: incoming.gone.0.clone(), dots: incoming.dots.0.clone() };
    let incoming = Row { version, values };
    let stored = match table.direction {
        Direction::Down => replace(tx, table, id, incoming, None).map(|()| 0),
        Direction::Both => join(tx, this, table, id, incoming),
    };
    match stored {
        Ok(found) => ledger::settle(tx, Way::Down, table.id, id).map(|()| Ok(found)),
        Err(StoreError::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Ok(Err(refusal(table.id, id, "does_not_fit", error.to_string(), payload())))
        }
        Err(StoreError::Row { source, .. }) => {
            let reason = format!("the row as it is here cannot be read: {source}");
            Ok(Err(refusal(table.id, id, "local_unreadable", reason, payload())))
        }
        Err(error) => Err(error),
    }
}

/// Stores a row of a table that is written on both sides, and says how many conflicts that made.
fn join(
    tx: &Transaction<'_>,
    this: &SelfState,
    table: &'static Table,
    id: RowId,
    incoming: Row,
) -> Result<u64, StoreError> {
    let Some(tracked) = versions::load(tx, table, id)? else {
        return replace(tx, table, id, incoming, None).map(|()| 0);
    };
    let hubs = incoming.version.vv.clone();
    let (local, unreadable) = local(tx, table, id, &tracked)?;
    match plan_pull(table.id, id, Some(&local), &incoming, &table.quiet()) {
        PullPlan::Keep => {
            let base = base_after(this, &tracked, &tracked.version, &hubs);
            versions::save(tx, table, id, &Tracked { base, ..tracked })?;
            Ok(0)
        }
        PullPlan::Replace => {
            replace(tx, table, id, incoming, Some(&tracked.version))?;
            ledger::settle(tx, Way::Up, table.id, id)?;
            Ok(0)
        }
        PullPlan::Merge { row, conflicts } => {
            if let Some(error) = unreadable {
                return Err(error);
            }
            let base = base_after(this, &tracked, &row.version, &hubs);
            save_values(tx, table, id, &row, Some(&tracked.version))?;
            let is_new = tracked.base.as_ref().is_none_or(|before| !before.includes(&hubs));
            versions::save(tx, table, id, &Tracked { version: row.version, base, refused: tracked.refused })?;
            let mut found = u64::try_from(conflicts.len()).unwrap_or(u64::MAX);
            if is_new {
                // Refused beside what the hub had then; it may go beside what it has now.
                found += blockers::forgive(tx, Key { table: table.id, id })?;
            }
            for conflict in conflicts {
                ledger::record(tx, conflict)?;
            }
            Ok(found)
        }
    }
}

/// The row as it is here. One that cannot be read is known by its version alone, which is enough to replace it.
fn local(
    tx: &Transaction<'_>,
    table: &'static Table,
    id: RowId,
    tracked: &Tracked,
) -> Result<(Row, Option<StoreError>), StoreError> {
    let alive = tracked.version.is_alive();
    let values = if alive { rows::load(tx, table, id) } else { rows::load_last(tx, table, id) };
    let (values, unreadable) = match values {
        Ok(values) => (values.unwrap_or_default(), None),
        Err(error @ StoreError::Row { .. }) => (Values::new(), Some(error)),
        Err(error) => return Err(error),
    };
    Ok((Row { version: tracked.version.clone(), values }, unreadable))
}

/// What the hub is known to have of a row whose version here is now `version`; `None` when it has all of our writes.
/// A page that was read before our last push was stored does not take back what its answer acknowledged.
fn base_after(this: &SelfState, tracked: &Tracked, version: &Version, hubs: &Vector) -> Option<Vector> {
    let base = tracked.base.as_ref()?.join(hubs);
    (version.vv.seen(this.replica) > base.seen(this.replica)).then_some(base)
}

/// Stores a row as it came, over one whose version here was `before`. The hub has all of it, so nothing waits.
fn replace(
    tx: &Transaction<'_>,
    table: &'static Table,
    id: RowId,
    incoming: Row,
    before: Option<&Version>,
) -> Result<(), StoreError> {
    save_values(tx, table, id, &incoming, before)?;
    if table.direction == Direction::Down && !incoming.version.is_alive() {
        return versions::delete(tx, table, id);
    }
    versions::save(tx, table, id, &Tracked { version: incoming.version, base: None, refused: None })
}

/// Writes the values where they belong. The statement that may fail comes first, so that a refused row leaves nothing.
fn save_values(
    tx: &Transaction<'_>,
    table: &'static Table,
    id: RowId,
    row: &Row,
    before: Option<&Version>,
) -> Result<(), StoreError> {
    if row.version.is_alive() {
        rows::save(tx, table, id, &row.values)?;
        let had_last = before.is_some_and(|before| !before.is_alive());
        return if had_last { rows::delete_last(tx, table, id) } else { Ok(()) };
    }
    if table.direction == Direction::Both {
        rows::save_last(tx, table, id, &row.values)?;
    }
    rows::delete(tx, table, id)
}

/// Removes a row that left the scope. One with writes that the hub does not have stays until it has or refuses them.
fn evict(tx: &Transaction<'_>, evicted: &Evict) -> Result<(), StoreError> {
    let id = RowId(evicted.id);
    let Some(table) = catalog::by_name(&evicted.table) else { return Ok(()) };
    evictions::ask(tx, table, id)
}

fn refusal(table: TableId, row: RowId, code: &str, reason: String, payload: String) -> Refused {
    Refused { way: Way::Down, table, row, code: code.to_owned(), reason, payload }
}
