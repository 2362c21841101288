//! What the tests share: real processes, the links between them, and the checkers that judge them. Nothing here is linked
//! into a product.

/// A client of an edge's HTTP API.
pub mod api;
/// A centre and its sites.
pub mod deployment;
/// One edge without a hub, and the people before it.
pub mod desk;
/// Canonical dumps, compared.
pub mod dumps;
/// What became of every write.
pub mod fates;
/// The link between an edge and its hubs.
pub mod fault_proxy;
pub mod mirror;
/// Throw-away PostgreSQL clusters.
pub mod postgres;
/// The real binaries as processes.
pub mod processes;
pub mod programs;
/// Waiting with a bound.
pub mod wait;
