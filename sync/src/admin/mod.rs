//! What `hub`'s commands do. They say what is to happen and print the outcome; the statements are in [`crate::pg`].

pub mod database;
pub mod doctor;
pub mod dump;
pub mod edges;
pub mod people;
pub mod quarantine;
mod sample_rows;
pub mod seed;

use thiserror::Error;
use tokio_postgres::Client;

use crate::hub::ServeError;
use crate::hub::config::ConfigError;
use crate::hub::error::causes;
use crate::pg::StoreError;
use crate::pg::connection::{self, ConnectError};
use crate::pg::credentials::SecretError;

/// A command that did not do what was asked: what failed, for which input, what to do.
#[derive(Debug, Error)]
pub enum Failure {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The database refused.
    #[error("{}", causes(.0))]
    Store(#[from] StoreError),
    /// The address is taken or not ours.
    #[error("cannot listen on {0}: {1}; set HUB_LISTEN to a free address")]
    Listen(String, #[source] std::io::Error),
    /// Serving ended by a failure.
    #[error("{}", causes(.0))]
    Serve(#[from] ServeError),
    /// What was named does not exist, or may not be.
    #[error("{0}")]
    Input(String),
    /// The secret is not good enough.
    #[error("{0}")]
    Secret(#[from] SecretError),
    /// Something was found that needs attention; it has been printed.
    #[error("{0}")]
    Found(String),
    /// The operating system has no randomness.
    #[error("cannot draw random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// Standard input or output failed.
    #[error("standard input or output failed: {0}")]
    Stdio(#[from] std::io::Error),
}

impl Failure {
    /// 1 for what failed, 2 for what was asked for wrongly.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            _ => 1,
        }
    }
}

/// A connection to the central database.
async fn connect(database: &tokio_postgres::Config) -> Result<Client, Failure> {
    Ok(connection::connect(database).await?)
}

/// Prints one JSON value on a line. A reader that went away is nobody's failure.
fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print_line(&value.to_string())
}

fn print_line(line: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
