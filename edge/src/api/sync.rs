//! How the edge stands with its hub.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sync::catalog;
use sync::sqlite::ledger::{self, Quarantined};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Server;
use super::error::Error;
use super::paging;
use super::query::Parameters;
use super::visitor::Id;
use crate::action;
use crate::quarantine;
use crate::sessions::Visitor;
use crate::status;

/// How long a request waits for the exchange that it asked for, in milliseconds. The exchange goes on.
pub(super) const EXCHANGE_MS_MAX: u64 = 30_000;

#[derive(Serialize, ToSchema)]
#[schema(as = Refused)]
/// A row that was refused, here or at headquarters.
pub(crate) struct QuarantineJson {
    id: Uuid,
    #[schema(example = "devices")]
    table: &'static str,
    row_id: Uuid,
    /// Why, as a stable code.
    #[schema(example = "duplicate_key")]
    code: String,
    /// Why, in words.
    reason: String,
    /// Since when.
    #[schema(format = DateTime)]
    at: String,
    /// Whether it was given up: it stays listed until headquarters' row has come in its place.
    discarded: bool,
}

pub(super) async fn status(State(server): State<Server>, _: Visitor) -> Result<Response, Error> {
    Ok(Json(status::load(&server.app).await?).into_response())
}

pub(super) async fn now(State(server): State<Server>, _: Visitor) -> Result<Response, Error> {
    let limit = Duration::from_millis(EXCHANGE_MS_MAX);
    let code = match tokio::time::timeout(limit, server.app.sync.sync_now()).await {
        Ok(Ok(())) => StatusCode::OK,
        Ok(Err(why)) => return Err(Error::ExchangeFailed(why)),
        Err(_) => StatusCode::ACCEPTED,
    };
    Ok((code, Json(status::load(&server.app).await?)).into_response())
}

pub(super) async fn quarantine(
    State(server): State<Server>,
    _: Visitor,
    parameters: Parameters,
) -> Result<Response, Error> {
    parameters.finish()?;
    let entries = server.app.db.read(|connection| ledger::quarantined(connection)).await?;
    Ok(paging::list(entries.into_iter().map(json).collect(), None))
}

pub(super) async fn discard(State(server): State<Server>, visitor: Visitor, Id(id): Id) -> Result<Response, Error> {
    let discard = move |tx: &rusqlite::Transaction<'_>, act: &action::Act| quarantine::discard(tx, act, id);
    action::perform(&server.app, &visitor.person, discard).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A refused row as a program reads it.
pub(crate) fn json(entry: Quarantined) -> QuarantineJson {
    let Quarantined { id, table, row, code, reason, created_at: at, discarded } = entry;
    let table = catalog::by_id(table).map_or("unknown", |table| table.name);
    QuarantineJson { id, table, row_id: row.0, code, reason, at, discarded }
}
