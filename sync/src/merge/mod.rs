//! Who wins, decided without input or output.
//!
//! Read `resolve` first: it holds the one function that joins two states of a row. `clock`, `vector` and `version`
//! are what it works on, `conflict` is what it leaves behind, `plan` is how the hub and an edge use it.
//!
//! Invariants, as absences: nothing here reads a clock, draws a random number, waits, serialises, or knows a table
//! by name. Nothing outside of this module compares two dots to choose between values.

pub mod clock;
pub mod conflict;
pub mod fence;
pub mod ids;
pub mod limits;
pub mod plan;
pub mod reconcile;
pub mod rename;
pub mod resolve;
pub mod value;
pub mod vector;
pub mod version;
