//! `hub serve`: from settings to a running server and its orderly end.

use std::io::IsTerminal as _;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::pages::PagesCa;
use super::{Config, certificate, serve as serve_on};
use crate::admin::Failure;
use crate::pg::connection;

/// Serves until SIGTERM or ctrl-c. A database that is away at the start is waited for; one that is not ours is refused.
pub(super) async fn serve(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_env("HUB_LOG").unwrap_or_else(|_| EnvFilter::new("info,tokio_postgres=warn"));
    // A second initialisation, when the demo runs several of us in one process, changes nothing.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .try_init();
    let tls = config.tls.as_ref().map(certificate::acceptor).transpose()?;
    let pages = config.pages_ca.as_deref().map(PagesCa::load).transpose()?;
    match crate::admin::doctor::may_serve(&config.database).await {
        Err(Failure::Connect(error @ connection::ConnectError::NoServer(..))) => {
            tracing::warn!("{error}; requests are answered 503 until it does");
        }
        other => {
            for finding in other? {
                tracing::error!(finding = finding.message, "writes at the centre may go unseen");
            }
        }
    }
    let listener =
        TcpListener::bind(&config.listen).await.map_err(|error| Failure::Listen(config.listen.clone(), error))?;
    let address = listener.local_addr().map_err(|error| Failure::Listen(config.listen.clone(), error))?;
    config.may_listen_on(address)?;
    tracing::info!(%address, tls = tls.is_some(), database = connection::address(&config.database), "hub serves");
    let mut terminate =
        signal(SignalKind::terminate()).map_err(|error| Failure::Listen(config.listen.clone(), error))?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tracing::info!("hub ends");
    };
    serve_on(config, listener, (tls, pages), shutdown).await?;
    Ok(())
}
