//! What the tests share: real processes, and the checkers that judge them. Nothing here is linked into a product.

pub mod api;
pub mod centre;
pub mod checkers;
pub mod deployment;
pub mod desk;
pub mod dumps;
pub mod events;
pub mod every_case;
pub mod fake_clock;
pub mod fates;
pub mod fault_proxy;
pub mod faulty_disk;
pub mod history;
pub mod journal;
pub mod mirror;
pub mod network;
pub mod one_task;
pub mod postgres;
pub mod processes;
pub mod programs;
pub mod schedule;
pub mod scratch;
pub mod site;
pub mod small_disk;
pub mod wait;
pub mod world;
