//! Devices.

use axum::extract::State;
use axum::response::Response;
use sync::sqlite::devices::{self, DeviceFilter, SORTS};

use super::Server;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::resource::Resource;
use crate::devices::{self as actions, WRITABLE, table};
use crate::sessions::Visitor;

/// What is done with one.
pub(super) const DEVICES: Resource =
    Resource { table, writable: WRITABLE, create: actions::create, change: actions::change, delete: actions::delete };

pub(super) async fn list(
    State(server): State<Server>,
    visitor: Visitor,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let filter = DeviceFilter {
        site_id: parameters.take_id("site_id")?,
        types: parameters.take_labels(table(), "type")?,
        statuses: parameters.take_labels(table(), "status")?,
        serial_number: parameters.take("serial_number")?,
        q: parameters.take("q")?,
    };
    let request = paging::Request::take(&mut parameters, SORTS)?;
    parameters.finish()?;
    let read = move |connection: &mut rusqlite::Connection| {
        let after = request.after.as_deref();
        let page = devices::page(connection, table(), visitor.tenant, &filter, &request.order, after, request.limit)?;
        Ok::<_, Error>(request.answer(&page))
    };
    server.app.db.read(read).await
}
