//! Keeps the demo's database server and its directory: whatever ends the demo ends them too.
//!
//! The server is this process's child, run as a user who may own it; nothing here needs the demo to be in order.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::DemoError;
use super::part::input_ended;

/// What the keeper prints when all is up.
pub(super) const READY: &str = "ready";

const POLL_MS: u64 = 20;
const START_POLLS_MAX: u32 = 3_000;
const STOP_MS_MAX: u64 = 10_000;
const REMOVE_TRIES_MAX: u32 = 50;

/// What to keep.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The directory to remove at the end.
    #[arg(long)]
    remove: Option<PathBuf>,
    /// The server's user and group, if not ours.
    #[arg(long, num_args = 2)]
    owner: Option<Vec<u32>>,
    /// The server's data directory.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The server's command line.
    #[arg(last = true)]
    server: Vec<PathBuf>,
}

/// Runs until the input ends, then stops the server and removes the directory. Prints a line when all is up.
pub(super) fn run(arguments: Arguments) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Program)?;
    runtime.block_on(keep(&arguments))
}

async fn keep(arguments: &Arguments) -> Result<(), DemoError> {
    let mut server = match (arguments.server.split_first(), &arguments.data) {
        (Some((program, rest)), Some(data)) => Some((start(program, rest, arguments)?, data)),
        _ => None,
    };
    let is_ready = match &mut server {
        Some((server, data)) => wait_until_ready(server, data).await,
        None => true,
    };
    println!("{}", if is_ready { READY } else { "not ready" });
    let ended = async {
        match &mut server {
            Some((server, _)) => drop(server.wait().await),
            None => std::future::pending().await,
        }
    };
    // A server that ended has left a log that somebody may be about to read.
    tokio::select! {
        () = input_ended() => {}
        () = ended, if is_ready => {}
    }
    if let Some((server, _)) = &mut server {
        stop(server).await;
    }
    if let Some(directory) = &arguments.remove {
        remove(directory).await;
    }
    Ok(())
}

fn start(program: &Path, rest: &[PathBuf], arguments: &Arguments) -> Result<Child, DemoError> {
    let mut command = Command::new(program);
    command.args(rest).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    if let Some(&[user, group]) = arguments.owner.as_deref() {
        command.uid(user).gid(group);
    }
    command.spawn().map_err(DemoError::Program)
}

/// The server writes how it stands into the eighth line of its pid file.
async fn wait_until_ready(server: &mut Child, data: &Path) -> bool {
    for _ in 0..START_POLLS_MAX {
        let file = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        let ours = server.id().map(|pid| pid.to_string());
        if file.lines().next() == ours.as_deref() && file.lines().nth(7).is_some_and(|state| state.trim() == "ready") {
            return true;
        }
        if !matches!(server.try_wait(), Ok(None)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(POLL_MS)).await;
    }
    false
}

/// Asks for a fast shutdown, then for an immediate one.
async fn stop(server: &mut Child) {
    for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
        let pid = server.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return };
        // It may be ending by itself this very moment.
        let _ = kill_process(pid, signal);
        if tokio::time::timeout(Duration::from_millis(STOP_MS_MAX), server.wait()).await.is_ok() {
            return;
        }
    }
}

/// Removes a directory, in which the last processes of a demo that was killed may still be writing.
async fn remove(directory: &Path) {
    for _ in 0..REMOVE_TRIES_MAX {
        match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tokio::time::sleep(Duration::from_millis(5 * POLL_MS)).await;
            }
            _ => return,
        }
    }
    eprintln!("cannot remove {}", directory.display());
}
