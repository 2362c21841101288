//! Reconciles an edge's SQLite mirror with the central PostgreSQL schema, one version vector per row.
//!
//! Reading order: [`merge`] decides who wins and touches nothing; [`catalog`] names the synced tables; [`session`] is
//! one exchange seen from the edge, without input or output; [`wire`] turns foreign bytes into our types or refuses
//! them; `sqlite` and `pg` store; `hub` serves and `admin` tends the centre. `listener` is the one way in which both
//! programs answer on a port, `core_dump` keeps their memory from being written to a file.
//!
//! Imports point one way: `merge ← session ← wire ← {sqlite, pg} ← {hub, admin}`. Without features this crate does
//! no input or output at all.

#[cfg(feature = "hub")]
pub mod admin;
pub mod catalog;
#[cfg(feature = "http")]
pub mod core_dump;
#[cfg(feature = "hub")]
pub mod hub;
#[cfg(feature = "http")]
pub mod listener;
pub mod merge;
#[cfg(feature = "hub")]
pub mod pg;
pub mod session;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod suggestion;
pub mod wire;
