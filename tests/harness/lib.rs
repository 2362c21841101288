//! What the tests share: real processes, and the checkers that judge them. Nothing here is linked into a product.

pub mod mirror;
pub mod postgres;
