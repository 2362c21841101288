//! The pages that technicians use: plain HTML from this box, which works without a script and without the WAN.
//!
//! A page reads with the API's own lists and writes with the API's own actions. Forms are protected like the cookie: a
//! request counts only if one of our own pages sent it. A form sends what it was filled with beside what a person made
//! of it, so that only what they changed is written.

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use crate::api::Server;
use crate::api::error::Error;

mod conflicts;
mod device;
mod devices;
mod form;
mod link;
mod page;
mod sessions;
mod sign_in;
mod task;
mod tasks;
mod trust;
mod words;

/// Every page and form: its path, and what its methods do.
pub(crate) fn pages() -> Vec<(&'static str, MethodRouter<Server>)> {
    vec![
        ("/", get(tasks::show)),
        ("/sign-in", get(sign_in::show).post(sign_in::submit)),
        ("/sign-out", post(sign_in::leave)),
        ("/sessions", get(sessions::show)),
        ("/sessions/{id}/end", post(sessions::end)),
        ("/tasks", get(tasks::show).post(task::create)),
        ("/tasks/new", get(task::show_new)),
        ("/tasks/{id}", get(task::show).post(task::submit)),
        ("/tasks/{id}/delete", post(task::delete)),
        ("/devices", get(devices::show)),
        ("/devices/{id}", get(device::show).post(device::submit)),
        ("/conflicts", get(conflicts::show)),
        ("/conflicts/{id}/{decision}", post(conflicts::decide)),
        ("/sync", get(link::show).post(link::exchange)),
        ("/trust", get(trust::show)),
        ("/trust/ca.crt", get(trust::ca)),
        ("/trust/code.svg", get(trust::code)),
        ("/assets/style.css", get(style)),
        ("/assets/icon.svg", get(icon)),
    ]
}

/// The answer where nothing is served: a page for people, a problem for programs.
pub(crate) async fn no_route(uri: Uri, headers: HeaderMap) -> Response {
    let path: String = uri.path().chars().take(200).collect();
    let error = Error::NoRoute(path);
    let wants_page =
        headers.get_all("accept").iter().any(|value| value.to_str().is_ok_and(|text| text.contains("text/html")));
    if wants_page && !uri.path().starts_with("/api/") {
        return page::PageError::from(error).into_response();
    }
    error.into_response()
}

async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("assets/style.css"))
}

async fn icon() -> Response {
    asset("image/svg+xml", include_str!("assets/icon.svg"))
}

/// Pages name the version of an asset in its URL, so that it may be kept for ever.
fn asset(kind: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "public, max-age=31536000, immutable")], text).into_response()
}
