//! Sites.

use sync::sqlite::sites::{self, SORTS};

use super::error::Error;
use super::query::{Filter, Parameters, Takes};
use super::resource::{Found, Resource};
use crate::sessions::Visitor;
use crate::sites::{self as actions, WRITABLE, table};

/// What is done with sites.
pub(super) const SITES: Resource = Resource {
    table,
    writable: WRITABLE,
    sorts: SORTS,
    filters: FILTERS,
    find,
    create: actions::create,
    change: actions::change,
    delete: actions::delete,
};

const FILTERS: &[Filter] =
    &[Filter { name: "q", takes: Takes::Text, about: "With this text in the name or the address." }];

fn find(parameters: &mut Parameters, visitor: &Visitor) -> Result<Found, Error> {
    let q = parameters.take("q")?;
    let tenant = visitor.tenant;
    Ok(Box::new(move |tx, order, after, limit| sites::page(tx, table(), tenant, q.as_deref(), order, after, limit)))
}
