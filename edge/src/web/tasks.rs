//! Tasks, the most urgent first: mine, the site's, or all.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use rusqlite::{Connection, Transaction};
use sync::sqlite::error::StoreError;
use sync::sqlite::listing::Order;
use sync::sqlite::people;
use sync::sqlite::records::{self, Record};
use sync::sqlite::tasks::{self, SORTS, TaskFilter};
use uuid::Uuid;

use super::page::{Asked, Frame, Guest, PageError, render};
use super::words;
use crate::api::Server;
use crate::api::row::state;
use crate::edits;
use crate::people::Person;
use crate::sessions::Visitor;
use crate::tasks::table;
use crate::times::{self, SiteClock};

/// How many tasks a page shows.
const TASKS_MAX: u32 = 200;

#[derive(Template)]
#[template(path = "tasks.html")]
struct TasksPage {
    frame: Frame,
    view: &'static str,
    done: bool,
    q: String,
    sections: Vec<Section>,
    more: bool,
    writes: bool,
}

struct Section {
    title: &'static str,
    cards: Vec<Card>,
}

/// A task in a list.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) id: Uuid,
    pub(super) title: String,
    pub(super) status: String,
    pub(super) status_label: String,
    pub(super) priority: String,
    pub(super) priority_label: String,
    pub(super) due: String,
    pub(super) device: String,
    pub(super) site: String,
    pub(super) person: String,
    /// What has been seen of it.
    pub(super) base: String,
    pub(super) state: &'static str,
    pub(super) state_label: String,
    /// Whether the person may change it.
    pub(super) writable: bool,
    when: When,
}

/// When a task is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Late,
    Today,
    Later,
    Never,
    Done,
}

impl Card {
    /// Whether it should have been done.
    pub(super) fn is_late(&self) -> bool {
        self.when == When::Late
    }
}

pub(super) async fn show(State(server): State<Server>, guest: Guest, asked: Asked) -> Result<Response, PageError> {
    let frame = Frame::new(&server, &guest, "Tasks", "tasks").await?;
    let view = match asked.get("view") {
        "site" => "site",
        "all" => "all",
        // Whoever came with an emergency code has none of their own.
        "" if guest.0.person.user().is_none() => "site",
        _ => "mine",
    };
    let (done, q, visitor) = (asked.has("done"), asked.get("q").to_owned(), guest.0);
    let writes = visitor.person.writes();
    let filter = filter(&visitor, view, done, &q);
    let (clock, now_ms) = (frame.clock, frame.now_ms);
    let read = move |tx: &Transaction<'_>| -> Result<_, StoreError> {
        let sort = if done { "-completed_at,-updated_at" } else { "due_date,-priority" };
        let order = Order::parse(SORTS, sort).expect("tasks are sorted by columns that they can be sorted by");
        let page = tasks::page(tx, table(), visitor.tenant, &filter, &order, None, TASKS_MAX)?;
        let cards = page.records.iter().map(|record| card(tx, &visitor.person, record, clock, now_ms));
        Ok((cards.collect::<Result<Vec<_>, _>>()?, page.next.is_some()))
    };
    let (cards, more) = server.app.db.snapshot(read).await?;
    let sections = sections(cards);
    Ok(render(StatusCode::OK, &TasksPage { frame, view, done, q, sections, more, writes }))
}

/// A task in a list, with the names of what it refers to.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn card(
    tx: &Connection,
    person: &Person,
    record: &Record,
    clock: SiteClock,
    now_ms: u64,
) -> Result<Card, StoreError> {
    let owned = |column| record.text(column).unwrap_or_default().to_owned();
    let (status, priority) = (owned("status"), owned("priority"));
    let tenant = record.reference("tenant_id").unwrap_or_default();
    let assignee = match record.reference("user_id") {
        Some(id) if id == person.id => Some("me".to_owned()),
        Some(id) => people::name(tx, id)?,
        None => None,
    };
    Ok(Card {
        id: record.id.0,
        base: record.base.clone(),
        title: owned("title"),
        status_label: words::label(&status),
        priority_label: words::label(&priority),
        due: record.text("due_date").map(|time| clock.read(time, now_ms)).unwrap_or_default(),
        device: name(tx, "devices", tenant, record.reference("device_id"))?,
        site: name(tx, "sites", tenant, record.reference("site_id"))?,
        person: assignee.unwrap_or_default(),
        state: state(record.standing),
        state_label: words::label(state(record.standing)),
        writable: person.works_on(record.reference("site_id"), record.reference("user_id")),
        when: when(record, clock, now_ms),
        status,
        priority,
    })
}

/// The name of a row, empty when there is none.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn name(tx: &Connection, table: &'static str, tenant: Uuid, id: Option<Uuid>) -> Result<String, StoreError> {
    let Some(id) = id else { return Ok(String::new()) };
    let record = records::find(tx, edits::table(table), tenant, sync::merge::ids::RowId(id))?;
    Ok(record.and_then(|record| record.text("name").map(str::to_owned)).unwrap_or_default())
}

fn filter(visitor: &Visitor, view: &str, done: bool, q: &str) -> TaskFilter {
    let statuses: &[&str] = if done { &["done", "cancelled"] } else { &["open", "in_progress", "blocked"] };
    TaskFilter {
        statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
        user_id: (view == "mine").then_some(visitor.person.id),
        site_id: (view == "site").then_some(visitor.site),
        q: (!q.is_empty()).then(|| q.to_owned()),
        ..TaskFilter::default()
    }
}

fn when(record: &Record, clock: SiteClock, now_ms: u64) -> When {
    if matches!(record.text("status"), Some("done" | "cancelled")) {
        return When::Done;
    }
    let Some(due) = record.text("due_date") else { return When::Never };
    match clock.days_until(due, now_ms) {
        _ if due < times::timestamp(now_ms).as_str() => When::Late,
        Some(0) => When::Today,
        _ => When::Later,
    }
}

fn sections(cards: Vec<Card>) -> Vec<Section> {
    let titles = [
        (When::Late, "Overdue"),
        (When::Today, "Today"),
        (When::Later, "Coming up"),
        (When::Never, "Without a date"),
        (When::Done, "Done"),
    ];
    let mut sections: Vec<(When, Section)> =
        titles.into_iter().map(|(when, title)| (when, Section { title, cards: Vec::new() })).collect();
    for card in cards {
        if let Some((_, section)) = sections.iter_mut().find(|(when, _)| *when == card.when) {
            section.cards.push(card);
        }
    }
    sections.into_iter().map(|(_, section)| section).filter(|section| !section.cards.is_empty()).collect()
}
