//! Bodies: JSON objects whose fields become columns, or are refused by name.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use serde_json::value::RawValue;
use sync::catalog::{Column, Kind, Table};
use sync::wire::canonical::{self, CanonicalError};
use sync::wire::convert::{self, ConvertError};
use uuid::Uuid;

use super::Server;
use super::error::Error;
use crate::draft::{self, Draft};
use crate::refusal::{Mistake, Refusal};

/// The fields of a JSON object, canonical.
#[derive(Debug)]
pub(super) struct Fields {
    fields: BTreeMap<String, Box<RawValue>>,
    is_patch: bool,
    canonical: String,
}

const JSON: &str = "application/json";
const MERGE_PATCH: &str = "application/merge-patch+json";

impl FromRequest<Server> for Fields {
    type Rejection = Error;

    async fn from_request(request: Request, server: &Server) -> Result<Self, Error> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        let is_patch = essence.eq_ignore_ascii_case(MERGE_PATCH);
        if !is_patch && !essence.eq_ignore_ascii_case(JSON) {
            return Err(Error::MediaType(JSON));
        }
        let bytes = Bytes::from_request(request, server).await.map_err(unread)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Error::MalformedJson("it is not UTF-8".to_owned()))?;
        let canonical = canonical::json(text).map_err(|error| unsuitable(text, &error))?;
        if !canonical.starts_with('{') {
            return Err(Error::NotAnObject);
        }
        let fields = serde_json::from_str(&canonical).map_err(|error| Error::MalformedJson(error.to_string()))?;
        Ok(Self { fields, is_patch, canonical })
    }
}

/// JSON that is sound and yet holds what no replica can hold is blamed on the field in which that stands.
fn unsuitable(text: &str, error: &CanonicalError) -> Error {
    let fields: BTreeMap<String, Box<RawValue>> = match error {
        CanonicalError::Syntax(_) => BTreeMap::new(),
        _ => serde_json::from_str(text).unwrap_or_default(),
    };
    let refused = |(name, raw): (String, Box<RawValue>)| {
        let reason = canonical::json(raw.get()).err()?;
        Some(Refusal::invalid(name, Mistake::Value, reason.to_string()).into())
    };
    fields.into_iter().find_map(refused).unwrap_or_else(|| Error::MalformedJson(error.to_string()))
}

impl Fields {
    /// The whole object in its canonical form.
    pub(super) fn canonical(&self) -> &str {
        &self.canonical
    }

    /// The columns that they name.
    pub(super) fn into_draft(self, table: &'static Table, writable: &[&str]) -> Result<Draft, Refusal> {
        let mut draft = Draft::new();
        for (name, raw) in &self.fields {
            let column = column(table, writable, name)?;
            if self.is_patch && column.kind == Kind::Json {
                draft.patch_metadata(object(name, raw)?);
            } else {
                draft.set(column.name, value(table, column, raw)?);
            }
        }
        Ok(draft)
    }

    /// Takes a field that holds text.
    pub(super) fn take_text(&mut self, name: &str) -> Result<String, Refusal> {
        let raw = self.fields.remove(name).ok_or_else(|| Refusal::invalid(name, Mistake::Missing, "is needed"))?;
        serde_json::from_str(raw.get()).map_err(|_| Refusal::invalid(name, Mistake::Type, "expected text"))
    }

    /// Takes a field that holds text, if it is there.
    pub(super) fn take_optional_text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        if self.fields.contains_key(name) { self.take_text(name).map(Some) } else { Ok(None) }
    }

    /// Takes a field that holds an object.
    pub(super) fn take_object(&mut self, name: &str) -> Result<Self, Refusal> {
        let raw = self.fields.remove(name).ok_or_else(|| Refusal::invalid(name, Mistake::Missing, "is needed"))?;
        Self::nested(name, &raw)
    }

    /// Takes a field that holds an array of objects.
    pub(super) fn take_objects(&mut self, name: &str) -> Result<Vec<Self>, Refusal> {
        let raw = self.fields.remove(name).ok_or_else(|| Refusal::invalid(name, Mistake::Missing, "is needed"))?;
        let items: Vec<Box<RawValue>> = serde_json::from_str(raw.get())
            .map_err(|_| Refusal::invalid(name, Mistake::Type, "expected an array of objects"))?;
        items.iter().enumerate().map(|(index, raw)| Self::nested(&format!("{name}/{index}"), raw)).collect()
    }

    fn nested(name: &str, raw: &RawValue) -> Result<Self, Refusal> {
        let wrong = || Refusal::invalid(name, Mistake::Type, "expected an object");
        let fields = if raw.get().starts_with('{') { serde_json::from_str(raw.get()).ok() } else { None };
        Ok(Self { fields: fields.ok_or_else(wrong)?, is_patch: false, canonical: raw.get().to_owned() })
    }

    /// Puts other texts into columns that hold ids.
    pub(super) fn replace_ids(&mut self, table: &Table, other: impl Fn(&str) -> Option<Uuid>) {
        let holds_id = |name: &str| table.column(name).is_some_and(|column| column.kind == Kind::Uuid);
        for (_, raw) in self.fields.iter_mut().filter(|(name, _)| holds_id(name)) {
            let id = serde_json::from_str::<String>(raw.get()).ok().and_then(|text| other(&text));
            if let Some(other) = id.and_then(|id| RawValue::from_string(format!("\"{id}\"")).ok()) {
                *raw = other;
            }
        }
    }

    /// Refuses what has not been taken.
    pub(super) fn finish(self) -> Result<(), Refusal> {
        match self.fields.into_keys().next() {
            Some(name) => Err(Refusal::invalid(name, Mistake::Unknown, "there is no such field")),
            None => Ok(()),
        }
    }
}

fn column(table: &'static Table, writable: &[&str], name: &str) -> Result<&'static Column, Refusal> {
    match table.column(name) {
        Some(column) if writable.contains(&name) => Ok(column),
        Some(_) => Err(Refusal::invalid(name, Mistake::ReadOnly, "is not yours to set")),
        None if name == "_sync" => Err(Refusal::invalid(name, Mistake::ReadOnly, "is not yours to set")),
        None => {
            let reason = format!("there is no such field: {} have {}", table.name, writable.join(", "));
            Err(Refusal::invalid(name, Mistake::Unknown, reason))
        }
    }
}

fn value(table: &'static Table, column: &'static Column, raw: &RawValue) -> Result<sync::merge::value::Value, Refusal> {
    let value = convert::value_of(table, column, raw).map_err(|error| match error {
        ConvertError::Canonical { source, .. } => Refusal::invalid(column.name, Mistake::Value, source.to_string()),
        ConvertError::Type { expected, .. } => {
            Refusal::invalid(column.name, Mistake::Type, format!("expected {expected}"))
        }
        ConvertError::TornGroup { .. } => Refusal::invalid(column.name, Mistake::Value, error.to_string()),
    })?;
    draft::check_label(column, &value)?;
    Ok(value)
}

fn object(name: &str, raw: &RawValue) -> Result<serde_json::Value, Refusal> {
    let value: serde_json::Value = serde_json::from_str(raw.get()).unwrap_or_default();
    if value.is_object() {
        return Ok(value);
    }
    Err(Refusal::invalid(name, Mistake::Type, "expected an object"))
}

fn unread(rejection: BytesRejection) -> Error {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE { Error::TooLarge } else { Error::Truncated }
}
