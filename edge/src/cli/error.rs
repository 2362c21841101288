//! Why a command failed. Each shows as one line: what failed, for which input, what to do.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use sync::sqlite::error::StoreError;
use sync::suggestion::did_you_mean;

use crate::backup::BackupError;
use crate::config::{ConfigError, shown};
use crate::control::ControlError;
use crate::refusal::Refusal;
use crate::running::OpenError;
use crate::trust::TrustError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The edge's files.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The edge's database, opened for reading.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The edge that runs.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The edge says why it did not do what was asked.
    #[error("{0}")]
    Failed(String),
    /// There is no edge in the data directory.
    #[error("there is no edge in {}: run `edge serve` or `edge enroll` first, or give another --data", path.display())]
    NoEdge {
        /// The directory.
        path: PathBuf,
    },
    /// Another edge runs on this data directory.
    #[error("{} is in use by another edge process: stop that one, or give another --data", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}: give another address with --listen or EDGE_LISTEN")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A text that is no hub's URL.
    #[error("{:?} is no URL of a hub: give one like https://hub.example.com", shown(value))]
    HubUrl {
        /// The text.
        value: String,
    },
    /// A CA that cannot be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A name that no table has which people may look at.
    #[error("there is no table {name:?}{}: the tables are {known}", did_you_mean(name, known.split(", ")))]
    Table {
        /// The name.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A row that this edge never had.
    #[error(
        "this edge has no row {id} in {table}, and never had one: look for its id with `edge dump --table {table}`"
    )]
    NoRow {
        /// The table.
        table: &'static str,
        /// The id.
        id: uuid::Uuid,
    },
    /// What was asked cannot be told.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The backup.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The doctor has found errors, and told them.
    #[error("{errors} of the findings are errors: each line says what to do")]
    Unwell {
        /// How many.
        errors: usize,
    },
    /// Manual pages that cannot be written.
    #[error("cannot write manual pages to {}: {source}: give another --dir", path.display())]
    Pages {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nobody takes what is printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// The operating system.
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    /// The demo.
    #[cfg(feature = "demo")]
    #[error(transparent)]
    Demo(#[from] crate::demo::DemoError),
}
