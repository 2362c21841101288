//! A centre and three sites on this machine, for whoever wants to see the whole at work.
//!
//! Every process is this program again (`part`); a private PostgreSQL cluster (`postgres`) is watched over by a keeper
//! that survives us (`keeper`); between each edge and the hub lies a line that can be cut (`link`, `switch`). Without
//! PostgreSQL one edge stands alone with the same sample data (`alone`).

mod alone;
mod centre;
mod keeper;
mod link;
mod part;
mod place;
mod postgres;
mod ready;
mod site;
mod switch;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};

pub use self::part::{PartArguments, run_part};

use self::link::Link;
use self::part::Part;
use self::place::Place;
use self::ready::Ready;
use self::switch::Request;
use crate::clock::Clock;
use crate::socket;

const NO_POSTGRESQL: &str = "edge: PostgreSQL is not installed, so this is one edge alone, with nobody to exchange with. \
    For all of it, install PostgreSQL (apt-get install postgresql, dnf install postgresql-server, \
    brew install postgresql) or name the directory of its programs in PG_BIN.";
/// How often it is looked whether every part still runs, in milliseconds.
const CHECK_MS: u64 = 500;

/// Runs a centre and three sites on this machine, with sample data. Ctrl-c stops and removes everything.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Example:\n  edge demo\n  edge demo cut hq-1      (in another terminal)\n  edge demo heal hq-1"
)]
pub struct Arguments {
    #[command(subcommand)]
    switch: Option<Switch>,
    /// Print one line of JSON when everything is ready
    #[arg(long)]
    json: bool,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Keep everything in this directory, and go on with what is there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Run one edge without a centre, as on a machine without PostgreSQL
    #[arg(long)]
    alone: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Switch {
    /// Cuts a site off from the centre
    #[command(after_help = "Example:\n  edge demo cut hq-1")]
    Cut(Line),
    /// Mends a site's link
    #[command(after_help = "Example:\n  edge demo heal hq-1")]
    Heal(Line),
}

#[derive(Debug, clap::Args)]
struct Line {
    /// The edge, such as hq-1
    edge: String,
    /// The demo's directory, if it was not the last one started
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// This program cannot be started again, or has no runtime.
    #[error("cannot start the demo's processes: {0}")]
    Program(#[source] io::Error),
    /// A directory cannot be used.
    #[error("cannot use {}: {source}: give another directory with --dir", path.display())]
    Directory {
        /// The directory or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `PG_BIN` is wrong.
    #[error("PG_BIN is {}, which has no initdb and postgres: name the directory that has them", path.display())]
    PgBin {
        /// Its value.
        path: PathBuf,
    },
    /// There is nobody who may own a database server.
    #[error(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody: start the demo as another user"
    )]
    NoServerUser,
    /// A demo runs in the directory.
    #[error("a demo runs in {} already: stop that one, or give another --dir", path.display())]
    Running {
        /// The directory.
        path: PathBuf,
    },
    /// No demo runs, or it was not found.
    #[error("no demo was found: start one with `edge demo`, or say where it is with --dir")]
    NoDemo,
    /// There is no such edge.
    #[error("the demo has no edge {edge:?}: it has {known}")]
    UnknownEdge {
        /// The name.
        edge: String,
        /// The names that there are.
        known: String,
    },
    /// There is no link in the demo.
    #[error("this demo is one edge alone, which has no link: for one with links, install PostgreSQL and start it anew")]
    NoLinks,
    /// A part of the demo failed.
    #[error("{name} failed: {reason}")]
    Part {
        /// The part.
        name: String,
        /// What it said last.
        reason: String,
    },
}

/// Runs the command.
///
/// # Errors
/// [`DemoError`]. Whatever had been started is stopped.
pub fn run(arguments: Arguments) -> Result<(), DemoError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(DemoError::Program)?;
    match arguments.switch {
        None => runtime.block_on(show(arguments)),
        Some(Switch::Cut(line)) => {
            runtime.block_on(switch::ask(line.dir.as_deref(), &Request::Cut(line.edge.clone())))?;
            let Line { edge, dir } = line;
            let dir = dir.map(|dir| format!(" --dir {}", dir.display())).unwrap_or_default();
            println!("{edge} is cut off from the centre; mend it with: edge demo heal {edge}{dir}");
            Ok(())
        }
        Some(Switch::Heal(Line { edge, dir })) => {
            runtime.block_on(switch::ask(dir.as_deref(), &Request::Heal(edge.clone())))?;
            println!("{edge} is connected to the centre again");
            Ok(())
        }
    }
}

/// What runs, in the order in which it was started.
#[derive(Debug, Default)]
struct Stage {
    keeper: Option<Part>,
    parts: Vec<Part>,
    links: Vec<(&'static str, Link)>,
}

impl Stage {
    /// Stops everything, the last started first; the keeper removes the directory at the very end.
    async fn clear(self) {
        for part in self.parts.into_iter().rev().chain(self.keeper) {
            part.stop().await;
        }
    }
}

async fn show(arguments: Arguments) -> Result<(), DemoError> {
    let Arguments { json, seconds, dir, alone, .. } = arguments;
    let clock = Clock::new();
    let mut stop = Stop::new().map_err(DemoError::Program)?;
    let programs = if alone { None } else { postgres::find()? };
    if programs.is_none() && !alone {
        eprintln!("{NO_POSTGRESQL}");
    }
    let place = Place::make(dir.as_deref(), clock)?;
    let other = socket::connect(&place::socket(place.path())).await;
    if other.is_ok_and(|stream| stream.is_some()) {
        return Err(DemoError::Running { path: place.path().to_owned() });
    }
    let mut stage = Stage::default();
    let raised = tokio::select! {
        raised = raise(&mut stage, &place, programs, clock) => raised.map(Some),
        () = stop.asked() => Ok(None),
    };
    let shown = match raised {
        Ok(Some((ready, listener))) => {
            print(&ready, &place, json);
            let ended = async {
                match seconds {
                    Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = hold(&mut stage, listener) => {}
                () = ended => {}
                () = stop.asked() => {}
            }
            Ok(())
        }
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    place.retract();
    stage.clear().await;
    // With --dir the socket is all that goes; a dead one is replaced by the next demo.
    let _ = socket::remove_if_there(&place::socket(place.path()));
    place.remove();
    shown
}

/// Starts everything and waits until it is in sync.
async fn raise(
    stage: &mut Stage,
    place: &Place,
    programs: Option<PathBuf>,
    clock: Clock,
) -> Result<(Ready, UnixListener), DemoError> {
    let ready = match programs {
        Some(programs) => centre::raise(stage, place, &programs, clock).await?,
        None => alone::raise(stage, place, clock).await?,
    };
    let path = place::socket(place.path());
    let listener = socket::bind(&path).map_err(|source| DemoError::Directory { path, source })?;
    if let Err(error) = place.announce() {
        eprintln!("edge: {error}; `edge demo cut` and `heal` need --dir {}", place.path().display());
    }
    Ok((ready, listener))
}

fn print(ready: &Ready, place: &Place, json: bool) {
    if json {
        println!("{}", ready.json());
    } else {
        println!("{}", ready.table(place));
    }
}

/// Serves `edge demo cut` and `heal`, and reports parts that end by themselves, each once.
async fn hold(stage: &mut Stage, listener: UnixListener) {
    let mut checks = tokio::time::interval(Duration::from_millis(CHECK_MS));
    let mut reported = vec![false; stage.parts.len()];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted && let Err(error) = switch::answer(stream, &stage.links).await {
                    eprintln!("edge: a request to the demo was not understood: {error}");
                }
            }
            _ = checks.tick() => {
                for (part, reported) in stage.parts.iter_mut().zip(&mut reported).filter(|(_, reported)| !**reported) {
                    if let Err(error) = part.check() {
                        eprintln!("edge: {error}");
                        *reported = true;
                    }
                }
            }
        }
    }
}

/// A PIN of six digits.
fn pin(clock: Clock) -> String {
    format!("{:06}", u32::from_be_bytes(clock.random()) % 1_000_000)
}

/// Everything that ends a demo from outside.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
