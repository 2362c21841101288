//! Rows of the synced tables: read into registers, written from them.
//!
//! Reading is by type and bounded, so that no value of another program (an infinite timestamp, a document of 100 MB)
//! can stop more than its own row. Writing never decides: a row is inserted, updated or deleted because a plan says so.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{GenericClient, Row, Transaction};
use uuid::Uuid;

use super::error::StoreError;
use crate::catalog::{Column, Kind, Scope, Table};
use crate::merge::ids::RowId;
use crate::merge::limits::FIELD_BYTES_MAX;
use crate::merge::value::{Value, Values};
use crate::wire::canonical::{self, CanonicalError};
use crate::wire::convert::{self, ConvertError};

/// Rows as they were found.
#[derive(Debug, Default)]
pub struct Found {
    /// The readable ones.
    pub rows: BTreeMap<RowId, Values>,
    /// Those that have no canonical form, each with the reason.
    pub unreadable: BTreeMap<RowId, String>,
}

/// Reads those of the rows that are within the tenant's scope.
pub async fn read(
    client: &impl GenericClient,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<Found, StoreError> {
    let statement =
        format!("select {} from {} as r where r.id = any($1) and {}", columns(table), table.pg, of_tenant(table, "$2"));
    Ok(found(table, &client.query(&statement, &[&ids, &tenant]).await?))
}

/// Reads the tenant's rows after `after`, by id, `limit` at most.
pub async fn read_after(
    client: &impl GenericClient,
    table: &'static Table,
    tenant: Uuid,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Found, StoreError> {
    let statement = format!(
        "select {} from {} as r where ($1::uuid is null or r.id > $1) and {} order by r.id limit $3",
        columns(table),
        table.pg,
        of_tenant(table, "$2")
    );
    Ok(found(table, &client.query(&statement, &[&after, &tenant, &limit]).await?))
}

/// Reads the tenant's rows after one id and up to another, by id, `limit` at most.
pub async fn read_between(
    client: &impl GenericClient,
    table: &'static Table,
    tenant: Uuid,
    (after, to): (Option<Uuid>, Option<Uuid>),
    limit: i64,
) -> Result<Found, StoreError> {
    let statement = format!(
        "select {} from {} as r where ($1::uuid is null or r.id > $1) and ($4::uuid is null or r.id <= $4) and {}
         order by r.id limit $3",
        columns(table),
        table.pg,
        of_tenant(table, "$2")
    );
    Ok(found(table, &client.query(&statement, &[&after, &tenant, &limit, &to]).await?))
}

/// Every `each`-th id of the tenant's rows after one id and up to another, and how many rows these are.
pub async fn ranks(
    client: &impl GenericClient,
    table: &'static Table,
    tenant: Uuid,
    (after, to): (Option<Uuid>, Option<Uuid>),
    each: i64,
) -> Result<(Vec<Uuid>, u64), StoreError> {
    let statement = format!(
        "select coalesce(array_agg(ranked.id order by ranked.id) filter (where ranked.rank % $4 = 0), '{{}}'), count(*)
         from (
           select r.id, row_number() over (order by r.id) as rank from {} as r
           where ($1::uuid is null or r.id > $1) and ($3::uuid is null or r.id <= $3) and {}
         ) as ranked",
        table.pg,
        of_tenant(table, "$2")
    );
    let row = client.query_one(&statement, &[&after, &tenant, &to, &each]).await?;
    Ok((row.get(0), row.get::<_, i64>(1).cast_unsigned()))
}

/// Locks those rows that nobody else holds, in the order of their ids, and says which. Other writers of them wait from
/// here on; readers and rows that refer to them do not.
pub async fn lock(
    tx: &Transaction<'_>,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let statement = format!(
        "select r.id from {} as r where r.id = any($1) and {} order by r.id for no key update skip locked",
        table.pg,
        of_tenant(table, "$2")
    );
    Ok(tx.query(&statement, &[&ids, &tenant]).await?.iter().map(|row| row.get(0)).collect())
}

/// Locks rows that are about to be deleted: from here on nothing new can refer to them.
pub async fn lock_for_delete(
    tx: &Transaction<'_>,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, StoreError> {
    let statement = format!(
        "select r.id from {} as r where r.id = any($1) and {} order by r.id for update skip locked",
        table.pg,
        of_tenant(table, "$2")
    );
    Ok(tx.query(&statement, &[&ids, &tenant]).await?.iter().map(|row| row.get(0)).collect())
}

/// Inserts rows, given as a JSON array of [`json`]; returns how many.
pub async fn insert(tx: &Transaction<'_>, table: &'static Table, rows: &str) -> Result<u64, StoreError> {
    let names = names(table, "");
    let statement = format!(
        "insert into {table} ({names}) select {names} from jsonb_populate_recordset(null::{table}, $1::text::jsonb)",
        table = table.pg
    );
    Ok(tx.execute(&statement, &[&rows]).await?)
}

/// Updates rows of the tenant, given as a JSON array of [`json`]; returns how many.
pub async fn update(tx: &Transaction<'_>, table: &'static Table, tenant: Uuid, rows: &str) -> Result<u64, StoreError> {
    let statement = format!(
        "update {table} as r set ({}) = row({})
         from jsonb_populate_recordset(null::{table}, $1::text::jsonb) as new where r.id = new.id and {}",
        names(table, ""),
        names(table, "new."),
        of_tenant(table, "$2"),
        table = table.pg
    );
    Ok(tx.execute(&statement, &[&rows, &tenant]).await?)
}

/// Deletes rows of the tenant; returns how many.
pub async fn delete(
    tx: &Transaction<'_>,
    table: &'static Table,
    tenant: Uuid,
    ids: &[Uuid],
) -> Result<u64, StoreError> {
    let statement = format!("delete from {} as r where r.id = any($1) and {}", table.pg, of_tenant(table, "$2"));
    Ok(tx.execute(&statement, &[&ids, &tenant]).await?)
}

/// A row as a JSON object by column.
pub fn json(table: &'static Table, id: RowId, values: &Values) -> String {
    let mut object = format!("{{\"id\":\"{id}\"");
    for (column, value) in table.columns.iter().skip(1).zip(convert::to_columns(table, values)) {
        object.push_str(&format!(",\"{}\":{}", column.name, convert::json_of(&value)));
    }
    object.push('}');
    object
}

/// A row out of the JSON object that `to_jsonb` or [`json`] made of it. Columns that it lacks have no register.
pub fn from_json(table: &'static Table, object: &str) -> Result<Values, ConvertError> {
    let wrong = || ConvertError::Type { table: table.name, column: "row".to_owned(), expected: "a JSON object" };
    let mut fields: convert::Fields = serde_json::from_str(object).map_err(|_| wrong())?;
    let known =
        |name: &str, raw: &RawValue| raw.get() != "null" || table.column(name).is_some_and(|column| column.nullable);
    fields.retain(|name, raw| known(name, raw));
    for column in table.columns.iter().filter(|column| column.kind == Kind::Json) {
        let Some(raw) = fields.remove(column.name) else { continue };
        let refuse = |source| ConvertError::Canonical { table: table.name, column: column.name.to_owned(), source };
        for (key, value) in canonical::json_members(raw.get()).map_err(refuse)? {
            let raw = RawValue::from_string(value).map_err(|_| wrong())?;
            fields.insert(crate::catalog::key_register(column.name, &key), raw);
        }
    }
    convert::values(table, &fields)
}

/// The condition that a row `r` is within a tenant's scope; for tables without a tenant column too.
fn of_tenant(table: &Table, parameter: &str) -> String {
    match table.scope {
        Scope::Itself => format!("r.id = {parameter}"),
        Scope::Tenant | Scope::Site => format!("r.tenant_id = {parameter}"),
        Scope::Referred => format!(
            "exists (select from sync.user_scopes as scope where scope.tenant_id = {parameter} and scope.user_id = r.id)"
        ),
    }
}

fn names(table: &Table, prefix: &str) -> String {
    table.columns.iter().map(|column| format!("{prefix}{}", column.name)).collect::<Vec<_>>().join(", ")
}

fn columns(table: &Table) -> String {
    let bound = FIELD_BYTES_MAX + 1;
    let expression = |column: &Column| match column.kind {
        Kind::Uuid | Kind::Timestamp | Kind::Real => format!("r.{}", column.name),
        Kind::Enum(..) => format!("r.{}::text", column.name),
        Kind::Text => format!("left(r.{}, {bound})", column.name),
        Kind::Json => format!("left(r.{}::text, {bound})", column.name),
    };
    table.columns.iter().map(expression).collect::<Vec<_>>().join(", ")
}

fn found(table: &'static Table, rows: &[Row]) -> Found {
    let mut found = Found::default();
    for row in rows {
        let id = RowId(row.get(0));
        let values = table.columns.iter().enumerate().skip(1).map(|(index, column)| value(table, column, row, index));
        let values = values.collect::<Result<Vec<_>, _>>().and_then(|values| convert::from_columns(table, values));
        match values {
            Ok(values) => {
                found.rows.insert(id, values);
            }
            Err(error) => {
                found.unreadable.insert(id, error.to_string());
            }
        }
    }
    found
}

fn value(table: &'static Table, column: &Column, row: &Row, index: usize) -> Result<Value, ConvertError> {
    let refuse = |source| ConvertError::Canonical { table: table.name, column: column.name.to_owned(), source };
    let wrong =
        || ConvertError::Type { table: table.name, column: column.name.to_owned(), expected: "a finite number" };
    let value = match column.kind {
        Kind::Uuid => row.get::<_, Option<Uuid>>(index).map(|id| Ok(Value::text(id.hyphenated().to_string()))),
        Kind::Enum(..) => row.get::<_, Option<String>>(index).map(|text| Ok(Value::Text(text))),
        Kind::Text => row.get::<_, Option<String>>(index).map(|text| {
            canonical::text(&text).map_err(refuse)?;
            Ok(Value::Text(text))
        }),
        Kind::Json => row.get::<_, Option<String>>(index).map(|text| Ok(Value::Json(text))),
        Kind::Real => row.get::<_, Option<f64>>(index).map(|real| match real {
            real if !real.is_finite() => Err(wrong()),
            real => Ok(Value::Real(if real == 0.0 { 0.0 } else { real })),
        }),
        Kind::Timestamp => row.get::<_, Option<Micros>>(index).map(|micros| match micros {
            Micros::Finite(micros) => canonical::timestamp_from_micros(micros)
                .map(Value::Text)
                .ok_or_else(|| refuse(CanonicalError::Timestamp(canonical::timestamp_in_words(micros)))),
            Micros::Infinite(name) => Err(refuse(CanonicalError::Timestamp(name.to_owned()))),
        }),
    };
    value.unwrap_or(Ok(Value::Null))
}

/// A `timestamptz`.
enum Micros {
    /// Microseconds since 1970.
    Finite(i64),
    /// One of the infinities, by its name.
    Infinite(&'static str),
}

/// 2000-01-01, from which PostgreSQL counts, in microseconds since 1970.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match i64::from_be_bytes(raw.try_into()?) {
            i64::MIN => Self::Infinite("-infinity"),
            i64::MAX => Self::Infinite("infinity"),
            // Only PostgreSQL's last thirty years overflow, which nobody can be sent in any case.
            micros => Self::Finite(micros.saturating_add(POSTGRES_EPOCH_MICROS)),
        })
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::TIMESTAMPTZ
    }
}
