//! Conflicts, side by side, with what to do about each.

use askama::Template;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use rusqlite::{Connection, Transaction};
use sync::merge::conflict::{Kind, Status};
use sync::merge::ids::RowId;
use sync::merge::value::Value;
use sync::sqlite::error::StoreError;
use sync::sqlite::{people, records};
use uuid::Uuid;

use super::form::Submitted;
use super::page::{Asked, Frame, Guest, PageError, render};
use super::tasks::name;
use super::words;
use crate::action::{self, Act};
use crate::api::Server;
use crate::api::error::Error;
use crate::conflicts::{self, ConflictView, Side};
use crate::edits;
use crate::refusal::Refusal;
use crate::times::SiteClock;

/// How many conflicts a page shows.
const CONFLICTS_MAX: u32 = 100;

#[derive(Template)]
#[template(path = "conflicts.html")]
struct ConflictsPage {
    frame: Frame,
    decided: bool,
    writes: bool,
    cards: Vec<ConflictCard>,
}

struct ConflictCard {
    id: Uuid,
    noun: &'static str,
    title: String,
    link: Option<String>,
    what: String,
    is_delete: bool,
    status: &'static str,
    winner: SideCard,
    loser: SideCard,
}

struct SideCard {
    value: String,
    with: Vec<(String, String)>,
    who: String,
    at: String,
}

/// Whether nobody has decided about something that lost to what a row holds.
pub(super) fn is_open(tx: &Connection, row: RowId) -> Result<bool, StoreError> {
    Ok(!sync::sqlite::conflicts::ids(tx, &["open".to_owned()], Some(row.0), None, 1)?.is_empty())
}

/// What to do, from the path.
pub(super) enum Decision {
    Restore(Uuid),
    Dismiss(Uuid),
}

impl FromRequestParts<Server> for Decision {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, PageError> {
        let path = Path::<(Uuid, String)>::from_request_parts(parts, server).await;
        match path.ok().map(|Path((id, decision))| (id, decision)) {
            Some((id, decision)) if decision == "restore" => Ok(Self::Restore(id)),
            Some((id, decision)) if decision == "dismiss" => Ok(Self::Dismiss(id)),
            _ => Err(Error::NoRoute(parts.uri.path().to_owned()).into()),
        }
    }
}

pub(super) async fn show(State(server): State<Server>, guest: Guest, asked: Asked) -> Result<Response, PageError> {
    let frame = Frame::new(&server, &guest, "Conflicts", "conflicts").await?;
    let decided = asked.has("decided");
    let statuses: &[&str] = if decided { &["dismissed", "restored"] } else { &["open"] };
    let statuses: Vec<String> = statuses.iter().map(|status| (*status).to_owned()).collect();
    let (clock, now_ms, tenant) = (frame.clock, frame.now_ms, guest.0.tenant);
    let read = move |tx: &Transaction<'_>| -> Result<_, Refusal> {
        let views = conflicts::list(tx, &statuses, None, None, CONFLICTS_MAX)?;
        views.iter().map(|view| card(tx, tenant, view, clock, now_ms)).collect::<Result<Vec<_>, _>>()
    };
    let cards = server.app.db.snapshot(read).await?;
    let writes = guest.0.person.writes();
    Ok(render(StatusCode::OK, &ConflictsPage { frame, decided, writes, cards }))
}

pub(super) async fn decide(
    State(server): State<Server>,
    guest: Guest,
    decision: Decision,
    _: Submitted,
) -> Result<Response, PageError> {
    let work = move |tx: &Transaction<'_>, act: &Act| match decision {
        Decision::Restore(id) => conflicts::restore(tx, act, id),
        Decision::Dismiss(id) => conflicts::dismiss(tx, act, id),
    };
    action::perform(&server.app, &guest.0.person, work).await?;
    Ok(Redirect::to("/conflicts").into_response())
}

fn card(
    tx: &Connection,
    tenant: Uuid,
    view: &ConflictView,
    clock: SiteClock,
    now_ms: u64,
) -> Result<ConflictCard, Refusal> {
    let row = RowId(view.row_id);
    let living = records::find(tx, view.table, tenant, row)?;
    let gone = living.is_none();
    let record = match living {
        Some(record) => Some(record),
        None => records::last(tx, view.table, tenant, row)?,
    };
    let title = record.as_ref().and_then(|record| record.text("title").or_else(|| record.text("name")));
    let title = title.unwrap_or("a row that is no longer here").to_owned();
    let side = |side: &Side| side_card(tx, tenant, view, side, clock, now_ms);
    let has_page = !gone && matches!(view.table.name, "tasks" | "devices");
    Ok(ConflictCard {
        id: view.id,
        noun: edits::noun(view.table),
        title: if gone { format!("{title} (deleted)") } else { title },
        link: has_page.then(|| format!("/{}/{}", view.table.name, view.row_id)),
        what: view.column.as_deref().map(words::column).unwrap_or_default(),
        is_delete: view.kind == Kind::EditDelete && view.column.is_none(),
        status: match view.status {
            Status::Open => "open",
            Status::Dismissed => "Kept as it was",
            Status::Restored => "The other one was restored",
        },
        winner: side(&view.winner)?,
        loser: side(&view.loser)?,
    })
}

fn side_card(
    tx: &Connection,
    tenant: Uuid,
    view: &ConflictView,
    side: &Side,
    clock: SiteClock,
    now_ms: u64,
) -> Result<SideCard, Refusal> {
    let column = view.column.as_deref().unwrap_or_default();
    let mut value = words::value(view.table.column(column), side.value.as_ref(), clock, now_ms);
    if let (Some(Value::Text(id)), "user_id" | "site_id" | "device_id") = (&side.value, column) {
        let id = Uuid::try_parse(id).unwrap_or_default();
        value = match column {
            "user_id" => people::name(tx, id)?.unwrap_or_default(),
            "site_id" => name(tx, "sites", tenant, Some(id))?,
            _ => name(tx, "devices", tenant, Some(id))?,
        };
    }
    let with = |(name, value): &(&'static str, Value)| {
        (words::column(name), words::value(view.table.column(name), Some(value), clock, now_ms))
    };
    let place = if side.site == "centre" { "the centre" } else { &side.site };
    let who = match &side.person {
        Some(person) => format!("{person}, {place}"),
        None => place.to_owned(),
    };
    let with = side.with.iter().filter(|(_, value)| *value != Value::Null).map(with).collect();
    Ok(SideCard { value, with, who, at: clock.read(&side.at, now_ms) })
}
