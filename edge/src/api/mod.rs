//! The HTTP API of an edge: every route on one screen.
//!
//! A handler reads a request, calls one action, and writes the answer; what may be done is decided by the actions. What
//! is refused is answered as `application/problem+json` with a stable code (`error.rs`). The pages of `web` are served by the
//! same router.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{delete, get, post};

use self::resource::{added, one};
use crate::App;
use crate::sessions::Door;
use crate::web;

mod audit;
mod body;
pub mod codes;
pub mod conflicts;
mod devices;
pub mod error;
mod health;
mod paging;
mod people;
mod query;
mod resource;
pub mod row;
mod sessions;
mod sites;
mod sync;
mod tasks;
pub mod visitor;

/// The most bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the handlers share.
#[derive(Clone, Debug)]
pub struct Server {
    /// The edge.
    pub app: App,
    /// Where people sign in.
    pub door: Door,
}

/// Every route of the API and of the pages.
pub fn router(app: App) -> Router {
    let api = Router::new()
        .route("/session", post(sessions::sign_in).delete(sessions::sign_out))
        .route("/me", get(sessions::me))
        .route("/tasks", get(tasks::list).merge(added(&tasks::TASKS)))
        .route("/tasks/{id}", one(&tasks::TASKS))
        .route("/devices", get(devices::list).merge(added(&devices::DEVICES)))
        .route("/devices/{id}", one(&devices::DEVICES))
        .route("/sites", get(sites::list).merge(added(&sites::SITES)))
        .route("/sites/{id}", one(&sites::SITES))
        .route("/users", get(people::users))
        .route("/tenant", get(people::tenant))
        .route("/audit", get(audit::list))
        .route("/sync/status", get(sync::status))
        .route("/sync/now", post(sync::now))
        .route("/sync/conflicts", get(conflicts::list))
        .route("/sync/conflicts/{id}", get(conflicts::show))
        .route("/sync/conflicts/{id}/restore", post(conflicts::restore))
        .route("/sync/conflicts/{id}/dismiss", post(conflicts::dismiss))
        .route("/sync/quarantine", get(sync::quarantine))
        .route("/sync/quarantine/{id}", delete(sync::discard));
    Router::new()
        .nest("/api/v1", api)
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .merge(web::routes())
        .fallback(web::no_route)
        .method_not_allowed_fallback(error::no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(guard_answers))
        .with_state(Server { app, door: Door::default() })
}

/// What every answer says to browsers: nothing of it is run, framed, guessed at, or kept.
async fn guard_answers(request: Request, next: Next) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                          frame-ancestors 'none'";
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: with that, browsers send forms with the origin "null".
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
