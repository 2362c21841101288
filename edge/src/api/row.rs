//! Rows as JSON, with their version as ETag.

use axum::Json;
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;
use sync::catalog::Table;
use sync::sqlite::records::{Record, Standing};
use sync::wire::convert::json_of;

use super::error::Error;
use super::query::Parameters;

/// A row: its columns as they are, then `_sync`.
#[derive(Debug)]
pub struct RowJson<'a> {
    /// The row.
    pub record: &'a Record,
    /// Which of its columns.
    pub selection: &'a Selection,
}

/// Which columns of a row are answered. `id` and `_sync` always are.
#[derive(Clone, Debug)]
pub struct Selection(Option<Vec<String>>);

impl Selection {
    /// Every column.
    pub const WHOLE: Self = Self(None);

    /// Reads `fields`: columns of a table, separated by commas.
    pub(super) fn take(parameters: &mut Parameters, table: &Table) -> Result<Self, Error> {
        let names: Vec<&'static str> = table.columns.iter().map(|column| column.name).collect();
        let fields = parameters.take_words("fields", &names)?;
        Ok(if fields.is_empty() { Self::WHOLE } else { Self(Some(fields)) })
    }

    /// Whether it has a column. `id` is in every selection.
    pub(super) fn has(&self, column: &str) -> bool {
        column == "id" || self.0.as_ref().is_none_or(|fields| fields.iter().any(|field| field == column))
    }
}

impl<'a> RowJson<'a> {
    /// A row with every column.
    pub fn whole(record: &'a Record) -> Self {
        Self { record, selection: &Selection::WHOLE }
    }
}

/// How a row stands with headquarters.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = RowSync)]
pub(super) struct Sync<'a> {
    /// `synced`: headquarters has it as it is here. `waiting`: it has writes that headquarters lacks. `refused`:
    /// headquarters does not take it. `conflict`: one of its writes lost to another, and nobody has decided.
    #[schema(pattern = "^(synced|waiting|refused|conflict)$", example = "synced")]
    state: &'static str,
    /// An opaque word that changes with every write of the row.
    #[schema(example = "8c1b7e0f5a2d4396")]
    version: &'a str,
}

impl Serialize for RowJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { record, selection } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &record.id.0)?;
        for (column, value) in record.columns().filter(|(column, _)| selection.has(column.name)) {
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
    (status, [(ETAG, etag(&record.version))], Json(RowJson::whole(record))).into_response()
}

/// The answer to a request for a row; without a body when the client has it already.
pub(super) fn answer_unless_known(headers: &HeaderMap, record: &Record, selection: &Selection) -> Response {
    let tag = [(ETAG, etag(&record.version))];
    let known = listed(headers, &IF_NONE_MATCH);
    if known.iter().any(|tag| tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == record.version) {
        return (StatusCode::NOT_MODIFIED, tag).into_response();
    }
    (tag, Json(RowJson { record, selection })).into_response()
}

/// The versions that a client expects, separated by commas; `None` when it takes any. A weak tag equals none.
pub(super) fn expected_version(headers: &HeaderMap) -> Option<String> {
    let tags = listed(headers, &IF_MATCH);
    if tags.is_empty() || tags.iter().any(|tag| tag == "*") {
        return None;
    }
    Some(tags.iter().map(|tag| tag.trim_matches('"')).collect::<Vec<_>>().join(","))
}

/// The `ETag` of a version.
pub(super) fn etag(version: &str) -> String {
    format!("\"{version}\"")
}

fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).collect()
}
