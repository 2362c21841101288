//! Makes and migrates the edge's tables, then installs the generated capture triggers.
//!
//! All pending migrations run in one transaction: a failed one leaves the file as it was. Triggers are compared as text
//! with what is installed, so a trigger that somebody dropped or changed comes back at the next start.

use std::collections::BTreeMap;
use std::path::Path;

use refinery::Target;
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

/// What of the schema of a file is not as the migrations up to its version make it: the first table, index or view whose text is
/// another one, or missing. What somebody added is nobody's business, and capture triggers are made again at every start.
///
/// # Errors
/// [`StoreError::Migration`], [`StoreError::Sqlite`].
pub fn altered(connection: &Connection) -> Result<Option<String>, StoreError> {
    let mut made = Connection::open_in_memory()?;
    let target = Target::Version(version(connection)?.min(version_known()));
    let run = embedded::migrations::runner().set_grouped(true).set_target(target).run(&mut made);
    run.map_err(|source| StoreError::Migration { path: ":memory:".into(), source: Box::new(source) })?;
    let (found, expected) = (texts(connection)?, texts(&made)?);
    Ok(expected.into_iter().find(|(name, text)| found.get(name) != Some(text)).map(|(name, _)| name))
}

/// The texts that make a schema, by the names of what they make.
fn texts(connection: &Connection) -> Result<BTreeMap<String, String>, StoreError> {
    let texts = "select type || ' ' || name, sql from sqlite_schema
        where sql is not null and not (type = 'trigger' and name glob 'sync_*')";
    let mut statement = connection.prepare(texts)?;
    let texts = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    Ok(texts)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_is_as_the_migrations_make_it_until_somebody_changes_a_text_of_it() {
        let store = super::super::open_in_memory().unwrap();
        let connection = store.connection();
        assert_eq!(altered(connection).unwrap(), None);
        connection.execute_batch("create index of_a_user on tasks (title)").unwrap();
        assert_eq!(altered(connection).unwrap(), None, "what somebody added is theirs");
        connection
            .execute_batch(
                "pragma writable_schema = on;
                 update sqlite_schema set sql = replace(sql, 'json_valid', 'jso0_valid') where name = 'tasks'",
            )
            .unwrap();
        assert_eq!(altered(connection).unwrap().as_deref(), Some("table tasks"));
    }
}
