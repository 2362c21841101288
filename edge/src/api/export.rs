//! Whole lists as files: CSV for spreadsheets, NDJSON for programs.
//!
//! A file is read and sent page by page, by key, so that neither a long list nor a slow reader holds memory or a
//! connection; a row that is there from beginning to end is in the file once. When reading fails in the middle, the
//! transfer is cut short, which every client notices.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use rusqlite::{Connection, Transaction};
use sync::catalog::Table;
use sync::merge::value::Value;
use sync::sqlite::listing::{Key, PAGE_ROWS_MAX};
use sync::sqlite::records::Record;
use sync::wire::convert::json_of;

use super::Server;
use super::error::Error;
use super::paging;
use super::query::{Parameters, invalid};
use super::resource::{Found, Resource};
use super::row::{RowJson, state};
use super::{devices, sites, tasks};
use crate::action::{self, Act};
use crate::audit::Event;
use crate::refusal::Mistake;
use crate::sessions::Visitor;

/// The lists that can be had as files.
pub(super) const EXPORTS: &[&Resource] = &[&tasks::TASKS, &devices::DEVICES, &sites::SITES];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    Ndjson,
}

/// A file that is being written.
struct Export {
    server: Server,
    table: &'static Table,
    found: Found,
    request: Arc<paging::Request>,
    format: Format,
    place: Place,
}

enum Place {
    Start,
    After(Vec<Key>),
    End,
}

pub(super) async fn export(
    State(server): State<Server>,
    visitor: Visitor,
    Path(file): Path<String>,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let (resource, format) = parse(&file).ok_or_else(|| Error::NoRoute(format!("/api/v1/export/{file}")))?;
    let table = (resource.table)();
    let found = (resource.find)(&mut parameters, &visitor)?;
    for name in ["limit", "cursor"] {
        if parameters.take(name)?.is_some() {
            return Err(invalid(name, Mistake::Unknown, "an export is the whole list"));
        }
    }
    let request = Arc::new(paging::Request::take(&mut parameters, table, resource.sorts)?);
    parameters.finish()?;
    let note = move |tx: &Transaction<'_>, act: &Act| {
        let details = format!("{{\"table\":\"{}\"}}", table.name);
        act.record(tx, Event { action: "export", resource_type: crate::edits::noun(table), resource: None, details })
    };
    action::perform(&server.app, &visitor.person, note).await?;

    let export = Export { server, table, found, request, format, place: Place::Start };
    let kind = match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        Format::Ndjson => "application/x-ndjson",
    };
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{file}\"")).ok();
    let body = Body::from_stream(stream::try_unfold(export, next));
    let mut response = ([(CONTENT_TYPE, kind)], body).into_response();
    response.headers_mut().extend(name.map(|name| (CONTENT_DISPOSITION, name)));
    Ok(response)
}

fn parse(file: &str) -> Option<(&'static Resource, Format)> {
    let (name, extension) = file.rsplit_once('.')?;
    let format = match extension {
        "csv" => Format::Csv,
        "ndjson" => Format::Ndjson,
        _ => return None,
    };
    let resource = EXPORTS.iter().find(|resource| (resource.table)().name == name)?;
    Some((resource, format))
}

/// The next piece of a file, `None` after the last.
async fn next(export: Export) -> Result<Option<(Bytes, Export)>, Error> {
    let Export { server, table, found, request, format, place } = export;
    let (first, after) = match place {
        Place::Start => (true, None),
        Place::After(keys) => (false, Some(keys)),
        Place::End => return Ok(None),
    };
    let read = {
        let request = Arc::clone(&request);
        move |connection: &mut Connection| {
            let page = found(connection, &request.order, after.as_deref(), PAGE_ROWS_MAX)?;
            let piece = match format {
                Format::Csv => csv(table, &request, &page.records, first)?,
                Format::Ndjson => ndjson(&request, &page.records),
            };
            Ok::<_, Error>((piece, page.next.map_or(Place::End, Place::After), found))
        }
    };
    let (piece, place, found) = server.app.db.read(read).await?;
    Ok(Some((piece.into(), Export { server, table, found, request, format, place })))
}

fn ndjson(request: &paging::Request, records: &[Record]) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records {
        // A record is JSON in memory, which can always be written.
        let _ = serde_json::to_writer(&mut lines, &RowJson { record, selection: &request.selection });
        lines.push(b'\n');
    }
    lines
}

fn csv(table: &Table, request: &paging::Request, records: &[Record], first: bool) -> Result<Vec<u8>, Error> {
    let has = |name: &str| request.selection.has(name);
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    if first {
        let names = table.columns.iter().map(|column| column.name).filter(|name| has(name));
        writer.write_record(names.chain(["_sync"])).map_err(unwritten)?;
    }
    for record in records {
        let cells = record.columns().filter(|(column, _)| has(column.name)).map(|(_, value)| cell(value));
        let cells = std::iter::once(record.id.to_string()).chain(cells).chain([state(record.standing).to_owned()]);
        writer.write_record(cells).map_err(unwritten)?;
    }
    writer.into_inner().map_err(|error| unwritten(error.into_error().into()))
}

/// A cell. A spreadsheet takes a text that begins like a formula for one, so such a text gets an apostrophe before it
/// (OWASP, CSV injection).
fn cell(value: &Value) -> String {
    match value {
        Value::Null | Value::Group(_) => String::new(),
        Value::Text(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => format!("'{text}"),
        Value::Text(text) | Value::Json(text) => text.clone(),
        Value::Real(_) => json_of(value),
    }
}

fn unwritten(error: csv::Error) -> Error {
    Error::Unwritten(error.to_string())
}
