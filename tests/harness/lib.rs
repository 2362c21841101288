//! What the tests share: real processes, and the checkers that judge them. Nothing here is linked into a product.

pub mod desk;
pub mod mirror;
pub mod postgres;
pub mod programs;
pub mod wait;
