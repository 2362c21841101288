//! What became of every write, judged from what clients saw.
//!
//! Each write puts a value that no other write uses into one register and remembers the value that it replaced. So the
//! history of a register is known from outside: a write is visible, or replaced by one that read it, or it met a write
//! that did not know it; then exactly the loser has to be listed. Nothing else may happen to a write that was
//! acknowledged. A write whose answer was lost may or may not have happened. A delete is a write whose value is seen as
//! nothing: after one that was acknowledged, nothing that its writer had read stands there again.

use std::collections::{BTreeMap, BTreeSet};

/// What its writer was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Done.
    Acknowledged,
    /// Nothing: the answer was lost.
    Nothing,
}

/// A write as its writer remembers it.
#[derive(Clone, Debug)]
pub struct Write {
    /// The value, unique.
    pub value: String,
    /// Where it was put.
    pub register: String,
    /// What stood there in the same transaction; none if there was no row.
    pub replaced: Option<String>,
    /// What its writer was told.
    pub told: Told,
    /// Whether it took the row away; then the value only names it.
    pub deletes: bool,
}

/// What is found in the end, when everything is in sync.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The value of every register.
    pub visible: BTreeMap<String, String>,
    /// Values that are listed as having lost or as refused.
    pub listed: BTreeSet<String>,
}

/// Every write without a fate, and every value without a write.
pub fn judge(history: &[Write], found: &Found) -> Vec<String> {
    let mut problems = Vec::new();
    let mut writes: BTreeMap<&str, &Write> = BTreeMap::new();
    for write in history {
        if writes.insert(&write.value, write).is_some() {
            problems.push(format!("two writes of {}: the history is no evidence", write.value));
        }
    }
    let known_by: BTreeSet<&str> = history.iter().filter_map(|write| write.replaced.as_deref()).collect();
    let is_visible = |write: &Write| match found.visible.get(&write.register) {
        Some(value) => !write.deletes && *value == write.value,
        None => write.deletes,
    };
    let happened = |write: &Write| {
        write.told == Told::Acknowledged
            || is_visible(write)
            || found.listed.contains(&write.value)
            || known_by.contains(write.value.as_str())
    };
    let superseded: BTreeSet<&str> =
        history.iter().filter(|write| happened(write)).filter_map(|write| write.replaced.as_deref()).collect();
    for write in history.iter().filter(|write| happened(write)) {
        let value = write.value.as_str();
        if !is_visible(write) && !found.listed.contains(value) && !superseded.contains(value) {
            problems.push(format!(
                "lost: {value} in {}, where now {:?} stands",
                write.register,
                found.visible.get(&write.register)
            ));
        }
        if is_visible(write) && superseded.contains(value) {
            problems.push(format!(
                "went back: {value} in {} is visible, though a write that read it was done",
                write.register
            ));
        }
    }
    for (register, value) in &found.visible {
        if writes.get(value.as_str()).is_none_or(|write| write.register != *register) {
            problems.push(format!("from nowhere: {value} in {register}"));
        }
    }
    for value in found.listed.iter().filter(|value| !writes.contains_key(value.as_str())) {
        problems.push(format!("from nowhere: {value} is listed"));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    /// Two replicas write one register each way, and meet now and then: the younger value wins, the other is listed.
    fn lived(seed: u64) -> (Vec<Write>, Found) {
        let mut random = SmallRng::seed_from_u64(seed);
        let (mut history, mut found) = (Vec::new(), Found::default());
        for register in ["tasks/1/title", "tasks/2/title"] {
            let mut sides: [Option<String>; 2] = [None, None];
            let mut wrote = [false, false];
            for number in 0..random.random_range(4..20) {
                let side = random.random_range(0..2_usize);
                let value = format!("{register}#{number}");
                let told = if random.random_bool(0.2) { Told::Nothing } else { Told::Acknowledged };
                // A write without an answer that did not happen either changes nothing.
                let happens = told == Told::Acknowledged || random.random_bool(0.5);
                let replaced = sides[side].clone();
                // Only who is alone deletes, and nothing is written after that.
                let deletes = number > 12 && sides[0] == sides[1] && replaced.is_some();
                history.push(Write { value: value.clone(), register: register.to_owned(), replaced, told, deletes });
                if deletes && happens {
                    sides = [None, None];
                    break;
                }
                if deletes {
                    history.pop();
                    continue;
                }
                if happens {
                    sides[side] = Some(value);
                    wrote[side] = true;
                } else {
                    history.pop();
                }
                if random.random_bool(0.4) {
                    meet(&mut sides, &mut wrote, &mut found);
                }
            }
            meet(&mut sides, &mut wrote, &mut found);
            found.visible.extend(sides[0].clone().map(|value| (register.to_owned(), value)));
        }
        (history, found)
    }

    fn meet(sides: &mut [Option<String>; 2], wrote: &mut [bool; 2], found: &mut Found) {
        let winner = if wrote[0] { 0 } else { 1 };
        if wrote[0] && wrote[1] {
            found.listed.extend(sides[1].clone());
        }
        if wrote[0] || wrote[1] {
            let value = sides[winner].clone();
            *sides = [value.clone(), value];
        }
        *wrote = [false, false];
    }

    #[test]
    fn a_thousand_sound_histories_pass() {
        for seed in 0..1_000 {
            let (history, found) = lived(seed);
            assert_eq!(judge(&history, &found), Vec::<String>::new(), "seed {seed}");
        }
    }

    #[test]
    fn every_doctored_history_is_found_out() {
        let mut doctored = 0;
        for seed in 0..100 {
            let (history, found) = lived(seed);
            let caught = |history: &[Write], found: &Found, what: &str| {
                assert!(!judge(history, found).is_empty(), "seed {seed}: {what}");
            };
            let acknowledged =
                |value: &str| history.iter().any(|write| write.value == value && write.told == Told::Acknowledged);
            for (register, value) in found.visible.iter().filter(|(_, value)| acknowledged(value)) {
                let mut without = found.clone();
                without.visible.remove(register);
                caught(&history, &without, "a value vanished");
                let mut older = found.clone();
                let write = history.iter().find(|write| write.value == *value).unwrap();
                if let Some(replaced) = &write.replaced {
                    older.visible.insert(register.clone(), replaced.clone());
                    older.listed.insert(value.clone());
                    caught(&history, &older, "a known value came back");
                    doctored += 1;
                }
                let mut other = found.clone();
                other.visible.insert(register.clone(), "never written".to_owned());
                other.listed.insert(value.clone());
                caught(&history, &other, "a value from nowhere");
                doctored += 2;
            }
            for delete in history.iter().filter(|write| write.deletes && write.told == Told::Acknowledged) {
                let mut back = found.clone();
                let replaced = delete.replaced.clone().unwrap();
                back.visible.insert(delete.register.clone(), replaced);
                caught(&history, &back, "a deleted row came back");
                doctored += 1;
            }
            for value in found.listed.iter().filter(|value| acknowledged(value)) {
                let mut unlisted = found.clone();
                unlisted.listed.remove(value);
                caught(&history, &unlisted, "a loser is not listed");
                doctored += 1;
            }
            let mut twice = history.clone();
            twice.push(history[0].clone());
            caught(&twice, &found, "a value was used twice");
            let mut foreign = found.clone();
            foreign.listed.insert("never written".to_owned());
            caught(&history, &foreign, "a loser from nowhere");
            doctored += 2;
        }
        assert!(doctored >= 500, "{doctored}");
    }
}
