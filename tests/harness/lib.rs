//! What the tests share.

pub mod mirror;
