//! `edge serve`: everything that runs at a site, until it is told to stop.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use sync::listener::{self, Limits, Tls};
use sync::merge::limits::{CONNECTIONS_MAX, CONNECTIONS_MIN, FILES_KEPT, HEAD_MS_MAX};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::error::CliError;
use super::{Options, runtime};
use crate::config::{Config, Loaded, Settings};
use crate::credential::Credential;
use crate::data_dir::DataDir;
use crate::page_tls::{self, Standing, Visits};
use crate::running::OpenError;
use crate::{backup, control, rescue, running, socket};

/// How long requests under way may take when the edge stops, in milliseconds.
const DRAIN_MS_MAX: u64 = 5_000;

/// Serves the API and the pages, and exchanges with the hub.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  edge serve --listen 0.0.0.0:7410 --data /var/lib/edge")]
pub(super) struct Arguments {
    /// Where the API and the pages listen [environment: EDGE_LISTEN] [default: 127.0.0.1:7410]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The hub's URL, if it is no longer the one of the enrolment [environment: EDGE_HUB]
    #[arg(long, value_name = "URL")]
    hub: Option<String>,
    /// Speak to a hub on another machine without TLS [environment: EDGE_PLAIN_HTTP=true]
    #[arg(long)]
    plain_http: bool,
    /// Serve the pages by TLS on loopback too, or in plain text everywhere: tls, plain [environment: EDGE_PAGES]
    #[arg(long, value_name = "HOW")]
    pages: Option<String>,
    /// Names by which browsers ask for this edge, beside the machine's own [environment: EDGE_NAMES]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    names: Option<Vec<String>>,
}

/// Runs the command.
pub(super) fn run(options: &Options, arguments: Arguments) -> Result<(), CliError> {
    let Arguments { listen, hub, plain_http, pages, names } = arguments;
    let flags = Settings { listen, hub, plain_http: plain_http.then_some(true), pages, names, ..Settings::default() };
    let Loaded { config, log, .. } = options.load_with(flags)?;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_env_filter(tracing_subscriber::EnvFilter::new(log))
        .init();
    let runtime = runtime()?;
    let served = runtime.block_on(serve(config));
    runtime.shutdown_timeout(Duration::from_millis(running::CLOSE_MS_MAX));
    served
}

/// Serves until it is told to stop; from the beginning again when the database turns out to be damaged.
async fn serve(config: Config) -> Result<(), CliError> {
    let mut stop = Stop::new().map_err(CliError::Runtime)?;
    loop {
        match serve_once(config.clone(), &mut stop).await? {
            Ended::Stopped => return Ok(()),
            Ended::Damaged => tracing::warn!("starting again with what can be read of the database"),
        }
    }
}

enum Ended {
    Stopped,
    Damaged,
}

async fn serve_once(config: Config, stop: &mut Stop) -> Result<Ended, CliError> {
    let data = DataDir::new(&config.data);
    if socket::connect(&data.control()).await.is_ok_and(|stream| stream.is_some()) {
        return Err(CliError::InUse { path: config.data });
    }
    // Before the files are opened, so that a busy port leaves no trace in the data directory.
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|source| CliError::Listen { address, source })?;

    Credential::guard(&data).map_err(OpenError::from)?;
    backup::remove_leftovers(&data)?;
    let mut edge = running::open(config)?;
    let commands = control::listen(&data.control())?;
    edge.spawn(control::serve(commands, edge.app.clone()));
    edge.spawn(crate::storage::watch(edge.app.clone()));
    edge.spawn(crate::upkeep::run(edge.app.clone()));
    edge.spawn(page_tls::keep(edge.app.clone()));
    edge.start_sync();
    let address = listener.local_addr().map_err(|source| CliError::Listen { address, source })?;
    let Standing { visits, certificate } = edge.app.pages.standing();
    let scheme = if visits == Visits::Tls { "https" } else { "http" };
    tracing::info!("listening on {scheme}://{address}, data in {}", data.path().display());
    if visits == Visits::Tls && certificate.is_none() {
        tracing::warn!("nobody beyond this box is served before the hub has signed a certificate for its pages");
    }

    let (drain, mut drained) = tokio::sync::watch::channel(false);
    let router = crate::api::router(edge.app.clone(), drained.clone());
    let asked_to_stop = async move {
        // The sender lives until the end of this function.
        let _ = drained.wait_for(|stop| *stop).await;
    };
    let tls = edge.app.pages.acceptor().map(|acceptor| Tls { acceptor, hint: true });
    let limits = Limits::of_process(HEAD_MS_MAX, CONNECTIONS_MAX, FILES_KEPT, CONNECTIONS_MIN);
    let mut server = tokio::spawn(listener::serve(listener, router, limits, tls, asked_to_stop));
    let ended = tokio::select! {
        ended = &mut server => {
            tracing::error!(?ended, "the server ended by itself");
            Ended::Stopped
        }
        () = stop.asked() => {
            tracing::info!("stopping");
            Ended::Stopped
        }
        problem = rescue::found(&edge.app) => {
            tracing::error!(problem, "the database is damaged");
            Ended::Damaged
        }
    };
    drain.send_replace(true);
    if !server.is_finished() && tokio::time::timeout(Duration::from_millis(DRAIN_MS_MAX), &mut server).await.is_err() {
        server.abort();
    }
    // A socket that is left behind is replaced at the next start.
    let _ = socket::remove_if_there(&data.control());
    edge.close().await;
    Ok(ended)
}

/// SIGTERM and ctrl-c, listened to from before the first file is opened.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
