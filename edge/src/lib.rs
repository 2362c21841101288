//! The offline-first node of a site: a local mirror, an API and pages that work with the WAN down.
//!
//! Reading order: [`config`] and [`clock`] are what an edge is given; [`db`] is its one writer and its readers;
//! [`running`] opens them under the lock. What people do is an [`action`], asked for through [`api`] and the pages; what
//! the operator of the box does is in [`operator`], asked for through [`control`] or by [`cli`]. [`sync_loop`] carries
//! out the session's steps with [`hub_client`]; [`sync_handle`] joins it to everybody else.

use std::sync::Arc;

pub mod action;
pub mod api;
pub mod audit;
pub mod backup;
pub mod break_glass;
pub mod budget;
pub mod cli;
pub mod clock;
pub mod config;
pub mod conflicts;
pub mod control;
pub mod credential;
pub mod data_dir;
pub mod db;
#[cfg(feature = "demo")]
pub mod demo;
pub mod devices;
pub mod doctor;
pub mod draft;
pub mod edits;
pub mod encryption;
pub mod exchange;
pub mod handshake;
pub mod history;
pub mod hosts;
pub mod hub_client;
pub mod key_pair;
pub mod lockouts;
pub mod operator;
pub mod page_tls;
pub mod people;
pub mod quarantine;
pub mod reconcile;
pub mod refusal;
pub mod rescue;
pub mod running;
pub mod sessions;
pub mod sites;
pub mod socket;
pub mod status;
pub mod storage;
pub mod sync_handle;
pub mod sync_loop;
pub mod tasks;
pub mod times;
pub mod trust;
pub mod upkeep;
pub mod web;

/// What the API, the pages, the control socket and the sync loop share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    /// The database.
    pub db: db::Db,
    /// Time and randomness.
    pub clock: clock::Clock,
    /// What this edge was told before it started.
    pub config: Arc<config::Config>,
    /// What may be exchanged today.
    pub budget: Arc<budget::Budget>,
    /// The disk.
    pub storage: Arc<storage::Storage>,
    /// How the pages are served to those who visit this box.
    pub pages: Arc<page_tls::PageTls>,
    /// The sync loop: asks it, and watches how the link to the hub stands (`sync.link()`, `sync.watch()`).
    pub sync: sync_handle::SyncHandle,
}
