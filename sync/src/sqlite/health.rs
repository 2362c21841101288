//! Whether an edge's file is whole, and whether capture sees every write. Nothing here repairs.

use rusqlite::{Connection, Transaction};

use super::error::StoreError;
use super::lockouts::{self, Lockout};
use super::{capture, schema};

/// The most problems of one kind that are looked for.
pub const PROBLEMS_MAX: u32 = 10;

/// How a file's schema stands to this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchemaVersions {
    /// The file's.
    pub file: i32,
    /// The newest that this program knows.
    pub program: i32,
}

/// Whether capture sees every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capture {
    /// It does.
    Whole,
    /// A trigger is missing or was changed.
    Altered,
    /// It is switched off by what a program left behind in the file.
    Off,
}

/// Reads every page and says what is damaged, [`PROBLEMS_MAX`] at most; nothing for a file that is whole.
///
/// # Errors
/// [`StoreError::Sqlite`], when the damage keeps SQLite from reading on.
pub fn damage(connection: &Connection) -> Result<Vec<String>, StoreError> {
    // What the centre sends is applied without checks, so a row that breaks one is no damage.
    connection.pragma_update(None, "ignore_check_constraints", true)?;
    let pragma = format!("pragma quick_check({PROBLEMS_MAX})");
    let mut statement = connection.prepare(&pragma)?;
    let lines = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

/// Writes something that changes nothing, so that committing it shows whether the disk takes writes.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn write_something(tx: &Transaction<'_>) -> Result<(), StoreError> {
    // An update to the same value would not be written at all.
    lockouts::store(tx, "", &Lockout::default(), "")?;
    lockouts::clear(tx, "")
}

/// How the file's schema stands to this program.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn schema_versions(connection: &Connection) -> Result<SchemaVersions, StoreError> {
    Ok(SchemaVersions { file: schema::version(connection)?, program: schema::version_known() })
}

/// Whether capture sees every write. For files of this program's schema.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn capture(connection: &Connection) -> Result<Capture, StoreError> {
    if schema::installed(connection)? != capture::triggers() {
        return Ok(Capture::Altered);
    }
    let select = "select applying <> 0 or actor is not null from sync_self";
    let off: bool = connection.query_row(select, [], |row| row.get(0))?;
    Ok(if off { Capture::Off } else { Capture::Whole })
}

/// How many rows of which table refer to rows of which other table that are not here.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn dangling(connection: &Connection) -> Result<Vec<(String, String, u64)>, StoreError> {
    let select = r#"select "table", parent, count(*) from pragma_foreign_key_check group by 1, 2 order by 1, 2"#;
    let mut statement = connection.prepare(select)?;
    let read = |row: &rusqlite::Row<'_>| {
        let count: i64 = row.get(2)?;
        Ok((row.get(0)?, row.get(1)?, u64::try_from(count).unwrap_or(0)))
    };
    let found = statement.query_map([], read)?.collect::<Result<_, _>>()?;
    Ok(found)
}
