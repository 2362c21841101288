//! What the tests share: real processes, simulated ones, and the checkers that judge them. Nothing here is linked into a
//! product.

pub mod centre;
pub mod checkers;
/// One edge without a hub, and the people before it.
pub mod desk;
pub mod journal;
pub mod mirror;
pub mod network;
/// Throw-away PostgreSQL clusters.
pub mod postgres;
pub mod schedule;
pub mod site;
pub mod world;
pub mod desk;
pub mod mirror;
pub mod postgres;
pub mod programs;
pub mod wait;
