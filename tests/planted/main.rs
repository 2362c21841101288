//! Bugs planted on purpose, each of which a ring of the tests has to find.
//!
//! A bug is a passage of the sources and what is put in its place. It is planted in a copy of the workspace, never in the
//! programs themselves, so nothing that ships has a switch for it. The ordinary run makes sure that every passage is still
//! there; with `WAYSTATION_CAMPAIGN` in the environment each bug is planted, built, and looked for. `PLANTED=name` looks for one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bugs::{BUGS, Bug, Ring};
use tests::campaign::campaign;
use tests::wait::Stopwatch;

mod bugs;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are in the workspace").to_owned()
}

#[test]
fn every_planted_bug_has_its_place_in_the_sources_and_a_name_of_its_own() {
    let mut names: Vec<&str> = BUGS.iter().map(|bug| bug.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), BUGS.len(), "two bugs have one name");
    assert!(BUGS.len() >= 30, "only {} bugs", BUGS.len());
    for bug in BUGS {
        let source = fs::read_to_string(workspace().join(bug.file)).expect("a source can be read");
        assert_eq!(
            source.matches(bug.good).count(),
            1,
            "{}: {} has the passage once:\n{}",
            bug.name,
            bug.file,
            bug.good
        );
        assert_ne!(bug.good, bug.bad, "{}", bug.name);
    }
}

/// A copy of what is checked in, beside the build's output, with a build directory of its own.
struct Copied {
    sources: PathBuf,
    output: PathBuf,
}

impl Copied {
    fn new() -> Self {
        let directory = workspace().join("target/planted");
        let copied = Self { sources: directory.join("workspace"), output: directory.join("target") };
        drop(fs::remove_dir_all(&copied.sources));
        fs::create_dir_all(&copied.sources).expect("the build's output can be written");
        let listed =
            Command::new("git").arg("-C").arg(workspace()).args(["ls-files"]).output().expect("git is installed");
        for name in String::from_utf8(listed.stdout).expect("names are text").lines() {
            let to = copied.sources.join(name);
            fs::create_dir_all(to.parent().expect("a file is in a directory")).expect("a directory can be made");
            fs::copy(workspace().join(name), to).expect("a file can be copied");
        }
        copied
    }

    fn cargo(&self, ring: Ring, build_only: bool) -> (bool, String) {
        let (binary, filter) = ring;
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--locked", "-q", "-p", "tests", "--test", binary]).current_dir(&self.sources);
        cargo.env("CARGO_TARGET_DIR", &self.output).env_remove("WAYSTATION_CAMPAIGN").env("RUST_BACKTRACE", "0");
        match build_only {
            true => cargo.arg("--no-run"),
            false => cargo.args(["--", filter]),
        };
        let output = cargo.output().expect("cargo is installed");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said)
    }

    /// Whether the ring finds the bug.
    fn is_found(&self, bug: &Bug) -> bool {
        let file = self.sources.join(bug.file);
        let source = fs::read_to_string(&file).expect("a source can be read");
        fs::write(&file, source.replace(bug.good, bug.bad)).expect("a source can be written");
        let (builds, said) = self.cargo(bug.ring, true);
        assert!(builds, "{} does not build:\n{said}", bug.name);
        let (passes, _) = self.cargo(bug.ring, false);
        fs::write(&file, source).expect("a source can be written");
        !passes
    }
}

#[test]
fn every_planted_bug_is_found_by_its_ring() {
    if !campaign() {
        println!("NOT RUN: each bug is a build of its own; ./tests/run --campaign");
        return;
    }
    let wanted = std::env::var("PLANTED").ok();
    let chosen = || BUGS.iter().filter(|bug| wanted.as_deref().is_none_or(|name| bug.name == name));
    let copied = Copied::new();
    let mut rings: Vec<Ring> = chosen().map(|bug| bug.ring).collect();
    rings.sort_unstable();
    rings.dedup();
    for ring in rings {
        let (passes, said) = copied.cargo(ring, false);
        assert!(passes, "{ring:?} fails without a bug:\n{said}");
    }
    let mut missed = Vec::new();
    for bug in chosen() {
        let watch = Stopwatch::start();
        let is_found = copied.is_found(bug);
        println!("{:5} {:6.0} s  {:?}  {}", is_found, watch.ms() / 1000.0, bug.ring, bug.name);
        if !is_found {
            missed.push(bug.name);
        }
    }
    assert!(missed.is_empty(), "nobody found {missed:?}");
}
