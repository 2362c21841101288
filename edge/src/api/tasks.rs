//! Tasks.

use axum::extract::State;
use axum::response::Response;
use sync::sqlite::tasks::{self, SORTS, TaskFilter};
use uuid::Uuid;

use super::Server;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::resource::Resource;
use crate::sessions::Visitor;
use crate::tasks::{self as actions, WRITABLE, table};

/// What is done with one.
pub(super) const TASKS: Resource =
    Resource { table, writable: WRITABLE, create: actions::create, change: actions::change, delete: actions::delete };

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

/// `me`, or an id.
fn assignee(parameters: &mut Parameters, visitor: &Visitor) -> Result<Option<Uuid>, Error> {
    if parameters.is("user_id", "me") {
        parameters.take("user_id")?;
        return Ok(Some(visitor.person.id));
    }
    Ok(parameters.take_id("user_id")?)
}
