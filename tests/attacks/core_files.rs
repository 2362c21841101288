//! Whoever crashes a program, or runs as its user, gets nothing of its memory.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Signal, getuid};
use tests::processes::{Program, free_port};
use tests::programs::Running;
use tests::scratch::Scratch;
use tests::wait;

/// The user that owns nothing, `nobody`.
const NOBODY: u32 = 65_534;

/// Allows core files as far as it may, then becomes the program.
const WITH_CORE_FILES: &str = r#"ulimit -c unlimited 2>/dev/null || ulimit -c "$(ulimit -H -c)"; exec "$@""#;

/// A directory that everybody may write, with a copy of a program that everybody may run.
fn open_to_all(program: Program) -> (Scratch, PathBuf) {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let copy = scratch.path().join("program");
    // By another process: a file that is open for writing cannot be run, and a child of another test may inherit our handle.
    let copied = Command::new("cp").arg(program.path()).arg(&copy).status().unwrap();
    assert!(copied.success());
    (scratch, copy)
}

/// Starts a program that serves, allowed core files; as an ordinary user if this is root.
fn start(program: &Path, which: Program, scratch: &Scratch) -> Running {
    let mut command = Command::new("sh");
    command.args(["-c", WITH_CORE_FILES, "sh"]).arg(program).args(["serve", "--listen"]);
    command.arg(format!("127.0.0.1:{}", free_port())).current_dir(scratch.path()).env_clear();
    command.env("EDGE_DATA", scratch.path().join("data")).env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none");
    if getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let running = Running::start(&mut command, scratch);
    let serves = match which {
        Program::Hub => "hub serves",
        Program::Edge => "listening on",
    };
    wait::until_true("the program serves", || running.errors().contains(serves));
    running
}

#[test]
fn a_program_that_crashes_leaves_no_core_file_and_its_user_cannot_look_into_it() {
    for which in [Program::Edge, Program::Hub] {
        let (scratch, program) = open_to_all(which);
        let mut running = start(&program, which, &scratch);
        let process = PathBuf::from(format!("/proc/{}", running.pid()));
        // What may not be dumped belongs to root, proc(5); then the user of the program may not trace it either.
        assert_eq!(fs::metadata(process.join("environ")).unwrap().uid(), 0, "{which:?} is dumpable");
        let limits = fs::read_to_string(process.join("limits")).unwrap();
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("Linux tells it");
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{which:?}: {core}");
        let before = scratch.names();
        let ended = running.end(Signal::ABORT);
        assert_eq!((ended.signal(), ended.core_dumped()), (Some(Signal::ABORT.as_raw()), false), "{which:?}");
        assert_eq!(scratch.names(), before);
    }
}

#[test]
fn an_edge_that_cannot_be_dumped_still_reaches_its_socket_by_a_long_path() {
    let (scratch, program) = open_to_all(Program::Edge);
    let data = scratch.path().join("long".repeat(40)).join("longer".repeat(30));
    let at = |command: &mut Command| {
        command.env_clear().current_dir(scratch.path()).env("EDGE_DATA", &data);
        if getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
    };
    let mut serve = Command::new(&program);
    at(serve.args(["serve", "--listen", "127.0.0.1:0"]));
    let running = Running::start(&mut serve, &scratch);
    wait::until_true("the edge serves", || running.errors().contains("listening on"));
    let mut status = Command::new(&program);
    at(status.arg("status"));
    let status = tests::programs::run(&mut status).succeeded();
    assert!(status.contains("unenrolled"), "{status}");
}
