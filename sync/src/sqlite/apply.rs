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
use super::outbox;
use super::rows;
use super::self_state::{self, SelfState};
use super::versions::{self, Key, Tracked};
use crate::catalog::{self, Direction, Table};
use crate::merge::clock::Dot;
use crate::merge::ids::{RowId, TableId};
use crate::merge::plan::{PullPlan, is_forgotten_there, plan_pull};
use crate::merge::rename::unanswered;
use crate::merge::value::Values;
use crate::merge::vector::Vector;
use crate::merge::version::{Row, Version};
use crate::wire::conflict;
use crate::wire::convert;
use crate::wire::frames::PulledPage;
use crate::wire::message::{Evict, PullRow};
use crate::wire::refusals::{self, RefusalCode};

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
    /// Whether it holds writes under this edge's own id that were never made here. Then nothing of it is stored: a row
    /// of the other copy's would be taken for our own, and what we wrote under the same number would be lost.
    pub forked: bool,
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

/// Tries once more to store the hub's rows that could not be stored here: what was in their way may be gone. Says how many
/// conflicts that made. Like a page, it waits while a push is unanswered.
///
/// # Errors
/// [`StoreError`] when the database fails or holds a damaged version; then nothing is changed.
pub fn retry(connection: &mut Connection, now_ms: u64) -> Result<u64, StoreError> {
    let refused = ledger::unstored(connection)?;
    if refused.is_empty() || outbox::load(connection)?.is_some() {
        return Ok(0);
    }
    enforce_constraints(connection, false)?;
    let stored = store_again(connection, &refused, now_ms);
    enforce_constraints(connection, true)?;
    stored
}

fn store_again(connection: &mut Connection, refused: &[(TableId, PullRow)], now_ms: u64) -> Result<u64, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let this = self_state::load(&tx)?;
    self_state::set_applying(&tx, true)?;
    let mut found = 0;
    for (listed, incoming) in refused {
        // One that is refused once more stays listed since when it was first.
        if let Ok(conflicts) = row(&tx, &this, incoming, this.hub_ms(now_ms))? {
            found += conflicts;
            // A program that did not know its table has listed it under another.
            ledger::settle(&tx, Way::Down, *listed, RowId(incoming.id))?;
        }
    }
    self_state::set_applying(&tx, false)?;
    tx.commit()?;
    Ok(found)
}

/// SQLite ignores the first of these inside of a transaction.
pub(super) fn enforce_constraints(connection: &Connection, on: bool) -> Result<(), StoreError> {
    connection.pragma_update(None, "foreign_keys", on)?;
    connection.pragma_update(None, "ignore_check_constraints", !on)?;
    Ok(())
}

fn store(connection: &mut Connection, page: &PulledPage, now_ms: u64) -> Result<Applied, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let this = self_state::load(&tx)?;
    if is_forked(&tx, &this, &page.rows)? {
        tx.rollback()?;
        return Ok(Applied { forked: true, ..Applied::default() });
    }
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
        match row(&tx, &this, incoming, page.head.unix_ms)? {
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
                let refused =
                    refusal(table, RowId(text.row), refusals::UNREADABLE_CONFLICT, error.to_string(), payload);
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

/// Whether a row comes with writes under our own id beyond our last one, or in the place of one that waits here.
pub(super) fn is_forked<'a>(
    tx: &Transaction<'_>,
    this: &SelfState,
    rows: impl IntoIterator<Item = &'a PullRow>,
) -> Result<bool, StoreError> {
    for row in rows.into_iter().filter(|row| row.vv.0.seen(this.replica) > 0) {
        let theirs = row.vv.0.seen(this.replica);
        if theirs > this.seq {
            return Ok(true);
        }
        let Some(table) = catalog::by_name(&row.table) else { continue };
        // What was refused and given up is covered by a write of the centre, which stands in its place.
        if ledger::has_entry(tx, Way::Up, table.id, RowId(row.id))? {
            continue;
        }
        let Some(Tracked { version, base: Some(base), .. }) = versions::load(tx, table, RowId(row.id))? else {
            continue;
        };
        let taken = |dot: &Dot| row.dots.0.iter().any(|theirs| theirs == dot);
        let waiting = unanswered(&version, &base, &[this.replica]);
        if waiting.iter().any(|dot| dot.seq <= theirs && !taken(dot)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Stores a row and says how many conflicts that made, or why it cannot be stored.
fn row(
    tx: &Transaction<'_>,
    this: &SelfState,
    incoming: &PullRow,
    hub_ms: u64,
) -> Result<Result<u64, Refused>, StoreError> {
    let id = RowId(incoming.id);
    let payload = || serde_json::to_string(incoming).unwrap_or_default();
    let Some(table) = catalog::by_name(&incoming.table) else {
        let reason = format!("this edge does not know the table {:?}", incoming.table);
        return Ok(Err(refusal(TableId(0), id, refusals::UNKNOWN_TABLE, reason, payload())));
    };
    evictions::cancel(tx, table, id)?;
    let values = match convert::values(table, &incoming.values) {
        Ok(values) => values,
        Err(error) => return Ok(Err(refusal(table.id, id, refusals::UNREADABLE, error.to_string(), payload()))),
    };
    let version = Version { vv: incoming.vv.0.clone(), gone: incoming.gone.0.clone(), dots: incoming.dots.0.clone() };
    let incoming = Row { version, values };
    let stored = match table.direction {
        Direction::Down => replace(tx, table, id, incoming, None, hub_ms).map(|()| 0),
        Direction::Both => join(tx, this, table, id, incoming, hub_ms),
    };
    match stored {
        Ok(found) => ledger::settle(tx, Way::Down, table.id, id).map(|()| Ok(found)),
        Err(StoreError::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Ok(Err(refusal(table.id, id, refusals::DOES_NOT_FIT, error.to_string(), payload())))
        }
        Err(StoreError::Row { source, .. }) => {
            let reason = format!("the row as it is here cannot be read: {source}");
            Ok(Err(refusal(table.id, id, refusals::LOCAL_UNREADABLE, reason, payload())))
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
    hub_ms: u64,
) -> Result<u64, StoreError> {
    let Some(tracked) = versions::load(tx, table, id)? else {
        return replace(tx, table, id, incoming, None, hub_ms).map(|()| 0);
    };
    let hubs = incoming.version.vv.clone();
    let (local, unreadable) = local(tx, table, id, &tracked)?;
    match plan_pull(table.id, id, Some(&local), &incoming, &table.quiet()) {
        PullPlan::Keep => {
            let base = base_after(this, &tracked, &tracked.version, &hubs);
            let hub_had_ms = hub_had_ms(&tracked, base.as_ref(), hub_ms);
            let waited = tracked.base.is_some() && base.is_none();
            versions::save(tx, table, id, &Tracked { base, hub_had_ms, ..tracked })?;
            if waited { ledger::count_pending(tx, table.id, id) } else { Ok(0) }
        }
        PullPlan::Replace => {
            let same = incoming.version.vv == tracked.version.vv;
            let had_ms = hub_had_ms(&tracked, None, hub_ms).filter(|_| same).unwrap_or(hub_ms);
            replace(tx, table, id, incoming, Some(&tracked.version), had_ms)?;
            ledger::settle(tx, Way::Up, table.id, id)?;
            // A conflict goes with its row, and its row goes no more.
            if tracked.base.is_some() { ledger::count_pending(tx, table.id, id) } else { Ok(0) }
        }
        PullPlan::Merge { conflicts, .. }
            if is_forgotten_there(&local, &incoming, &this.own(), tracked.base.is_some()) =>
        {
            replace(tx, table, id, incoming, Some(&tracked.version), hub_ms)?;
            versions::stamp_above(tx, table, id, tracked.version.hlc())?;
            ledger::record_all(tx, conflicts)
        }
        PullPlan::Merge { row, conflicts } => {
            if let Some(error) = unreadable {
                return Err(error);
            }
            let base = base_after(this, &tracked, &row.version, &hubs);
            save_values(tx, table, id, &row, Some(&tracked.version))?;
            // A merge was written by nobody, so the hub is first known to have it now, if nothing of ours waits in it.
            let hub_had_ms = base.is_none().then_some(hub_ms);
            let is_new = tracked.base.as_ref().is_none_or(|before| !before.includes(&hubs));
            let merged = Tracked { version: row.version, base, hub_had_ms, refused: tracked.refused };
            versions::save(tx, table, id, &merged)?;
            // Refused beside what the hub had then; it may go beside what it has now.
            let forgiven = if is_new { blockers::forgive(tx, Key { table: table.id, id })? } else { 0 };
            Ok(forgiven + ledger::record_all(tx, conflicts)?)
        }
    }
}

/// The row as it is here. One that cannot be read is known by its version alone, which is enough to replace it.
pub(super) fn local(
    tx: &Connection,
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
    // What a rewound centre has lost waits under the former ids under which it was sent.
    this.own().iter().any(|own| version.vv.seen(*own) > base.seen(*own)).then_some(base)
}

/// When the hub was first known to have a row whose version stays as it is.
fn hub_had_ms(tracked: &Tracked, base: Option<&Vector>, hub_ms: u64) -> Option<u64> {
    let before = if tracked.base.is_none() { tracked.hub_had_ms } else { None };
    if base.is_some() { None } else { before.or(Some(hub_ms)) }
}

/// Stores a row as it came, over one whose version here was `before`. The hub has all of it, so nothing waits.
pub(super) fn replace(
    tx: &Transaction<'_>,
    table: &'static Table,
    id: RowId,
    incoming: Row,
    before: Option<&Version>,
    hub_ms: u64,
) -> Result<(), StoreError> {
    save_values(tx, table, id, &incoming, before)?;
    if table.direction == Direction::Down && !incoming.version.is_alive() {
        return versions::delete(tx, table, id);
    }
    let tracked = Tracked { version: incoming.version, base: None, refused: None, hub_had_ms: Some(hub_ms) };
    versions::save(tx, table, id, &tracked)
}

/// Writes the values where they belong. The statement that may fail comes first, so that a refused row leaves nothing.
pub(super) fn save_values(
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

fn refusal(table: TableId, row: RowId, code: RefusalCode, reason: String, payload: String) -> Refused {
    Refused { way: Way::Down, table, row, code: code.as_str().to_owned(), reason, payload }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::clock::Hlc;
    use crate::merge::conflict::Conflict;
    use crate::merge::ids::ReplicaId;
    use crate::sqlite::fixture::{TASK, edge_with_a_task};
    use crate::wire::message::{Page, PullEnd};
    use crate::wire::version::{DotsText, VectorText};
    use uuid::Uuid;

    const OWN: ReplicaId = ReplicaId(7);

    /// An edge that has written one task, which waits.
    fn edge() -> (Connection, Tracked) {
        let connection = edge_with_a_task(OWN, "ours");
        let tracked = versions::load(&connection, tasks(), TASK).unwrap().unwrap();
        (connection, tracked)
    }

    fn page_of(row: PullRow) -> PulledPage {
        PulledPage {
            head: Page { unix_ms: 0, rows_total: None, replicas: 0, renew: false },
            rows: vec![row],
            evicted: Vec::new(),
            conflicts: Vec::new(),
            end: PullEnd { lines: 1, cursor: "c".to_owned(), complete: true },
        }
    }

    /// The task's values as another row with another version.
    fn row_of(connection: &Connection, id: Uuid, version: Version) -> PullRow {
        let values = rows::load(connection, tasks(), TASK).unwrap().unwrap();
        PullRow {
            table: "tasks".to_owned(),
            id,
            vv: VectorText(version.vv),
            gone: VectorText(version.gone),
            dots: DotsText(version.dots),
            values: convert::fields(tasks(), &values),
        }
    }

    fn tasks() -> &'static Table {
        catalog::by_name("tasks").unwrap()
    }

    fn is_forked_by(id: u128, change: impl FnOnce(&mut Version)) -> bool {
        let (mut connection, tracked) = edge();
        let mut version = tracked.version;
        change(&mut version);
        let row = row_of(&connection, Uuid::from_u128(id), version);
        let applied = page(&mut connection, &page_of(row), 0).unwrap();
        assert_eq!(applied.forked, self_state::load(&connection).unwrap().cursor.is_none(), "all or nothing is stored");
        applied.forked
    }

    #[test]
    fn a_conflict_that_waited_for_its_row_is_worth_another_push_when_the_row_waits_no_more() {
        let (mut connection, tracked) = edge();
        let id = TASK;
        let dot = tracked.version.dots.default.unwrap();
        let party = |seq| crate::merge::conflict::Party { dot: Dot { seq, ..dot }, value: None };
        let conflict = Conflict {
            table: tasks().id,
            row: id,
            kind: crate::merge::conflict::Kind::EditDelete,
            register: None,
            loser: party(1),
            winner: party(2),
            status: crate::merge::conflict::Status::Open,
        };
        let tx = connection.transaction().unwrap();
        ledger::record(&tx, conflict).unwrap();
        tx.commit().unwrap();
        let row = row_of(&connection, id.0, tracked.version);
        assert_eq!(page(&mut connection, &page_of(row), 0).unwrap().found, 1);
    }

    #[test]
    fn a_row_that_is_made_anew_where_its_death_was_forgotten_has_nothing_of_the_dead_one() {
        let (mut connection, _) = edge();
        let mut anew = Version::default();
        anew.write(Dot { replica: ReplicaId(1), seq: 5, hlc: Hlc(1), by: None }, &[]);
        let mut row = row_of(&connection, TASK.0, anew);
        let later = convert::fields(tasks(), &[("title".to_owned(), crate::merge::value::Value::text("anew"))].into());
        row.values.insert("title".to_owned(), later["title"].clone());
        connection.execute("delete from tasks", []).unwrap();
        connection.execute("update sync_rows set base = null", []).unwrap();
        page(&mut connection, &page_of(row), 0).unwrap();
        let title: String = connection.query_row("select title from tasks", [], |row| row.get(0)).unwrap();
        assert_eq!(title, "anew", "though the dead one was written with a later stamp");
    }

    #[test]
    fn a_death_that_was_sent_before_the_centre_had_ours_takes_nothing_of_ours_away() {
        let (mut connection, _) = edge();
        let mut theirs = Version::default();
        theirs.write(Dot { replica: ReplicaId(1), seq: 4, hlc: Hlc(1), by: None }, &[]);
        theirs.delete(Dot { replica: ReplicaId(1), seq: 5, hlc: Hlc(2), by: None });
        let row = row_of(&connection, TASK.0, theirs);
        connection.execute("delete from tasks", []).unwrap();
        connection.execute("update sync_rows set base = null", []).unwrap();
        page(&mut connection, &page_of(row), 0).unwrap();
        let version = versions::load(&connection, tasks(), TASK).unwrap().unwrap().version;
        assert_eq!(version.vv, [(ReplicaId(1), 5), (OWN, 2)].into_iter().collect());
        assert!(!version.is_alive());
    }

    #[test]
    fn a_write_of_a_row_that_took_the_place_of_a_death_is_stamped_above_the_death() {
        let (mut connection, _) = edge();
        let mut anew = Version::default();
        anew.write(Dot { replica: ReplicaId(1), seq: 5, hlc: Hlc(1), by: None }, &[]);
        let row = row_of(&connection, TASK.0, anew);
        connection.execute("delete from tasks", []).unwrap();
        let later = Hlc::at(u64::MAX);
        let tx = connection.transaction().unwrap();
        let mut tracked = versions::load(&tx, tasks(), TASK).unwrap().unwrap();
        tracked.version.dots.iter_mut().for_each(|dot| dot.hlc = later);
        versions::save(&tx, tasks(), TASK, &Tracked { base: None, ..tracked }).unwrap();
        tx.commit().unwrap();
        page(&mut connection, &page_of(row), 0).unwrap();
        connection.execute("update tasks set title = 'next'", []).unwrap();
        let version = versions::load(&connection, tasks(), TASK).unwrap().unwrap().version;
        assert_eq!(version.dots.of("title").map(|dot| dot.hlc > later), Some(true));
    }

    #[test]
    fn what_waits_under_a_former_id_goes_on_waiting_when_a_page_brings_writes_of_others() {
        let (mut connection, _) = edge();
        let takes_another_id = "update sync_self set replica = 8; insert into sync_former (replica) values (7)";
        connection.execute_batch(takes_another_id).unwrap();
        let mut version = Version::default();
        version.write(Dot { replica: ReplicaId(1), seq: 5, hlc: Hlc(1), by: None }, &[]);
        let hubs = version.vv.clone();
        let row = row_of(&connection, TASK.0, version);
        page(&mut connection, &page_of(row), 0).unwrap();
        let tracked = versions::load(&connection, tasks(), TASK).unwrap().unwrap();
        assert_eq!(tracked.base, Some(hubs));
    }

    #[test]
    fn a_page_with_own_writes_that_were_never_made_here_is_not_applied() {
        assert!(!is_forked_by(4, |_| {}), "the very write that waits, taken by the hub");
        assert!(is_forked_by(4, |version| version.dots.default.as_mut().unwrap().hlc.0 += 1), "the copy's first write");
        assert!(is_forked_by(5, |version| version.vv.observe(OWN, 2)), "a write beyond our last one");
        assert!(!is_forked_by(5, |version| version.vv = [(ReplicaId(1), 9)].into_iter().collect()), "another's write");
    }
}
