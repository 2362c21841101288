//! Bytes that nobody honest would send, given to everything that takes bytes from outside.
//!
//! `tests/fuzz/corpus` holds, by target, what is worth beginning with and what was once found. Each file is replayed as it is
//! and in random variations; `SEEDS` says how many.

use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tests::fuzz::{self, TARGETS};

/// Variations of each file.
const SEEDS: u64 = 200;
/// What a variation puts in place of a number, a text or a brace.
const WORDS: [&str; 20] = [
    "0",
    "-1",
    "1e400",
    "9223372036854775808",
    "18446744073709551616",
    "4294967296",
    "null",
    "\"\"",
    "[]",
    "{}",
    "{",
    "}",
    "[[[[[[[[",
    "\"\\ud800\"",
    "\"\\u0000\"",
    "true",
    "NaN",
    "\"x\":1,\"x\":2",
    "\u{7f}",
    "1.0",
];

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

/// The files of a target, in the order of their names.
fn files(target: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus(target)).unwrap_or_else(|error| panic!("the corpus of {target}: {error}"));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.display().to_string(), fs::read(&path).expect("a file can be read"))).collect()
}

/// Bytes with one to four changes: flipped, cut, doubled, or replaced by a word.
fn vary(bytes: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut varied = bytes.to_vec();
    for _ in 0..random.random_range(1..=4) {
        let at = random.random_range(0..=varied.len());
        let end = (at + random.random_range(0..24)).min(varied.len());
        match random.random_range(0..5) {
            0 => {
                if let Some(byte) = varied.get_mut(at) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
            1 => drop(varied.drain(at..end)),
            2 => {
                let part = varied[at..end].to_vec();
                varied.splice(at..at, part);
            }
            3 if random.random_range(0..8) == 0 => varied.truncate(at),
            _ => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                // A whole JSON value, when one begins here.
                let rest = &varied[at..];
                let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b'\n');
                let length = rest.iter().position(is_end).unwrap_or(0);
                varied.splice(at..at + length, word.bytes());
            }
        }
    }
    varied
}

fn check(target: &str) {
    let (_, run) = TARGETS.iter().find(|(name, _)| *name == target).expect("a target of that name");
    let seeds = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let files = files(target);
    assert!(!files.is_empty(), "there is nothing to begin with");
    for (path, bytes) in &files {
        println!("{path}");
        run(bytes);
        for seed in 0..seeds {
            let varied = vary(bytes, &mut SmallRng::seed_from_u64(seed));
            // What is printed last is what failed.
            println!("  seed {seed}");
            run(&varied);
        }
    }
}

macro_rules! targets {
    ($($test:ident: $target:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($target);
            }
        )*

        #[test]
        fn every_target_is_tried_here_and_by_the_fuzzer() {
            let tried = [$($target),*];
            for (target, _) in TARGETS {
                assert!(tried.contains(&target), "{target} is not tried here");
                let fuzzed = format!("fuzz_targets/{target}.rs");
                let fuzzed = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(fuzzed);
                assert!(fuzzed.exists(), "{} is missing", fuzzed.display());
            }
        }
    };
}

targets! {
    a_hostile_push_is_refused_or_holds_together: "push",
    a_hostile_page_is_refused_or_stored_whole: "pull",
    a_hostile_answer_undoes_nothing_that_was_written_after_the_batch: "answer",
    a_cursor_opens_only_as_it_was_given: "cursor",
    hostile_versions_are_refused_or_written_as_they_were_read: "version",
    hostile_values_have_one_form_or_none: "canonical",
    hostile_settings_are_refused_in_words: "configuration",
    a_damaged_backup_is_restored_whole_or_refused_in_words: "backup",
}

#[test]
fn the_corpora_reach_what_they_are_for() {
    for target in ["push", "pull", "answer"] {
        let whole = files(target).iter().filter(|(_, bytes)| fuzz::is_read(target, bytes)).count();
        assert!(whole > 1, "nothing of the corpus of {target} is read whole");
    }
}
