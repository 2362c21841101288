//! Judges of a finished run. They share no code with what they judge: they read rows as text, versions as text, and
//! the journal, which knows what each writer had seen.

use std::collections::{BTreeMap, BTreeSet};

use sync::catalog;
use sync::merge::conflict::{Conflict, Kind};

use crate::journal::{Deed, Journal, Key, Text, Write};
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
}

/// One replica in the end.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Whose.
    pub name: String,
    /// Its dump.
    pub dump: String,
    /// Its versions of rows that both sides write, as text.
    pub versions: BTreeMap<Key, String>,
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
                known => wrong.push(format!("{} has {row:?} as {version}, the centre as {known:?}", site.name)),
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

fn difference(centre: &str, site: &str) -> String {
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

/// Every write is visible, or superseded by one that knew it, or listed.
fn fates(outcome: &Outcome) -> Vec<String> {
    let mut wrong = Vec::new();
    for (place, write) in outcome.journal.iter() {
        match &write.deed {
            Deed::Deleted => {
                if !delete_has_a_fate(outcome, place, write) {
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
                        || superseded(outcome, write, register, value)
                        || is_listed(outcome, write, register, value);
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

/// Whether a later writer of the register, or a later deleter of the row, knew the write, or another one of the same
/// value: two writes that say the same are no conflict, and whoever knew one of them knew what it said.
fn superseded(outcome: &Outcome, write: &Write, register: &str, value: &Text) -> bool {
    let says_so = |place: &usize| {
        let known = outcome.journal.write(*place);
        known.name == write.name || matches!(&known.deed, Deed::Wrote(wrote) if wrote.get(register) == Some(value))
    };
    let overwrites = |later: &Write| match &later.deed {
        Deed::Deleted => true,
        Deed::Wrote(registers) => registers.contains_key(register),
    };
    let later = outcome.journal.iter().filter(|(_, later)| later.row == write.row && overwrites(later));
    later.into_iter().any(|(_, later)| later.past.iter().any(says_so))
}

/// Whether a conflict lists the write of the register as the loser, or what it said: of two writes that say the same
/// one is listed.
fn is_listed(outcome: &Outcome, write: &Write, register: &str, value: &Text) -> bool {
    conflicts(outcome, write.row).any(|conflict| {
        let dot = conflict.loser.dot;
        let named = (dot.replica.0, dot.seq) == write.name;
        let said = conflict.kind == Kind::EditEdit && register_text(conflict.loser.value.as_ref()) == *value;
        conflict.register.as_deref() == Some(register) && (named || said)
    })
}

/// Whether the row is dead, or lives by a writer who knew the delete, or a conflict says that it lost.
fn delete_has_a_fate(outcome: &Outcome, place: usize, write: &Write) -> bool {
    let dead = !outcome.rows.contains_key(&write.row);
    let known = outcome.journal.iter().any(|(_, later)| later.row == write.row && later.past.contains(&place));
    // Deletes that did not know each other are one: the highest of them stands for all.
    dead || known || conflicts(outcome, write.row).any(|conflict| conflict.kind == Kind::EditDelete)
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
                outcome.journal.iter().any(|(_, later)| {
                    let wrote = matches!(&later.deed, Deed::Wrote(wrote) if wrote.contains_key(register));
                    later.row == *row && wrote && later.past.contains(place)
                })
            };
            if !writers.is_empty() && writers.iter().all(overwritten) {
                wrong.push(format!("{row:?} {register} = {value:?} beats a write that knew it"));
            }
        }
    }
    wrong
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
