//! Who is signed in at this box, and a way to end that.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};
use uuid::Uuid;

use super::form::Submitted;
use super::page::{Frame, Guest, PageError, render};
use crate::api::Server;
use crate::api::visitor::{Id, clear_cookie};
use crate::sessions::{self, SessionView};

#[derive(Template)]
#[template(path = "sessions.html")]
struct SessionsPage {
    frame: Frame,
    everybody: bool,
    cards: Vec<SessionCard>,
}

struct SessionCard {
    id: Uuid,
    name: String,
    is_own: bool,
    since: String,
    last_used: String,
    ends: String,
}

pub(super) async fn show(State(server): State<Server>, guest: Guest) -> Result<Response, PageError> {
    let frame = Frame::new(&server, &guest, "Signed in", "sessions").await?;
    let (clock, visitor) = (server.app.clock, guest.0.clone());
    let views = server.app.db.snapshot(move |tx| sessions::list(tx, &visitor, clock)).await?;
    let read = |time: &str| frame.clock.read(time, frame.now_ms);
    let card = |view: SessionView| SessionCard {
        id: view.id,
        name: view.name,
        is_own: view.is_own,
        since: read(&view.created_at),
        last_used: read(&view.last_used_at),
        ends: read(&view.expires_at),
    };
    let cards = views.into_iter().map(card).collect();
    Ok(render(StatusCode::OK, &SessionsPage { everybody: guest.0.person.administers(), cards, frame }))
}

pub(super) async fn end(
    State(server): State<Server>,
    Guest(visitor): Guest,
    Id(id): Id,
    _: Submitted,
) -> Result<Response, PageError> {
    sessions::end(&server.app, &visitor, id).await?;
    if id == visitor.session {
        return Ok(([(SET_COOKIE, clear_cookie(&server.app.config))], Redirect::to("/sign-in")).into_response());
    }
    Ok(Redirect::to("/sessions").into_response())
}
