//! Devices, those of this site first.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rusqlite::{Connection, Transaction};
use sync::sqlite::devices::{self, DeviceFilter, SORTS};
use sync::sqlite::error::StoreError;
use sync::sqlite::listing::Order;
use sync::sqlite::records::Record;
use uuid::Uuid;

use super::page::{Asked, Frame, Guest, PageError, render};
use super::tasks::name;
use super::words;
use crate::api::Server;
use crate::api::row::state;
use crate::devices::table;

/// How many devices a page shows.
const DEVICES_MAX: u32 = 300;

#[derive(Template)]
#[template(path = "devices.html")]
struct DevicesPage {
    frame: Frame,
    all: bool,
    q: String,
    cards: Vec<DeviceCard>,
    more: bool,
}

/// A device in a list.
#[derive(Debug)]
pub(super) struct DeviceCard {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) status_label: String,
    pub(super) serial_number: String,
    pub(super) site: String,
    pub(super) state: &'static str,
    pub(super) state_label: String,
}

pub(super) async fn show(State(server): State<Server>, guest: Guest, asked: Asked) -> Result<Response, PageError> {
    let frame = Frame::new(&server, &guest, "Devices", "devices").await?;
    let (all, q, visitor) = (asked.get("view") == "all", asked.get("q").to_owned(), guest.0);
    let filter = DeviceFilter {
        site_id: (!all).then_some(visitor.site),
        q: (!q.is_empty()).then(|| q.clone()),
        ..DeviceFilter::default()
    };
    let read = move |tx: &Transaction<'_>| -> Result<_, StoreError> {
        let order = Order::parse(SORTS, "name").expect("devices can be sorted by name");
        let page = devices::page(tx, table(), visitor.tenant, &filter, &order, None, DEVICES_MAX)?;
        let cards = page.records.iter().map(|record| card(tx, record));
        Ok((cards.collect::<Result<Vec<_>, _>>()?, page.next.is_some()))
    };
    let (cards, more) = server.app.db.snapshot(read).await?;
    Ok(render(StatusCode::OK, &DevicesPage { frame, all, q, cards, more }))
}

/// A device in a list, with the name of its site.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn card(tx: &Connection, record: &Record) -> Result<DeviceCard, StoreError> {
    let owned = |column| record.text(column).unwrap_or_default().to_owned();
    let tenant = record.reference("tenant_id").unwrap_or_default();
    let status = owned("status");
    Ok(DeviceCard {
        id: record.id.0,
        name: owned("name"),
        kind: words::label(&owned("type")),
        status_label: words::label(&status),
        serial_number: owned("serial_number"),
        site: name(tx, "sites", tenant, record.reference("site_id"))?,
        state: state(record.standing),
        state_label: words::label(state(record.standing)),
        status,
    })
}
