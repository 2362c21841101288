//! The offline-first node of a site: a local mirror, an API and pages that work with the WAN down.
//!
//! Reading order: [`config`] and [`clock`] are what an edge is given; [`db`] is its one writer and its readers;
//! [`sync_handle`] joins the sync loop to everybody else.

use std::sync::Arc;

pub mod clock;
pub mod config;
pub mod credential;
pub mod data_dir;
pub mod db;
pub mod socket;
pub mod sync_handle;

/// What the API, the pages, the control socket and the sync loop share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The database.
    pub db: db::Db,
    /// Time and randomness.
    pub clock: clock::Clock,
    /// What this edge was told before it started.
    pub config: Arc<config::Config>,
    /// The sync loop: asks it, and watches how the link to the hub stands (`sync.link()`, `sync.watch()`).
    pub sync: sync_handle::SyncHandle,
}
