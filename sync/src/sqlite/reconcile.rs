//! The edge's side of a comparison with the centre: what is renamed before it, what becomes of each row that differs,
//! and what is noted at its end. Who wins is the merge's to say.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::apply;
use super::error::StoreError;
use super::ledger::{self, Refused, Way};
use super::outbox;
use super::rows;
use super::self_state::{self, SelfState};
use super::versions::{self, Tracked};
use crate::catalog::{self, Direction, Table};
use crate::merge::clock::Dot;
use crate::merge::fence::Rename;
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::reconcile::{Here, Settlement, Store, Terms, settle};
use crate::merge::rename::{rename, rename_vector};
use crate::merge::version::{Row, Version};
use crate::wire::convert::{self, Fields};
use crate::wire::message::PullRow;
use crate::wire::recovery::{Difference, Reconcile};
use crate::wire::refusals;
use crate::wire::version::{DotsText, VectorText};

/// A row that differs, as the centre has it.
#[derive(Clone, Debug)]
pub enum Theirs {
    /// It has this.
    Row(PullRow),
    /// It knows nothing of the row.
    Absent(String, Uuid),
}

/// Prepares a comparison: renames what a rewind of the centre made ambiguous, and takes the fence token from now on. What
/// was in flight goes on waiting. To do it twice changes nothing more.
///
/// # Errors
/// [`StoreError`]; then nothing is changed.
pub fn begin(connection: &mut Connection, terms: &Reconcile) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let this = self_state::load(&tx)?;
    for &(from, above, to) in &terms.renames {
        let rule = Rename { from: ReplicaId(from), above, to: ReplicaId(to) };
        for table in catalog::TABLES {
            for (id, mut tracked) in versions::load_all_of(&tx, table)? {
                let base = tracked.base.as_mut().is_some_and(|base| rename_vector(base, rule));
                if rename(&mut tracked.version, rule) || base {
                    versions::save(&tx, table, id, &tracked)?;
                }
            }
        }
    }
    // The centre may have lost what it sent, and what it has of these rows comes with the comparison.
    ledger::void_unstored(&tx)?;
    if terms.fence != this.fence {
        self_state::set_fence(&tx, &terms.fence)?;
        outbox::delete(&tx)?;
    }
    tx.commit()?;
    Ok(())
}

/// The rows that have to be offered to the centre before [`store`] replaces or removes them. `lost` are the names of what the
/// centre wrote and has lost ([`super::comparison::Comparison::lost`]).
///
/// # Errors
/// [`StoreError`].
pub fn offers(connection: &Connection, theirs: &[Theirs], lost: &[ReplicaId]) -> Result<Vec<PullRow>, StoreError> {
    let this = self_state::load(connection)?;
    let mut offers = Vec::new();
    for one in theirs {
        let Some(case) = case(connection, one)? else { continue };
        offers.extend(case.offer(&case.settle(&this, lost)));
    }
    Ok(offers)
}

/// What rows that differ have come to.
#[derive(Debug, Default)]
pub struct Settled {
    /// What a person is told.
    pub differences: Vec<Difference>,
    /// Rows that somebody wrote to since they were offered. Nothing is changed of them: they are to be offered as they are now,
    /// and settled then.
    pub rewritten: Vec<Theirs>,
}

/// Settles rows that differ, in one transaction. `offered` is what the centre was given of [`offers`]: of a row that has to be
/// offered nothing goes that is not in it. `proof` is the cursor with which the comparison began, if that goes on from this
/// edge's own: it is kept with the rows, and shows that the centre was there from which they come. If the comparison is broken
/// off, the next hello asks for another.
///
/// Returns `None` and changes nothing when the rows hold writes under this edge's id that it never made: somebody else goes by
/// it, and what waits here under the same numbers would be taken for what the centre has.
///
/// # Errors
/// [`StoreError`]; then nothing is changed.
pub fn store(
    connection: &mut Connection,
    (theirs, offered): (&[Theirs], &[PullRow]),
    (lost, proof): (&[ReplicaId], Option<&str>),
    now_ms: u64,
) -> Result<Option<Settled>, StoreError> {
    apply::enforce_constraints(connection, false)?;
    let stored = store_all(connection, (theirs, offered), (lost, proof), now_ms);
    apply::enforce_constraints(connection, true)?;
    stored
}

fn store_all(
    connection: &mut Connection,
    (theirs, offered): (&[Theirs], &[PullRow]),
    (lost, proof): (&[ReplicaId], Option<&str>),
    now_ms: u64,
) -> Result<Option<Settled>, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let this = self_state::load(&tx)?;
    if apply::is_forked(&tx, &this, theirs.iter().filter_map(Theirs::row))? {
        return Ok(None);
    }
    if let Some(cursor) = proof {
        self_state::set_cursor(&tx, cursor, this.hydrating)?;
        self_state::set_reconcile(&tx, true)?;
    }
    self_state::set_applying(&tx, true)?;
    let offered: HashMap<_, _> = offered.iter().map(|row| ((row.table.as_str(), row.id), row)).collect();
    let mut settled = Settled::default();
    for one in theirs {
        stamp_unseen(&tx, one, now_ms)?;
        let this = self_state::load(&tx)?;
        let Some(case) = case(&tx, one)? else { continue };
        let settlement = case.settle(&this, lost);
        let is_offered = |now: PullRow| offered.get(&(case.table.name, now.id)).is_some_and(|then| then.says(&now));
        if !case.offer(&settlement).is_none_or(is_offered) {
            settled.rewritten.push(one.clone());
            continue;
        }
        settled.differences.extend(case.difference(&settlement));
        let (table, row) = (case.table.id, case.id);
        let hub_ms = this.hub_ms(now_ms);
        match case.store(&tx, settlement, hub_ms) {
            Err(StoreError::Sqlite(error)) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                let (code, payload) = (refusals::DOES_NOT_FIT.as_str().to_owned(), one.payload());
                let refused = Refused { way: Way::Down, table, row, code, reason: error.to_string(), payload };
                ledger::refuse(&tx, &refused, now_ms)?;
            }
            stored => stored?,
        }
    }
    self_state::set_applying(&tx, false)?;
    tx.commit()?;
    Ok(Some(settled))
}

/// A row that somebody wrote here while the triggers were not there has no version: it counts as written now.
fn stamp_unseen(tx: &Transaction<'_>, one: &Theirs, now_ms: u64) -> Result<(), StoreError> {
    let (name, id) = one.name();
    let Some(table) = catalog::by_name(name).filter(|table| table.direction == Direction::Both) else { return Ok(()) };
    if versions::load(tx, table, id)?.is_some() || rows::load(tx, table, id).ok().flatten().is_none() {
        return Ok(());
    }
    let this = self_state::load(tx)?;
    let seq = self_state::next_seq(tx)?;
    let mut version = Version::default();
    version.write(Dot { replica: this.replica, seq, hlc: crate::merge::clock::Hlc::at(now_ms), by: None }, &[]);
    versions::save(tx, table, id, &Tracked { version, base: Some(Default::default()), refused: None, hub_had_ms: None })
}

/// Notes that the comparison is complete: with which incarnation of the centre this edge agrees now, and from where it
/// goes on to pull. After a rewind every conflict and audit record is sent again, because nothing tells which are lost;
/// those that the centre has are the same there.
///
/// # Errors
/// [`StoreError`].
pub fn complete(connection: &mut Connection, incarnation: Uuid, cursor: &str, rewound: bool) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    self_state::set_cursor(&tx, cursor, false)?;
    self_state::set_incarnation(&tx, incarnation)?;
    self_state::set_reconcile(&tx, false)?;
    if rewound {
        send_conflicts_again(&tx)?;
        send_audits_again(&tx)?;
    }
    tx.commit()?;
    Ok(())
}

/// Asks the centre for a comparison with the next hello.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn ask(connection: &mut Connection) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    self_state::set_reconcile(&tx, true)?;
    tx.commit()?;
    Ok(())
}

fn send_conflicts_again(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.execute("update sync_conflicts set pending = 1", params![])?;
    Ok(())
}

fn send_audits_again(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let insert = "insert into sync_audit_outbox (id) select id from audit_logs where true on conflict (id) do nothing";
    tx.execute(insert, params![])?;
    Ok(())
}

impl Theirs {
    /// The table's name, and the row.
    pub fn name(&self) -> (&str, RowId) {
        match self {
            Self::Row(row) => (&row.table, RowId(row.id)),
            Self::Absent(table, id) => (table, RowId(*id)),
        }
    }

    fn row(&self) -> Option<&PullRow> {
        match self {
            Self::Row(row) => Some(row),
            Self::Absent(..) => None,
        }
    }

    /// What the quarantine keeps of it.
    fn payload(&self) -> String {
        self.row().and_then(|row| serde_json::to_string(row).ok()).unwrap_or_default()
    }
}

/// A row that differs, on both sides.
struct Case {
    table: &'static Table,
    id: RowId,
    here: Option<Row>,
    tracked: Option<Tracked>,
    hub: Option<Row>,
}

/// `None` for what this edge cannot make sense of: a table that it does not know, a value that it cannot hold. The feed
/// lists such rows in the quarantine.
fn case(tx: &Connection, one: &Theirs) -> Result<Option<Case>, StoreError> {
    let (name, id) = one.name();
    let Some(table) = catalog::by_name(name) else { return Ok(None) };
    let hub = match one {
        Theirs::Absent(..) => None,
        Theirs::Row(row) => {
            let Ok(values) = convert::values(table, &row.values) else { return Ok(None) };
            Some(Row {
                version: Version { vv: row.vv.0.clone(), gone: row.gone.0.clone(), dots: row.dots.0.clone() },
                values,
            })
        }
    };
    let tracked = versions::load(tx, table, id)?;
    let here = match &tracked {
        Some(tracked) => match apply::local(tx, table, id, tracked)? {
            // What cannot be read can be replaced and not be sent.
            (_, Some(_)) if hub.is_none() => return Ok(None),
            (row, _) => Some(row),
        },
        // A row of a table that only the centre writes, without a version: somebody put it there in the dark.
        None => rows::load(tx, table, id).ok().flatten().map(|values| Row { version: Version::default(), values }),
    };
    Ok(Some(Case { table, id, here, tracked, hub }))
}

impl Case {
    fn settle(&self, this: &SelfState, lost: &[ReplicaId]) -> Settlement {
        let (own, quiet) = (this.own(), self.table.quiet());
        let writable = self.table.direction == Direction::Both;
        let base = self.tracked.as_ref().and_then(|tracked| tracked.base.as_ref());
        let here = self.here.as_ref().map(|row| Here { row, base });
        settle(self.table.id, self.id, here, self.hub.as_ref(), Terms { own: &own, writable, lost, quiet: &quiet })
    }

    /// The row as it is offered, if it has to be.
    fn offer(&self, settlement: &Settlement) -> Option<PullRow> {
        let here = self.here.as_ref().filter(|_| settlement.offer && self.table.dumped)?;
        Some(offered(self.table, self.id, here))
    }

    /// `hub_ms` is the hub's clock, for "at HQ since".
    fn store(self, tx: &Transaction<'_>, settlement: Settlement, hub_ms: u64) -> Result<(), StoreError> {
        let Self { table, id, here, tracked, hub } = self;
        let before = here.map(|row| row.version);
        match settlement.store {
            Store::Keep { base } => match tracked {
                Some(tracked) => {
                    let hub_had_ms = base.is_none().then_some(tracked.hub_had_ms.unwrap_or(hub_ms));
                    versions::save(tx, table, id, &Tracked { base, hub_had_ms, ..tracked })
                }
                None => Ok(()),
            },
            Store::Replace => replace(tx, table, id, hub, before.as_ref(), hub_ms),
            Store::Supersede { conflicts } => {
                replace(tx, table, id, hub, before.as_ref(), hub_ms)?;
                ledger::record_all(tx, conflicts).map(|_| ())
            }
            Store::Join { row, base, conflicts } => {
                apply::save_values(tx, table, id, &row, before.as_ref())?;
                versions::save(
                    tx,
                    table,
                    id,
                    &Tracked {
                        version: row.version,
                        hub_had_ms: base.is_none().then_some(hub_ms),
                        base,
                        refused: None,
                    },
                )?;
                ledger::record_all(tx, conflicts)?;
                Ok(())
            }
            Store::Remove => {
                if settlement.offer {
                    // What was refused is in the offer.
                    ledger::settle(tx, Way::Up, table.id, id)?;
                }
                rows::delete(tx, table, id)?;
                rows::delete_last(tx, table, id)?;
                versions::delete(tx, table, id)
            }
        }
    }

    /// What a person is told of it; nothing when it only waits to be sent, or is dead on both sides.
    fn difference(&self, settlement: &Settlement) -> Option<Difference> {
        let waits = self.tracked.as_ref().is_some_and(|tracked| tracked.base.is_some());
        if waits && matches!(settlement.store, Store::Keep { .. }) {
            return None;
        }
        // A version that lives without its row was deleted in the dark; a row without a version was written there.
        let lives = |row: &Row| (row.version.is_alive() || row.version.vv.is_empty()) && !row.values.is_empty();
        let alive = |row: &Option<Row>| row.as_ref().is_some_and(lives);
        let what = match (alive(&self.here), alive(&self.hub)) {
            (false, false) => return None,
            (false, true) => "missing here",
            (true, false) => "missing at the centre",
            (true, true) if self.columns().is_empty() => "version",
            (true, true) if self.here.as_ref().map(|row| &row.version) == self.hub.as_ref().map(|row| &row.version) => {
                "values"
            }
            (true, true) => "values and version",
        };
        let repair = match &settlement.store {
            _ if settlement.offer => "offered",
            Store::Keep { .. } => "sent",
            Store::Replace | Store::Supersede { .. } => "replaced",
            Store::Join { .. } => "merged",
            Store::Remove => "removed",
        };
        let columns = if what.starts_with("values") { self.columns() } else { Vec::new() };
        let table = self.table.name.to_owned();
        Some(Difference { table, id: self.id.0, columns, what: what.to_owned(), repair: repair.to_owned() })
    }

    fn columns(&self) -> Vec<String> {
        let (Some(here), Some(hub)) = (&self.here, &self.hub) else { return Vec::new() };
        let pairs =
            convert::to_columns(self.table, &here.values).into_iter().zip(convert::to_columns(self.table, &hub.values));
        let columns = self.table.columns.iter().skip(1).zip(pairs).filter(|(_, (here, hub))| here != hub);
        columns.map(|(column, _)| column.name.to_owned()).collect()
    }
}

/// The hub's row takes the place of the one here, and of what was refused of either.
fn replace(
    tx: &Transaction<'_>,
    table: &'static Table,
    id: RowId,
    hub: Option<Row>,
    before: Option<&Version>,
    hub_ms: u64,
) -> Result<(), StoreError> {
    let Some(hub) = hub else { return Ok(()) };
    apply::replace(tx, table, id, hub, before, hub_ms)?;
    ledger::settle(tx, Way::Down, table.id, id)?;
    ledger::settle(tx, Way::Up, table.id, id)
}

/// A row as it is offered. A death of which the last values are not known is one without them.
fn offered(table: &'static Table, id: RowId, row: &Row) -> PullRow {
    let whole = line(table, id, row);
    match row.version.is_alive() || convert::values(table, &whole.values).is_ok() {
        true => whole,
        false => PullRow { values: Fields::new(), ..whole },
    }
}

fn line(table: &Table, id: RowId, row: &Row) -> PullRow {
    PullRow {
        table: table.name.to_owned(),
        id: id.0,
        vv: VectorText(row.version.vv.clone()),
        gone: VectorText(row.version.gone.clone()),
        dots: DotsText(row.version.dots.clone()),
        values: convert::fields(table, &row.values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::clock::Hlc;
    use crate::sqlite::fixture::{TASK, edge_with_a_task};

    #[test]
    fn what_was_refused_of_a_row_that_is_offered_is_listed_no_more() {
        const LOST: ReplicaId = ReplicaId(9);
        let mut connection = edge_with_a_task(ReplicaId(7), "ours");
        let tasks = catalog::by_name("tasks").unwrap();
        let tx = connection.transaction().unwrap();
        let mut tracked = versions::load(&tx, tasks, TASK).unwrap().unwrap();
        tracked.version.write(Dot { replica: LOST, seq: 4, hlc: Hlc(1), by: None }, &["status".to_owned()]);
        tracked.base = Some([(LOST, 4)].into_iter().collect());
        versions::save(&tx, tasks, TASK, &tracked).unwrap();
        let (code, reason, payload) = ("refused".to_owned(), "why".to_owned(), "{}".to_owned());
        ledger::refuse(&tx, &Refused { way: Way::Up, table: tasks.id, row: TASK, code, reason, payload }, 0).unwrap();
        tx.commit().unwrap();
        let absent = [Theirs::Absent("tasks".to_owned(), TASK.0)];
        let offered = offers(&connection, &absent, &[LOST]).unwrap();
        assert_eq!(offered.len(), 1);
        store(&mut connection, (&absent, &offered), (&[LOST], None), 0).unwrap();
        assert_eq!(ledger::quarantined(&connection).unwrap().len(), 0);
        assert!(versions::load(&connection, tasks, TASK).unwrap().is_none());
    }

    #[test]
    fn what_is_written_to_a_row_after_it_was_offered_is_in_the_next_offer_and_not_removed_before() {
        const LOST: ReplicaId = ReplicaId(9);
        let mut connection = edge_with_a_task(ReplicaId(7), "ours");
        let tasks = catalog::by_name("tasks").unwrap();
        let mut tracked = versions::load(&connection, tasks, TASK).unwrap().unwrap();
        tracked.version.write(Dot { replica: LOST, seq: 4, hlc: Hlc(1), by: None }, &["status".to_owned()]);
        tracked.base = Some([(LOST, 4)].into_iter().collect());
        let tx = connection.transaction().unwrap();
        versions::save(&tx, tasks, TASK, &tracked).unwrap();
        tx.commit().unwrap();
        let absent = [Theirs::Absent("tasks".to_owned(), TASK.0)];
        let early = offers(&connection, &absent, &[LOST]).unwrap();
        connection.execute("update tasks set title = 'late'", []).unwrap();
        let settled = store(&mut connection, (&absent, &early), (&[LOST], None), 0).unwrap().unwrap();
        assert_eq!((settled.differences.len(), settled.rewritten.len()), (0, 1));
        let title = convert::fields(tasks, &rows::load(&connection, tasks, TASK).unwrap().unwrap());
        assert_eq!(title["title"].get(), "\"late\"");
        let late = offers(&connection, &settled.rewritten, &[LOST]).unwrap();
        assert_eq!(late[0].values["title"].get(), "\"late\"");
        let settled = store(&mut connection, (&settled.rewritten, &late), (&[LOST], None), 0).unwrap().unwrap();
        assert_eq!((settled.differences.len(), settled.rewritten.len()), (1, 0));
        assert!(versions::load(&connection, tasks, TASK).unwrap().is_none(), "it was offered as it was");
    }

    #[test]
    fn what_waits_is_not_taken_for_what_a_copy_has_sent_under_the_same_number() {
        const OWN: ReplicaId = ReplicaId(7);
        let mut connection = edge_with_a_task(OWN, "ours");
        let tasks = catalog::by_name("tasks").unwrap();
        let ours = versions::load(&connection, tasks, TASK).unwrap().unwrap();
        let values = rows::load(&connection, tasks, TASK).unwrap().unwrap();
        let mine = ours.version.dots.default.unwrap();
        let theirs = [Dot { hlc: Hlc(mine.hlc.0 + 1), ..mine }, Dot { seq: mine.seq + 1, ..mine }, mine];
        for (dot, is_ours) in theirs.into_iter().zip([false, false, true]) {
            let mut version = Version::default();
            version.write(dot, &[]);
            let theirs = Theirs::Row(line(tasks, TASK, &Row { version, values: values.clone() }));
            let settled = store(&mut connection, (&[theirs], &[]), (&[], None), 0).unwrap();
            let waits = versions::load(&connection, tasks, TASK).unwrap().unwrap().base.is_some();
            assert_eq!((settled.is_some(), waits), (is_ours, !is_ours), "{dot:?}");
        }
    }
}
