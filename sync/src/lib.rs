//! Reconciles an edge's SQLite mirror with the central PostgreSQL schema, a version vector per row.

/// The central database: every SQL statement that is sent to PostgreSQL.
#[cfg(feature = "hub")]
pub mod pg;

/// The database tools of the hub's command line.
#[cfg(feature = "hub")]
pub mod admin;
