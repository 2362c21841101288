//! Tasks.

use sync::sqlite::tasks::{self, SORTS, TaskFilter};
use uuid::Uuid;

use super::error::Error;
use super::query::{Filter, Parameters, Takes};
use super::resource::{Found, Resource};
use crate::sessions::Visitor;
use crate::tasks::{self as actions, WRITABLE, table};

/// What is done with tasks.
pub(super) const TASKS: Resource = Resource {
    table,
    writable: WRITABLE,
    sorts: SORTS,
    filters: FILTERS,
    find,
    create: actions::create,
    change: actions::change,
    delete: actions::delete,
};

const FILTERS: &[Filter] = &[
    Filter { name: "status", takes: Takes::Labels, about: "In one of these states." },
    Filter { name: "priority", takes: Takes::Labels, about: "Of one of these priorities." },
    Filter { name: "user_id", takes: Takes::Person, about: "Assigned to this person; `me` is whoever asks." },
    Filter { name: "site_id", takes: Takes::Id, about: "At this site." },
    Filter { name: "device_id", takes: Takes::Id, about: "About this device." },
    Filter { name: "due_before", takes: Takes::Time, about: "Due before this time." },
    Filter { name: "due_after", takes: Takes::Time, about: "Due at this time or later." },
    Filter { name: "q", takes: Takes::Text, about: "With this text in the title or the description." },
];

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
