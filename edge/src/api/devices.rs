//! Devices.

use sync::sqlite::devices::{self, DeviceFilter, SORTS};

use super::error::Error;
use super::query::{Filter, Parameters, Takes};
use super::resource::{Found, Resource};
use crate::devices::{self as actions, WRITABLE, table};
use crate::sessions::Visitor;

/// What is done with devices.
pub(super) const DEVICES: Resource = Resource {
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
    Filter { name: "site_id", takes: Takes::Id, about: "At this site." },
    Filter { name: "type", takes: Takes::Labels, about: "Of one of these types." },
    Filter { name: "status", takes: Takes::Labels, about: "In one of these states." },
    Filter { name: "serial_number", takes: Takes::Text, about: "With exactly this serial number." },
    Filter { name: "q", takes: Takes::Text, about: "With this text in the name or the serial number." },
];

fn find(parameters: &mut Parameters, visitor: &Visitor) -> Result<Found, Error> {
    let filter = DeviceFilter {
        site_id: parameters.take_id("site_id")?,
        types: parameters.take_labels(table(), "type")?,
        statuses: parameters.take_labels(table(), "status")?,
        serial_number: parameters.take("serial_number")?,
        q: parameters.take("q")?,
    };
    let tenant = visitor.tenant;
    Ok(Box::new(move |tx, order, after, limit| devices::page(tx, table(), tenant, &filter, order, after, limit)))
}
