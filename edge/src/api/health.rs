//! Whether the edge is alive, and whether it can serve anybody.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use sync::sqlite::self_state;

use super::Server;
use super::error::Error;
use crate::refusal::Refusal;

pub(super) async fn alive() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

pub(super) async fn ready(State(server): State<Server>) -> Result<Response, Error> {
    let edge = server.app.db.read(|connection| self_state::load(connection)).await?;
    match edge.tenant {
        Some(_) => Ok(Json(json!({"status": "ready"})).into_response()),
        None => Err(Refusal::NotEnrolled.into()),
    }
}
