//! Who makes a request: a bearer token, or the cookie of a browser.
//!
//! A cookie is sent by a browser whoever asked it to, so with a cookie only requests from the edge's own pages may
//! change anything.

use axum::extract::{FromRequestParts, Path};
use axum::http::header::{AUTHORIZATION, COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri};
use uuid::Uuid;

use super::Server;
use super::error::Error;
use crate::config::Config;
use crate::page_tls::Visits;
use crate::refusal::Refusal;
use crate::sessions::{self, AGE_MS_MAX, Visitor};

const SEC_FETCH_SITE: &str = "sec-fetch-site";

impl FromRequestParts<Server> for Visitor {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Error> {
        let (token, from_cookie) = match bearer(&parts.headers) {
            Some(token) => (token, false),
            None => (cookie(&parts.headers, &server.app.config).ok_or(Error::SignedOut)?, true),
        };
        if from_cookie && !parts.method.is_safe() && !is_same_origin(&parts.headers) {
            return Err(Error::CrossSite);
        }
        sessions::find(&server.app, &token).await?.ok_or(Error::SignedOut)
    }
}

/// The id in a path. What is no id names nothing.
#[derive(Clone, Copy, Debug)]
pub struct Id(pub Uuid);

impl FromRequestParts<Server> for Id {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Error> {
        let text = Path::<String>::from_request_parts(parts, server).await;
        let id = text.ok().and_then(|Path(text)| Uuid::try_parse(&text).ok());
        id.map(Self).ok_or(Error::Refused(Refusal::NotFound("row")))
    }
}

/// Whether a page of this edge sent the request. Every browser says so with unsafe requests.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    if let Some(site) = text(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let origin = headers.get(ORIGIN).and_then(|value| value.to_str().ok()?.parse::<Uri>().ok());
    let host = headers.get(HOST).and_then(|value| value.to_str().ok());
    match (origin.as_ref().and_then(|origin| origin.authority()), host) {
        (Some(origin), Some(host)) => origin.as_str().eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// The header that gives a browser its session.
pub fn set_cookie(config: &Config, token: &str) -> String {
    cookie_with(config, token, AGE_MS_MAX / 1000)
}

/// The header that takes it away.
pub fn clear_cookie(config: &Config) -> String {
    cookie_with(config, "", 0)
}

fn cookie_with(config: &Config, value: &str, seconds: u64) -> String {
    let secure = if Visits::of(config) == Visits::Tls { "; Secure" } else { "" };
    format!("{}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}", cookie_name(config))
}

/// Browsers share cookies between the ports of a host, so edges on one box tell theirs apart by the port. With TLS the name
/// makes browsers refuse a cookie of it that was not set by this very host over TLS (RFC 6265bis, 4.1.3.2).
fn cookie_name(config: &Config) -> String {
    let prefix = if Visits::of(config) == Visits::Tls { "__Host-" } else { "" };
    format!("{prefix}waystation-{}", config.listen.port())
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn cookie(headers: &HeaderMap, config: &Config) -> Option<String> {
    let name = cookie_name(config);
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, token)| token.to_owned())
}
