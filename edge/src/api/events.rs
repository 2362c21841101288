//! What happens at this edge, as it happens: server-sent events (WHATWG HTML, section 9.2).
//!
//! `row` tells of a row that changed or whose standing changed, whoever wrote it; `status` of the edge; `reset` that the
//! listener has missed more than is kept and should read its lists again. Ids are places in the list of changes, which is
//! in the file: a listener goes on where it was, also after a restart. A stream ends when its session does.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use serde_json::value::RawValue;
use sync::catalog::Direction;
use sync::sqlite::changes::{self, Change};
use sync::sqlite::error::StoreError;
use sync::sqlite::records;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::ToSchema;
use uuid::Uuid;

use super::Server;
use super::error::Error;
use super::query::Parameters;
use super::row::RowJson;
use crate::sessions::{self, Visitor};
use crate::status::{self, Status};
use crate::sync_handle::Link;

/// How many listeners there may be.
pub const STREAMS_MAX: usize = 64;
/// How many changes a listener is told one by one; one that has missed more is told to read again.
pub const CHANGES_MAX: u32 = 1_000;
/// How many changes are kept for listeners that come back.
pub const CHANGES_KEPT: u32 = 20_000;
/// How often a quiet stream says that it lives, and looks whether its session does, in milliseconds.
pub const BEAT_MS: u64 = 15_000;

/// A row that changed.
#[derive(Serialize, ToSchema)]
pub(super) struct RowEvent {
    #[schema(example = "tasks")]
    table: &'static str,
    id: Uuid,
    /// The row as it is now; null when it is gone, and for tables that have no route of their own.
    #[schema(value_type = Option<Object>)]
    row: Option<Box<RawValue>>,
}

/// Why a listener should read its lists again.
#[derive(Serialize, ToSchema)]
pub(super) struct ResetEvent {
    reason: &'static str,
}

struct Listener {
    server: Server,
    visitor: Visitor,
    place: Option<i64>,
    waiting: VecDeque<Event>,
    told: Option<Status>,
    written: watch::Receiver<u64>,
    changed: watch::Receiver<u64>,
    link: watch::Receiver<Link>,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn listen(
    State(server): State<Server>,
    visitor: Visitor,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Error> {
    parameters.finish()?;
    let permit = Arc::clone(&server.listeners).try_acquire_owned().map_err(|_| Error::Crowded)?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    // What is no place of ours is one that has been cut.
    let place = last.map(|text| text.parse().unwrap_or(-1));
    let app = &server.app;
    let (written, changed, link) = (app.db.written(), app.sync.changed(), app.sync.watch());
    let waiting = VecDeque::new();
    let listener = Listener {
        server: server.clone(),
        visitor,
        place,
        waiting,
        told: None,
        written,
        changed,
        link,
        _permit: permit,
    };
    let beat = KeepAlive::new().interval(Duration::from_millis(BEAT_MS)).text("alive");
    Ok(Sse::new(stream::unfold(listener, next)).keep_alive(beat).into_response())
}

/// The next event; `None` ends the stream.
async fn next(mut listener: Listener) -> Option<(Result<Event, Infallible>, Listener)> {
    loop {
        if let Some(event) = listener.waiting.pop_front() {
            return Some((Ok(event), listener));
        }
        if let Err(error) = listener.look().await {
            // The client comes back by itself and goes on where it was.
            tracing::warn!(%error, "a stream of events ends early");
            return None;
        }
        if listener.waiting.is_empty() && !listener.wait().await {
            return None;
        }
    }
}

impl Listener {
    /// Waits until something may have happened. False when the session is over.
    async fn wait(&mut self) -> bool {
        let mut closing = self.server.closing.clone();
        let gone = tokio::select! {
            changed = self.written.changed() => changed.is_err(),
            changed = self.changed.changed() => changed.is_err(),
            changed = self.link.changed() => changed.is_err(),
            () = tokio::time::sleep(Duration::from_millis(BEAT_MS)) => false,
            Ok(_) = closing.wait_for(|closing| *closing) => true,
        };
        !gone && sessions::is_alive(&self.server.app, &self.visitor).await.unwrap_or(false)
    }

    /// Reads what has happened since the last look.
    async fn look(&mut self) -> Result<(), Error> {
        let (place, tenant) = (self.place, self.visitor.tenant);
        let seen = self.server.app.db.snapshot(move |tx| see(tx, place, tenant)).await?;
        self.place = Some(seen.place);
        self.waiting.extend(seen.events);
        let status = status::load(&self.server.app).await?;
        if self.told.as_ref() != Some(&status) {
            let event = Event::default().event("status").id(seen.place.to_string());
            self.waiting.push_back(event.json_data(&status).unwrap_or_default());
            self.told = Some(status);
        }
        Ok(())
    }
}

struct Seen {
    place: i64,
    events: Vec<Event>,
}

fn see(tx: &rusqlite::Transaction<'_>, place: Option<i64>, tenant: Uuid) -> Result<Seen, StoreError> {
    let (first, last) = changes::bounds(tx)?.unwrap_or((1, 0));
    let Some(place) = place else { return Ok(Seen { place: last, events: Vec::new() }) };
    let missed = last.saturating_sub(place);
    if place + 1 < first || place > last || missed > i64::from(CHANGES_MAX) {
        let reset = ResetEvent { reason: "more has changed than is told one by one: read your lists again" };
        let event = Event::default().event("reset").id(last.to_string());
        return Ok(Seen { place: last, events: vec![event.json_data(&reset).unwrap_or_default()] });
    }
    let changes = changes::after(tx, place, CHANGES_MAX)?;
    let events = changes.into_iter().map(|change| event(tx, &change, tenant)).collect::<Result<_, StoreError>>()?;
    Ok(Seen { place: last, events })
}

fn event(tx: &rusqlite::Transaction<'_>, change: &Change, tenant: Uuid) -> Result<Event, StoreError> {
    let Change { id, table, row } = *change;
    let record = match table.direction {
        Direction::Both => records::find(tx, table, tenant, row)?,
        Direction::Down => None,
    };
    let json = record.and_then(|record| serde_json::value::to_raw_value(&RowJson::whole(&record)).ok());
    let told = RowEvent { table: table.name, id: row.0, row: json };
    Ok(Event::default().event("row").id(id.to_string()).json_data(&told).unwrap_or_default())
}
