//! How the edge stands, for Prometheus (text format, version 0.0.4). Numbers only: it says nothing about any row.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Server;
use super::error::Error;
use crate::status::{self, Status};

/// A number: its name, what it means, and how to read it off. `None` is left out.
type Gauge = (&'static str, &'static str, fn(&Status) -> Option<i64>);

const GAUGES: &[Gauge] = &[
    ("waystation_edge_online", "1 while the hub answers.", |status| Some(i64::from(status.state == "online"))),
    ("waystation_edge_in_sync", "1 while both sides are known to have all of each other.", |status| {
        Some(i64::from(status.in_sync))
    }),
    ("waystation_edge_pending_rows", "Rows with writes that the hub has not acknowledged.", |status| {
        i64::try_from(status.pending).ok()
    }),
    ("waystation_edge_conflicts_open", "Conflicts that nobody decided.", |status| {
        i64::try_from(status.conflicts_open).ok()
    }),
    ("waystation_edge_quarantined_rows", "Rows that were refused, here or at the hub.", |status| {
        i64::try_from(status.quarantined).ok()
    }),
    ("waystation_edge_storage_ok", "1 while the box's disk takes writes.", |status| {
        Some(i64::from(status.storage == "ok"))
    }),
    ("waystation_edge_hub_time_offset_milliseconds", "The hub's clock less ours.", |status| status.hub_time_offset_ms),
];

pub(super) async fn show(State(server): State<Server>) -> Result<Response, Error> {
    let status = status::load(&server.app).await?;
    let line = |(name, help, value): &Gauge| {
        let value = value(&status)?;
        Some(format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"))
    };
    let text: String = GAUGES.iter().filter_map(line).collect();
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
