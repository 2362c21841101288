//! What a person wants a row to hold: some columns, each with a value of its type.
//!
//! A draft knows the catalog and no rule beyond the types; tasks, devices and sites have their own.

use std::collections::BTreeMap;

use sync::catalog::{Column, Kind, Table};
use sync::merge::value::Value;
use sync::sqlite::records::Record;
use sync::wire::canonical::{self, CanonicalError};

use crate::refusal::{Mistake, Refusal};

/// What a person wants a row to hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    columns: BTreeMap<&'static str, Value>,
    metadata: Option<MetadataChange>,
}

#[derive(Clone, Debug, PartialEq)]
enum MetadataChange {
    Patch(serde_json::Value),
    Key(String, Option<String>),
}

impl Draft {
    /// A draft that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a column.
    pub fn set(&mut self, column: &'static str, value: Value) {
        self.columns.insert(column, value);
    }

    /// Sets a column unless it is set.
    pub fn set_default(&mut self, column: &'static str, value: impl FnOnce() -> Value) {
        self.columns.entry(column).or_insert_with(value);
    }

    /// Changes some keys of `metadata` and leaves the others (RFC 7396).
    pub fn patch_metadata(&mut self, patch: serde_json::Value) {
        self.metadata = Some(MetadataChange::Patch(patch));
    }

    /// Writes one key of `metadata` as canonical JSON, or removes it, and leaves the others.
    pub fn set_metadata_key(&mut self, key: &str, json: Option<&str>) {
        self.metadata = Some(MetadataChange::Key(key.to_owned(), json.map(str::to_owned)));
    }

    /// The value of a column, if it is set.
    pub fn value(&self, column: &str) -> Option<&Value> {
        self.columns.get(column)
    }

    /// A column's text; `None` when it is not set, or null.
    pub fn text(&self, column: &str) -> Option<&str> {
        match self.columns.get(column) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The columns whose values differ from the row's, each with its new value, in schema order.
    ///
    /// # Errors
    /// [`Refusal::Invalid`] when the metadata that come out are too large or too deep.
    pub fn changes(&self, record: &Record) -> Result<Vec<(&'static str, Value)>, Refusal> {
        let mut columns = self.columns.clone();
        if let Some(change) = &self.metadata {
            columns.insert("metadata", change.apply(record.text("metadata").unwrap_or("{}"))?);
        }
        let changed = |(column, old): (&'static Column, &Value)| {
            let new = columns.get(column.name)?;
            (new != old).then(|| (column.name, new.clone()))
        };
        Ok(record.columns().filter_map(changed).collect())
    }

    /// Every column that is set, in schema order.
    ///
    /// # Errors
    /// As [`Self::changes`].
    pub fn values(&self, table: &'static Table) -> Result<Vec<(&'static str, Value)>, Refusal> {
        let mut columns = self.columns.clone();
        if let Some(change) = &self.metadata {
            columns.insert("metadata", change.apply("{}")?);
        }
        Ok(table.columns.iter().filter_map(|column| columns.remove_entry(column.name)).collect())
    }

    /// Refuses a text that says nothing.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn require_words(&self, column: &'static str) -> Result<(), Refusal> {
        match self.text(column) {
            Some(text) if text.trim().is_empty() => Err(Refusal::invalid(column, Mistake::Value, "must not be blank")),
            _ => Ok(()),
        }
    }

    /// Refuses a draft without a column.
    ///
    /// # Errors
    /// [`Refusal::Invalid`].
    pub fn require(&self, column: &'static str) -> Result<(), Refusal> {
        if self.columns.contains_key(column) {
            return Ok(());
        }
        Err(Refusal::invalid(column, Mistake::Missing, "is needed"))
    }
}

/// Refuses a label that a column does not have.
///
/// # Errors
/// [`Refusal::Invalid`], with the labels that it has.
pub fn check_label(column: &Column, value: &Value) -> Result<(), Refusal> {
    let (Kind::Enum(_, labels), Value::Text(label)) = (column.kind, value) else { return Ok(()) };
    if labels.contains(&label.as_str()) {
        return Ok(());
    }
    let reason = format!("{label:?} is not one of {}", labels.join(", "));
    Err(Refusal::invalid(column.name, Mistake::Label(labels.to_vec()), reason))
}

impl MetadataChange {
    fn apply(&self, current: &str) -> Result<Value, Refusal> {
        let refuse = |error: CanonicalError| Refusal::invalid("metadata", Mistake::Value, error.to_string());
        let json = match self {
            Self::Patch(patch) => {
                let current = serde_json::from_str(current).unwrap_or_default();
                canonical::json(&merge_patch(current, patch).to_string()).map_err(refuse)?
            }
            Self::Key(key, json) => {
                let mut members = canonical::json_members(current).map_err(refuse)?;
                match json {
                    Some(json) => members.insert(key.clone(), json.clone()),
                    None => members.remove(key),
                };
                canonical::json_object(members.iter().map(|(key, json)| (key.as_str(), json.as_str())))
            }
        };
        Ok(Value::Json(json))
    }
}

/// RFC 7396, section 2.
fn merge_patch(target: serde_json::Value, patch: &serde_json::Value) -> serde_json::Value {
    let serde_json::Value::Object(changes) = patch else { return patch.clone() };
    let serde_json::Value::Object(mut members) = (if target.is_object() { target } else { serde_json::json!({}) })
    else {
        return patch.clone();
    };
    for (key, change) in changes {
        if change.is_null() {
            members.remove(key);
        } else {
            let old = members.remove(key).unwrap_or_default();
            members.insert(key.clone(), merge_patch(old, change));
        }
    }
    serde_json::Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metadata_patch_touches_only_the_keys_it_names() {
        let patch = serde_json::json!({"b": null, "c": {"x": 1, "y": null}, "d": 9_223_372_036_854_775_807_i64});
        let change = MetadataChange::Patch(patch);
        let merged = change.apply(r#"{"a":[1.5],"b":2,"c":{"y":3,"z":4}}"#).unwrap();
        assert_eq!(merged, Value::Json(r#"{"a":[1.5],"c":{"x":1,"z":4},"d":9223372036854775807}"#.into()));
    }
}
