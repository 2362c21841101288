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
            None => (Cookie::of(&server.app.config).find(&parts.headers).ok_or(Error::SignedOut)?, true),
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
    Cookie::of(config).set(token, AGE_MS_MAX / 1000)
}

/// The header that takes it away.
pub fn clear_cookie(config: &Config) -> String {
    Cookie::of(config).set("", 0)
}

/// The cookie that a browser keeps its session in.
struct Cookie {
    port: u16,
    is_secure: bool,
}

impl Cookie {
    fn of(config: &Config) -> Self {
        Self { port: config.listen.port(), is_secure: Visits::of(config) == Visits::Tls }
    }

    /// Browsers share cookies between the ports of a host, so edges on one box tell theirs apart by the port. They take one with
    /// the prefix only over TLS, for the whole host and no other, so nobody can plant it (RFC 6265bis, 4.1.3.2).
    fn name(&self) -> String {
        let prefix = if self.is_secure { "__Host-" } else { "" };
        format!("{prefix}waystation-{}", self.port)
    }

    fn set(&self, token: &str, seconds_max: u64) -> String {
        let secure = if self.is_secure { "; Secure" } else { "" };
        format!("{}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds_max}{secure}", self.name())
    }

    /// The token that a request brings back.
    fn find(&self, headers: &HeaderMap) -> Option<String> {
        let name = self.name();
        let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, token)| token.to_owned())
    }
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn under_tls_the_cookie_has_the_prefix_that_browsers_guard_and_the_plain_one_does_not_count() {
        let [plain, secure] = [false, true].map(|is_secure| Cookie { port: 7410, is_secure });
        let attributes = "Path=/; HttpOnly; SameSite=Strict";
        assert_eq!(plain.set("abc", 60), format!("waystation-7410=abc; {attributes}; Max-Age=60"));
        assert_eq!(secure.set("abc", 60), format!("__Host-waystation-7410=abc; {attributes}; Max-Age=60; Secure"));
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, HeaderValue::from_static("x=1; waystation-7410=planted; waystation-7411=other"));
        assert_eq!((plain.find(&headers).as_deref(), secure.find(&headers)), (Some("planted"), None));
        headers.append(COOKIE, HeaderValue::from_static("__Host-waystation-7410=own"));
        assert_eq!(secure.find(&headers).as_deref(), Some("own"));
    }
}
