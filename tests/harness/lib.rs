//! What the tests share: real processes, and the checkers that judge them. Nothing here is linked into a product.

pub mod mirror;
/// One edge without a hub, and the people before it.
pub mod desk;
/// Throw-away PostgreSQL clusters.
pub mod postgres;
