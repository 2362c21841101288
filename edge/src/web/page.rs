//! What every page has: who is signed in, where, and how the edge stands with its hub.

use std::sync::LazyLock;

use askama::Template;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use ring::digest;
use rusqlite::Connection;
use sync::sqlite::sites;

use crate::api::Server;
use crate::api::error::Error;
use crate::refusal::Refusal;
use crate::sessions::Visitor;
use crate::status::{self, Status};
use crate::times::SiteClock;

/// The frame of a page.
#[derive(Debug)]
pub(super) struct Frame {
    /// The page's title.
    pub(super) title: String,
    /// The tab that it belongs to.
    pub(super) tab: &'static str,
    /// The site's name.
    pub(super) site: String,
    /// The person's name.
    pub(super) person: String,
    /// How the edge stands.
    pub(super) pill: Pill,
    /// Conflicts that nobody decided.
    pub(super) conflicts: u64,
    /// The clocks of the site.
    pub(super) clock: SiteClock,
    /// Now, in Unix milliseconds.
    pub(super) now_ms: u64,
}

/// How the edge stands, in few words.
#[derive(Debug)]
pub(super) struct Pill {
    /// `ok`, `wait` or `bad`.
    pub(super) tone: &'static str,
    /// The words.
    pub(super) words: String,
    /// More words.
    pub(super) why: String,
}

/// Which version the assets are.
pub(super) static ASSETS: LazyLock<String> = LazyLock::new(|| {
    let hash = digest::digest(&digest::SHA256, include_bytes!("assets/style.css"));
    hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
});

/// Somebody who is signed in; others are sent to the door.
#[derive(Debug)]
pub(super) struct Guest(pub(super) Visitor);

/// An error that a person reads on a page.
#[derive(Debug)]
pub(super) struct PageError {
    error: Error,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage {
    assets: &'static str,
    title: String,
    detail: String,
}

impl Frame {
    /// The frame of a page for a guest.
    pub(super) async fn new(server: &Server, guest: &Guest, title: &str, tab: &'static str) -> Result<Self, PageError> {
        let status = status::load(&server.app).await?;
        let site = guest.0.site;
        let read = move |connection: &mut Connection| sites::name_and_timezone(connection, site);
        let (site, timezone) =
            server.app.db.read(read).await?.unwrap_or_else(|| ("This site".to_owned(), String::new()));
        let (clock, now_ms) = (SiteClock::new(&timezone), server.app.clock.unix_ms());
        Ok(Self {
            title: title.to_owned(),
            tab,
            site,
            person: guest.0.person.name(),
            pill: pill(&status, clock, now_ms),
            conflicts: status.conflicts_open,
            clock,
            now_ms,
        })
    }

    /// Which version the assets are.
    pub(super) fn assets(&self) -> &'static str {
        &ASSETS
    }
}

fn pill(status: &Status, clock: SiteClock, now_ms: u64) -> Pill {
    let waiting = match status.pending {
        0 => String::new(),
        pending => format!("{pending} waiting"),
    };
    let why = status.last_error.clone().unwrap_or_default();
    let since = status.last_exchange_at.as_deref().map(|time| clock.read(time, now_ms));
    let since = since.map(|time| time.strip_prefix("today ").map(str::to_owned).unwrap_or(time));
    let and_waiting = |words: String| if waiting.is_empty() { words } else { format!("{words} · {waiting}") };
    let (tone, words) = match status.state {
        "unenrolled" => ("bad", "not enrolled".to_owned()),
        "revoked" => ("bad", and_waiting("access revoked".to_owned())),
        "upgrade_hub" => ("bad", and_waiting("the hub is too old".to_owned())),
        "stuck" => ("bad", and_waiting("stuck".to_owned())),
        "hydrating" => ("wait", "loading".to_owned()),
        "offline" => {
            ("bad", and_waiting(since.map_or_else(|| "offline".to_owned(), |time| format!("offline since {time}"))))
        }
        _ if status.quarantined > 0 => ("bad", and_waiting(format!("{} refused", status.quarantined))),
        _ if status.in_sync => ("ok", "in sync".to_owned()),
        _ if waiting.is_empty() => ("wait", "catching up".to_owned()),
        _ => ("wait", waiting),
    };
    let words = if status.transport == "plain_http" { format!("{words} · not encrypted") } else { words };
    Pill { tone, words, why }
}

impl FromRequestParts<Server> for Guest {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, PageError> {
        let here = parts.uri.path_and_query().map(|path| path.as_str().to_owned());
        let next = here.filter(|_| parts.method == Method::GET);
        let visitor = Visitor::from_request_parts(parts, server).await;
        visitor.map(Self).map_err(|error| PageError { error, next })
    }
}

impl<E: Into<Error>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self { error: error.into(), next: None }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let status = self.error.status();
        if matches!(self.error, Error::SignedOut | Error::Refused(Refusal::MembershipEnded)) {
            let next = self.next.filter(|next| next != "/");
            let query = next.map(|next| {
                format!(
                    "?next={}",
                    askama::filters::urlencode_strict(&next).map(|text| text.to_string()).unwrap_or_default()
                )
            });
            return Redirect::to(&format!("/sign-in{}", query.unwrap_or_default())).into_response();
        }
        if status.is_server_error() {
            tracing::error!(error = %self.error, "a page failed");
        }
        let title = match status {
            StatusCode::NOT_FOUND => "There is nothing here",
            StatusCode::FORBIDDEN => "This is not yours to change",
            status if status.is_server_error() => "This did not work",
            _ => "This cannot be done",
        };
        render(status, &ProblemPage { assets: &ASSETS, title: title.to_owned(), detail: self.error.detail() })
    }
}

/// A page.
pub(super) fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a template failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// One query parameter of a page. What a page does not know it ignores: people share and shorten links.
#[derive(Debug)]
pub(super) struct Asked(Vec<(String, String)>);

impl FromRequestParts<Server> for Asked {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Result<Self, PageError> {
        Ok(Self(Query::try_from_uri(&parts.uri).map(|Query(pairs)| pairs).unwrap_or_default()))
    }
}

impl Asked {
    /// A parameter, empty when it is not there.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.trim())
    }

    /// Whether a parameter is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }
}
