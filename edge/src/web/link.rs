//! How the box stands with the centre, in full.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use sync::catalog;
use sync::sqlite::ledger;

use super::form::Submitted;
use super::page::{Frame, Guest, PageError, render};
use super::words;
use crate::api::Server;
use crate::status::{self, Status};

/// How long a person waits for the page after asking for an exchange, in milliseconds. The exchange goes on.
const EXCHANGE_MS_MAX: u64 = 8_000;

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage {
    frame: Frame,
    status: Status,
    last: String,
    offset: String,
    refused: Vec<RefusedCard>,
}

struct RefusedCard {
    what: String,
    link: Option<String>,
    reason: String,
    at: String,
}

pub(super) async fn show(State(server): State<Server>, guest: Guest) -> Result<Response, PageError> {
    let frame = Frame::new(&server, &guest, "Link to the centre", "sync").await?;
    let status = status::load(&server.app).await?;
    let entries = server.app.db.read(|connection| ledger::quarantined(connection)).await?;
    let read = |time: &str| frame.clock.read(time, frame.now_ms);
    let card = |entry: ledger::Quarantined| {
        let table = catalog::by_id(entry.table).map_or("unknown", |table| table.name);
        RefusedCard {
            what: words::label(table.strip_suffix('s').unwrap_or(table)),
            link: matches!(table, "tasks" | "devices").then(|| format!("/{table}/{}", entry.row)),
            at: read(&entry.created_at),
            reason: entry.reason,
        }
    };
    let refused = entries.into_iter().map(card).collect();
    let last = status.last_exchange_at.as_deref().map_or_else(|| "never".to_owned(), read);
    let offset = match status.hub_time_offset_ms {
        Some(ms) if ms.abs() >= 2_000 => format!("{} s", ms / 1000),
        Some(_) => "the same".to_owned(),
        None => "not known yet".to_owned(),
    };
    Ok(render(StatusCode::OK, &LinkPage { frame, status, last, offset, refused }))
}

pub(super) async fn exchange(State(server): State<Server>, _: Guest, _: Submitted) -> Result<Response, PageError> {
    let limit = Duration::from_millis(EXCHANGE_MS_MAX);
    // What came of it stands on the page that follows.
    let _ = tokio::time::timeout(limit, server.app.sync.sync_now()).await;
    Ok(Redirect::to("/sync").into_response())
}
