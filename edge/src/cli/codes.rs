//! The codes of the commands' failures: each message on standard error ends with one, in brackets.

use rusqlite::ErrorCode as SqliteCode;
use sync::sqlite::error::StoreError;
use sync::wire::codes::{ErrorCode, listed};

use super::error::CliError;
use crate::backup::BackupError;
use crate::encryption::Locked;
use crate::refusal::Refusal;
use crate::running::OpenError;

/// Every way in which an `edge` command ends without having done what was asked; the status is the process's. Wrong
/// usage ends with 2 and the usage.
pub const CODES: &[ErrorCode] = &[
    failed(
        "settings",
        "a setting cannot be used, or its name is not known",
        "correct the flag, variable or file that is named",
    ),
    failed(
        "data_directory",
        "the data directory cannot be made or written",
        "give another --data, or its owner's rights",
    ),
    failed(
        "no_edge",
        "the data directory holds no edge",
        "run `edge serve` or `edge enroll` first, or give another --data",
    ),
    failed("in_use", "another process has the data directory", "stop that one, or give another --data"),
    failed(
        "foreign_file",
        "edge.db, or the file to restore from, was made by another program; it was not touched",
        "choose another data directory, or another file",
    ),
    failed("newer_file", "a later version has migrated edge.db", "start that version or a later one"),
    failed(
        "migration",
        "edge.db cannot be migrated; it is as it was before",
        "keep a copy of the data directory and report the message",
    ),
    failed(
        "damaged",
        "edge.db does not read back whole",
        "stop the edge, keep a copy of the data directory, run `edge doctor`",
    ),
    failed("old_library", "the SQLite library has a known defect", "run an edge that was built with a later one"),
    failed("disk_full", "the disk is full; nothing was changed", "make room"),
    failed("busy", "another program kept writing to edge.db", "try again"),
    failed("database", "edge.db failed in another way", "run `edge doctor`"),
    failed(
        "credential",
        "credential.json cannot be read or written",
        "restore it from a backup, or enrol again in another data directory",
    ),
    failed("file", "a file cannot be read or written", "give another one, or its owner's rights"),
    failed("file_exists", "the file to be made is there already; it was not touched", "give another name"),
    failed(
        "passphrase",
        "a passphrase is missing, too short, typed in two ways, or does not open the backup; nothing was changed",
        "give the right one, by the terminal or --passphrase-file; a new one has 12 or more characters",
    ),
    failed(
        "unreadable_backup",
        "an encrypted backup is cut short, was changed, or is not encrypted with a passphrase; nothing was changed",
        "take another copy of it; open one that is encrypted to a key with `age -d` first",
    ),
    failed(
        "control",
        "the running edge cannot be asked",
        "run the command as the edge's user, with the edge's version",
    ),
    failed("listen", "the address is taken, or not this machine's", "give another --listen"),
    failed("hub_url", "a text is no URL of a hub", "give one like https://hub.example.com"),
    failed(
        "ca",
        "the file of a CA cannot be read, holds no certificate of one, or is given for a hub without TLS",
        "give the ca.crt that `hub ca init` made, and the hub's https:// URL",
    ),
    failed("no_table", "there is no table of this name", "name one of those listed"),
    failed("no_row", "this edge never had the row", "look for its id with `edge dump`"),
    failed("not_enrolled", "the edge belongs to no tenant yet", "run `edge enroll`"),
    failed("not_done", "the edge says why it did not do what was asked", "do what the message says"),
    failed("unwell", "`edge doctor` found errors, and printed them", "do what each printed line says"),
    failed("output", "standard output cannot be written", "see where it leads"),
    failed("system", "the operating system refused a thread or a runtime", "see the limits of the process"),
    failed("demo", "the demo cannot run", "do what the message says"),
];

const fn failed(code: &'static str, when: &'static str, what_to_do: &'static str) -> ErrorCode {
    ErrorCode::new(code, 1, when, what_to_do)
}

impl CliError {
    /// Its line in [`CODES`].
    pub(super) fn entry(&self) -> &'static ErrorCode {
        match self {
            Self::Config(_) => const { listed(CODES, "settings") },
            Self::Open(error) => of_open(error),
            Self::Store(error) => of_store(error),
            Self::Control(_) => const { listed(CODES, "control") },
            Self::Failed(_) => const { listed(CODES, "not_done") },
            Self::NoEdge { .. } => const { listed(CODES, "no_edge") },
            Self::InUse { .. } => const { listed(CODES, "in_use") },
            Self::Listen { .. } => const { listed(CODES, "listen") },
            Self::HubUrl { .. } => const { listed(CODES, "hub_url") },
            Self::Trust(_) => const { listed(CODES, "ca") },
            Self::Table { .. } => const { listed(CODES, "no_table") },
            Self::NoRow { .. } => const { listed(CODES, "no_row") },
            Self::Refused(Refusal::NotEnrolled) => const { listed(CODES, "not_enrolled") },
            Self::Refused(Refusal::Store(error)) => of_store(error),
            Self::Refused(_) => const { listed(CODES, "not_done") },
            Self::Backup(error) => of_backup(error),
            Self::Passphrase(_) => const { listed(CODES, "passphrase") },
            Self::Unwell { .. } => const { listed(CODES, "unwell") },
            Self::Pages { .. } => const { listed(CODES, "file") },
            Self::Output(_) => const { listed(CODES, "output") },
            Self::Runtime(_) => const { listed(CODES, "system") },
            #[cfg(feature = "demo")]
            Self::Demo(_) => const { listed(CODES, "demo") },
        }
    }
}

fn of_open(error: &OpenError) -> &'static ErrorCode {
    match error {
        OpenError::DataDir(_) => const { listed(CODES, "data_directory") },
        OpenError::Store(error) => of_store(error),
        OpenError::Rescue(_) => const { listed(CODES, "damaged") },
        OpenError::Credential(_) => const { listed(CODES, "credential") },
        OpenError::Thread(_) => const { listed(CODES, "system") },
    }
}

fn of_backup(error: &BackupError) -> &'static ErrorCode {
    match error {
        BackupError::Exists(_) | BackupError::Occupied(_) => const { listed(CODES, "file_exists") },
        BackupError::DataDir(_) => const { listed(CODES, "data_directory") },
        BackupError::File { .. } | BackupError::Unread { .. } => const { listed(CODES, "file") },
        BackupError::Credential(_) => const { listed(CODES, "credential") },
        BackupError::Locked { source: Locked::Passphrase, .. } => const { listed(CODES, "passphrase") },
        BackupError::Locked { .. } => const { listed(CODES, "unreadable_backup") },
        BackupError::NoBackup { .. } => const { listed(CODES, "foreign_file") },
        BackupError::Store { source, .. } | BackupError::Unfit { source, .. } => of_store(source),
    }
}

fn of_store(error: &StoreError) -> &'static ErrorCode {
    match error {
        StoreError::Locked { .. } => const { listed(CODES, "in_use") },
        StoreError::Foreign { .. } => const { listed(CODES, "foreign_file") },
        StoreError::Newer { .. } => const { listed(CODES, "newer_file") },
        StoreError::Migration { .. } => const { listed(CODES, "migration") },
        StoreError::Damaged { .. } => const { listed(CODES, "damaged") },
        StoreError::SqliteTooOld { .. } => const { listed(CODES, "old_library") },
        StoreError::File { .. } => const { listed(CODES, "file") },
        StoreError::Output(_) => const { listed(CODES, "output") },
        StoreError::Sqlite(source) => match source.sqlite_error_code() {
            Some(SqliteCode::DiskFull) => const { listed(CODES, "disk_full") },
            Some(SqliteCode::DatabaseCorrupt | SqliteCode::NotADatabase) => const { listed(CODES, "damaged") },
            _ if error.is_retryable() => const { listed(CODES, "busy") },
            _ => const { listed(CODES, "database") },
        },
        StoreError::Row { .. }
        | StoreError::Version(_)
        | StoreError::Conflict { .. }
        | StoreError::Text { .. }
        | StoreError::Batch(_)
        | StoreError::Body(_) => const { listed(CODES, "database") },
    }
}
