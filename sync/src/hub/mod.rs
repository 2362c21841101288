//! The hub: HTTP before the central database. It keeps no state of its own, so any number of them can work on one
//! database.

pub mod certificate;
pub mod cli;
pub mod clock;
pub mod codes;
pub mod config;
pub mod edge_auth;
pub mod error;
mod health_routes;
pub mod pages;
mod recovery_routes;
mod renewal_routes;
mod run;
mod sync_routes;
mod upkeep;
mod wake;

use axum::Router;
use axum::middleware::from_fn;
use axum::routing::{get, post};
use deadpool_postgres::BuildError;
use std::future::Future;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::listener::{self, Limits};
use crate::merge::limits::{CONNECTIONS_MAX, CONNECTIONS_MIN, FILES_KEPT, HEAD_MS_MAX};
use crate::pg::connection;
use crate::pg::reach::Connections;

pub use config::Config;
use pages::PagesCa;

/// What the routes share.
#[derive(Clone)]
pub struct Hub {
    rows: Connections,
    wake: wake::Wake,
    stop: watch::Receiver<bool>,
    comparing: Arc<Semaphore>,
    pages: Option<Arc<PagesCa>>,
}

/// How many edges are compared at once; it is what staggers them after a rewind.
const COMPARING_MAX: usize = 4;

/// Every route.
pub fn router(hub: Hub) -> Router {
    let sync = Router::new()
        .route("/enroll", post(sync_routes::enroll))
        .route("/challenge", post(renewal_routes::challenge))
        .route("/renew", post(renewal_routes::renew))
        .route("/certificate", post(pages::certificate))
        .route("/hello", post(sync_routes::hello))
        .route("/push", post(sync_routes::push))
        .route("/pull", post(sync_routes::pull))
        .route("/accepted", post(recovery_routes::accepted))
        .route("/digest", post(recovery_routes::digest))
        .route("/offer", post(recovery_routes::offer))
        .route("/verified", post(recovery_routes::verified))
        .route("/reidentify", post(recovery_routes::reidentify))
        .layer(from_fn(sync_routes::speak));
    Router::new()
        .nest("/sync/v1", sync)
        .route("/healthz", get(health_routes::healthz))
        .route("/readyz", get(health_routes::readyz))
        .with_state(hub)
}

/// A hub cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The pool of connections cannot be built.
    #[error("the pool of database connections cannot be built")]
    Pool(#[from] BuildError),
}

/// Serves until `shutdown` resolves, then answers what is under way and returns. Waiting pulls are answered at once. With
/// an acceptor it serves TLS; with a CA it signs certificates for the edges' pages.
pub async fn serve(
    config: &Config,
    listener: TcpListener,
    (tls, pages): (Option<TlsAcceptor>, Option<PagesCa>),
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let rows = connection::pool(&config.database, config.connections)?;
    let (stop, stopped) = watch::channel(false);
    let hub = Hub {
        rows: rows.clone(),
        wake: wake::Wake::default(),
        stop: stopped,
        comparing: Arc::new(Semaphore::new(COMPARING_MAX)),
        pages: pages.map(Arc::new),
    };
    let poll = tokio::spawn(hub.wake.clone().poll(rows.clone()));
    let upkeep = tokio::spawn(upkeep::run(rows.clone()));
    let ending = async move {
        shutdown.await;
        // Nobody is left to be told when every receiver is gone.
        let _ = stop.send(true);
    };
    let limits = Limits::of_process(HEAD_MS_MAX, CONNECTIONS_MAX, FILES_KEPT, CONNECTIONS_MIN);
    let tls = tls.map(|acceptor| listener::Tls { acceptor, hint: false });
    listener::serve(listener, router(hub), limits, tls, ending).await;
    poll.abort();
    upkeep.abort();
    rows.close();
    Ok(())
}

impl Hub {
    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    async fn stopping(&self) {
        let mut stop = self.stop.clone();
        // An error means that the sender is gone, and with it the server.
        let _ = stop.wait_for(|stop| *stop).await;
    }
}
