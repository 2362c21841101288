//! The tools behind `hub db`. They say what is to happen; the statements are in [`crate::pg`].

mod sample_rows;
pub mod seed;
