//! The HTTP API of an edge: every route on one screen.
//!
//! A handler reads a request, calls one action, and writes the answer; what may be done is decided by the actions. What
//! is refused is answered as `application/problem+json` with a stable code (`error.rs`). The pages of `web` are served by the
//! same router.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, HOST, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, delete, get, post};
use tokio::sync::{Semaphore, watch};

use self::resource::{many, one};
use crate::App;
use crate::hosts::Hosts;
use crate::sessions::Door;
use crate::web;

mod audit;
pub mod batch;
mod body;
pub mod codes;
pub mod conflicts;
mod devices;
pub mod error;
pub mod events;
mod export;
mod health;
mod history;
mod metrics;
pub mod openapi;
mod paging;
mod people;
mod query;
pub mod repeat;
mod resource;
pub mod row;
mod sessions;
mod sites;
pub(crate) mod sync;
mod tasks;
pub mod visitor;

/// The most bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a request may take to arrive and to be answered, in milliseconds. An answer that has begun may go on.
pub const REQUEST_MS_MAX: u64 = 60_000;

/// How much of a host's name an answer repeats, in characters.
const HOST_CHARS_SHOWN: usize = 100;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Server {
    /// The edge.
    pub app: App,
    /// Where people sign in.
    pub door: Door,
    /// True once the edge is stopping, which streams without an end must know.
    closing: watch::Receiver<bool>,
    /// One permit for each program that may listen to events.
    listeners: Arc<Semaphore>,
}

/// Every route of the API and of the pages. `closing` becomes true when requests under way should come to their end.
pub fn router(app: App, closing: watch::Receiver<bool>) -> Router {
    let add =
        |router: Router<Server>, (path, methods): (&'static str, MethodRouter<Server>)| router.route(path, methods);
    let hosts = Arc::new(Hosts::of_this_machine(&app.config.names));
    routes()
        .into_iter()
        .chain(web::pages())
        .fold(Router::new(), add)
        .merge(openapi::docs())
        .fallback(web::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(hosts, know_head))
        .layer(middleware::from_fn(guard_answers))
        .with_state(Server {
            app,
            door: Door::default(),
            closing,
            listeners: Arc::new(Semaphore::new(events::STREAMS_MAX)),
        })
}

/// The paths of every route of the API and of every page; what `/docs` is made of is not listed.
pub fn paths() -> Vec<&'static str> {
    routes().into_iter().chain(web::pages()).map(|(path, _)| path).collect()
}

fn routes() -> Vec<(&'static str, MethodRouter<Server>)> {
    vec![
        ("/api/v1/session", post(sessions::sign_in).delete(sessions::sign_out)),
        ("/api/v1/sessions", get(sessions::list)),
        ("/api/v1/sessions/{id}", delete(sessions::end)),
        ("/api/v1/me", get(sessions::me)),
        ("/api/v1/tasks", many(&tasks::TASKS)),
        ("/api/v1/tasks/{id}", one(&tasks::TASKS)),
        ("/api/v1/devices", many(&devices::DEVICES)),
        ("/api/v1/devices/{id}", one(&devices::DEVICES)),
        ("/api/v1/sites", many(&sites::SITES)),
        ("/api/v1/sites/{id}", one(&sites::SITES)),
        ("/api/v1/users", get(people::users)),
        ("/api/v1/tenant", get(people::tenant)),
        ("/api/v1/audit", get(audit::list)),
        ("/api/v1/rows/{table}/{id}/history", get(history::show)),
        ("/api/v1/batch", post(batch::run)),
        ("/api/v1/export/{file}", get(export::export)),
        ("/api/v1/events", get(events::listen)),
        ("/api/v1/sync/status", get(sync::status)),
        ("/api/v1/sync/now", post(sync::now)),
        ("/api/v1/sync/conflicts", get(conflicts::list)),
        ("/api/v1/sync/conflicts/{id}", get(conflicts::show)),
        ("/api/v1/sync/conflicts/{id}/restore", conflicts::decided(crate::conflicts::restore)),
        ("/api/v1/sync/conflicts/{id}/dismiss", conflicts::decided(crate::conflicts::dismiss)),
        ("/api/v1/sync/quarantine", get(sync::quarantine)),
        ("/api/v1/sync/quarantine/{id}", delete(sync::discard)),
        (openapi::PATH, get(openapi::show)),
        ("/metrics", get(metrics::show)),
        ("/healthz", get(health::alive)),
        ("/readyz", get(health::ready)),
    ]
}

/// Refuses what is not for this edge, whatever it asks for, before anything else of it is looked at, and what is packed.
async fn know_head(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    match foreign_host(&hosts, &request) {
        None if is_coded(&request) => error::Error::Coding.into_response(),
        None => next.run(request).await,
        Some(host) => error::Error::WrongHost(host).into_response(),
    }
}

/// Whether a body is compressed. None is unpacked here, so none can be larger than it came.
fn is_coded(request: &Request) -> bool {
    let codings = request.headers().get_all(CONTENT_ENCODING).iter();
    codings.into_iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The host that a request is for, unless it is this one; empty when it names none. A target in absolute form names one
/// beside the header, and each that is named has to be ours.
fn foreign_host(hosts: &Hosts, request: &Request) -> Option<String> {
    let headers = request.headers().get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
    let mut named = headers.chain(request.uri().authority().map(Authority::as_str)).peekable();
    let none = named.peek().is_none().then_some("");
    let foreign = none.or_else(|| named.find(|host| !hosts.allow(host)))?;
    Some(foreign.chars().take(HOST_CHARS_SHOWN).collect())
}

/// Ends a request that takes too long, such as one whose body never comes. What every answer says to browsers: nothing
/// of it is run, framed, guessed at, or kept.
async fn guard_answers(request: Request, next: Next) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                          frame-ancestors 'none'";
    let limit = Duration::from_millis(REQUEST_MS_MAX);
    let answered = tokio::time::timeout(limit, next.run(request)).await;
    let mut response = answered.unwrap_or_else(|_| error::Error::TooSlow.into_response());
    let headers = response.headers_mut();
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with that, browsers send forms with the origin "null".
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
