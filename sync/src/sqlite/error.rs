//! What can go wrong with an edge's file. Each variant names the file and says what to do.

use std::io;
use std::path::PathBuf;

use crate::merge::ids::RowId;
use crate::wire::convert::ConvertError;
use crate::wire::frames::FrameError;
use crate::wire::stream::StreamError;
use crate::wire::version::VersionError;

/// An error of the edge's store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The SQLite library is one with a known defect.
    #[error("SQLite {found} is too old for the edge's database: build with {needed} or later")]
    SqliteTooOld {
        /// The version that is linked.
        found: String,
        /// The oldest version that is good enough.
        needed: &'static str,
    },
    /// The file was not made by an edge. It has not been touched.
    #[error("{path} is not an edge's database ({reason}): nothing was changed, choose another data directory")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How we know.
        reason: &'static str,
    },
    /// Another process has it.
    #[error("{path} is in use by another edge process: stop that one, or choose another data directory")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A later program has migrated the file.
    #[error(
        "{path} was written by a newer edge (schema {file}, this program knows {program}): start that version or later"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The file's schema version.
        file: i32,
        /// The newest that this program knows.
        program: i32,
    },
    /// A migration failed; the file is as it was before.
    #[error("cannot migrate {path}, it is as it was before: {source}")]
    Migration {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: Box<refinery::Error>,
    },
    /// The file or its lock cannot be read or made.
    #[error("cannot open {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// The file does not read back whole.
    #[error("{path} is damaged: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found first.
        problem: String,
    },
    /// A row holds a value without a canonical form.
    #[error("row {row} cannot be read: {source}")]
    Row {
        /// The row.
        row: RowId,
        /// Why.
        source: ConvertError,
    },
    /// A version record is not what capture and apply write.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// A conflict record is not what apply writes.
    #[error("conflict {id} cannot be read: {source}")]
    Conflict {
        /// Its id.
        id: String,
        /// Why.
        source: ConvertError,
    },
    /// A stored text is not the JSON that it should be.
    #[error("{what} cannot be read: {source}")]
    Text {
        /// Which.
        what: &'static str,
        /// Why.
        source: serde_json::Error,
    },
    /// The batch in flight cannot be read back.
    #[error("the batch in flight cannot be read: {0}")]
    Batch(#[from] FrameError),
    /// A batch cannot be written.
    #[error("a batch cannot be written: {0}")]
    Body(#[from] StreamError),
    /// Whoever asked for a dump cannot take it.
    #[error("cannot write the dump: {0}")]
    Output(#[source] io::Error),
    /// SQLite refused a statement.
    #[error("the edge's database failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody doing anything: another writer was in the way.
    pub fn is_retryable(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
        )
    }
}
