//! One process of the demo: this program again, under a hidden command.
//!
//! Every part ends when its standard input does. The demo holds the other end, so that no part outlives it, however it
//! ends. Parts have process groups of their own: ctrl-c reaches the demo alone, which then stops them in order.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use super::DemoError;
use super::keeper;

/// How long a part may take to stop, in milliseconds.
const STOP_MS_MAX: u64 = 20_000;
/// Settings of whoever starts the demo that must not reach its parts.
const NOT_INHERITED: [&str; 5] = ["EDGE_", "HUB_", "DB_", "DATABASE_URL", "PG"];

/// Runs as a part of a demo.
#[derive(Debug, clap::Args)]
pub struct PartArguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, clap::Subcommand)]
enum Role {
    /// The hub's command line.
    Hub(Line),
    /// The edge's command line, until the input ends.
    Edge(Line),
    /// Watches over the database server and the directory.
    Keep(keeper::Arguments),
}

#[derive(Debug, clap::Args)]
struct Line {
    /// Whether the end of the input ends it.
    #[arg(long)]
    watched: bool,
    /// What to run it with.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Runs as a part of a demo.
pub fn run_part(arguments: PartArguments) -> Result<ExitCode, DemoError> {
    match arguments.role {
        Role::Keep(arguments) => keeper::run(arguments).map(|()| ExitCode::SUCCESS),
        Role::Hub(line) => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            Ok(runtime.map_err(DemoError::Program)?.block_on(sync::hub::cli::run(line.begin("hub"))))
        }
        Role::Edge(line) => Ok(crate::cli::run_from(line.begin("edge"))),
    }
}

impl Line {
    fn begin(self, program: &str) -> Vec<OsString> {
        if self.watched {
            std::thread::spawn(stop_at_end_of_input);
        }
        std::iter::once(program.into()).chain(self.arguments).collect()
    }
}

/// Asks this process to stop as an operator would, once nobody holds the other end of its input.
fn stop_at_end_of_input() {
    // Whatever ends the reading, the demo is gone.
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
    let _ = kill_process(getpid(), Signal::TERM);
    std::thread::park_timeout(Duration::from_millis(STOP_MS_MAX));
    std::process::exit(1);
}

/// A part that runs.
#[derive(Debug)]
pub(super) struct Part {
    name: String,
    log: PathBuf,
    /// Where this run's part of the log begins.
    log_start: usize,
    child: Child,
    input: ChildStdin,
}

impl Part {
    /// Starts a part; what it says goes to a log of its name.
    pub(super) fn start(name: &str, command: Command, logs: &Path) -> Result<Self, DemoError> {
        let mut command = command;
        let log = logs.join(format!("{name}.log"));
        let failed = |source| DemoError::Part { name: name.to_owned(), reason: format!("{source}") };
        let file = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let log_start = file.metadata().map_err(failed)?.len().try_into().unwrap_or(usize::MAX);
        command.stdin(Stdio::piped()).stderr(file).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let input = child.stdin.take().ok_or_else(|| failed(std::io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { name: name.to_owned(), log, log_start, child, input })
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Waits for the line that a keeper prints when all is up.
    pub(super) async fn ready(&mut self) -> Result<(), DemoError> {
        let mut line = String::new();
        if let Some(output) = self.child.stdout.as_mut() {
            // An end without a line says it: the part is gone.
            let _ = BufReader::new(output).read_line(&mut line).await;
        }
        if line.trim() == keeper::READY { Ok(()) } else { Err(self.ended()) }
    }

    /// Fails if it has ended by itself.
    pub(super) fn check(&mut self) -> Result<(), DemoError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            _ => Err(self.ended()),
        }
    }

    /// Asks it to stop, and makes it stop.
    pub(super) async fn stop(self) {
        let Self { mut child, input, .. } = self;
        drop(input);
        if tokio::time::timeout(Duration::from_millis(STOP_MS_MAX), child.wait()).await.is_err() {
            // It has had its time. That it cannot be killed either is nothing we could mend.
            let _ = child.kill().await;
        }
    }

    fn ended(&self) -> DemoError {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(log.get(self.log_start..).unwrap_or_default()).into_owned();
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        DemoError::Part { name: self.name.clone(), reason: format!("it ended: {last}") }
    }
}

/// A command that runs this program as a part, away from the settings of whoever started the demo.
pub(super) fn command(role: &str, directory: &Path) -> Result<Command, DemoError> {
    let program = std::env::current_exe().map_err(DemoError::Program)?;
    let mut command = Command::new(program);
    command.arg("demo-part").arg(role).current_dir(directory).stdout(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if NOT_INHERITED.iter().any(|prefix| name.to_str().is_some_and(|name| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    Ok(command)
}

/// Runs a hub command to its end and returns what it printed.
pub(super) async fn hub(
    database_url: &str,
    directory: &Path,
    arguments: &[&str],
    input: Option<&str>,
) -> Result<String, DemoError> {
    let name = format!("hub {}", arguments.join(" "));
    let failed = |reason: String| DemoError::Part { name: name.clone(), reason };
    let mut command = command("hub", directory)?;
    command.arg("--").args(arguments.iter().map(OsStr::new)).env("DATABASE_URL", database_url);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        stdin.write_all(input.as_bytes()).await.map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().await.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Waits for the end of this process's own input. The thread that reads ends with the process.
pub(super) async fn input_ended() {
    let (end, ended) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever ends the reading, the demo is gone; and whoever waited may be.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = end.send(());
    });
    // A sender that was dropped without a word ended as well.
    let _ = ended.await;
}
