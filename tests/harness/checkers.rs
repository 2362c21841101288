//! Judges of a finished run. They share no code with what they judge: they read rows as text, versions as text, and
//! the journal, which knows what each writer had seen.

use std::collections::{BTreeMap, BTreeSet};

use sync::catalog;
use sync::merge::conflict::{Conflict, Kind};

use crate::centre::RowKey;
use crate::journal::{Deed, Journal, Key, Registers, Seen, Text, Write};
use crate::schedule::register_text;
use crate::site::Rows;

/// What came out of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every write.
    pub journal: Journal,
    /// The rows as the first site holds them.
    pub rows: Rows,
    /// The centre, then the sites.
    pub replicas: Vec<Replica>,
    /// What must never happen and did.
    pub violations: Vec<String>,
    /// Writes that nobody held any more when somebody had gone back in time.
    pub lost: Seen,
    /// Registers of writes that were kept by a conflict alone, by nobody when that was lost too; no register for a delete.
    pub unlisted: BTreeSet<(usize, Option<String>)>,
    /// Writes in rows that edges had offered, when the centre lost the offers.
    pub unoffered: Seen,
    /// Writes that reached the centre.
    pub known: Seen,
    /// Rows that only edges held when the centre had gone back.
    pub offered: Vec<Offer>,
    /// Whether somebody went back in time, so that a death may have two names.
    pub renamed: bool,
    /// Rows whose death was forgotten at the centre.
    pub forgotten: BTreeSet<Key>,
    /// Every write that a version of the centre names, with its row.
    pub names: Vec<(RowKey, (u32, u64))>,
}

impl Outcome {
    /// Whether a write counts: it reached the centre, or is not declared lost.
    fn stands(&self, place: usize) -> bool {
        self.known.contains(&place) || !self.lost.contains(&place)
    }
}

/// A row that an edge offered.
#[derive(Clone, Debug)]
pub struct Offer {
    /// The row.
    pub row: Key,
    /// Its registers; `None` when it was dead.
    pub values: Option<Registers>,
}

/// One replica in the end.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Whose.
    pub name: String,
    /// Its dump.
    pub dump: String,
    /// Its versions of rows that both sides write, as text, and whether each lives.
    pub versions: BTreeMap<Key, (String, bool)>,
    /// Its conflicts.
    pub conflicts: Vec<Conflict>,
    /// Whether something still waits there.
    pub waits: bool,
    /// A site's replica id and last seq.
    pub seq: Option<(u32, u64)>,
}

/// Everything that is wrong with an outcome, a line each; empty when it is right.
pub fn check(outcome: &Outcome) -> Vec<String> {
    let mut wrong = outcome.violations.clone();
    wrong.extend(converged(outcome));
    wrong.extend(
        outcome.replicas.iter().filter(|replica| replica.waits).map(|replica| format!("{} waits", replica.name)),
    );
    wrong.extend(numbers_without_gaps(outcome));
    wrong.extend(numbers_used_once(outcome));
    wrong.extend(fates(outcome));
    wrong.extend(no_phantoms(outcome));
    wrong.extend(listed_once(outcome));
    wrong
}

/// All replicas hold the same rows, versions and conflicts.
fn converged(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some((centre, sites)) = outcome.replicas.split_first() else { return vec!["no replicas".to_owned()] };
    let sorted = |replica: &Replica| {
        let mut texts: Vec<String> = replica.conflicts.iter().map(|conflict| format!("{conflict:?}")).collect();
        texts.sort();
        texts
    };
    for site in sites {
        if site.dump != centre.dump {
            wrong.push(format!("{} and the centre differ:\n{}", site.name, difference(&centre.dump, &site.dump)));
        }
        for (row, version) in &site.versions {
            match centre.versions.get(row) {
                Some(known) if known == version => {}
                // A death that was forgotten, or was named anew on one side, is a death.
                None if !version.1 => {}
                Some((_, false)) if !version.1 && outcome.renamed => {}
                // A row that is made anew after its death was forgotten has a past at the sites that the centre lacks.
                Some((_, alive)) if *alive == version.1 && outcome.forgotten.contains(row) => {}
                known => wrong.push(format!("{} has {row:?} as {version:?}, the centre as {known:?}", site.name)),
            }
        }
        let (here, there) = (sorted(site), sorted(centre));
        if here != there {
            let lines = difference(&there.join("\n"), &here.join("\n"));
            wrong.push(format!("{} and the centre list other conflicts:\n{lines}", site.name));
        }
    }
    wrong
}

/// The lines that only one of two dumps has.
pub fn difference(centre: &str, site: &str) -> String {
    let (there, here): (BTreeSet<&str>, BTreeSet<&str>) = (centre.lines().collect(), site.lines().collect());
    let only_there = there.difference(&here).map(|line| format!("  centre: {line}"));
    let only_here = here.difference(&there).map(|line| format!("  site:   {line}"));
    only_there.chain(only_here).collect::<Vec<_>>().join("\n")
}

/// Each write of a site took one number, and no number was left out.
fn numbers_without_gaps(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    for (replica, seq) in outcome.replicas.iter().filter_map(|replica| replica.seq) {
        let numbers =
            outcome.journal.iter().filter(|(_, write)| write.name.0 == replica).map(|(_, write)| write.name.1);
        let numbers: Vec<u64> = numbers.collect();
        let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
        if distinct.len() != numbers.len() || !distinct.iter().copied().eq(1..=seq) {
            wrong.push(format!("replica {replica} numbered its writes {numbers:?} and stands at {seq}"));
        }
    }
    wrong
}

/// No number names writes of two rows.
fn numbers_used_once(outcome: &Outcome) -> Vec<String> {
    let mut rows = BTreeMap::new();
    let mut wrong = Vec::new();
    for (row, name) in &outcome.names {
        let other = rows.insert(*name, *row).filter(|other| other != row);
        wrong.extend(other.map(|other| format!("{name:?} is a write of {row:?} and of {other:?}")));
    }
    wrong
}

/// Every write is visible, or superseded by one that knew it, or listed.
fn fates(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, write) in outcome.journal.iter().filter(|(place, _)| outcome.stands(*place)) {
        match &write.deed {
            Deed::Deleted => {
                if !delete_has_a_fate(outcome, write) && !outcome.unlisted.contains(&(place, None)) {
                    wrong.push(format!("the delete {place} of {:?} by {:?} is without a trace", write.row, write.name));
                }
            }
            Deed::Wrote(registers) => {
                let judged = registers.iter().filter(|(register, _)| register.as_str() != "updated_at");
                for (register, value) in judged {
                    let visible = outcome.rows.get(&write.row).is_some_and(|row| row.get(register) == Some(value));
                    let implied = value.is_none() && registers.len() > 5;
                    let has_fate = visible
                        || implied
                        || outcome.unlisted.contains(&(place, Some(register.clone())))
                        || superseded(outcome, (place, write), register, value)
                        || is_listed(outcome, write, register, value)
                        || is_offered(outcome, write, register, value);
                    if !has_fate {
                        wrong.push(format!(
                            "the write {place} of {:?} {register} = {value:?} by {:?} is without a trace",
                            write.row, write.name
                        ));
                    }
                }
            }
        }
    }
    wrong
}

/// Whether a later writer of the register, or a later deleter of the row, knew the write, or one of the same value that
/// was not made before it: two writes that say the same are no conflict, and whoever knew one knew what it said. The later one
/// may be lost by now, if it took the place of the write at an edge that offered it and then took the centre's.
fn superseded(outcome: &Outcome, (own, write): (usize, &Write), register: &str, value: &Text) -> bool {
    let says_so = |place: &usize| {
        let known = outcome.journal.write(*place);
        let same = matches!(&known.deed, Deed::Wrote(wrote) if wrote.get(register) == Some(value));
        *place == own || (same && !write.past.contains(place))
    };
    let overwrites = |later: &Write| match &later.deed {
        Deed::Deleted => true,
        Deed::Wrote(registers) => registers.contains_key(register),
    };
    let of_row = outcome.journal.iter().filter(|(_, later)| later.row == write.row);
    let stood = |place: usize| outcome.stands(place) || outcome.unoffered.contains(&place);
    let later = of_row.filter(|(place, later)| stood(*place) && overwrites(later));
    later.into_iter().any(|(_, later)| later.past.iter().any(says_so))
}

/// Whether a conflict lists the write of the register as the loser, or what it said: of two writes that say the same
/// one is listed.
fn is_listed(outcome: &Outcome, write: &Write, register: &str, value: &Text) -> bool {
    conflicts(outcome, write.row).any(|conflict| {
        let dot = conflict.loser.dot;
        let named = (dot.replica.0, dot.seq) == write.name;
        let said = register_text(conflict.loser.value.as_ref()) == *value;
        conflict.register.as_deref() == Some(register) && (named || said)
    })
}

/// Whether the write is in a row that an edge offered because the centre had lost it.
fn is_offered(outcome: &Outcome, write: &Write, register: &str, value: &Text) -> bool {
    let of_row = outcome.offered.iter().filter(|offer| offer.row == write.row);
    of_row.filter_map(|offer| offer.values.as_ref()).any(|values| values.get(register).cloned().flatten() == *value)
}

/// Whether the row is dead, or a later writer knew the delete or one that was not made before it, or a conflict says
/// that it lost: deletes that did not know each other say the same, and one stands for all.
fn delete_has_a_fate(outcome: &Outcome, write: &Write) -> bool {
    let says_so = |place: &usize| {
        let known = outcome.journal.write(*place);
        known.deed == Deed::Deleted && !write.past.contains(place)
    };
    let of_row = outcome.journal.iter().filter(|(place, later)| later.row == write.row && outcome.stands(*place));
    let known = of_row.into_iter().any(|(_, later)| later.past.iter().any(says_so));
    let dead = !outcome.rows.contains_key(&write.row);
    let offered = outcome.offered.iter().any(|offer| offer.row == write.row && offer.values.is_none());
    // Whoever never heard of a death that was forgotten may bring the row again; nobody knows then what he met.
    let forgotten = outcome.forgotten.contains(&write.row);
    dead || known
        || offered
        || forgotten
        || conflicts(outcome, write.row).any(|conflict| conflict.kind == Kind::EditDelete)
}

fn conflicts(outcome: &Outcome, row: Key) -> impl Iterator<Item = &Conflict> {
    let of_row = move |conflict: &&Conflict| {
        catalog::by_id(conflict.table).is_some_and(|table| table.name == row.0) && conflict.row.0 == row.1
    };
    outcome.replicas[0].conflicts.iter().filter(of_row)
}

/// Every visible value was written, and not before one that knew it.
fn no_phantoms(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    for (row, registers) in &outcome.rows {
        let judged = registers.iter().filter(|(register, _)| register.as_str() != "updated_at");
        for (register, value) in judged {
            let writers = outcome.journal.iter().filter(|(_, write)| {
                write.row == *row && matches!(&write.deed, Deed::Wrote(wrote) if wrote.get(register) == Some(value))
            });
            let writers: Vec<usize> = writers.map(|(place, _)| place).collect();
            if writers.is_empty() && value.is_some() {
                wrong.push(format!("nobody wrote {row:?} {register} = {value:?}"));
            }
            let overwritten = |place: &usize| {
                outcome.journal.iter().any(|(at, later)| {
                    let Deed::Wrote(wrote) = &later.deed else { return false };
                    let Some(value) = wrote.get(register) else { return false };
                    let counts = outcome.known.contains(&at)
                        && !went_with_an_offer(outcome, at, register)
                        && !(outcome.renamed && lost_out(outcome, (at, later), register, value));
                    later.row == *row && later.past.contains(place) && counts
                })
            };
            if !writers.is_empty() && writers.iter().all(overwritten) {
                wrong.push(format!("{row:?} {register} = {value:?} beats a write that knew it"));
            }
        }
    }
    wrong
}

/// Whether the write lost to one that then was lost itself, or to an earlier one that was sent once more under another name:
/// it is listed, or one that has taken its place is. So it is if what it said is offered, and waits for a decision, and so it
/// was if the record that listed it was lost as well.
fn lost_out(outcome: &Outcome, (place, write): (usize, &Write), register: &str, value: &Text) -> bool {
    let of_row = outcome.journal.iter().filter(|(_, later)| later.row == write.row && later.past.contains(&place));
    let is_listed_since = |(_, later): (usize, &Write)| match &later.deed {
        Deed::Deleted => false,
        Deed::Wrote(wrote) => wrote.get(register).is_some_and(|value| is_listed(outcome, later, register, value)),
    };
    let waits = is_offered(outcome, write, register, value);
    waits
        || outcome.unlisted.contains(&(place, Some(register.to_owned())))
        || is_listed(outcome, write, register, value)
        || of_row.into_iter().any(is_listed_since)
}

/// Whether nobody held the write any more when the centre went back, because one that knew it had taken its place, and that
/// one was offered, or lost as well.
fn went_with_an_offer(outcome: &Outcome, place: usize, register: &str) -> bool {
    let row = outcome.journal.write(place).row;
    let is_offered = outcome.offered.iter().any(|offer| offer.row == row);
    let of_row = outcome.journal.iter().filter(|(_, later)| later.row == row && later.past.contains(&place));
    of_row.into_iter().any(|(at, later)| match &later.deed {
        _ if outcome.known.contains(&at) => false,
        _ if outcome.lost.contains(&at) => true,
        Deed::Deleted => is_offered,
        Deed::Wrote(wrote) => is_offered && wrote.contains_key(register),
    })
}

/// No losing write is listed twice, and no visible value that nobody else wrote too is listed as lost.
fn listed_once(outcome: &Outcome) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for conflict in &outcome.replicas[0].conflicts {
        let dot = conflict.loser.dot;
        let name = (conflict.table, conflict.row, conflict.register.clone(), dot.replica, dot.seq);
        if !seen.insert(name) {
            wrong.push(format!("listed twice: {conflict:?}"));
        }
    }
    wrong
}
