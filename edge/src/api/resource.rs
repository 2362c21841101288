//! What tasks, devices and sites have in common: lists, one row by its id, and adding one.
//!
//! What they do not have in common is their filters, which stand with each, and their actions, which are named here and
//! decide.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use rusqlite::{Connection, Transaction};
use sync::catalog::Table;
use sync::sqlite::error::StoreError;
use sync::sqlite::listing::{Key, Order, Page, Sort};
use sync::sqlite::records::Record;
use uuid::Uuid;

use super::Server;
use super::body::Fields;
use super::error::Error;
use super::paging;
use super::query::{Filter, Parameters};
use super::repeat::{Answer, RepeatKey};
use super::row::{Selection, answer, answer_unless_known, expected_version};
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
    /// What its lists are sorted by.
    pub(super) sorts: &'static [Sort],
    /// The filters of its lists.
    pub(super) filters: &'static [Filter],
    /// Reads the filters of a list.
    pub(super) find: fn(&mut Parameters, &Visitor) -> Result<Found, Error>,
    /// Adds one.
    pub(super) create: fn(&Transaction<'_>, &Act, Draft) -> Result<Record, Refusal>,
    /// Changes one, if it is still in the expected version.
    pub(super) change: Change,
    /// Deletes one, if it is still in the expected version.
    pub(super) delete: fn(&Transaction<'_>, &Act, Uuid, Option<&str>) -> Result<(), Refusal>,
}

type Change = fn(&Transaction<'_>, &Act, Uuid, Draft, Known<'_>) -> Result<Record, Refusal>;

/// The rows that pass a list's filters: a page of them in an order, after some keys, of a number of rows at most.
pub(super) type Found =
    Box<dyn Fn(&Connection, &Order, Option<&[Key]>, u32) -> Result<Page, StoreError> + Send + 'static>;

/// GET of a list and POST of a new row.
pub(super) fn many(resource: &'static Resource) -> MethodRouter<Server> {
    get(move |state, visitor, parameters| list(resource, state, visitor, parameters))
        .post(move |state, visitor, key, fields| create(resource, state, visitor, key, fields))
}

/// GET, PATCH and DELETE of a row.
pub(super) fn one(resource: &'static Resource) -> MethodRouter<Server> {
    get(move |state, visitor, id, headers, parameters| show(resource, state, visitor, id, headers, parameters))
        .patch(move |state, visitor, id, headers, fields| change(resource, state, visitor, id, headers, fields))
        .delete(move |state, visitor, id, headers| delete(resource, state, visitor, id, headers))
}

async fn list(
    resource: &'static Resource,
    State(server): State<Server>,
    visitor: Visitor,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let found = (resource.find)(&mut parameters, &visitor)?;
    let request = paging::Request::take(&mut parameters, (resource.table)(), resource.sorts)?;
    parameters.finish()?;
    let read = move |connection: &mut Connection| {
        let page = found(connection, &request.order, request.after.as_deref(), request.limit)?;
        Ok::<_, Error>(request.answer(&page))
    };
    server.app.db.read(read).await
}

async fn show(
    resource: &'static Resource,
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let selection = Selection::take(&mut parameters, (resource.table)())?;
    parameters.finish()?;
    let find = move |connection: &mut Connection| edits::find(connection, (resource.table)(), visitor.tenant, id);
    Ok(answer_unless_known(&headers, &server.app.db.read(find).await?, &selection))
}

async fn create(
    resource: &'static Resource,
    State(server): State<Server>,
    visitor: Visitor,
    key: RepeatKey,
    fields: Fields,
) -> Result<Response, Error> {
    let repeat = key.of(&fields);
    let draft = fields.into_draft((resource.table)(), resource.writable)?;
    let create = move |tx: &Transaction<'_>, act: &Act| {
        repeat.once(tx, act, || Ok(Answer::row(StatusCode::CREATED, &(resource.create)(tx, act, draft)?)))
    };
    Ok(action::perform(&server.app, &visitor.person, create).await?.into_response())
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
    let record = action::perform(&server.app, &visitor.person, change).await?;
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
    action::perform(&server.app, &visitor.person, delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
