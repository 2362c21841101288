//! What the tests of the workspace share: models, worlds and checkers. No test lives here.

pub mod centre;
pub mod checkers;
pub mod journal;
pub mod network;
pub mod schedule;
pub mod site;
pub mod world;
