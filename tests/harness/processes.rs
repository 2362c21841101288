//! The real binaries as processes: built once, started with an environment of their own, killed by their own id.
//!
//! What a process prints goes to a file that is shown when a test fails. A process does not outlive the test process,
//! however that ends: a shell that holds the read end of a pipe kills what is left when the pipe closes.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::AsyncWriteExt;

/// How long a command, or an orderly end, may take before it counts as hanging.
const COMMAND_MS_MAX: u64 = 120_000;
const STOP_MS_MAX: u64 = 10_000;
const POLL_MS: u64 = 5;
const LOG_BYTES_SHOWN: usize = 12_000;

/// Outgoing connections take their ports from above this one, so a port below is not taken by chance between choosing it
/// and listening on it.
const PORT_MIN: u16 = 12_000;
const PORTS: u16 = 18_000;

/// One of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `hub`
    Hub,
    /// `edge`
    Edge,
}

impl Program {
    /// The binary that stands beside the test's own, built from the present sources.
    pub fn path(self) -> PathBuf {
        static BUILT: OnceLock<PathBuf> = OnceLock::new();
        let directory = BUILT.get_or_init(build);
        directory.join(match self {
            Self::Hub => "hub",
            Self::Edge => "edge",
        })
    }
}

/// What a command came to.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command, for messages.
    pub command: String,
    /// Its exit status; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// Standard output of a command that succeeded.
    ///
    /// # Panics
    /// When it failed, with what it said.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }

    /// The one line of standard error of a command that failed with `code`.
    ///
    /// # Panics
    /// When it succeeded, failed otherwise, or said more or less than one line.
    #[track_caller]
    pub fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self}");
        let lines: Vec<&str> = self.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
        assert_eq!(lines.len(), 1, "an error is one line\n{self}");
        lines[0].to_owned()
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "$ {}\nexit {:?}\n{}{}", self.command, self.code, self.stdout, self.stderr)
    }
}

/// Runs a command to its end in an environment that has `environment` and nothing else of ours.
///
/// # Panics
/// When it cannot be started or hangs.
pub async fn run<S: AsRef<OsStr>>(
    program: &Path,
    arguments: &[S],
    environment: &[(String, String)],
    directory: &Path,
    input: &str,
) -> Finished {
    run_within(COMMAND_MS_MAX, program, arguments, environment, directory, input).await
}

/// The same for a command that may take `limit_ms`.
///
/// # Panics
/// When it cannot be started or takes longer.
pub async fn run_within<S: AsRef<OsStr>>(
    limit_ms: u64,
    program: &Path,
    arguments: &[S],
    environment: &[(String, String)],
    directory: &Path,
    input: &str,
) -> Finished {
    let mut command = isolated(program, environment, directory);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let words: Vec<String> = arguments.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let shown = format!("{name} {}", words.join(" "));
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().unwrap_or_else(|error| panic!("start {shown}: {error}"));
    let mut stdin = child.stdin.take().expect("the input was asked for");
    // A command that does not read its input has closed it, which is no failure of the command.
    drop(stdin.write_all(input.as_bytes()).await);
    drop(stdin);
    let ended = tokio::time::timeout(Duration::from_millis(limit_ms), child.wait_with_output()).await;
    let output = ended.unwrap_or_else(|_| panic!("{shown} hangs")).unwrap_or_else(|error| panic!("{shown}: {error}"));
    Finished {
        command: shown,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A process that runs until it is stopped.
pub struct Process {
    name: String,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    /// Starts a program; its output is appended to `log`.
    pub fn start(
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(String, String)],
        directory: &Path,
        log: &Path,
    ) -> Self {
        let file = fs::File::options().append(true).create(true).open(log).expect("the log's directory exists");
        let mut command = isolated(program, environment, directory);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a file handle can be cloned")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        guard(Line::Begins(child.id()));
        Self { name: name.to_owned(), child: Mutex::new(child), log: log.to_owned() }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child().id()
    }

    /// Its exit status, once it has ended.
    pub fn ended(&self) -> Option<ExitStatus> {
        self.child().try_wait().expect("the process is our child")
    }

    /// Ends it without warning (SIGKILL).
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        let mut child = self.child();
        child.wait().expect("the process is our child");
        guard(Line::Ended(child.id()));
    }

    /// Stops it where it is (SIGSTOP), as a machine does that has something else to do.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on after [`Process::pause`].
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to end (SIGTERM) and waits.
    ///
    /// # Panics
    /// When it ignores that.
    pub fn stop(&self) -> ExitStatus {
        self.signal(Signal::TERM);
        match self.end_within(STOP_MS_MAX) {
            Some(status) => status,
            None => panic!("{} ignores SIGTERM\n{}", self.name, self.log()),
        }
    }

    /// The end of what it printed, over all its lives.
    pub fn log(&self) -> String {
        log_end(&self.log)
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().expect("no thread panics while it holds a child")
    }

    fn signal(&self, signal: Signal) {
        let mut child = self.child();
        // Only a child that nobody has waited for is sure to still own its id.
        if child.try_wait().expect("the process is our child").is_none() {
            let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id is positive");
            kill_process(id, signal).unwrap_or_else(|error| panic!("signal {}: {error}", self.name));
        }
    }

    fn end_within(&self, wait_ms: u64) -> Option<ExitStatus> {
        for _ in 0..wait_ms / POLL_MS {
            if let Some(status) = self.ended() {
                guard(Line::Ended(self.id()));
                return Some(status);
            }
            std::thread::park_timeout(Duration::from_millis(POLL_MS));
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} printed last:\n{}", self.name, self.log());
        }
        self.signal(Signal::TERM);
        if self.end_within(STOP_MS_MAX).is_none() {
            eprintln!("{} ignores SIGTERM and is killed", self.name);
            self.kill();
        }
    }
}

/// A port of loopback on which nobody listens.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin =
        u16::try_from(std::process::id().wrapping_mul(97) % u32::from(PORTS)).expect("below the count of ports");
    for _ in 0..PORTS {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORT_MIN + begin.wrapping_add(step) % PORTS;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("every port from {PORT_MIN} on is taken");
}

/// The end of a log file.
pub fn log_end(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| format!("(no log: {error})"));
    let cut = text.len().saturating_sub(LOG_BYTES_SHOWN);
    let start = text[..].char_indices().map(|(index, _)| index).find(|index| *index >= cut).unwrap_or(0);
    text[start..].to_owned()
}

/// Nothing of the caller's settings may reach a process under test.
fn isolated(program: &Path, environment: &[(String, String)], directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(directory).env("HOME", directory);
    for name in ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "RUST_LOG", "RUST_BACKTRACE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

/// Builds both binaries with the profile of this test, and returns their directory.
fn build() -> PathBuf {
    let own = std::env::current_exe().expect("a process knows its own file");
    // target/<profile>/deps/<test>
    let directory = own.parent().and_then(Path::parent).expect("a test lies two folders below target").to_owned();
    let profile = directory.file_name().and_then(OsStr::to_str).expect("profiles have plain names");
    let profile = if profile == "debug" { "dev" } else { profile };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace");
    let mut command = Command::new(cargo);
    command
        .current_dir(workspace)
        // The whole workspace, because a smaller selection unifies features differently and builds everything twice.
        .args(["build", "--locked", "--quiet", "--workspace", "--bins", "--profile", profile, "--target-dir"])
        .arg(directory.parent().expect("a profile lies below target"));
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    let status = command.status().unwrap_or_else(|error| panic!("run cargo build: {error}"));
    assert!(status.success(), "the binaries under test do not build");
    directory
}

/// Removes a directory when the test process has ended, if nobody did before.
pub fn remove_at_the_end(directory: &Path) {
    guard(Line::Directory(directory));
}

/// What the guardian is told.
enum Line<'a> {
    Begins(u32),
    Ended(u32),
    Directory(&'a Path),
}

fn guard(line: Line<'_>) {
    // The child is kept, though nobody waits for it: it ends after us.
    static GUARDIAN: OnceLock<Mutex<(Child, ChildStdin)>> = OnceLock::new();
    const SCRIPT: &str = r#"ids=" "
        while read -r change what; do
          case $change in
            +) ids="$ids$what " ;;
            -) case $ids in *" $what "*) ids="${ids%% $what *} ${ids#* $what }" ;; esac ;;
            /) set -- "$@" "$what" ;;
          esac
        done
        for id in $ids; do kill -9 "$id"; done 2>/dev/null
        rm -rf "$@""#;
    let guardian = GUARDIAN.get_or_init(|| {
        let mut guardian = Command::new("sh");
        guardian.process_group(0);
        guardian.args(["-c", SCRIPT, "guardian"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guardian = guardian.spawn().expect("sh exists");
        let pipe = guardian.stdin.take().expect("the input was asked for");
        Mutex::new((guardian, pipe))
    });
    let mut guardian = guardian.lock().expect("no thread panics while it writes a line");
    let told = match line {
        Line::Begins(id) => writeln!(guardian.1, "+ {id}"),
        Line::Ended(id) => writeln!(guardian.1, "- {id}"),
        Line::Directory(path) => writeln!(guardian.1, "/ {}", path.display()),
    };
    told.expect("the guardian reads until the end");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_sees_only_the_environment_it_is_given() {
        let given = [("EDGE_DATA".to_owned(), "here".to_owned())];
        let shell = Path::new("/bin/sh");
        let script = "cat; echo $EDGE_DATA; echo ${CARGO_MANIFEST_DIR:-clean} >&2; exit 3";
        let finished = run(shell, &["-c", script], &given, Path::new("/"), "input ").await;
        assert_eq!(finished.stdout, "input here\n");
        assert_eq!(finished.failed(3), "clean");
    }

    #[test]
    fn a_process_is_stopped_by_its_id_and_its_output_is_kept() {
        let log = std::env::temp_dir().join(format!("waystation-process-{}.log", std::process::id()));
        let script = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done";
        let process = Process::start("shell", Path::new("/bin/sh"), &["-c", script], &[], Path::new("/"), &log);
        while !process.log().contains("ready") {
            std::thread::yield_now();
        }
        assert!(process.ended().is_none());
        assert!(process.stop().success());
        assert_eq!(process.log(), "ready\nbye\n");
        fs::remove_file(&log).unwrap();
    }
}
