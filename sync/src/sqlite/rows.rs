//! Rows of the mirror, as registers: read, written, and the last values of dead ones.
//!
//! Table and column names come from the catalog. A number is bound and read as a double and never passes through
//! text. Nothing here looks at versions, and nothing here decides whether a row lives.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, ToSql, Transaction, params_from_iter};
use uuid::Uuid;

use super::error::StoreError;
use crate::catalog::{Column, Direction, Kind, Table};
use crate::merge::ids::RowId;
use crate::merge::value::{Value, Values};
use crate::wire::canonical::{self, CanonicalError};
use crate::wire::convert::{self, ConvertError};

/// The values of a living row; `None` when the table does not have it.
///
/// # Errors
/// [`StoreError::Row`] when a value has no canonical form, [`StoreError::Sqlite`].
pub fn load(tx: &Connection, table: &'static Table, id: RowId) -> Result<Option<Values>, StoreError> {
    let columns = select_list(table);
    let select = format!("select {columns} from {} where id = ?1", table.sqlite);
    let mut statement = tx.prepare_cached(&select)?;
    statement.query_row([id.to_string()], |row| Ok(values(table, id, row))).optional()?.transpose()
}

/// The last values of a dead row; `None` when none were kept.
///
/// # Errors
/// [`StoreError::Row`] when a value has no canonical form, [`StoreError::Sqlite`].
pub fn load_last(tx: &Connection, table: &'static Table, id: RowId) -> Result<Option<Values>, StoreError> {
    let columns = select_list(table);
    let select = format!("select {columns} from sync_last_{} where id = ?1", table.sqlite);
    let mut statement = tx.prepare_cached(&select)?;
    statement.query_row([id.to_string()], |row| Ok(values(table, id, row))).optional()?.transpose()
}

/// Calls `each` with every living row in the order of ids, until it fails. A row that cannot be read comes as the
/// reason.
///
/// # Errors
/// What `each` says, and [`StoreError::Sqlite`].
pub fn for_each(
    tx: &Connection,
    table: &'static Table,
    mut each: impl FnMut(RowId, Result<Values, StoreError>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let columns = select_list(table);
    let select = format!("select {columns}, id from {} order by id", table.sqlite);
    let mut statement = tx.prepare_cached(&select)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: String = row.get(table.columns.len() - 1)?;
        // The key's check keeps every id readable; one that a client wrote with checks off is no row of ours.
        let Ok(id) = Uuid::try_parse(&id) else { continue };
        each(RowId(id), values(table, RowId(id), row))?;
    }
    Ok(())
}

/// Writes a living row whole.
///
/// # Errors
/// [`StoreError::Sqlite`], a constraint violation among them when a column that may not be null has no value.
pub fn save(tx: &Transaction<'_>, table: &'static Table, id: RowId, values: &Values) -> Result<(), StoreError> {
    upsert(tx, table.sqlite, table, id, values)
}

/// Keeps the last values of a row that has died.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn save_last(tx: &Transaction<'_>, table: &'static Table, id: RowId, values: &Values) -> Result<(), StoreError> {
    upsert(tx, &format!("sync_last_{}", table.sqlite), table, id, values)
}

/// Removes a living row. Nothing when it is not there.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn delete(tx: &Transaction<'_>, table: &'static Table, id: RowId) -> Result<(), StoreError> {
    let delete = format!("delete from {} where id = ?1", table.sqlite);
    tx.prepare_cached(&delete)?.execute([id.to_string()])?;
    Ok(())
}

/// Forgets the last values of a row that lives again or is forgotten altogether. Nothing for tables that keep none.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn delete_last(tx: &Transaction<'_>, table: &'static Table, id: RowId) -> Result<(), StoreError> {
    if table.direction == Direction::Down {
        return Ok(());
    }
    let delete = format!("delete from sync_last_{} where id = ?1", table.sqlite);
    tx.prepare_cached(&delete)?.execute([id.to_string()])?;
    Ok(())
}

fn upsert(tx: &Transaction<'_>, on: &str, table: &'static Table, id: RowId, values: &Values) -> Result<(), StoreError> {
    let columns = select_list(table);
    let places: Vec<String> = (1..=table.columns.len()).map(|place| format!("?{place}")).collect();
    let places = places.join(", ");
    let set: Vec<String> = table.columns[1..].iter().map(|column| format!("{0} = excluded.{0}", column.name)).collect();
    let set = set.join(", ");
    let insert = format!("insert into {on} (id, {columns}) values ({places}) on conflict (id) do update set {set}");
    let id = [Bound(Value::Text(id.to_string()))];
    let bound = id.into_iter().chain(convert::to_columns(table, values).into_iter().map(Bound));
    tx.prepare_cached(&insert)?.execute(params_from_iter(bound))?;
    Ok(())
}

fn select_list(table: &Table) -> String {
    let names: Vec<&str> = table.columns[1..].iter().map(|column| column.name).collect();
    names.join(", ")
}

fn values(table: &'static Table, id: RowId, row: &Row<'_>) -> Result<Values, StoreError> {
    let mut columns = Vec::with_capacity(table.columns.len());
    for (index, column) in table.columns[1..].iter().enumerate() {
        let value = value(table, column, row.get_ref(index)?);
        columns.push(value.map_err(|source| StoreError::Row { row: id, source })?);
    }
    convert::from_columns(table, columns).map_err(|source| StoreError::Row { row: id, source })
}

fn value(table: &'static Table, column: &Column, stored: ValueRef<'_>) -> Result<Value, ConvertError> {
    let refuse = |source| ConvertError::Canonical { table: table.name, column: column.name.to_owned(), source };
    let wrong = |expected| ConvertError::Type { table: table.name, column: column.name.to_owned(), expected };
    let text = match stored {
        ValueRef::Null => return Ok(Value::Null),
        ValueRef::Real(real) if column.kind == Kind::Real => {
            return if real.is_finite() { Ok(Value::Real(real + 0.0)) } else { Err(wrong("a finite number")) };
        }
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| refuse(CanonicalError::Syntax("text that is not UTF-8".to_owned())))?,
        ValueRef::Integer(_) | ValueRef::Real(_) | ValueRef::Blob(_) => return Err(wrong("a value of its type")),
    };
    match column.kind {
        Kind::Uuid | Kind::Text | Kind::Enum(..) => {
            canonical::text(text).map(|text| Value::Text(text.to_owned())).map_err(refuse)
        }
        Kind::Timestamp => canonical::timestamp(text).map(Value::Text).map_err(refuse),
        Kind::Json => Ok(Value::Json(text.to_owned())),
        Kind::Real => Err(wrong("a number")),
    }
}

/// A value as a statement takes it.
struct Bound(Value);

impl ToSql for Bound {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match &self.0 {
            Value::Text(text) | Value::Json(text) => ValueRef::Text(text.as_bytes()),
            Value::Real(real) => ValueRef::Real(*real),
            // Groups are taken apart before they come here.
            Value::Null | Value::Group(_) => ValueRef::Null,
        }))
    }
}
