//! Labels and columns in words for people.

use sync::catalog::{Column, Kind};
use sync::merge::value::Value;
use sync::wire::canonical;

use crate::times::SiteClock;

/// One choice of a list.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// What the form sends.
    pub(super) value: String,
    /// What people read.
    pub(super) label: String,
}

/// A label or a column's name in words: `in_progress` is "In progress".
pub(super) fn label(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut characters = words.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// A column's name in words.
pub(super) fn column(name: &str) -> String {
    match name {
        "user_id" => "Assigned to".to_owned(),
        "site_id" => "Site".to_owned(),
        "device_id" => "Device".to_owned(),
        "due_date" => "Due".to_owned(),
        "completed_at" => "Done at".to_owned(),
        "latitude" => "Position".to_owned(),
        _ => match name.strip_prefix("metadata.") {
            Some(key) => key.to_owned(),
            None => label(name),
        },
    }
}

/// The labels of a column, in their order.
pub(super) fn choices(column: Option<&'static Column>) -> Vec<Choice> {
    let labels = match column.map(|column| column.kind) {
        Some(Kind::Enum(_, labels)) => labels,
        _ => &[],
    };
    labels.iter().map(|value| Choice { value: (*value).to_owned(), label: label(value) }).collect()
}

/// A value as people read it; references are left to those who know the names.
pub(super) fn value(column: Option<&'static Column>, value: Option<&Value>, clock: SiteClock, now_ms: u64) -> String {
    match (column.map(|column| column.kind), value) {
        (_, None) => "removed".to_owned(),
        (_, Some(Value::Null)) => "nothing".to_owned(),
        (Some(Kind::Timestamp), Some(Value::Text(time))) => clock.read(time, now_ms),
        (Some(Kind::Enum(..)), Some(Value::Text(name))) => label(name),
        (_, Some(Value::Text(text))) => text.clone(),
        (_, Some(Value::Real(real))) => canonical::json_real(*real),
        (_, Some(Value::Json(json))) => json_value(json),
        (_, Some(Value::Group(_))) => String::new(),
    }
}

/// The members of a JSON object, in their order.
pub(super) fn members(json: Option<&str>) -> Vec<(String, String)> {
    let members = canonical::json_members(json.unwrap_or("{}")).unwrap_or_default();
    members.into_iter().map(|(key, json)| (label(&key), json_value(&json))).collect()
}

/// A JSON string without its quotes; everything else as it is.
fn json_value(json: &str) -> String {
    serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned())
}
