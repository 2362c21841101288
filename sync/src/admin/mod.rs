//! The tools behind `hub db`.
