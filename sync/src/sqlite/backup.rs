//! A copy of an edge's file, made while the edge works, with what else a new box needs.
//!
//! The copy is read in one transaction and is whole as of one moment; writers are not held up. It is an edge's file
//! itself, in rollback-journal form, with one more table:
//!
//! | `sync_backup` | meaning |
//! |---|---|
//! | made_at | when it was made, by the edge's clock |
//! | program | the version that made it |
//! | credential | the text of `credential.json`; null for an edge that was never enrolled |
//!
//! Sessions and emergency codes are left out: a restore must sign nobody in, and make no used code good again.

use std::fmt;
use std::path::Path;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, ToSql, Transaction, params};

use super::error::StoreError;
use super::health;
use super::status::{self, Counts};
use super::{Origin, recognise, schema};
use crate::catalog::TABLES;

/// What a copy carries beside the tables.
#[derive(Clone, Copy)]
pub struct Luggage<'a> {
    /// When it is made, in stored form.
    pub made_at: &'a str,
    /// The version of the program.
    pub program: &'a str,
    /// The text of the credential's file.
    pub credential: Option<&'a str>,
}

impl fmt::Debug for Luggage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made_at, program, .. } = self;
        f.debug_struct("Luggage").field("made_at", made_at).field("program", program).finish_non_exhaustive()
    }
}

/// What a copy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Living rows.
    pub rows: u64,
    /// What waits, was refused and is in conflict.
    pub counts: Counts,
}

/// Copies the file of a connection, which may be read-only, to `to`: a file that is not there, or is empty. An absolute
/// path, because SQLite takes some relative ones for URIs.
///
/// # Errors
/// [`StoreError::Sqlite`], when the disk is full or a page is damaged above all.
pub fn copy(connection: &Connection, to: &Path) -> Result<(), StoreError> {
    let vacuum = "vacuum into ?1";
    connection.execute(vacuum, [PathText(to)])?;
    Ok(())
}

/// Makes a copy complete, reads it back, and says what it holds. The caller makes it durable.
///
/// # Errors
/// [`StoreError::Damaged`] when the copy cannot be read back whole, [`StoreError::Sqlite`].
pub fn complete(path: &Path, luggage: Luggage<'_>) -> Result<Contents, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    let tx = connection.transaction()?;
    pack(&tx, luggage)?;
    sign_out(&tx)?;
    tx.commit()?;
    if let Some(problem) = health::damage(&connection)?.into_iter().next() {
        return Err(StoreError::Damaged { path: path.to_owned(), problem });
    }
    contents(&connection)
}

/// A backup as it was found.
#[derive(Clone)]
pub struct Found {
    /// When it was made, in stored form.
    pub made_at: String,
    /// The text of the credential's file.
    pub credential: Option<String>,
    /// What it holds.
    pub contents: Contents,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made_at, contents, .. } = self;
        f.debug_struct("Found").field("made_at", made_at).field("contents", contents).finish_non_exhaustive()
    }
}

/// Makes a copy of a backup an edge's file again, once it has been read back whole.
///
/// # Errors
/// [`StoreError::Foreign`] for a file that is no backup, [`StoreError::Damaged`], [`StoreError::Sqlite`].
pub fn unpack(path: &Path) -> Result<Found, StoreError> {
    if recognise(path)? == Origin::New {
        return Err(StoreError::Foreign { path: path.to_owned(), reason: "it is empty" });
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    if let Some(problem) = health::damage(&connection)?.into_iter().next() {
        return Err(StoreError::Damaged { path: path.to_owned(), problem });
    }
    // A table whose text was changed reads back whole, and takes no writes, or the wrong ones.
    if let Some(what) = schema::altered(&connection)? {
        let problem = format!("the {what} is not as this program's migrations make it");
        return Err(StoreError::Damaged { path: path.to_owned(), problem });
    }
    let tx = connection.transaction()?;
    if !is_packed(&tx)? {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
            reason: "an edge's own file, not a copy that it made",
        });
    }
    let (made_at, credential) = luggage(&tx)?;
    let contents = contents(&tx)?;
    tx.execute_batch("drop table sync_backup")?;
    tx.commit()?;
    Ok(Found { made_at, credential, contents })
}

fn is_packed(tx: &Transaction<'_>) -> Result<bool, StoreError> {
    let packed = "select exists (select 1 from sqlite_schema where type = 'table' and name = 'sync_backup')";
    Ok(tx.query_row(packed, [], |row| row.get(0))?)
}

fn luggage(tx: &Transaction<'_>) -> Result<(String, Option<String>), StoreError> {
    let luggage = "select made_at, credential from sync_backup";
    Ok(tx.query_row(luggage, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

fn contents(connection: &Connection) -> Result<Contents, StoreError> {
    let mut contents = Contents { rows: 0, counts: status::counts(connection)? };
    for table in TABLES.iter().filter(|table| table.dumped) {
        contents.rows += living(connection, table.sqlite)?;
    }
    Ok(contents)
}

fn pack(tx: &Transaction<'_>, luggage: Luggage<'_>) -> Result<(), StoreError> {
    tx.execute_batch(
        "create table sync_backup (made_at text not null, program text not null, credential text) strict",
    )?;
    let insert = "insert into sync_backup (made_at, program, credential) values (?1, ?2, ?3)";
    tx.execute(insert, params![luggage.made_at, luggage.program, luggage.credential])?;
    Ok(())
}

fn sign_out(tx: &Transaction<'_>) -> Result<(), StoreError> {
    for table in ["sync_sessions", "sync_emergency_codes"] {
        tx.execute(&format!("delete from {table}"), [])?;
    }
    Ok(())
}

fn living(connection: &Connection, table: &str) -> Result<u64, StoreError> {
    let count: i64 = connection.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// A path as SQLite takes it, UTF-8 or not.
struct PathText<'a>(&'a Path);

impl ToSql for PathText<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0.as_os_str().as_encoded_bytes())))
    }
}
