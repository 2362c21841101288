//! The programs under test, run as a person runs them: other processes, arguments, exit status, standard output.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::processes::{Finished, Program};
use crate::scratch::Scratch;
use crate::wait;

/// A command of the edge, away from the settings of whoever runs the tests.
pub fn edge(arguments: &[&str]) -> Command {
    isolated(Program::Edge, arguments)
}

/// A command of the hub.
pub fn hub(arguments: &[&str]) -> Command {
    isolated(Program::Hub, arguments)
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Finished {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("programs print UTF-8");
    Finished {
        command: format!("{command:?}"),
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A program that runs until it is told to stop, and at the latest until this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    errors: PathBuf,
}

impl Running {
    /// Starts a program; its standard error goes to a file in `scratch`.
    pub fn start(command: &mut Command, scratch: &Scratch) -> Self {
        let errors = scratch.path().join(format!("errors-{}", next()));
        let file = fs::File::create(&errors).expect("make a file in the scratch directory");
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("start {command:?}: {error}")), errors }
    }

    /// Starts `edge serve` on a free port and waits until it serves. Returns its URL too.
    pub fn serve(data: &Path, scratch: &Scratch) -> (Self, String) {
        let mut command = edge(&["serve", "--listen", "127.0.0.1:0", "--data"]);
        let mut running = Self::start(command.arg(data).current_dir(scratch.path()), scratch);
        let url = wait::until("the edge listens", || {
            assert!(running.child.try_wait().expect("it is our child").is_none(), "{}", running.errors());
            let errors = running.errors();
            let (_, rest) = errors.split_once("listening on ")?;
            Some(rest.split([',', ' ', '\n']).next().unwrap_or_default().to_owned())
        });
        (running, url)
    }

    /// The first line of standard output.
    pub fn first_line(&mut self) -> String {
        use std::io::BufRead as _;
        let output = self.child.stdout.take().expect("the output was asked for");
        let mut line = String::new();
        std::io::BufReader::new(output).read_line(&mut line).expect("programs print UTF-8");
        assert!(!line.is_empty(), "it ended without a line: {}", self.errors());
        line
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to standard error.
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).expect("programs print UTF-8")
    }

    /// Sends a signal, and returns how it ended.
    pub fn end(&mut self, signal: Signal) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the program runs");
        self.child.wait().expect("it is our child")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a process is there; one that ended and was not reaped is not.
pub fn is_alive(pid: u32) -> bool {
    let raw = Pid::from_raw(i32::try_from(pid).expect("process ids are small")).expect("process ids are positive");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    let is_zombie = stat.is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')));
    test_kill_process(raw).is_ok() && !is_zombie
}

fn isolated(program: Program, arguments: &[&str]) -> Command {
    let mut command = Command::new(program.path());
    command.args(arguments.iter().map(OsStr::new));
    for (key, _) in std::env::vars_os() {
        let ours = ["EDGE_", "HUB_", "DB_", "DATABASE_URL"];
        if ours.iter().any(|prefix| key.to_str().is_some_and(|key| key.starts_with(prefix))) {
            command.env_remove(key);
        }
    }
    command
}

fn next() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
