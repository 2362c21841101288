//! A data directory with people and things, whose file programs may write and commands may read.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tests::desk::prepare;
use tests::scratch::Scratch;

use super::{on, path};

/// A data directory with the people and things of `tests::desk`.
pub(super) struct Desk {
    pub(super) scratch: Scratch,
    pub(super) data: String,
}

impl Desk {
    pub(super) fn new() -> Self {
        let scratch = Scratch::new();
        let data = path(&scratch, "data");
        prepare(Path::new(&data));
        Self { scratch, data }
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        Path::new(&self.data).join(name)
    }

    /// The file as any program on the box opens it.
    pub(super) fn open(&self) -> Connection {
        let connection = Connection::open(self.file("edge.db")).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        connection
    }

    /// Writes as any program on the box would.
    pub(super) fn sql(&self, sql: &str) {
        self.open().execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(super) fn says(&self, arguments: &[&str]) -> String {
        on(&self.scratch, &self.data, arguments).succeeded()
    }

    pub(super) fn refuses(&self, arguments: &[&str]) -> String {
        on(&self.scratch, &self.data, arguments).failed(1)
    }
}
