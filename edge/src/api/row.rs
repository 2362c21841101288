//! Rows as JSON, with their version as ETag.

use axum::Json;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use sync::sqlite::records::{Record, Standing};
use sync::wire::convert::json_of;

/// A row: its columns as they are, then `_sync`.
#[derive(Debug)]
pub struct RowJson<'a>(pub &'a Record);

#[derive(serde::Serialize)]
struct Sync<'a> {
    state: &'static str,
    version: &'a str,
}

impl Serialize for RowJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(record) = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &record.id.0)?;
        for (column, value) in record.columns() {
            // `json_of` writes JSON, except where the file holds none in a JSON column.
            let raw = RawValue::from_string(json_of(value)).unwrap_or_else(|_| RawValue::NULL.to_owned());
            map.serialize_entry(column.name, &raw)?;
        }
        map.serialize_entry("_sync", &Sync { state: state(record.standing), version: &record.version })?;
        map.end()
    }
}

/// How a row stands with the hub, as the contract names it.
pub fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Synced => "synced",
        Standing::Waiting => "waiting",
        Standing::Refused => "refused",
        Standing::Conflict => "conflict",
    }
}

/// The answer that carries a row.
pub(super) fn answer(status: StatusCode, record: &Record) -> Response {
    (status, [(ETAG, etag(record))], Json(RowJson(record))).into_response()
}

/// The answer to a request for a row; without a body when the client has it already.
pub(super) fn answer_unless_known(headers: &HeaderMap, record: &Record) -> Response {
    let known = listed(headers, &IF_NONE_MATCH);
    if known.iter().any(|tag| tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == record.version) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag(record))]).into_response();
    }
    answer(StatusCode::OK, record)
}

/// The versions that a client expects, separated by commas; `None` when it takes any. A weak tag equals none.
pub(super) fn expected_version(headers: &HeaderMap) -> Option<String> {
    let tags = listed(headers, &IF_MATCH);
    if tags.is_empty() || tags.iter().any(|tag| tag == "*") {
        return None;
    }
    Some(tags.iter().map(|tag| tag.trim_matches('"')).collect::<Vec<_>>().join(","))
}

fn etag(record: &Record) -> String {
    format!("\"{}\"", record.version)
}

fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
}
