//! Tasks.

use sync::sqlite::tasks::{self, SORTS, TaskFilter};
use uuid::Uuid;

use super::error::Error;
use super::query::Parameters;
use super::resource::{Found, Resource};
use crate::sessions::Visitor;
use crate::tasks::{self as actions, WRITABLE, table};

/// What is done with tasks.
pub(super) const TASKS: Resource = Resource {
    table,
    writable: WRITABLE,
    sorts: SORTS,
    find,
    create: actions::create,
    change: actions::change,
    delete: actions::delete,
};

fn find(parameters: &mut Parameters, visitor: &Visitor) -> Result<Found, Error> {
    let filter = TaskFilter {
        statuses: parameters.take_labels(table(), "status")?,
        priorities: parameters.take_labels(table(), "priority")?,
        user_id: assignee(parameters, visitor)?,
        site_id: parameters.take_id("site_id")?,
        device_id: parameters.take_id("device_id")?,
        due_before: parameters.take_time("due_before")?,
        due_after: parameters.take_time("due_after")?,
        q: parameters.take("q")?,
    };
    let tenant = visitor.tenant;
    Ok(Box::new(move |tx, order, after, limit| tasks::page(tx, table(), tenant, &filter, order, after, limit)))
}

/// `me`, or an id.
fn assignee(parameters: &mut Parameters, visitor: &Visitor) -> Result<Option<Uuid>, Error> {
    if parameters.is("user_id", "me") {
        parameters.take("user_id")?;
        return Ok(Some(visitor.person.id));
    }
    parameters.take_id("user_id")
}
