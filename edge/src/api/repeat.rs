//! POST requests that may be repeated: an `Idempotency-Key` gets the first answer again, for 24 hours and across restarts.
//!
//! The answer is kept in the transaction that did what was asked for, so there is no moment in which one exists without
//! the other. Keys belong to a person. A refused request did nothing and is not kept; it may be sent again under its key.
//! Source: draft-ietf-httpapi-idempotency-key-header.

use axum::extract::FromRequestParts;
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ring::digest;
use rusqlite::Transaction;
use serde::Serialize;
use sync::sqlite::answers::{self, AnswerRow};
use sync::sqlite::records::Record;

use super::Server;
use super::body::Fields;
use super::error::Error;
use super::row::{RowJson, etag};
use crate::action::Act;
use crate::refusal::Refusal;
use crate::times;

/// The header that carries the key.
pub(super) const KEY: &str = "idempotency-key";
/// How long an answer is kept, in milliseconds.
pub const KEPT_MS: i64 = 24 * 60 * 60 * 1000;
/// The most characters of a key.
pub const KEY_CHARS_MAX: usize = 255;
/// The header of an answer that was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The key of a request, if it has one, and where it was sent.
#[derive(Debug)]
pub(super) struct RepeatKey {
    key: Option<String>,
    target: String,
}

/// A request that is done once.
#[derive(Debug)]
pub(super) struct Repeat {
    key: Option<String>,
    request: String,
}

/// An answer that can be kept.
#[derive(Debug)]
pub(super) struct Answer {
    row: AnswerRow,
    replayed: bool,
}

impl FromRequestParts<Server> for RepeatKey {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Result<Self, Error> {
        let is_visible =
            |text: &&str| (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        let key = match parts.headers.get(KEY) {
            None => None,
            Some(value) => {
                let text = value.to_str().ok().filter(is_visible);
                let reason = format!("expected 1 to {KEY_CHARS_MAX} visible ASCII characters");
                Some(text.ok_or(Error::Header { name: KEY, reason })?.to_owned())
            }
        };
        Ok(Self { key, target: format!("{} {}", parts.method, parts.uri.path()) })
    }
}

impl RepeatKey {
    /// The request with a body.
    pub(super) fn of(self, fields: &Fields) -> Repeat {
        self.with(fields.canonical())
    }

    /// The request without a body.
    pub(super) fn alone(self) -> Repeat {
        self.with("")
    }

    fn with(self, body: &str) -> Repeat {
        let Self { key, target } = self;
        let hash = digest::digest(&digest::SHA256, format!("{target}\n{body}").as_bytes());
        let request = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Repeat { key, request }
    }
}

impl Repeat {
    /// Does what is asked for, unless it was done under this key: then its answer is given again.
    ///
    /// # Errors
    /// What the job says; [`Refusal::KeyReused`], [`Refusal::Store`].
    pub(super) fn once(
        self,
        tx: &Transaction<'_>,
        act: &Act,
        job: impl FnOnce() -> Result<Answer, Refusal>,
    ) -> Result<Answer, Refusal> {
        let Self { key: Some(key), request } = self else { return job() };
        let now = act.steady_now();
        let since = times::shifted(&now, -KEPT_MS);
        match answers::find(tx, act.person.id, &key, &since)? {
            Some(row) if row.request == request => return Ok(Answer { row, replayed: true }),
            Some(_) => return Err(Refusal::KeyReused),
            None => {}
        }
        let mut answer = job()?;
        answer.row.request = request;
        answers::forget(tx, &since)?;
        answers::keep(tx, act.person.id, &key, &answer.row, &now)?;
        Ok(answer)
    }
}

impl Answer {
    /// The answer that carries a row.
    pub(super) fn row(status: StatusCode, record: &Record) -> Self {
        Self {
            row: AnswerRow { version: Some(record.version.clone()), ..json(status, &RowJson::whole(record)) },
            replayed: false,
        }
    }

    /// The answer that carries anything else.
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self { row: json(status, body), replayed: false }
    }
}

fn json(status: StatusCode, body: &impl Serialize) -> AnswerRow {
    let body = serde_json::to_string(body).unwrap_or_default();
    AnswerRow { request: String::new(), status: status.as_u16(), version: None, body }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let Self { row: AnswerRow { status, version, body, .. }, replayed } = self;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        let mut response = (status, [(CONTENT_TYPE, "application/json")], body).into_response();
        let tag = version.and_then(|version| HeaderValue::from_str(&etag(&version)).ok());
        response.headers_mut().extend(tag.map(|tag| (ETAG, tag)));
        response.headers_mut().extend(replayed.then_some((REPLAYED, HeaderValue::from_static("true"))));
        response
    }
}
