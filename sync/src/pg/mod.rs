//! The central database. Every SQL statement that reaches PostgreSQL stands here or in `migrations/central`.
//!
//! A file is a noun and its functions are the verbs, one statement each. What must happen together takes a transaction
//! as its first argument and cannot open or end one; whoever begins a transaction commits it in the same function.
//! Nothing here reads a clock or makes a random value, and nothing decides which of two writes wins.

pub mod capture;
mod error;
pub mod health;
pub mod schema;
pub mod seed;

pub use error::{ConstraintKind, StoreError};
