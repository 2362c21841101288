//! The edge's SQLite file: one writer, any number of readers, and whatever plain clients a site runs beside us.
//!
//! `schema` makes the tables, `capture` the triggers that stamp every local write. Readers open with [`open_reader`].
//!
//! Invariants: a file that is not ours is never written to. At most one process holds a [`Store`] of a file, by a lock
//! file beside it; plain clients are not kept out, and their writes are captured like ours. A commit is on the disk when
//! it returns (`synchronous = full`), because a seq that was pushed and then lost would be used twice.

pub mod answers;
pub mod apply;
pub mod audit;
pub mod backup;
mod blockers;
pub mod capture;
pub mod changes;
pub mod collect;
pub mod collisions;
pub mod comparison;
pub mod conflicts;
pub mod devices;
pub mod digest;
pub mod directory;
pub mod dump;
pub mod emergency_codes;
pub mod error;
mod evictions;
#[cfg(test)]
mod fixture;
mod former_names;
pub mod health;
pub mod history;
mod hub_rows;
pub mod ledger;
pub mod listing;
pub mod lockouts;
pub mod outbox;
pub mod people;
pub mod quarantine;
pub mod receipts;
pub mod reconcile;
pub mod records;
pub mod reidentify;
pub mod rows;
pub mod salvage;
pub mod schema;
pub mod self_state;
pub mod sessions;
pub mod sites;
pub mod status;
pub mod tasks;
pub mod versions;

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use self::error::StoreError;

/// The `application_id` of an edge's file, "WayS" in ASCII.
pub const APPLICATION_ID: u32 = 0x5761_7953;
/// How long a statement waits for a plain client that is writing, in milliseconds.
pub const BUSY_MS_MAX: u64 = 5_000;
/// The oldest SQLite that we write with: earlier ones can lose a WAL that two connections reset at once.
pub const SQLITE_VERSION_MIN: (i32, &str) = (3_051_003, "3.51.3");
/// Prepared statements kept for each connection.
const STATEMENTS_MAX: usize = 128;

/// The writing connection of an edge's file, with the lock that makes it the only one of ours.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    lock: Option<File>,
}

impl Store {
    /// The connection, for reading.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The connection, for what begins its own transactions.
    pub fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The connection, and the lock that has to live as long as it; none for a store in memory.
    pub fn into_parts(self) -> (Connection, Option<File>) {
        (self.connection, self.lock)
    }

    /// Begins a transaction that holds the write lock from its start, so that what it reads is what it writes to.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], retryable when a plain client kept writing for longer than [`BUSY_MS_MAX`].
    pub fn begin(&mut self) -> Result<Transaction<'_>, StoreError> {
        Ok(self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
    }

    /// Turns foreign keys and checks on or off. Apply works with both off, inside of none of our transactions: SQLite
    /// ignores the first of them while one is open.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn enforce_constraints(&self, on: bool) -> Result<(), StoreError> {
        self.connection.pragma_update(None, "foreign_keys", on)?;
        self.connection.pragma_update(None, "ignore_check_constraints", !on)?;
        Ok(())
    }
}

/// Opens the file for writing: takes the lock, makes the file if there is none, migrates it and installs the capture
/// triggers.
///
/// # Errors
/// [`StoreError::Locked`] when another process has it, [`StoreError::Foreign`] when it is not an edge's file,
/// [`StoreError::Newer`] when a later program has migrated it, [`StoreError::Migration`], [`StoreError::File`],
/// [`StoreError::SqliteTooOld`], [`StoreError::Sqlite`].
pub fn open(path: &Path) -> Result<Store, StoreError> {
    check_library()?;
    recognise(path)?;
    let lock = lock(path)?;
    open_locked(path, lock)
}

/// The same for whoever has taken the lock of the file before.
///
/// # Errors
/// As [`open`].
pub fn open_locked(path: &Path, lock: File) -> Result<Store, StoreError> {
    check_library()?;
    let is_new = recognise(path)? == Origin::New;
    keep_from_others(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    let mut connection = Connection::open(path)?;
    configure(&connection)?;
    if is_new {
        // Written before the journal mode, so that it is in the file's header from its first page on.
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    connection.pragma_update(None, "journal_mode", "wal")?;
    schema::migrate(&mut connection, path)?;
    Ok(Store { connection, lock: Some(lock) })
}

/// Opens a store that lives in memory, for simulations. It behaves like a file's, without lock and durability.
///
/// # Errors
/// As [`open`], as far as they apply.
pub fn open_in_memory() -> Result<Store, StoreError> {
    check_library()?;
    let mut connection = Connection::open_in_memory()?;
    configure(&connection)?;
    schema::migrate(&mut connection, Path::new(":memory:"))?;
    Ok(Store { connection, lock: None })
}

/// Opens an existing edge's file for reading only.
///
/// # Errors
/// [`StoreError::Foreign`] when it is not an edge's file, [`StoreError::File`] when there is none,
/// [`StoreError::Sqlite`].
pub fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    check_library()?;
    if recognise(path)? == Origin::New {
        let missing = io::Error::new(io::ErrorKind::NotFound, "no database has been made here yet");
        return Err(StoreError::File { path: path.to_owned(), source: missing });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(connection)
}

/// The lock file that belongs to a database file.
pub fn lock_path(path: &Path) -> PathBuf {
    path.with_extension("lock")
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    New,
    Ours,
}

/// Whose file it is, by its header alone; `immutable` keeps SQLite from recovering or creating something. A file that was left
/// in the middle of a checkpoint makes no sense without its log, so it is read once more with that.
///
/// The header is read by SQLite and never by a file handle of ours. Closing one would drop the POSIX locks that other
/// connections of this process hold on the file (<https://sqlite.org/howtocorrupt.html>, 2.2); the next plain client
/// would then take itself for the last one and remove the WAL beneath them.
pub(crate) fn recognise(path: &Path) -> Result<Origin, StoreError> {
    let file_error = |source| StoreError::File { path: path.to_owned(), source };
    let foreign = |reason| Err(StoreError::Foreign { path: path.to_owned(), reason });
    match path.metadata() {
        Ok(metadata) if metadata.len() == 0 => return Ok(Origin::New),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Origin::New),
        Err(error) => return Err(file_error(error)),
    }
    let alone = application_id(immutable(path)).map_err(file_error)?;
    let has_log = log_path(path).metadata().is_ok_and(|log| log.len() > 0);
    let found = match alone {
        Err(error) if has_log && error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            application_id(uri(path)).map_err(file_error)?
        }
        alone => alone,
    };
    match found {
        Ok(id) if id == i64::from(APPLICATION_ID) => Ok(Origin::Ours),
        Ok(_) => foreign("another program made it"),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => foreign("it is not a SQLite file"),
        Err(error) => Err(error.into()),
    }
}

/// What a file says that it is, read only; the outer error is of opening it.
fn application_id(uri: String) -> Result<rusqlite::Result<i64>, io::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(uri, flags).map_err(io::Error::other)?;
    Ok(connection.pragma_query_value(None, "application_id", |row| row.get(0)))
}

/// The log that belongs to a database file, as SQLite names it.
fn log_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// The URI of a file that nobody is to change while it is read.
fn immutable(path: &Path) -> String {
    uri(path) + "?immutable=1"
}

fn uri(path: &Path) -> String {
    use std::fmt::Write as _;
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => uri.push(char::from(*byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(uri, "%{byte:02X}"),
        }
    }
    uri
}

/// Makes the file if there is none, and takes from it, and from what SQLite keeps beside it, the rights of those who are neither
/// its owner nor of its group: it holds what sign-ins are checked against. What SQLite makes beside it later gets its mode. A
/// file of another user stays as it is.
fn keep_from_others(path: &Path) -> io::Result<()> {
    // No connection of this process is open yet, so that closing this handle drops nobody's locks.
    match OpenOptions::new().write(true).create_new(true).mode(0o640).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let Ok(mode) = std::fs::metadata(&name).map(|file| file.permissions().mode()) else { continue };
        if mode & 0o007 != 0 {
            // The doctor names a file that stays open.
            let _ = std::fs::set_permissions(&name, Permissions::from_mode(mode & 0o770));
        }
    }
    Ok(())
}

/// Makes this process the only one that may write the file as an edge, for as long as what is returned lives.
///
/// # Errors
/// [`StoreError::Locked`] when another process is, [`StoreError::File`].
pub fn lock(path: &Path) -> Result<File, StoreError> {
    let file_error = |source| StoreError::File { path: path.to_owned(), source };
    let lock = OpenOptions::new().create(true).write(true).truncate(false).open(lock_path(path)).map_err(file_error)?;
    match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::Locked { path: path.to_owned() }),
        Err(error) => Err(file_error(error.into())),
    }
}

/// Refuses a SQLite library with a known defect.
///
/// # Errors
/// [`StoreError::SqliteTooOld`].
pub fn check_library() -> Result<(), StoreError> {
    let (min, needed) = SQLITE_VERSION_MIN;
    if rusqlite::version_number() < min {
        return Err(StoreError::SqliteTooOld { found: rusqlite::version().to_owned(), needed });
    }
    Ok(())
}

fn configure(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS_MAX))?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Off is the default. It is said here because REPLACE costs a delete more with it on.
    connection.pragma_update(None, "recursive_triggers", false)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(())
}
