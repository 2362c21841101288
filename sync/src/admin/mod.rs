//! What `hub`'s commands do. They say what is to happen and print the outcome; the statements are in [`crate::pg`].

pub mod ca;
pub mod database;
pub mod doctor;
pub mod dump;
pub mod edges;
pub mod maintain;
pub mod people;
pub mod quarantine;
pub mod recover;
mod sample_rows;
pub mod seed;
pub mod verify;

use thiserror::Error;
use tokio_postgres::Client;

use crate::hub::ServeError;
use crate::hub::certificate::CertificateError;
use crate::hub::codes::COMMAND_CODES;
use crate::hub::config::ConfigError;
use crate::hub::error::causes;
use crate::hub::pages::PagesCaError;
use crate::pg::StoreError;
use crate::pg::connection::{self, ConnectError};
use crate::pg::credentials::SecretError;
use crate::wire::codes::{ErrorCode, listed};

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
    /// A CA or a certificate was not made.
    #[error(transparent)]
    Ca(#[from] ca::CaError),
    /// The hub's certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The CA of the edges' pages cannot be used.
    #[error(transparent)]
    PagesCa(#[from] PagesCaError),
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
    /// Its code, with the status that the process ends with: 1 for what failed, 2 for what was asked for wrongly.
    pub fn entry(&self) -> &'static ErrorCode {
        match self {
            Self::Config(_) => const { listed(COMMAND_CODES, "settings") },
            Self::Connect(_) => const { listed(COMMAND_CODES, "connect") },
            Self::Store(_) => const { listed(COMMAND_CODES, "database") },
            Self::Listen(..) => const { listed(COMMAND_CODES, "listen") },
            Self::Ca(ca::CaError::Exists(_)) => const { listed(COMMAND_CODES, "file_exists") },
            Self::Ca(_) | Self::Certificate(_) | Self::PagesCa(_) => const { listed(COMMAND_CODES, "certificate") },
            Self::Serve(_) => const { listed(COMMAND_CODES, "serve") },
            Self::Input(_) => const { listed(COMMAND_CODES, "input") },
            Self::Secret(_) => const { listed(COMMAND_CODES, "secret") },
            Self::Found(_) => const { listed(COMMAND_CODES, "found") },
            Self::Random(_) => const { listed(COMMAND_CODES, "random") },
            Self::Stdio(_) => const { listed(COMMAND_CODES, "stdio") },
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

/// Prints a line. A reader that went away is nobody's failure.
pub(crate) fn print_line(line: &str) -> Result<(), Failure> {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
