//! The routes that tasks, devices and sites have in common: one row by its id, and adding one.
//!
//! What they do not have in common is their filters, which stand with each (`list`), and their actions, which are named
//! here and decide.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use rusqlite::Transaction;
use sync::catalog::Table;
use sync::sqlite::records::Record;
use uuid::Uuid;

use super::Server;
use super::body::Fields;
use super::error::Error;
use super::row::{answer, answer_unless_known, expected_version};
use super::visitor::Id;
use crate::action::{self, Act};
use crate::draft::Draft;
use crate::edits::{self, Known};
use crate::refusal::Refusal;
use crate::sessions::Visitor;

/// A kind of row that people add, change and delete.
pub(super) struct Resource {
    /// Its table.
    pub(super) table: fn() -> &'static Table,
    /// The columns that people write.
    pub(super) writable: &'static [&'static str],
    /// Adds one.
    pub(super) create: fn(&Transaction<'_>, &Act, Draft) -> Result<Record, Refusal>,
    /// Changes one, if it is still in the expected version.
    pub(super) change: Change,
    /// Deletes one, if it is still in the expected version.
    pub(super) delete: fn(&Transaction<'_>, &Act, Uuid, Option<&str>) -> Result<(), Refusal>,
}

type Change = fn(&Transaction<'_>, &Act, Uuid, Draft, Known<'_>) -> Result<Record, Refusal>;

/// POST of a new row.
pub(super) fn added(resource: &'static Resource) -> MethodRouter<Server> {
    post(move |state, visitor, fields| create(resource, state, visitor, fields))
}

/// GET, PATCH and DELETE of a row.
pub(super) fn one(resource: &'static Resource) -> MethodRouter<Server> {
    get(move |state, visitor, id, headers| show(resource, state, visitor, id, headers))
        .patch(move |state, visitor, id, headers, fields| change(resource, state, visitor, id, headers, fields))
        .delete(move |state, visitor, id, headers| delete(resource, state, visitor, id, headers))
}

async fn show(
    resource: &'static Resource,
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let find =
        move |connection: &mut rusqlite::Connection| edits::find(connection, (resource.table)(), visitor.tenant, id);
    Ok(answer_unless_known(&headers, &server.app.db.read(find).await?))
}

async fn create(
    resource: &'static Resource,
    State(server): State<Server>,
    visitor: Visitor,
    fields: Fields,
) -> Result<Response, Error> {
    let draft = fields.into_draft((resource.table)(), resource.writable)?;
    let create = move |tx: &Transaction<'_>, act: &Act| (resource.create)(tx, act, draft);
    let record = action::perform(&server.app, visitor.person.id, create).await?;
    Ok(answer(StatusCode::CREATED, &record))
}

async fn change(
    resource: &'static Resource,
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Error> {
    let draft = fields.into_draft((resource.table)(), resource.writable)?;
    let expected = expected_version(&headers);
    let change = move |tx: &Transaction<'_>, act: &Act| {
        let known = expected.as_deref().map_or(Known::Any, Known::Version);
        (resource.change)(tx, act, id, draft, known)
    };
    let record = action::perform(&server.app, visitor.person.id, change).await?;
    Ok(answer(StatusCode::OK, &record))
}

async fn delete(
    resource: &'static Resource,
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let expected = expected_version(&headers);
    let delete = move |tx: &Transaction<'_>, act: &Act| (resource.delete)(tx, act, id, expected.as_deref());
    action::perform(&server.app, visitor.person.id, delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
