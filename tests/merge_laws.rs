//! The laws of `sync::merge::resolve::merge`, on all small histories.
//!
//! Three replicas act on one row and pass their states on; then their three states are joined in every order and both
//! associations. Every join must be the same row, live exactly by rule ("some write was seen by no deleter"), hold in
//! each register the highest write, and leave every write a fate: visible, superseded by an edit that had seen it,
//! deleted by a delete that had seen it and took effect, listed as a conflict, or equal to one of those.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use sync::merge::conflict::Conflict;
use sync::merge::ids::{RowId, TableId};
use sync::merge::resolve::{Merged, merge};
use sync::merge::value::{Value, Values};
use sync::merge::version::Row;
use tests::every_case::EveryCase;
use tests::history::{Actor, Fate, History};
use uuid::Uuid;

const TABLE: TableId = TableId(8);
const ROW: RowId = RowId(Uuid::from_u128(1));
const REGISTERS: [&str; 2] = ["title", "priority"];

/// What a replica may do in its turn, if its copy of the row allows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Rest,
    Insert,
    Title,
    /// Writes the title that everybody else who does this writes.
    SameTitle,
    Priority,
    Delete,
    Revive,
}

/// How the clocks of replicas 1, 2 and 3 run.
#[derive(Clone, Copy, Debug)]
enum Clocks {
    /// They stand still together, so stamps count causes and ids break ties.
    Stopped,
    /// They go right: a later act has a later stamp.
    Right,
    /// The first is far ahead of the second, and that of the third.
    Apart,
}

/// A family of histories.
struct Family {
    name: &'static str,
    /// How many turns each replica has, one act in each.
    turns: usize,
    /// What may be done while the row lives. Inserting and reviving are always possible.
    living: &'static [Op],
    /// How many states may be passed on, each to a replica before it acts.
    deliveries_max: usize,
    clocks: &'static [Clocks],
}

/// What is run always.
const FAMILIES: &[Family] = &[
    Family {
        name: "three acts each, nobody hears of anybody before the end",
        turns: 3,
        living: &[Op::Rest, Op::Title, Op::Priority, Op::Delete],
        deliveries_max: 0,
        clocks: &[Clocks::Apart],
    },
    Family {
        name: "two acts each, two states passed on",
        turns: 2,
        living: &[Op::Rest, Op::Title, Op::Priority, Op::Delete],
        deliveries_max: 2,
        clocks: &[Clocks::Stopped],
    },
    Family {
        name: "three acts each, one state passed on",
        turns: 3,
        living: &[Op::Rest, Op::Title, Op::Delete],
        deliveries_max: 1,
        clocks: &[Clocks::Stopped],
    },
    Family {
        name: "two acts each, some of equal value, one state passed on",
        turns: 2,
        living: &[Op::Rest, Op::Title, Op::SameTitle, Op::Delete],
        deliveries_max: 1,
        clocks: &[Clocks::Right],
    },
];

const EVERY_CLOCK: &[Clocks] = &[Clocks::Stopped, Clocks::Right, Clocks::Apart];

/// What is run in addition when `MERGE_LAWS=all` is set; minutes, so not on every change.
const MORE_FAMILIES: &[Family] = &[
    Family { clocks: EVERY_CLOCK, ..FAMILIES[0] },
    Family { clocks: EVERY_CLOCK, deliveries_max: 3, ..FAMILIES[1] },
    Family { clocks: EVERY_CLOCK, deliveries_max: 2, ..FAMILIES[2] },
    Family { clocks: EVERY_CLOCK, deliveries_max: 2, ..FAMILIES[3] },
];

/// What a family came to.
#[derive(Default)]
struct Tally {
    behaviours: HashSet<u64>,
    fates: BTreeMap<String, u64>,
}

#[test]
fn every_small_history_ends_in_one_row_and_loses_no_write() {
    let more = std::env::var("MERGE_LAWS").is_ok_and(|families| families == "all");
    let families = FAMILIES.iter().chain(MORE_FAMILIES.iter().filter(|_| more));
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let running: Vec<_> = families.map(|family| scope.spawn(|| check(family))).collect();
        running.into_iter().map(|family| family.join().expect("a family breaks a law, see above")).collect()
    });
    let behaviours: HashSet<u64> = tallies.iter().flat_map(|tally| &tally.behaviours).copied().collect();
    println!("{} distinct behaviours in all", behaviours.len());
    assert!(behaviours.len() >= 100_000, "only {} distinct behaviours", behaviours.len());
    for fate in ["Visible", "Superseded", "Deleted", "Listed", "Equal"] {
        assert!(tallies.iter().any(|tally| tally.fates.contains_key(fate)), "no write was ever {fate}");
    }
}

/// Goes through a family and holds every law against each distinct behaviour of it.
fn check(family: &Family) -> Tally {
    let mut tally = Tally::default();
    let mut cases = EveryCase::new();
    while cases.advance() {
        let case = play(family, &mut cases);
        if tally.behaviours.insert(case.fingerprint()) {
            let fates = case.check().unwrap_or_else(|broken| {
                panic!("{}, case {}: {broken}\n{}", family.name, cases.number(), case.story());
            });
            for fate in fates {
                *tally.fates.entry(format!("{fate:?}")).or_default() += 1;
            }
        }
    }
    println!(
        "{}: {} cases, {} distinct behaviours, fates {:?}",
        family.name,
        cases.number(),
        tally.behaviours.len(),
        tally.fates
    );
    tally
}

/// One history with the three states that it ends in.
struct Case {
    history: History,
    actors: [Actor; 3],
    /// Conflicts of the merges made on the way.
    earlier: Vec<Conflict>,
    clocks: Clocks,
    acts: Vec<Step>,
}

/// A step of the story, with replicas by their place.
#[derive(Debug)]
enum Step {
    Act { _replica: usize, _op: Op },
    Hears { _replica: usize, _of: usize },
}

fn play(family: &Family, cases: &mut EveryCase) -> Case {
    let clocks = *cases.one_of(family.clocks);
    let mut case = Case {
        history: History::default(),
        actors: [1, 2, 3].map(Actor::new),
        earlier: Vec::new(),
        clocks,
        acts: Vec::new(),
    };
    if cases.flip() {
        case.act(0, Op::Insert);
        case.deliver(0, 1);
        case.deliver(0, 2);
    }
    let mut deliveries_left = family.deliveries_max;
    let mut resting = [false; 3];
    for _turn in 0..family.turns {
        for (replica, resting) in resting.iter_mut().enumerate() {
            if deliveries_left > 0 {
                let others = [(replica + 1) % 3, (replica + 2) % 3];
                let news: Vec<usize> = others.into_iter().filter(|&other| case.knows_more(other, replica)).collect();
                let choice = cases.below(news.len() + 1);
                if choice > 0 {
                    case.deliver(news[choice - 1], replica);
                    deliveries_left -= 1;
                }
            }
            let row = &case.actors[replica].row.version;
            let options: &[Op] = match () {
                () if *resting => &[Op::Rest],
                () if row.is_alive() => family.living,
                () if row.vv.is_empty() => &[Op::Rest, Op::Insert],
                () => &[Op::Rest, Op::Revive],
            };
            let op = *cases.one_of(options);
            case.act(replica, op);
            // When nothing more will be heard, resting now or later is the same.
            *resting = deliveries_left == 0 && op == Op::Rest;
        }
    }
    case
}

impl Case {
    fn act(&mut self, replica: usize, op: Op) {
        let place = self.history.writes().len();
        let now_ms = match self.clocks {
            Clocks::Stopped => 1_000,
            Clocks::Right => 1_000 + place as u64,
            Clocks::Apart => 1_000_000 - 100_000 * replica as u64 + place as u64,
        };
        let unique = Value::text(format!("{place}"));
        let actor = &mut self.actors[replica];
        match op {
            Op::Rest => return,
            Op::Insert => {
                let values = REGISTERS.map(|register| (register.to_owned(), unique.clone()));
                self.history.insert(actor, now_ms, Values::from(values));
            }
            Op::Revive => {
                let mut values = actor.row.values.clone();
                values.insert("title".to_owned(), unique);
                self.history.insert(actor, now_ms, values);
            }
            Op::Title => self.history.update(actor, now_ms, &[("title", Some(unique))]),
            Op::SameTitle => self.history.update(actor, now_ms, &[("title", Some(Value::text("same")))]),
            Op::Priority => self.history.update(actor, now_ms, &[("priority", Some(unique))]),
            Op::Delete => self.history.delete(actor, now_ms),
        }
        self.acts.push(Step::Act { _replica: replica, _op: op });
    }

    fn knows_more(&self, replica: usize, than: usize) -> bool {
        self.actors[replica].seen & !self.actors[than].seen != 0
    }

    fn deliver(&mut self, from: usize, to: usize) {
        let merged = join(&self.actors[to].row, &self.actors[from].row);
        self.earlier.extend(merged.conflicts);
        self.actors[to].row = merged.row;
        self.actors[to].seen |= self.actors[from].seen;
        self.acts.push(Step::Hears { _replica: to, _of: from });
    }

    /// What was done by whom knowing what, and in which order stamps rank it; what the clocks said does not count.
    fn fingerprint(&self) -> u64 {
        let writes = self.history.writes();
        let known = |seen: u128| {
            [1, 2, 3].map(|id| {
                let of = |index: &usize| seen >> index & 1 == 1 && writes[*index].dot.replica.0 == id;
                (0..writes.len()).filter(of).count()
            })
        };
        let mut ranked: Vec<_> = writes.iter().collect();
        ranked.sort_by_key(|write| write.dot);
        let mut hasher = DefaultHasher::new();
        for write in ranked {
            (write.dot.replica, write.dot.seq, &write.act, known(write.past)).hash(&mut hasher);
            (write.values.get("title") == Some(&Value::text("same"))).hash(&mut hasher);
        }
        self.actors.each_ref().map(|actor| known(actor.seen)).hash(&mut hasher);
        hasher.finish()
    }

    fn story(&self) -> String {
        let writes: Vec<String> = self.history.writes().iter().map(|write| format!("  {write:?}")).collect();
        format!("clocks {:?}, {:?}\n{}", self.clocks, self.acts, writes.join("\n"))
    }

    fn check(&self) -> Result<Vec<Fate>, String> {
        let [a, b, c] = self.actors.each_ref().map(|actor| &actor.row);
        for actor in &self.actors {
            self.check_state(&actor.row, actor.seen)?;
        }
        let (ab, bc, ca) = (both_ways(a, b)?, both_ways(b, c)?, both_ways(c, a)?);
        let seen = self.actors.iter().fold(0, |seen, actor| seen | actor.seen);
        let mut fates = Vec::new();
        let mut joined: Option<Row> = None;
        for (pair, last) in [(ab, c), (bc, a), (ca, b)] {
            // Pairs are merged both ways above, and what a pair makes is itself one of a pair in a case with more
            // deliveries, so one way is enough here.
            let whole = join(&pair.row, last);
            if joined.get_or_insert_with(|| whole.row.clone()) != &whole.row {
                return Err(format!("not associative: {joined:?} or {:?}", whole.row));
            }
            let conflicts: Vec<Conflict> =
                self.earlier.iter().chain(&pair.conflicts).chain(&whole.conflicts).cloned().collect();
            fates.extend(self.history.fates(seen, &whole.row, &conflicts, &REGISTERS)?);
            self.check_state(&whole.row, seen)?;
        }
        // A single state is the join of a case in which the others rest, so it needs no check of its own.
        let joined = joined.unwrap_or_default();
        for part in [&joined, a, &Row::default()] {
            no_news(&joined, part)?;
        }
        Ok(fates)
    }

    /// Holds one state against what its replica has seen.
    fn check_state(&self, row: &Row, seen: u128) -> Result<(), String> {
        if !self.history.agrees(&row.version.vv, seen) {
            return Err(format!("the vector does not say what was seen: {row:?}"));
        }
        if row.version.is_alive() != self.history.is_alive(seen) {
            return Err(format!("alive or dead against the rule: {row:?}"));
        }
        for register in REGISTERS {
            let expected = self.history.winner(seen, register);
            let dot = row.version.dots.of(register);
            let value = expected.and_then(|write| write.values.get(register));
            if dot != expected.map(|write| write.dot) || row.values.get(register) != value {
                return Err(format!("{register} is not the highest write: {row:?}"));
            }
        }
        Ok(())
    }
}

fn join(ours: &Row, theirs: &Row) -> Merged {
    merge(TABLE, ROW, ours, theirs, &[])
}

/// Merges in both orders, which must give the same row and the same conflicts.
fn both_ways(one: &Row, other: &Row) -> Result<Merged, String> {
    let (there, back) = (join(one, other), join(other, one));
    let same = there.row == back.row
        && there.conflicts.len() == back.conflicts.len()
        && there.conflicts.iter().all(|conflict| back.conflicts.contains(conflict));
    if same { Ok(there) } else { Err(format!("not commutative: {there:?} or {back:?}")) }
}

/// What a row includes must not change it when it is merged again, nor be listed.
fn no_news(row: &Row, part: &Row) -> Result<(), String> {
    let again = join(row, part);
    if again.row == *row && again.conflicts.is_empty() { Ok(()) } else { Err(format!("not idempotent: {again:?}")) }
}
