//! Runs thousands of small disasters and judges what came out.
//!
//! `SEED=n` runs one of them and prints its trace; `SEEDS=n` runs that many, `WAYSTATION_CAMPAIGN=1` twenty thousand, each
//! from seed 0 or from `FIRST=n` on. The same seed gives the same trace. A seed that fails is printed at once. Messages are lost, repeated and late; boxes restart, are restored from old copies of
//! their file and copied; the centre is restored and fails over; its transactions stay open and commit out of order; rows
//! are refused and given up, deaths forgotten. Then everything is mended and must come to rest. A run in which something of
//! `coverage` was never reached fails.
//!
//! What was lost is judged by what each replica had seen, which the simulation carries along by itself: a write may be gone
//! only if nobody held it any more when somebody had gone back in time.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use sync::hub::clock::unix_ms;
use sync::merge::conflict::{Conflict, Kind, Status};
use sync::merge::value::Value;
use tests::checkers::{self, Outcome, Replica};
use tests::coverage::Coverage;
use tests::journal::{Deed, Key, Registers, Text, Write};
use tests::schedule;
use tests::site::Blank;
use tests::world::World;
use uuid::Uuid;

/// How many seeds run unless `SEEDS` says otherwise.
const SEEDS: u64 = 240;
/// How many run in a campaign.
const CAMPAIGN_SEEDS: u64 = 20_000;
/// Every how manieth seed is run twice.
const TWICE: u64 = 24;
/// How many faults a seed has on average, at least.
const FAULTS_MIN: u64 = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What a conflict says that was lost, and what was decided. Which write it lost to, and the stamps of the two, it says as
/// well as the centre knew when it came.
fn lost(conflict: &Conflict) -> (Uuid, Kind, Option<Value>, Status) {
    (conflict.id(), conflict.kind, conflict.loser.value.clone(), conflict.status)
}

/// What is wrong with the run of a seed, and its trace.
fn judge(seed: u64, blank: &Blank) -> (Vec<String>, World) {
    let mut world = schedule::run(seed, blank);
    let outcome = world.outcome();
    let mut wrong = checkers::check(&outcome);
    if world.deliver_late() {
        wrong.push("a batch that was taken is taken once more".to_owned());
    }
    world.deliver_again();
    let again = world.outcome();
    for (before, after) in outcome.replicas.iter().zip(&again.replicas) {
        // A death that was forgotten is written down once more for whoever speaks of it again.
        let living = |replica: &Replica| -> Vec<(Key, String)> {
            let living = replica.versions.iter().filter(|(_, (_, alive))| *alive);
            living.map(|(row, (version, _))| (*row, version.clone())).collect()
        };
        let text = |replica: &Replica| {
            let versions = living(replica).into_iter().map(|(row, version)| format!("{row:?} {version}\n"));
            let conflicts = replica.conflicts.iter().map(|conflict| format!("{:?}\n", lost(conflict)));
            replica.dump.clone() + &versions.chain(conflicts).collect::<String>()
        };
        let [before_text, after_text] = [text(before), text(after)];
        if before_text != after_text {
            let lines = checkers::difference(&before_text, &after_text);
            wrong.push(format!("repeated delivery changes {}:\n{lines}", before.name));
        }
    }
    (wrong, world)
}

#[test]
fn every_schedule_ends_with_equal_replicas_and_a_fate_for_every_write() {
    if let Some(seed) = number("SEED") {
        let (wrong, world) = judge(seed, &Blank::new());
        println!("{}", world.trace.join("\n"));
        assert!(wrong.is_empty(), "seed {seed}:\n{}", wrong.join("\n"));
        return;
    }
    let campaign = std::env::var_os("WAYSTATION_CAMPAIGN").is_some_and(|value| value == "1");
    let seeds = number("SEEDS").unwrap_or(if campaign { CAMPAIGN_SEEDS } else { SEEDS });
    let first = number("FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let begun_ms = unix_ms();
    let (mut failures, mut coverage) = (Vec::new(), Coverage::default());
    std::thread::scope(|scope| {
        let work = || {
            let blank = Blank::new();
            let (mut failures, mut coverage) = (Vec::new(), Coverage::default());
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + seeds {
                    return (failures, coverage);
                }
                let judged = std::panic::catch_unwind(AssertUnwindSafe(|| judge(seed, &blank)));
                let wrong = match judged {
                    Ok((wrong, world)) => {
                        coverage.add(&world.coverage);
                        wrong
                    }
                    Err(_) => vec!["it panics".to_owned()],
                };
                if !wrong.is_empty() {
                    println!("SEED={seed}:\n{}", wrong.join("\n"));
                    failures.push(format!("SEED={seed}:\n{}", wrong.join("\n")));
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            let (failed, covered) = thread.join().expect("a judge does not panic");
            failures.extend(failed);
            coverage.add(&covered);
        }
    });
    let seconds = (unix_ms() - begun_ms) as f64 / 1000.0;
    let (faults, each) = (coverage.faults(), seeds as f64 / seconds / threads as f64);
    println!("{seeds} seeds from {first}, {faults} faults, {seconds:.1} s, {each:.1} seeds a second and core");
    print!("{coverage}");
    assert!(failures.is_empty(), "{} of {seeds} seeds fail:\n{}", failures.len(), failures.join("\n"));
    if seeds >= SEEDS {
        assert_eq!(coverage.missing(campaign), Vec::<&str>::new(), "no seed has come there");
        assert!(faults >= FAULTS_MIN * seeds, "{faults} faults in {seeds} seeds");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let blank = Blank::new();
    for seed in (0..SEEDS).step_by(usize::try_from(TWICE).expect("a small number")) {
        let (first, second) = (schedule::run(seed, &blank), schedule::run(seed, &Blank::new()));
        assert_eq!(first.trace, second.trace, "SEED={seed}");
    }
}

/// A sound outcome that has every kind of thing in it that a checker looks at.
fn rich(blank: &Blank) -> Outcome {
    let rich = (0..SEEDS).map(|seed| schedule::run(seed, blank).outcome()).find(|outcome| {
        let deleted = outcome.journal.iter().any(|(_, write)| write.deed == Deed::Deleted && dead(outcome, write));
        let conflicts = outcome.replicas[0].conflicts.iter();
        deleted && !outcome.rows.is_empty() && conflicts.filter(|one| one.kind == Kind::EditEdit).count() > 1
    });
    rich.expect("one of so many seeds has all of it")
}

fn dead(outcome: &Outcome, write: &Write) -> bool {
    !outcome.rows.contains_key(&write.row)
}

#[track_caller]
fn is_found(outcome: &Outcome, what: &str, corrupt: impl FnOnce(&mut Outcome)) {
    let mut corrupted = outcome.clone();
    corrupt(&mut corrupted);
    assert_ne!(checkers::check(&corrupted), Vec::<String>::new(), "nobody noticed: {what}");
}

#[test]
fn the_checkers_find_what_is_wrong_with_corrupted_outcomes() {
    let outcome = rich(&Blank::new());
    assert_eq!(checkers::check(&outcome), Vec::<String>::new());
    let (centre, last) = (0, outcome.replicas.len() - 1);
    is_found(&outcome, "a row missing from one dump", |outcome| {
        let dump = &mut outcome.replicas[last].dump;
        let end = dump.trim_end().rfind('\n').expect("several rows");
        dump.truncate(end + 1);
    });
    is_found(&outcome, "a byte changed in one dump", |outcome| {
        outcome.replicas[last].dump = outcome.replicas[last].dump.replacen("\"w", "\"v", 1);
    });
    is_found(&outcome, "one version behind", |outcome| {
        let (_, version) = outcome.replicas[last].versions.iter_mut().next().expect("a version");
        version.0.push('1');
    });
    is_found(&outcome, "a conflict missing at one site", |outcome| _ = outcome.replicas[last].conflicts.pop());
    is_found(&outcome, "a conflict decided at one site only", |outcome| {
        let conflict = &mut outcome.replicas[last].conflicts[0];
        conflict.status = if conflict.status == Status::Open { Status::Dismissed } else { Status::Open };
    });
    is_found(&outcome, "every conflict forgotten by everybody", |outcome| {
        outcome.replicas.iter_mut().for_each(|replica| replica.conflicts.clear());
    });
    is_found(&outcome, "a conflict listed twice by everybody", |outcome| {
        for replica in &mut outcome.replicas {
            replica.conflicts.sort_by_key(Conflict::id);
            replica.conflicts.push(replica.conflicts[0].clone());
        }
    });
    is_found(&outcome, "something that still waits", |outcome| outcome.replicas[last].waits = true);
    is_found(&outcome, "a number used up by nobody", |outcome| {
        let (_, seq) = outcome.replicas[last].seq.as_mut().expect("a site");
        *seq += 1;
    });
    is_found(&outcome, "a violation during the run", |outcome| outcome.violations.push("seen".to_owned()));
    is_found(&outcome, "a centre that holds nothing", |outcome| outcome.replicas[centre].dump.clear());
    is_found(&outcome, "a value that nobody wrote", |outcome| {
        let registers = outcome.rows.values_mut().next().expect("a row");
        registers.insert("timezone".to_owned(), Some("nowhere".to_owned()));
    });
    is_found(&outcome, "an overwritten value that is visible again", |outcome| {
        let (row, register, value) = overwritten(outcome);
        outcome.rows.get_mut(&row).expect("a living row").insert(register, value);
    });
    is_found(&outcome, "a delete undone by nobody", |outcome| {
        let deleted = outcome.journal.iter().find_map(|(place, write)| {
            let last = !outcome.journal.iter().any(|(_, later)| later.past.contains(&place));
            (write.deed == Deed::Deleted && dead(outcome, write) && last).then_some(write.row)
        });
        outcome.rows.insert(deleted.expect("a row that died for good"), Registers::new());
    });
    is_found(&outcome, "a living row lost by everybody", |outcome| {
        let row = *outcome.rows.keys().next().expect("a row");
        outcome.rows.remove(&row);
        for replica in &mut outcome.replicas {
            let lines = replica.dump.lines().filter(|line| !line.contains(&row.1.to_string()));
            replica.dump = lines.map(|line| format!("{line}\n")).collect();
        }
    });
}

/// A value of a living row that somebody who knew it has overwritten.
fn overwritten(outcome: &Outcome) -> (Key, String, Text) {
    let found = outcome.journal.iter().find_map(|(place, write)| {
        let Deed::Wrote(registers) = &write.deed else { return None };
        registers.iter().find_map(|(register, value)| {
            let visible = outcome.rows.get(&write.row)?.get(register)?;
            let later = outcome.journal.iter().any(|(_, later)| {
                let wrote = matches!(&later.deed, Deed::Wrote(wrote) if wrote.contains_key(register));
                later.row == write.row && wrote && later.past.contains(&place)
            });
            let named = value.as_deref().is_some_and(|value| value.starts_with('w'));
            (later && named && visible != value).then(|| (write.row, register.clone(), value.clone()))
        })
    });
    found.expect("something was overwritten")
}
