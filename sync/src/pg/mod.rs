//! The central database. Every SQL statement that reaches PostgreSQL stands here or in `migrations/central`.
//!
//! A file is a noun and its functions are the verbs, one statement each. What must happen together takes a transaction
//! as its first argument and cannot open or end one; whoever begins a transaction commits it in the same function.
//! Nothing here reads a clock or makes a random value, and nothing decides which of two writes wins.

pub mod accepted;
mod answer;
pub mod apply;
pub mod attention;
pub mod batch;
mod bisect;
mod candidates;
pub mod capture;
pub mod collect;
pub mod connection;
pub mod credentials;
pub mod cursor;
mod decisions;
pub mod digest;
mod discards;
pub mod dump;
pub mod edge_credentials;
pub mod edges;
mod error;
pub mod feed;
pub mod fences;
pub mod health;
pub mod incarnation;
pub mod ledger;
mod parents;
pub mod quarantine;
pub mod reach;
pub mod recovery;
mod references;
mod refusal;
mod revocations;
pub mod rights;
pub mod rows;
pub mod schema;
pub mod seed;
pub mod versions;

pub use error::{ConstraintKind, StoreError};
