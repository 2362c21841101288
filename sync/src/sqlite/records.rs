//! Rows as people see them: their columns in schema order, and how each stands with the hub.
//!
//! Writing here is plain SQL like any other client's; the capture triggers stamp it. Every function takes the tenant, so
//! that a row of another one is not found, whatever the file holds.

use std::fmt::Write as _;

use rusqlite::types::{Value as SqlValue, ValueRef};
use rusqlite::{Connection, OptionalExtension as _, Row, params_from_iter};
use uuid::Uuid;

use super::error::StoreError;
use crate::catalog::{Column, Kind, Scope, Table};
use crate::merge::ids::RowId;
use crate::merge::value::Value;

/// A row with its standing.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its table.
    pub table: &'static Table,
    /// Its key.
    pub id: RowId,
    /// Its values in schema order, without the key. JSON columns are texts of whole objects.
    pub values: Vec<Value>,
    /// An opaque word that changes with every write of the row.
    pub version: String,
    /// What has been seen of the row, as text, for a page to send back as what it was filled with.
    pub base: String,
    /// How it stands with the hub.
    pub standing: Standing,
}

/// How a row stands with the hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The hub has it as it is here.
    Synced,
    /// It holds writes that the hub has not acknowledged.
    Waiting,
    /// The hub refused it.
    Refused,
    /// One of its writes lost to another that did not know it, and nobody has decided.
    Conflict,
}

impl Record {
    /// The value of a column; null for one that the table lacks.
    pub fn value(&self, column: &str) -> &Value {
        let position = self.table.columns.iter().skip(1).position(|candidate| candidate.name == column);
        position.and_then(|index| self.values.get(index)).unwrap_or(&Value::Null)
    }

    /// A column's text, `None` for null and for columns that hold no text.
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.value(column) {
            Value::Text(text) | Value::Json(text) => Some(text),
            _ => None,
        }
    }

    /// The id in a column that refers to another row.
    pub fn reference(&self, column: &str) -> Option<Uuid> {
        self.text(column).and_then(|text| Uuid::try_parse(text).ok())
    }

    /// The columns with their values, without the key.
    pub fn columns(&self) -> impl Iterator<Item = (&'static Column, &Value)> {
        self.table.columns.iter().skip(1).zip(&self.values)
    }
}

/// The row with an id.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn find(tx: &Connection, table: &'static Table, tenant: Uuid, id: RowId) -> Result<Option<Record>, StoreError> {
    let sql = format!("{} where {} and t.id = ?", selection(table, &[]), of_tenant(table));
    let keys = [tenant.to_string(), id.to_string()];
    Ok(tx.prepare_cached(&sql)?.query_row(keys, |row| read(table, row)).optional()?)
}

/// Whether a table has a row with an id.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn exists(tx: &Connection, table: &Table, tenant: Uuid, id: Uuid) -> Result<bool, StoreError> {
    let sql = format!("select exists (select 1 from {} as t where {} and t.id = ?)", table.sqlite, of_tenant(table));
    Ok(tx.prepare_cached(&sql)?.query_row([tenant.to_string(), id.to_string()], |row| row.get(0))?)
}

/// Adds a row. Columns that are not named take their defaults.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn insert(tx: &Connection, table: &Table, id: RowId, values: &[(&str, Value)]) -> Result<(), StoreError> {
    let names: String = values.iter().map(|(name, _)| format!(", {name}")).collect();
    let marks = ", ?".repeat(values.len());
    let sql = format!("insert into {} (id{names}) values (?{marks})", table.sqlite);
    let id = SqlValue::Text(id.to_string());
    tx.prepare_cached(&sql)?
        .execute(params_from_iter(std::iter::once(id).chain(values.iter().map(|(_, value)| to_sql(value)))))?;
    Ok(())
}

/// Writes some columns of a row.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn update(tx: &Connection, table: &Table, id: RowId, values: &[(&str, Value)]) -> Result<(), StoreError> {
    let sets: Vec<String> = values.iter().map(|(name, _)| format!("{name} = ?")).collect();
    let sql = format!("update {} set {} where id = ?", table.sqlite, sets.join(", "));
    let id = SqlValue::Text(id.to_string());
    tx.prepare_cached(&sql)?
        .execute(params_from_iter(values.iter().map(|(_, value)| to_sql(value)).chain(std::iter::once(id))))?;
    Ok(())
}

/// Deletes a row.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn delete(tx: &Connection, table: &Table, id: RowId) -> Result<(), StoreError> {
    let sql = format!("delete from {} where id = ?", table.sqlite);
    tx.prepare_cached(&sql)?.execute([id.to_string()])?;
    Ok(())
}

/// A dead row with its last values; `None` when nothing is left of it here.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn last(tx: &Connection, table: &'static Table, tenant: Uuid, id: RowId) -> Result<Option<Record>, StoreError> {
    let names: Vec<&str> = table.columns.iter().skip(1).map(|column| column.name).collect();
    let sql = format!("select {} from sync_last_{} where tenant_id = ? and id = ?", names.join(", "), table.sqlite);
    let read = |row: &Row<'_>| {
        let columns = table.columns.iter().skip(1).enumerate();
        let values = columns.map(|(index, column)| Ok(from_sql(column, row.get_ref(index)?)));
        let values = values.collect::<rusqlite::Result<_>>()?;
        let (version, base) = (String::new(), String::new());
        Ok(Record { table, id, values, version, base, standing: Standing::Synced })
    };
    Ok(tx.prepare_cached(&sql)?.query_row([tenant.to_string(), id.to_string()], read).optional()?)
}

/// The beginning of a statement that reads records of `t`, with more expressions at its end.
pub(super) fn selection(table: &Table, more: &[&str]) -> String {
    let number = table.id.0;
    let mut sql = String::from("select t.id");
    for column in table.columns.iter().skip(1) {
        // Writing to a string cannot fail.
        let _ = write!(sql, ", t.{}", column.name);
    }
    let _ = write!(
        sql,
        ", coalesce(v.vv, '{{}}'), case when v.refused is not null then 2 when v.base is not null then 1 \
         when exists (select 1 from sync_conflicts as c where c.tbl = {number} and c.row_id = t.id and c.status = 'open') \
         then 3 else 0 end"
    );
    for expression in more {
        let _ = write!(sql, ", {expression}");
    }
    let _ = write!(sql, " from {} as t left join sync_rows as v on v.tbl = {number} and v.row_id = t.id", table.sqlite);
    sql
}

/// The condition that a row is of the tenant in the next parameter. Users are of every tenant that refers to them.
fn of_tenant(table: &Table) -> String {
    if table.scope == Scope::Referred {
        return "? in (select tenant_id from user_tenant_associations where user_id = t.id
          union all select tenant_id from user_site_assignments where t.id in (user_id, assigned_by)
          union all select tenant_id from tasks where user_id = t.id)"
            .to_owned();
    }
    format!("{} = ?", tenant_column(table))
}

/// The column that says whose row it is.
pub(super) fn tenant_column(table: &Table) -> &'static str {
    if table.scope == Scope::Itself { "t.id" } else { "t.tenant_id" }
}

/// A record out of a row of [`selection`].
pub(super) fn read(table: &'static Table, row: &Row<'_>) -> rusqlite::Result<Record> {
    let id: String = row.get(0)?;
    let id = RowId(Uuid::try_parse(&id).unwrap_or_default());
    let own = table.columns.iter().enumerate().skip(1);
    let values =
        own.map(|(index, column)| Ok(from_sql(column, row.get_ref(index)?))).collect::<rusqlite::Result<_>>()?;
    let vector: String = row.get(table.columns.len())?;
    let standing = match row.get(table.columns.len() + 1)? {
        1 => Standing::Waiting,
        2 => Standing::Refused,
        3 => Standing::Conflict,
        _ => Standing::Synced,
    };
    Ok(Record { table, id, values, version: word(id, &vector), base: vector, standing })
}

/// The word for a state of a row: two rows, or two states of one, never share it by accident.
pub(super) fn word(id: RowId, vector: &str) -> String {
    let mut word = Uuid::new_v5(&id.0, vector.as_bytes()).simple().to_string();
    word.truncate(16);
    word
}

/// What a column holds.
pub(super) fn from_sql(column: &Column, value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        #[expect(clippy::cast_precision_loss, reason = "the columns are REAL; only a foreign writer stores integers")]
        ValueRef::Integer(integer) => Value::Real(integer as f64),
        ValueRef::Real(real) => Value::Real(real),
        ValueRef::Text(text) | ValueRef::Blob(text) => {
            let text = String::from_utf8_lossy(text).into_owned();
            if column.kind == Kind::Json { Value::Json(text) } else { Value::Text(text) }
        }
    }
}

/// A value as SQLite stores it. Columns hold no groups; one would be null.
pub(super) fn to_sql(value: &Value) -> SqlValue {
    match value {
        Value::Null | Value::Group(_) => SqlValue::Null,
        Value::Text(text) | Value::Json(text) => SqlValue::Text(text.clone()),
        Value::Real(real) => SqlValue::Real(*real),
    }
}
