//! The one place where a winner is chosen.
//!
//! `merge` takes two states of a row and returns their join: commutative, associative and idempotent, with every
//! write that loses without having been seen by the winner listed as a conflict. It knows nothing of columns,
//! databases, networks or clocks. `tests/merge_laws.rs` holds it against all small histories.

use std::collections::BTreeSet;

use super::clock::{Dot, Hlc};
use super::conflict::{Conflict, Kind, Party, Status};
use super::ids::{RowId, TableId};
use super::value::Register;
use super::vector::Vector;
use super::version::{Row, Version};

/// Registers that are merged like any other but never recorded as conflicts, such as `updated_at`.
pub type Quiet<'a> = &'a [&'a str];

/// Two states of one row, joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The joined row.
    pub row: Row,
    /// What lost in this merge, unsorted, each losing write once.
    pub conflicts: Vec<Conflict>,
}

/// Joins two states of the row `id`.
///
/// Version and tombstone vectors join by maximum. Each register takes the value of its highest dot. The row lives
/// iff some replica has a write above the joined `gone`. A conflict is recorded exactly when the winner had not seen the
/// losing write and the values differ, or when a delete met a write that it had not seen.
pub fn merge(table: TableId, id: RowId, ours: &Row, theirs: &Row, quiet: Quiet<'_>) -> Merged {
    let mut row = Row::default();
    row.version.vv = ours.version.vv.join(&theirs.version.vv);
    row.version.gone = ours.version.gone.join(&theirs.version.gone);
    row.version.dots.default = join(ours.version.dots.default, theirs.version.dots.default);
    row.version.dots.deleted = join(ours.version.dots.deleted, theirs.version.dots.deleted);

    let registers = registers(ours, theirs);
    for &register in &registers {
        let (our_dot, their_dot) = (ours.version.dots.of(register), theirs.version.dots.of(register));
        let Some(dot) = join(our_dot, their_dot) else { continue };
        let winner = if our_dot.is_some_and(|our| our.same_write(&dot)) { ours } else { theirs };
        if let Some(value) = winner.values.get(register) {
            row.values.insert(register.clone(), value.clone());
        }
        if row.version.dots.default != Some(dot) {
            row.version.dots.named.insert(register.clone(), dot);
        }
    }
    let loud = registers.into_iter().filter(|register| !quiet.contains(&register.as_str()));
    let mut conflicts: Vec<Conflict> =
        loud.filter_map(|register| edit_edit(table, id, register, (ours, theirs), &row)).collect();
    if row.version.is_alive() {
        conflicts.extend(edit_delete(table, id, ours, theirs, &row.version.gone));
        conflicts.extend(edit_delete(table, id, theirs, ours, &row.version.gone));
    }
    Merged { row, conflicts }
}

/// The losing write of one register, if the winner had not seen it and the values differ. It is recorded on a dead row
/// too: a third write, unseen by the deleters, may bring the row back, and then only the record is left.
///
/// A write ranks above all that it has seen, unless it goes by another name since: of two with one stamp the name decides.
/// Such a one may lose to what it has seen, or has beaten, and is listed like any other.
fn edit_edit(
    table: TableId,
    id: RowId,
    register: &Register,
    (ours, theirs): (&Row, &Row),
    joined: &Row,
) -> Option<Conflict> {
    let dot = joined.version.dots.of(register)?;
    let we_win = ours.version.dots.of(register).is_some_and(|our| our.same_write(&dot));
    let (winner, loser) = if we_win { (ours, theirs) } else { (theirs, ours) };
    let (winning, losing) = (winner.version.dots.of(register)?, loser.version.dots.of(register)?);
    let unseen = !winner.version.vv.covers(&losing);
    let (winning_value, losing_value) = (winner.values.get(register), loser.values.get(register));
    (unseen && winning_value != losing_value).then(|| Conflict {
        table,
        row: id,
        kind: Kind::EditEdit,
        register: Some(register.clone()),
        loser: Party { dot: losing, value: losing_value.cloned() },
        winner: Party { dot: winning, value: winning_value.cloned() },
        status: Status::Open,
    })
}

/// The losing delete, if `dead` is deleted and `alive` holds a write that no deleter had seen, made without knowing
/// of the delete. The caller has established that the joined row lives; `gone` is what its deleters had seen.
fn edit_delete(table: TableId, id: RowId, dead: &Row, alive: &Row, gone: &Vector) -> Option<Conflict> {
    let deleted = dead.version.dots.deleted?;
    let lost = !dead.version.is_alive() && alive.version.is_alive() && !alive.version.vv.covers(&deleted);
    let winning = survivor(&alive.version, gone)?;
    lost.then_some(Conflict {
        table,
        row: id,
        kind: Kind::EditDelete,
        register: None,
        loser: Party { dot: deleted, value: None },
        winner: Party { dot: winning, value: None },
        status: Status::Open,
    })
}

/// The highest edit that no deleter had seen. When others have overwritten it in every register, only the vector
/// still knows of it: its stamp is forgotten then, so it goes by the lowest there is.
fn survivor(version: &Version, gone: &Vector) -> Option<Dot> {
    let held = version.dots.edits().copied().filter(|dot| !gone.covers(dot)).max();
    held.or_else(|| {
        let (replica, seq) = version.vv.iter().find(|&(replica, seq)| seq > gone.seen(replica))?;
        Some(Dot { replica, seq, hlc: Hlc::default(), by: None })
    })
}

fn registers<'a>(ours: &'a Row, theirs: &'a Row) -> BTreeSet<&'a Register> {
    [ours, theirs].into_iter().flat_map(|row| row.values.keys().chain(row.version.dots.named.keys())).collect()
}

fn join(ours: Option<Dot>, theirs: Option<Dot>) -> Option<Dot> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(ours.join(theirs)),
        (one, other) => one.or(other),
    }
}
