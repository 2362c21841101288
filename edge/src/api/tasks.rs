//! Tasks.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use sync::sqlite::tasks::{self, SORTS, TaskFilter};
use uuid::Uuid;

use super::Server;
use super::body::Fields;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::row::{answer, answer_unless_known, expected_version};
use super::visitor::Id;
use crate::action;
use crate::edits;
use crate::sessions::Visitor;
use crate::tasks::{self as actions, WRITABLE, table};

pub(super) async fn list(
    State(server): State<Server>,
    visitor: Visitor,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let filter = TaskFilter {
        statuses: parameters.take_labels(table(), "status")?,
        priorities: parameters.take_labels(table(), "priority")?,
        user_id: assignee(&mut parameters, &visitor)?,
        site_id: parameters.take_id("site_id")?,
        device_id: parameters.take_id("device_id")?,
        due_before: parameters.take_time("due_before")?,
        due_after: parameters.take_time("due_after")?,
        q: parameters.take("q")?,
    };
    let request = paging::Request::take(&mut parameters, SORTS)?;
    parameters.finish()?;
    let read = move |connection: &mut rusqlite::Connection| {
        let after = request.after.as_deref();
        let page = tasks::page(connection, table(), visitor.tenant, &filter, &request.order, after, request.limit)?;
        Ok::<_, Error>(request.answer(&page))
    };
    server.app.db.read(read).await
}

pub(super) async fn show(
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let record = server.app.db.read(move |connection| edits::find(connection, table(), visitor.tenant, id)).await?;
    Ok(answer_unless_known(&headers, &record))
}

pub(super) async fn create(State(server): State<Server>, visitor: Visitor, fields: Fields) -> Result<Response, Error> {
    let draft = fields.into_draft(table(), WRITABLE)?;
    let create = move |tx: &rusqlite::Transaction<'_>, act: &action::Act| actions::create(tx, act, draft);
    let record = action::perform(&server.app, visitor.person.id, create).await?;
    Ok(answer(StatusCode::CREATED, &record))
}

pub(super) async fn change(
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
    fields: Fields,
) -> Result<Response, Error> {
    let (draft, expected) = (fields.into_draft(table(), WRITABLE)?, expected_version(&headers));
    let change = move |tx: &rusqlite::Transaction<'_>, act: &action::Act| {
        actions::change(tx, act, id, draft, expected.as_deref())
    };
    let record = action::perform(&server.app, visitor.person.id, change).await?;
    Ok(answer(StatusCode::OK, &record))
}

pub(super) async fn delete(
    State(server): State<Server>,
    visitor: Visitor,
    Id(id): Id,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let expected = expected_version(&headers);
    let delete =
        move |tx: &rusqlite::Transaction<'_>, act: &action::Act| actions::delete(tx, act, id, expected.as_deref());
    action::perform(&server.app, visitor.person.id, delete).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `me`, or an id.
fn assignee(parameters: &mut Parameters, visitor: &Visitor) -> Result<Option<Uuid>, Error> {
    if parameters.is("user_id", "me") {
        parameters.take("user_id")?;
        return Ok(Some(visitor.person.id));
    }
    Ok(parameters.take_id("user_id")?)
}
