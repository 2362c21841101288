//! Makes and migrates the edge's tables, then installs the generated capture triggers.
//!
//! All pending migrations run in one transaction: a failed one leaves the file as it was. Triggers are compared as text
//! with what is installed, so a trigger that somebody dropped or changed comes back at the next start.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::capture;
use super::error::StoreError;
use crate::catalog;

mod embedded {
    refinery::embed_migrations!("../migrations/edge");
}

/// Brings a file to this program's schema.
///
/// `path` is for messages only.
///
/// # Errors
/// [`StoreError::Newer`] when the file's schema is later than this program's, [`StoreError::Migration`] when a
/// migration fails or an applied one was edited, [`StoreError::Sqlite`].
pub fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let (file, program) = (version(connection)?, version_known());
    if file > program {
        return Err(StoreError::Newer { path: path.to_owned(), file, program });
    }
    let run = embedded::migrations::runner().set_grouped(true).run(connection);
    run.map_err(|source| StoreError::Migration { path: path.to_owned(), source: Box::new(source) })?;

    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if installed(&tx)? != capture::triggers() {
        reinstall(&tx)?;
    }
    remember(&tx)?;
    fill_in(&tx)?;
    tx.commit()?;
    Ok(())
}

/// A mirror that was filled by a program which knew fewer columns lacks their values, under versions that are right. They come
/// by a comparison, which is of contents too.
fn fill_in(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let note = "update sync_self set reconcile = max(reconcile, cursor is not null), catalog_version = ?1
        where catalog_version < ?1";
    tx.execute(note, [catalog::VERSION])?;
    Ok(())
}

/// The schema version of a file, 0 for an empty one.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn version(connection: &Connection) -> Result<i32, StoreError> {
    let made = "select 1 from sqlite_schema where type = 'table' and name = 'refinery_schema_history'";
    if connection.query_row(made, [], |_| Ok(())).optional()?.is_none() {
        return Ok(0);
    }
    let last = "select coalesce(max(version), 0) from refinery_schema_history";
    Ok(connection.query_row(last, [], |row| row.get(0))?)
}

/// The newest schema version that this program knows.
pub fn version_known() -> i32 {
    let runner = embedded::migrations::runner();
    runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0)
}

/// The capture triggers that the file holds, as their texts ordered by name. Equal to [`capture::triggers`] when capture
/// is whole.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn installed(connection: &Connection) -> Result<Vec<String>, StoreError> {
    // SQLite keeps the text from the name on and writes the words before it in its own way.
    let texts = "select 'create trigger ' || substr(sql, 16) from sqlite_schema
        where type = 'trigger' and name glob 'sync_*' order by name";
    let mut statement = connection.prepare(texts)?;
    let texts = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(texts)
}

fn reinstall(tx: &Transaction<'_>) -> Result<(), StoreError> {
    for name in names(tx)? {
        tx.execute_batch(&format!("drop trigger {name}"))?;
    }
    for trigger in capture::triggers() {
        tx.execute_batch(&trigger)?;
    }
    Ok(())
}

fn names(tx: &Transaction<'_>) -> Result<Vec<String>, StoreError> {
    let names = "select name from sqlite_schema where type = 'trigger' and name glob 'sync_*'";
    let mut statement = tx.prepare(names)?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(names)
}

/// Notes what is installed, and clears what only a program that died in a strange way could have committed.
fn remember(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let note = "update sync_self set schema_fingerprint = ?1, applying = 0, actor = null
        where schema_fingerprint is not ?1 or applying <> 0 or actor is not null";
    tx.execute(note, [capture::fingerprint()])?;
    Ok(())
}
