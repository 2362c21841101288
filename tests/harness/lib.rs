//! What the tests share: real processes, simulated ones, and the checkers that judge them. Nothing here is linked into a
//! product.

pub mod centre;
pub mod checkers;
pub mod desk;
pub mod journal;
pub mod mirror;
pub mod network;
pub mod postgres;
pub mod programs;
pub mod schedule;
pub mod site;
pub mod wait;
pub mod world;
