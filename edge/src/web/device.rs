//! One device, with its tasks.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rusqlite::{Connection, Transaction};
use sync::catalog::Table;
use sync::sqlite::listing::Order;
use sync::sqlite::records::Record;
use sync::sqlite::tasks::{self, SORTS, TaskFilter};
use uuid::Uuid;

use super::conflicts::is_open;
use super::devices::{DeviceCard, card};
use super::form::{RowForm, Submitted};
use super::page::{Asked, Frame, Guest, PageError, render};
use super::tasks::{self as task_cards, Card};
use super::words::{self, Choice};
use crate::action::{self, Act};
use crate::api::Server;
use crate::api::visitor::Id;
use crate::devices::{self as actions, table};
use crate::edits::{self, Known};
use crate::refusal::Refusal;

/// What the form edits.
const COLUMNS: &[&str] = &["name", "serial_number", "status"];
/// How many tasks a page shows.
const TASKS_MAX: u32 = 50;

/// How a page looks for its device: only while it lives, or also when it was deleted behind a form.
type Find = fn(&Connection, &'static Table, Uuid, Uuid) -> Result<Record, Refusal>;

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    frame: Frame,
    card: DeviceCard,
    writable: bool,
    form: RowForm,
    notice: String,
    saved: bool,
    /// Whether something else than what it shows was written, and nobody has decided.
    collided: bool,
    statuses: Vec<Choice>,
    details: Vec<(String, String)>,
    tasks: Vec<Card>,
    updated: String,
}

pub(super) async fn show(
    State(server): State<Server>,
    guest: Guest,
    Id(id): Id,
    asked: Asked,
) -> Result<Response, PageError> {
    let mut page = page(&server, &guest, id, edits::find).await?;
    page.saved = asked.has("saved");
    Ok(render(StatusCode::OK, &page))
}

pub(super) async fn submit(
    State(server): State<Server>,
    guest: Guest,
    Id(id): Id,
    form: Submitted,
) -> Result<Response, PageError> {
    let mut page = page(&server, &guest, id, edits::find_or_last).await?;
    let (clock, sent) = (page.frame.clock, form.clone());
    let work = move |tx: &Transaction<'_>, act: &Act| {
        let past = sent.past()?;
        let known = past.as_ref().map_or(Known::Any, Known::Page);
        actions::change(tx, act, id, sent.draft(table(), COLUMNS, clock)?, known)
    };
    let (status, notice) = match action::perform(&server.app, &guest.0.person, work).await {
        Ok(_) => return Ok(Redirect::to(&format!("/devices/{id}?saved")).into_response()),
        Err(Refusal::Invalid { field, reason, .. }) => {
            (StatusCode::UNPROCESSABLE_ENTITY, format!("{}: {reason}.", words::column(&field)))
        }
        Err(Refusal::SerialNumberTaken { holder, .. }) => {
            (StatusCode::CONFLICT, format!("Serial number: {holder} has it already."))
        }
        Err(refusal) => return Err(refusal.into()),
    };
    page.form = page.form.with(&form);
    page.notice = notice;
    Ok(render(status, &page))
}

async fn page(server: &Server, guest: &Guest, id: Uuid, find: Find) -> Result<DevicePage, PageError> {
    let frame = Frame::new(server, guest, "Device", "devices").await?;
    let (clock, now_ms, visitor) = (frame.clock, frame.now_ms, guest.0.clone());
    let read = move |tx: &Transaction<'_>| -> Result<_, Refusal> {
        let record = find(tx, table(), visitor.tenant, id)?;
        let order = Order::parse(SORTS, "status,due_date").expect("tasks can be sorted by status and date");
        let filter = TaskFilter { device_id: Some(id), ..TaskFilter::default() };
        let tasks = tasks::page(tx, edits::table("tasks"), visitor.tenant, &filter, &order, None, TASKS_MAX)?;
        let cards = tasks.records.iter().map(|task| task_cards::card(tx, &visitor.person, task, clock, now_ms));
        let cards = cards.collect::<Result<Vec<_>, _>>()?;
        let writable = record.reference("site_id").is_some_and(|site| visitor.person.works_at(site));
        Ok((card(tx, &record)?, is_open(tx, record.id)?, record, cards, writable))
    };
    let (card, collided, record, tasks, writable) = server.app.db.snapshot(read).await?;
    Ok(DevicePage {
        frame: Frame { title: card.name.clone(), ..frame },
        card,
        writable,
        form: RowForm::of(&record, COLUMNS, clock),
        notice: String::new(),
        saved: false,
        collided,
        statuses: words::choices(table().column("status")),
        details: words::members(record.text("metadata")),
        tasks,
        updated: record.text("updated_at").map(|time| clock.read(time, now_ms)).unwrap_or_default(),
    })
}
