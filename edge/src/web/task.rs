//! One task: read, edited, made and deleted.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use rusqlite::{Connection, Transaction};
use sync::merge::value::Value;
use sync::sqlite::devices::{self, DeviceFilter};
use sync::sqlite::listing::{Order, PAGE_ROWS_MAX};
use sync::sqlite::people;
use sync::sqlite::records::Record;
use uuid::Uuid;

use super::conflicts::is_open;
use super::form::{RowForm, Submitted};
use super::page::{Asked, Frame, Guest, PageError, render};
use super::tasks::{Card, card};
use super::words::{self, Choice};
use crate::action::{self, Act};
use crate::api::Server;
use crate::api::error::Error;
use crate::api::visitor::Id;
use crate::draft::Draft;
use crate::edits::{self, Known};
use crate::people::Person;
use crate::refusal::Refusal;
use crate::sessions::Visitor;
use crate::tasks::{self as actions, table};
use crate::times::SiteClock;

/// What the form edits.
const COLUMNS: &[&str] = &["title", "description", "status", "priority", "due_date", "device_id", "user_id"];

#[derive(Template)]
#[template(path = "task.html")]
struct TaskPage {
    frame: Frame,
    /// `None` for a task that is being made.
    card: Option<Card>,
    form: RowForm,
    notice: String,
    saved: bool,
    /// Whether something else than what it shows was written, and nobody has decided.
    collided: bool,
    statuses: Vec<Choice>,
    priorities: Vec<Choice>,
    devices: Vec<Choice>,
    people: Vec<Choice>,
    notes: Vec<(String, String)>,
    completed: String,
    updated: String,
}

/// Which task a page is about.
#[derive(Clone, Copy)]
enum Subject {
    /// One that is being made.
    New,
    /// One that lives.
    Living(Uuid),
    /// One that may have been deleted while its page was open.
    Sent(Uuid),
}

pub(super) async fn show(
    State(server): State<Server>,
    guest: Guest,
    Id(id): Id,
    asked: Asked,
) -> Result<Response, PageError> {
    let mut page = page(&server, &guest, Subject::Living(id)).await?;
    page.saved = asked.has("saved");
    Ok(render(StatusCode::OK, &page))
}

pub(super) async fn show_new(State(server): State<Server>, guest: Guest, asked: Asked) -> Result<Response, PageError> {
    if !guest.0.person.writes() {
        return Err(Error::from(guest.0.person.not_theirs("task")).into());
    }
    let mut page = page(&server, &guest, Subject::New).await?;
    page.form.set("device_id", asked.get("device"));
    Ok(render(StatusCode::OK, &page))
}

pub(super) async fn submit(
    State(server): State<Server>,
    guest: Guest,
    Id(id): Id,
    form: Submitted,
) -> Result<Response, PageError> {
    let page = page(&server, &guest, Subject::Sent(id)).await?;
    let (clock, sent) = (page.frame.clock, form.clone());
    let work = move |tx: &Transaction<'_>, act: &Act| {
        let past = sent.past()?;
        let known = past.as_ref().map_or(Known::Any, Known::Page);
        actions::change(tx, act, id, sent.draft(table(), COLUMNS, clock)?, known)
    };
    match action::perform(&server.app, &guest.0.person, work).await {
        Ok(_) => Ok(Redirect::to(&after(&form, id)).into_response()),
        Err(Refusal::Invalid { field, reason, .. }) => {
            let notice = format!("{}: {reason}.", words::column(&field));
            Ok(again(page, &form, StatusCode::UNPROCESSABLE_ENTITY, notice))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

pub(super) async fn create(State(server): State<Server>, guest: Guest, form: Submitted) -> Result<Response, PageError> {
    let page = page(&server, &guest, Subject::New).await?;
    let (clock, sent) = (page.frame.clock, form.clone());
    let work = move |tx: &Transaction<'_>, act: &Act| {
        let mut draft = sent.draft(table(), COLUMNS, clock)?;
        fill(&mut draft);
        Ok(actions::create(tx, act, draft)?.id.0)
    };
    match action::perform(&server.app, &guest.0.person, work).await {
        Ok(id) => Ok(Redirect::to(&format!("/tasks/{id}?saved")).into_response()),
        Err(Refusal::Invalid { field, reason, .. }) => {
            let notice = format!("{}: {reason}.", words::column(&field));
            Ok(again(page, &form, StatusCode::UNPROCESSABLE_ENTITY, notice))
        }
        Err(refusal) => Err(refusal.into()),
    }
}

pub(super) async fn delete(
    State(server): State<Server>,
    guest: Guest,
    Id(id): Id,
    form: Submitted,
) -> Result<Response, PageError> {
    let version = form.get("version").to_owned();
    let work = move |tx: &Transaction<'_>, act: &Act| actions::delete(tx, act, id, Some(&version));
    action::perform(&server.app, &guest.0.person, work).await?;
    Ok(Redirect::to("/").into_response())
}

/// A title that was not typed is refused as missing, which says it better than as blank.
fn fill(draft: &mut Draft) {
    draft.set_default("title", || Value::text(""));
}

/// Where to go after saving: one tap in a list leads back to it.
fn after(form: &Submitted, id: Uuid) -> String {
    match form.get("back") {
        "list" => "/".to_owned(),
        _ => format!("/tasks/{id}?saved"),
    }
}

fn again(mut page: TaskPage, form: &Submitted, status: StatusCode, notice: String) -> Response {
    page.form = page.form.with(form);
    page.notice = notice;
    render(status, &page)
}

async fn page(server: &Server, guest: &Guest, subject: Subject) -> Result<TaskPage, PageError> {
    let frame = Frame::new(server, guest, "Task", "tasks").await?;
    let (clock, now_ms, visitor) = (frame.clock, frame.now_ms, guest.0.clone());
    let read = move |tx: &Transaction<'_>| -> Result<_, Refusal> {
        let tenant = visitor.tenant;
        let record = match subject {
            Subject::New => None,
            Subject::Living(id) => Some(edits::find(tx, table(), tenant, id)?),
            Subject::Sent(id) => Some(edits::find_or_last(tx, table(), tenant, id)?),
        };
        let person = &visitor.person;
        let card = record.as_ref().map(|record| card(tx, person, record, clock, now_ms)).transpose()?;
        Ok((
            device_choices(tx, &visitor, record.as_ref())?,
            people_choices(tx, &visitor, record.as_ref())?,
            record.as_ref().map_or(Ok(false), |record| is_open(tx, record.id))?,
            record,
            card,
        ))
    };
    let (devices, people, collided, record, card) = server.app.db.snapshot(read).await?;
    let form = match &record {
        Some(record) => RowForm::of(record, COLUMNS, clock),
        None => new_form(&guest.0.person),
    };
    let when = |column| read_time(record.as_ref(), column, clock, now_ms);
    Ok(TaskPage {
        completed: when("completed_at"),
        updated: when("updated_at"),
        notes: words::members(record.as_ref().and_then(|record| record.text("metadata"))),
        statuses: words::choices(table().column("status")),
        priorities: words::choices(table().column("priority")),
        frame: Frame { title: card.as_ref().map_or_else(|| "New task".to_owned(), |card| card.title.clone()), ..frame },
        card,
        form,
        notice: String::new(),
        saved: false,
        collided,
        devices,
        people,
    })
}

fn new_form(person: &Person) -> RowForm {
    let mut form = RowForm::empty(COLUMNS);
    form.set("status", "open");
    form.set("priority", "medium");
    form.set("user_id", &person.id.to_string());
    form
}

fn read_time(record: Option<&Record>, column: &str, clock: SiteClock, now_ms: u64) -> String {
    let time = record.and_then(|record| record.text(column));
    time.map(|time| clock.read(time, now_ms)).unwrap_or_default()
}

/// The devices of the task's site, or of this one; and the task's own, wherever it is.
fn device_choices(tx: &Connection, visitor: &Visitor, record: Option<&Record>) -> Result<Vec<Choice>, Refusal> {
    let site_id = record.map_or(Some(visitor.site), |record| record.reference("site_id"));
    let order = Order::parse(devices::SORTS, "name").expect("devices can be sorted by name");
    let filter = DeviceFilter { site_id, ..DeviceFilter::default() };
    let page = devices::page(tx, edits::table("devices"), visitor.tenant, &filter, &order, None, PAGE_ROWS_MAX)?;
    let choice = |record: &Record| Choice {
        value: record.id.to_string(),
        label: record.text("name").unwrap_or_default().to_owned(),
    };
    let mut choices: Vec<Choice> = page.records.iter().map(choice).collect();
    if let Some(own) = record.and_then(|record| record.reference("device_id"))
        && !choices.iter().any(|choice| choice.value == own.to_string())
    {
        choices.extend(edits::find(tx, edits::table("devices"), visitor.tenant, own).ok().as_ref().map(choice));
    }
    Ok(choices)
}

fn people_choices(tx: &Connection, visitor: &Visitor, record: Option<&Record>) -> Result<Vec<Choice>, Refusal> {
    let own = record.and_then(|record| record.reference("user_id"));
    let mut choices = Vec::new();
    for member in people::members(tx, visitor.tenant, None, PAGE_ROWS_MAX)? {
        if member.status == "active" || own == Some(member.id) {
            let name = people::name(tx, member.id)?.unwrap_or(member.email);
            let label = if member.id == visitor.person.id { format!("{name} (me)") } else { name };
            choices.push(Choice { value: member.id.to_string(), label });
        }
    }
    Ok(choices)
}
