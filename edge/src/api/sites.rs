//! Sites.

use sync::sqlite::sites::{self, SORTS};

use super::error::Error;
use super::query::Parameters;
use super::resource::{Found, Resource};
use crate::sessions::Visitor;
use crate::sites::{self as actions, WRITABLE, table};

/// What is done with sites.
pub(super) const SITES: Resource = Resource {
    table,
    writable: WRITABLE,
    sorts: SORTS,
    find,
    create: actions::create,
    change: actions::change,
    delete: actions::delete,
};

fn find(parameters: &mut Parameters, visitor: &Visitor) -> Result<Found, Error> {
    let q = parameters.take("q")?;
    let tenant = visitor.tenant;
    Ok(Box::new(move |tx, order, after, limit| sites::page(tx, table(), tenant, q.as_deref(), order, after, limit)))
}
