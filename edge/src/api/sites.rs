//! Sites.

use axum::extract::State;
use axum::response::Response;
use sync::sqlite::sites::{self, SORTS};

use super::Server;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::resource::Resource;
use crate::sessions::Visitor;
use crate::sites::{self as actions, WRITABLE, table};

/// What is done with one.
pub(super) const SITES: Resource =
    Resource { table, writable: WRITABLE, create: actions::create, change: actions::change, delete: actions::delete };

pub(super) async fn list(
    State(server): State<Server>,
    visitor: Visitor,
    mut parameters: Parameters,
) -> Result<Response, Error> {
    let q = parameters.take("q")?;
    let request = paging::Request::take(&mut parameters, SORTS)?;
    parameters.finish()?;
    let read = move |connection: &mut rusqlite::Connection| {
        let after = request.after.as_deref();
        let page =
            sites::page(connection, table(), visitor.tenant, q.as_deref(), &request.order, after, request.limit)?;
        Ok::<_, Error>(request.answer(&page))
    };
    server.app.db.read(read).await
}
