//! Everything that this edge knows of one row.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use sync::catalog::{self, Table};
use uuid::Uuid;

use super::Server;
use super::error::Error;
use super::query::Parameters;
use crate::history;
use crate::refusal::Refusal;
use crate::sessions::Visitor;

/// The tables whose rows have a history for everybody: those that are dumped.
pub(super) fn tables() -> impl Iterator<Item = &'static Table> {
    catalog::TABLES.iter().filter(|table| table.dumped)
}

pub(super) async fn show(
    State(server): State<Server>,
    visitor: Visitor,
    Path((table, id)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Error> {
    parameters.finish()?;
    let found = tables().find(|candidate| candidate.name == table).zip(Uuid::try_parse(&id).ok());
    let (table, id) = found.ok_or(Refusal::NotFound("row"))?;
    let history = server.app.db.snapshot(move |tx| history::history(tx, table, visitor.tenant, id)).await?;
    Ok(Json(history).into_response())
}
