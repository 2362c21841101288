//! Rows between their three forms: registers for the merge, columns for tables and messages, lines for dumps.
//!
//! A message carries columns by name and JSON keys as `metadata.key`, never groups, so that a table may be regrouped
//! without a new protocol. Foreign values become canonical here or are refused.

use serde_json::value::RawValue;
use std::collections::BTreeMap;
use thiserror::Error;
use uuid::Uuid;

use super::canonical::{self, CanonicalError};
use crate::catalog::{Column, Kind, Policy, Table, key_register, split_key};
use crate::merge::ids::RowId;
use crate::merge::value::{Value, Values};

/// A value that a column cannot hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConvertError {
    /// A column without a canonical value.
    #[error("{table}.{column}: {source}")]
    Canonical {
        /// The table.
        table: &'static str,
        /// The column, or `metadata.key`.
        column: String,
        /// Why.
        source: CanonicalError,
    },
    /// A value of another type than the column's.
    #[error("{table}.{column}: expected {expected}")]
    Type {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
        /// What the column holds.
        expected: &'static str,
    },
    /// A group of columns of which only some came.
    #[error("{table}.{column} came without the columns it belongs together with")]
    TornGroup {
        /// The table.
        table: &'static str,
        /// The group's first column.
        column: &'static str,
    },
}

/// The values of a row by column or `metadata.key`, as JSON, as a message carries them.
pub type Fields = BTreeMap<String, Box<RawValue>>;

/// A message's fields out of registers.
pub fn fields(table: &Table, values: &Values) -> Fields {
    let mut fields = Fields::new();
    for (register, value) in values {
        if let Value::Json(text) = value {
            insert(&mut fields, register, text.clone());
            continue;
        }
        for (column, value) in table.columns_of(register).zip(members(value)) {
            insert(&mut fields, column.name, json_of(value));
        }
    }
    fields
}

/// Registers out of a message's fields. Fields that the catalog does not know are left out.
pub fn values(table: &'static Table, fields: &Fields) -> Result<Values, ConvertError> {
    let mut values = Values::new();
    for register in table.registers() {
        let columns: Vec<&Column> = table.columns_of(register).collect();
        let present: Vec<Value> = columns
            .iter()
            .filter_map(|column| fields.get(column.name).map(|raw| value_of(table, column, raw)))
            .collect::<Result<_, _>>()?;
        match present.len() {
            0 => continue,
            n if n < columns.len() => {
                return Err(ConvertError::TornGroup { table: table.name, column: columns[0].name });
            }
            _ => values.insert(register.to_owned(), grouped(present)),
        };
    }
    for (field, raw) in fields {
        let Some((column, key)) = split_key(field) else { continue };
        if table.column(column).is_some_and(|column| column.policy == Policy::PerKey) {
            let refuse = |source| ConvertError::Canonical { table: table.name, column: field.clone(), source };
            canonical::text(key).map_err(refuse)?;
            values.insert(field.clone(), Value::Json(canonical::json(raw.get()).map_err(refuse)?));
        }
    }
    Ok(values)
}

/// Registers out of column values in catalog order without the key; JSON objects come as `Value::Json` texts and are
/// split into their keys.
pub fn from_columns(table: &'static Table, columns: Vec<Value>) -> Result<Values, ConvertError> {
    let mut values = Values::new();
    let mut groups: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (column, value) in table.columns.iter().skip(1).zip(columns) {
        match (column.policy, value) {
            (Policy::PerKey, Value::Json(text)) => {
                let refuse = |source| ConvertError::Canonical { table: table.name, column: column.name.into(), source };
                for (key, value) in canonical::json_members(&text).map_err(refuse)? {
                    values.insert(key_register(column.name, &key), Value::Json(value));
                }
            }
            (Policy::Group(lead), value) => groups.entry(lead).or_default().push(value),
            (_, value) => {
                values.insert(column.name.to_owned(), value);
            }
        }
    }
    values.extend(groups.into_iter().map(|(lead, members)| (lead.to_owned(), grouped(members))));
    Ok(values)
}

/// Column values in catalog order without the key, JSON objects put together as `Value::Json` texts. A register that
/// is missing gives null, or an empty object.
pub fn to_columns(table: &'static Table, values: &Values) -> Vec<Value> {
    let member = |lead: &str, column: &Column| {
        let position = table.columns_of(lead).position(|member| member.name == column.name)?;
        members(values.get(lead)?).nth(position).cloned()
    };
    let column_value = |column: &Column| match column.policy {
        Policy::PerKey => {
            let keys = values.iter().filter_map(|(register, value)| match (split_key(register), value) {
                (Some((name, key)), Value::Json(text)) if name == column.name => Some((key, text.as_str())),
                _ => None,
            });
            Value::Json(canonical::json_object(keys))
        }
        Policy::Group(lead) => member(lead, column).unwrap_or(Value::Null),
        _ => values.get(column.name).cloned().unwrap_or(Value::Null),
    };
    table.columns.iter().skip(1).map(column_value).collect()
}

/// A dump's line for a row: its table, then its columns in schema order, canonical, without a line end.
pub fn dump_line(table: &'static Table, id: RowId, values: &Values) -> String {
    let mut line = format!("{{\"table\":\"{}\",\"id\":\"{id}\"", table.name);
    for (column, value) in table.columns.iter().skip(1).zip(to_columns(table, values)) {
        line.push_str(&format!(",\"{}\":{}", column.name, json_of(&value)));
    }
    line.push('}');
    line
}

/// The JSON of one value; a group is an array of its members.
pub fn json_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Text(text) => canonical::json_string(text),
        Value::Real(real) => canonical::json_real(*real),
        Value::Json(text) => text.clone(),
        Value::Group(members) => {
            let members: Vec<String> = members.iter().map(json_of).collect();
            format!("[{}]", members.join(","))
        }
    }
}

/// A register's value out of the JSON that [`json_of`] wrote.
pub fn register_value(table: &'static Table, register: &str, raw: &RawValue) -> Result<Value, ConvertError> {
    let refuse = |source| ConvertError::Canonical { table: table.name, column: register.to_owned(), source };
    let columns: Vec<&Column> = table.columns_of(register).collect();
    match columns.as_slice() {
        [] => canonical::json(raw.get()).map(Value::Json).map_err(refuse),
        [column] if !matches!(column.policy, Policy::Group(_)) => value_of(table, column, raw),
        group => {
            let wrong = || ConvertError::Type { table: table.name, column: register.to_owned(), expected: "an array" };
            let items: Vec<Box<RawValue>> = serde_json::from_str(raw.get()).map_err(|_| wrong())?;
            if items.len() != group.len() {
                return Err(wrong());
            }
            let members = group.iter().zip(&items).map(|(column, raw)| value_of(table, column, raw));
            Ok(Value::Group(members.collect::<Result<_, _>>()?))
        }
    }
}

/// One column's value out of JSON.
pub fn value_of(table: &'static Table, column: &Column, raw: &RawValue) -> Result<Value, ConvertError> {
    let wrong = |expected| ConvertError::Type { table: table.name, column: column.name.to_owned(), expected };
    let refuse = |source| ConvertError::Canonical { table: table.name, column: column.name.to_owned(), source };
    let text = raw.get();
    if text == "null" {
        return if column.nullable { Ok(Value::Null) } else { Err(wrong("a value, not null")) };
    }
    let string = |expected| serde_json::from_str::<String>(text).map_err(|_| wrong(expected));
    match column.kind {
        Kind::Uuid => {
            let id = Uuid::try_parse(&string("a uuid")?).map_err(|_| wrong("a uuid"))?;
            Ok(Value::text(id.hyphenated().to_string()))
        }
        // A label that this side does not know is no reason to refuse: the other side may be newer.
        Kind::Text | Kind::Enum(..) => {
            let string = string("text")?;
            canonical::text(&string).map_err(refuse)?;
            Ok(Value::Text(string))
        }
        Kind::Timestamp => canonical::timestamp(&string("a timestamp")?).map(Value::Text).map_err(refuse),
        Kind::Real => {
            let real: f64 = serde_json::from_str(text).map_err(|_| wrong("a number"))?;
            Ok(Value::Real(if real == 0.0 { 0.0 } else { real }))
        }
        Kind::Json => {
            let members = canonical::json_members(text).map_err(refuse)?;
            let members = members.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            Ok(Value::Json(canonical::json_object(members)))
        }
    }
}

fn grouped(mut members: Vec<Value>) -> Value {
    match members.pop() {
        Some(only) if members.is_empty() => only,
        Some(last) => {
            members.push(last);
            Value::Group(members)
        }
        None => Value::Null,
    }
}

fn members(value: &Value) -> std::slice::Iter<'_, Value> {
    match value {
        Value::Group(members) => members.iter(),
        other => std::slice::from_ref(other).iter(),
    }
}

fn insert(fields: &mut Fields, name: &str, json: String) {
    // Canonical text is valid JSON; a null stands in for what cannot be.
    let raw = RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned());
    fields.insert(name.to_owned(), raw);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::by_name;

    fn sample() -> Fields {
        let json = r#"{"completed_at":null,"metadata.a.b":{"y":1,"x":[1.0]},"metadata.c":null,"status":"open","title":"Check"}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn fields_become_registers_and_back() {
        let tasks = by_name("tasks").unwrap();
        let values = values(tasks, &sample()).unwrap();
        assert_eq!(values["status"], Value::Group(vec![Value::text("open"), Value::Null]));
        assert_eq!(values["metadata.a.b"], Value::Json(r#"{"x":[1],"y":1}"#.into()));
        let again = super::values(tasks, &fields(tasks, &values)).unwrap();
        assert_eq!(again, values);
    }

    #[test]
    fn columns_become_registers_and_back() {
        let tasks = by_name("tasks").unwrap();
        let registers = values(tasks, &sample()).unwrap();
        let columns = to_columns(tasks, &registers);
        let again = to_columns(tasks, &from_columns(tasks, columns.clone()).unwrap());
        assert_eq!(again, columns);
        assert!(
            dump_line(tasks, RowId(Uuid::nil()), &registers).contains(r#""metadata":{"a.b":{"x":[1],"y":1},"c":null}"#)
        );
    }

    #[test]
    fn half_a_group_is_refused() {
        let tasks = by_name("tasks").unwrap();
        let mut fields = sample();
        fields.remove("completed_at");
        assert!(matches!(values(tasks, &fields), Err(ConvertError::TornGroup { column: "status", .. })));
    }
}
