//! Writes planned rows, many in one go; when that fails, halves until the rows at fault stand alone.
//!
//! Version first, row second: what a trigger makes of the row is a write of the centre and its stamp comes on top.
//! Constraints are deferred within a unit, so that two rows can swap a unique value, and checked at its end.

use std::collections::BTreeMap;

use tokio_postgres::Transaction;
use uuid::Uuid;

use super::error::StoreError;
use super::refusal::{self, Failure};
use super::{rows, versions};
use crate::catalog::{TABLES, Table};
use crate::merge::conflict::Conflict;
use crate::merge::ids::RowId;
use crate::merge::value::{Value, Values};
use crate::merge::version::Row;

/// A row as it is to be stored.
#[derive(Debug)]
pub(super) struct Planned {
    /// Its place in the batch.
    pub(super) index: usize,
    /// Its table.
    pub(super) table: &'static Table,
    /// Its version, as it is to be stored.
    pub(super) version: versions::Write,
    /// The row.
    pub(super) row: Row,
    /// The row as it is in its table, if it is there.
    pub(super) before: Option<Values>,
    /// What lost.
    pub(super) conflicts: Vec<Conflict>,
    /// Whether it is then exactly what the edge holds.
    pub(super) exact: bool,
}

/// What became of planned rows.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Stored.
    pub(super) done: Vec<Planned>,
    /// Not stored, each with the reason.
    pub(super) failed: Vec<(Planned, Failure)>,
}

enum Change {
    Insert,
    Update,
    Delete,
    /// The table has it so already; only the version changes.
    None,
}

impl Planned {
    /// The row's id.
    pub(super) fn id(&self) -> RowId {
        self.version.id
    }

    /// Whether its row is deleted by being stored.
    pub(super) fn dies(&self) -> bool {
        matches!(self.change(), Change::Delete)
    }

    fn change(&self) -> Change {
        match (&self.before, self.row.version.is_alive()) {
            (None, true) => Change::Insert,
            (Some(before), true) if *before == self.row.values => Change::None,
            (Some(_), true) => Change::Update,
            (Some(_), false) => Change::Delete,
            (None, false) => Change::None,
        }
    }
}

/// Writes rows, as many as can be.
pub(super) async fn write(
    tx: &mut Transaction<'_>,
    tenant: Uuid,
    planned: Vec<Planned>,
) -> Result<Written, StoreError> {
    let mut written = Written::default();
    let mut units = vec![planned];
    while let Some(mut unit) = units.pop() {
        if unit.is_empty() {
            continue;
        }
        match attempt(tx, tenant, &unit).await {
            Ok(()) => written.done.append(&mut unit),
            Err(failure) if unit.len() == 1 => {
                let failure = failure.of(&unit[0])?;
                written.failed.extend(unit.into_iter().map(|planned| (planned, failure.clone())));
            }
            Err(_) => {
                let second = unit.split_off(unit.len() / 2);
                units.push(second);
                units.push(unit);
            }
        }
    }
    Ok(written)
}

/// Tries again what failed, those together that stand in each other's way, until nothing more succeeds: two rows may
/// have swapped a serial number, or one may have taken that of a row deleted after it.
pub(super) async fn retry(tx: &mut Transaction<'_>, tenant: Uuid, written: &mut Written) -> Result<(), StoreError> {
    loop {
        let (open, settled): (Vec<_>, Vec<_>) =
            std::mem::take(&mut written.failed).into_iter().partition(|(_, failure)| failure.depends_on_others());
        written.failed = settled;
        let before = written.done.len();
        for unit in knots(open.into_iter().map(|(planned, _)| planned).collect()) {
            let again = write(tx, tenant, unit).await?;
            written.done.extend(again.done);
            written.failed.extend(again.failed);
        }
        if written.done.len() == before {
            return Ok(());
        }
    }
}

/// Groups rows in which one wants a serial number that another one has.
fn knots(planned: Vec<Planned>) -> Vec<Vec<Planned>> {
    let mut knots: BTreeMap<usize, Vec<Planned>> = BTreeMap::new();
    let mut knot_of: BTreeMap<String, usize> = BTreeMap::new();
    for (number, planned) in planned.into_iter().enumerate() {
        let serials = serials(&planned);
        let mut met: Vec<usize> = serials.iter().filter_map(|serial| knot_of.get(serial).copied()).collect();
        met.dedup();
        let mut members: Vec<Planned> = met.iter().filter_map(|knot| knots.remove(knot)).flatten().collect();
        for knot in knot_of.values_mut().filter(|knot| met.contains(knot)) {
            *knot = number;
        }
        knot_of.extend(serials.into_iter().map(|serial| (serial, number)));
        members.push(planned);
        knots.insert(number, members);
    }
    knots.into_values().collect()
}

fn serials(planned: &Planned) -> Vec<String> {
    let sides = [Some(&planned.row.values), planned.before.as_ref()];
    let serial = |values: &Values| match values.get("serial_number") {
        Some(Value::Text(serial)) => Some(serial.clone()),
        _ => None,
    };
    sides.into_iter().flatten().filter_map(serial).collect()
}

enum Trouble {
    Store(StoreError),
    Suppressed,
}

impl Trouble {
    fn of(self, planned: &Planned) -> Result<Failure, StoreError> {
        match self {
            Self::Store(error) => refusal::of(planned.table, &planned.row.values, error),
            Self::Suppressed => Ok(Failure::Refused(refusal::kept_out(planned.table))),
        }
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Writes a unit under a savepoint of its own, all of it or nothing.
async fn attempt(tx: &mut Transaction<'_>, tenant: Uuid, unit: &[Planned]) -> Result<(), Trouble> {
    let savepoint = tx.savepoint("unit").await.map_err(StoreError::from)?;
    match store(&savepoint, tenant, unit).await {
        Ok(()) => savepoint.commit().await.map_err(StoreError::from)?,
        Err(trouble) => {
            savepoint.rollback().await.map_err(StoreError::from)?;
            return Err(trouble);
        }
    }
    Ok(())
}

async fn store(tx: &Transaction<'_>, tenant: Uuid, unit: &[Planned]) -> Result<(), Trouble> {
    defer_constraints(tx).await?;
    versions::store(tx, tenant, &unit.iter().map(|planned| &planned.version).collect::<Vec<_>>()).await?;
    announce(tx, unit).await?;
    for table in TABLES {
        let (inserts, count) = array(unit, table, |change| matches!(change, Change::Insert));
        if count > 0 && rows::insert(tx, table, &inserts).await? != count {
            return Err(Trouble::Suppressed);
        }
        let (updates, count) = array(unit, table, |change| matches!(change, Change::Update));
        if count > 0 && rows::update(tx, table, tenant, &updates).await? != count {
            return Err(Trouble::Suppressed);
        }
    }
    for table in TABLES.iter().rev() {
        let dying = unit.iter().filter(|planned| planned.table.id == table.id && planned.dies());
        let ids: Vec<Uuid> = dying.map(|planned| planned.id().0).collect();
        if !ids.is_empty() && rows::delete(tx, table, tenant, &ids).await? != ids.len() as u64 {
            return Err(Trouble::Suppressed);
        }
    }
    check_constraints(tx).await?;
    versions::unannounce(tx).await?;
    Ok(())
}

async fn announce(tx: &Transaction<'_>, unit: &[Planned]) -> Result<(), StoreError> {
    let moving: Vec<&Planned> = unit.iter().filter(|planned| !matches!(planned.change(), Change::None)).collect();
    let finals: Vec<Option<String>> = moving
        .iter()
        .map(|planned| (!planned.dies()).then(|| rows::json(planned.table, planned.id(), &planned.row.values)))
        .collect();
    let tables: Vec<i16> = moving.iter().map(|planned| versions::number(planned.table.id)).collect();
    let ids: Vec<Uuid> = moving.iter().map(|planned| planned.id().0).collect();
    let finals: Vec<Option<&str>> = finals.iter().map(Option::as_deref).collect();
    if ids.is_empty() {
        return Ok(());
    }
    versions::announce(tx, &tables, &ids, &finals).await
}

fn array(unit: &[Planned], table: &Table, which: impl Fn(&Change) -> bool) -> (String, u64) {
    let chosen = unit.iter().filter(|planned| planned.table.id == table.id && which(&planned.change()));
    let objects: Vec<String> =
        chosen.map(|planned| rows::json(planned.table, planned.id(), &planned.row.values)).collect();
    (format!("[{}]", objects.join(",")), objects.len() as u64)
}

async fn defer_constraints(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute("set constraints all deferred").await?;
    Ok(())
}

async fn check_constraints(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute("set constraints all immediate").await?;
    Ok(())
}
