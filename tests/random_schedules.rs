//! Runs thousands of small disasters and judges what came out.
//!
//! `SEED=n` runs one of them and prints its trace; `SEEDS=n` runs that many. The same seed gives the same trace.

use std::sync::atomic::{AtomicU64, Ordering};

use tests::checkers;
use tests::schedule;
use tests::site::Blank;
use tests::world::World;

/// How many seeds run unless `SEEDS` says otherwise.
const SEEDS: u64 = 1_000;
/// Every how manieth seed is run twice.
const TWICE: u64 = 50;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// What is wrong with the run of a seed, and its trace.
fn judge(seed: u64, blank: &Blank) -> (Vec<String>, World) {
    let mut world = schedule::run(seed, blank);
    let outcome = world.outcome();
    let mut wrong = checkers::check(&outcome);
    world.deliver_again();
    let again = world.outcome();
    for (before, after) in outcome.replicas.iter().zip(&again.replicas) {
        if (&before.dump, &before.versions, &before.conflicts) != (&after.dump, &after.versions, &after.conflicts) {
            wrong.push(format!("repeated delivery changes {}", before.name));
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
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let blank = Blank::new();
            let mut failures = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds {
                    return failures;
                }
                let (wrong, _) = judge(seed, &blank);
                if !wrong.is_empty() {
                    failures.push(format!("SEED={seed}:\n{}", wrong.join("\n")));
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a judge does not panic")).collect()
    });
    assert!(failures.is_empty(), "{} of {seeds} seeds fail; the first:\n{}", failures.len(), failures[0]);
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let blank = Blank::new();
    for seed in (0..SEEDS).step_by(usize::try_from(TWICE).expect("a small number")) {
        let (first, second) = (schedule::run(seed, &blank), schedule::run(seed, &Blank::new()));
        assert_eq!(first.trace, second.trace, "SEED={seed}");
    }
}
