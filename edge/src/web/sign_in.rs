//! The door.

use std::net::SocketAddr;

use askama::Template;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::http::header::SET_COOKIE;
use axum::response::{IntoResponse, Redirect, Response};
use rusqlite::Connection;
use sync::sqlite::{self_state, sites};

use super::form::Submitted;
use super::page::{ASSETS, Asked, Guest, PageError, render};
use crate::api::Server;
use crate::api::visitor::{clear_cookie, set_cookie};
use crate::sessions::{self, SignInError};

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    assets: &'static str,
    site: String,
    email: String,
    next: String,
    kind: Kind,
    notice: String,
}

/// What somebody signs in with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pin,
    Passphrase,
    Code,
}

pub(super) async fn show(State(server): State<Server>, asked: Asked) -> Result<Response, PageError> {
    let kind = match asked {
        _ if asked.has("code") => Kind::Code,
        _ if asked.has("passphrase") => Kind::Passphrase,
        _ => Kind::Pin,
    };
    let page = page(&server, "", asked.get("next"), kind, String::new()).await?;
    Ok(render(StatusCode::OK, &page))
}

pub(super) async fn submit(
    State(server): State<Server>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    form: Submitted,
) -> Result<Response, PageError> {
    let (email, next) = (form.get("email"), form.get("next"));
    let code = form.get("code");
    let kind = match form.get("passphrase") {
        _ if !code.is_empty() => Kind::Code,
        "1" => Kind::Passphrase,
        _ => Kind::Pin,
    };
    let signed_in = match kind {
        Kind::Code => server.door.sign_in_by_code(&server.app, peer.ip(), code).await,
        Kind::Pin | Kind::Passphrase => server.door.sign_in(&server.app, peer.ip(), email, form.get("secret")).await,
    };
    let (status, notice) = match signed_in {
        Ok(signed_in) => {
            let cookie = set_cookie(&server.app.config, &signed_in.token);
            return Ok(([(SET_COOKIE, cookie)], Redirect::to(inside(next))).into_response());
        }
        Err(SignInError::Wrong) => (StatusCode::UNAUTHORIZED, "The e-mail address or the PIN is wrong.".to_owned()),
        Err(SignInError::WrongCode) => {
            (StatusCode::UNAUTHORIZED, "The emergency code is wrong, or was used already.".to_owned())
        }
        Err(SignInError::Wait { ms } | SignInError::PeerWait { ms }) => (StatusCode::TOO_MANY_REQUESTS, wait(ms)),
        Err(SignInError::Crowded) => {
            (StatusCode::TOO_MANY_REQUESTS, "Many people are signing in just now. Try again.".to_owned())
        }
        Err(SignInError::Refused(refusal)) => return Err(refusal.into()),
    };
    let page = page(&server, email, next, kind, notice).await?;
    Ok(render(status, &page))
}

pub(super) async fn leave(State(server): State<Server>, Guest(visitor): Guest) -> Result<Response, PageError> {
    sessions::sign_out(&server.app, &visitor).await?;
    Ok(([(SET_COOKIE, clear_cookie(&server.app.config))], Redirect::to("/sign-in")).into_response())
}

async fn page(server: &Server, email: &str, next: &str, kind: Kind, notice: String) -> Result<SignInPage, PageError> {
    let read = |connection: &mut Connection| {
        let edge = self_state::load(connection)?;
        edge.site.map_or(Ok(None), |site| sites::name_and_timezone(connection, site))
    };
    let site = server.app.db.read(read).await?.map(|(name, _)| name).unwrap_or_default();
    let (email, next) = (email.to_owned(), inside(next).to_owned());
    Ok(SignInPage { assets: &ASSETS, site, email, next, kind, notice })
}

/// A path of this edge: whoever sends a link must not choose where people end up.
fn inside(next: &str) -> &str {
    let is_inside = next.starts_with('/') && !next.starts_with("//") && !next.contains(['\\', '\n', '\r', '\t']);
    if is_inside { next } else { "/" }
}

fn wait(ms: u64) -> String {
    let time = match ms.div_ceil(1000) {
        1 => "a second".to_owned(),
        seconds @ 0..=119 => format!("{seconds} seconds"),
        seconds @ 120..=7199 => format!("{} minutes", seconds.div_ceil(60)),
        _ => return "Too many wrong tries. Ask for a new PIN.".to_owned(),
    };
    format!("Too many wrong tries. Wait {time}, then try again.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (next, path) in [
            ("/tasks/1?x=2", "/tasks/1?x=2"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("/\t/evil.example", "/"),
            ("https://evil.example", "/"),
            ("", "/"),
        ] {
            assert_eq!(inside(next), path);
        }
    }
}
