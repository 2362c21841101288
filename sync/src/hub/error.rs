//! What can go wrong at the hub's border, and what is said about it.
//!
//! The peer gets a stable code and a sentence; the cause of what is not its fault is logged here, once.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use deadpool_postgres::PoolError;
use thiserror::Error;

use super::codes::CODES;
use crate::peers::Wait;
use crate::pg::StoreError;
use crate::pg::batch::BatchError;
use crate::pg::reach::ReachError;
use crate::wire::codes::{ErrorCode, listed};
use crate::wire::problem::{PROBLEM_JSON, Problem};
use crate::wire::stream::StreamError;

/// How long a peer should wait before it asks again, in seconds.
const RETRY_S: u64 = 1;

/// A request that is not answered with what it asked for.
#[derive(Debug, Error)]
pub enum Error {
    /// No credential, or one that is nobody's.
    #[error(
        "the hub does not know this edge, or its key, as after a restore from an older backup: get a code from `hub edge enroll` and run `edge enroll --code CODE` here; everything here is kept"
    )]
    Unauthorized,
    /// The edge's credential was revoked.
    #[error("the edge {0} was revoked; ask the operator of the hub")]
    Revoked(String),
    /// The code is nobody's.
    #[error("the enrolment code is not known; check for typing errors, or issue another one with `hub edge enroll`")]
    UnknownCode,
    /// The code was used.
    #[error("the enrolment code was used before; issue another one with `hub edge enroll`")]
    UsedCode,
    /// The code's time is over.
    #[error("the enrolment code has expired; issue another one with `hub edge enroll`")]
    ExpiredCode,
    /// The name belongs to another edge by now.
    #[error("another edge is named {0} by now; issue a code for another name with `hub edge enroll`")]
    NameTaken(String),
    /// The code is for another tenant than the edge's work is of.
    #[error(
        "this edge holds work of another tenant than the code is for; issue a code of its own tenant with `hub edge enroll`"
    )]
    OtherTenant,
    /// The hub has no CA for the edges' pages.
    #[error("this hub signs no certificates for pages: at HQ, make a CA with `hub ca pages` and set HUB_PAGES_CA")]
    NoPagesCa,
    /// Of the names that were asked for, none is the edge's.
    #[error(
        "none of the names is this edge's own, or the key is none: give the box a private address, or the name {0} in one of {1}"
    )]
    ForeignNames(String, String),
    /// The edge's token was not made here.
    #[error(
        "this edge was enrolled at another centre, of which this is no restored one: enroll a new edge in another data directory"
    )]
    OtherCentre,
    /// Another version of the protocol, or none.
    #[error("this hub speaks sync-protocol {supported} with a sync-nonce, the request says {0:?}", supported = crate::wire::message::PROTOCOL)]
    Protocol(String),
    /// Another type of body.
    #[error("the body has to be {expected}", expected = crate::wire::message::NDJSON)]
    MediaType,
    /// A body beyond the limits.
    #[error("{0}")]
    TooLarge(String),
    /// A body that is cut or not understood.
    #[error("{0}")]
    Message(String),
    /// The fence token is not the edge's.
    #[error("the fence token is not the one that this edge should hold; say hello")]
    Fence,
    /// The database is away or busy.
    #[error("the central database is not available at the moment")]
    Database(#[source] StoreError),
    /// The hub's role may not do in the database what it has to.
    #[error("the hub lacks a right in the central database, or rows are hidden from it; at HQ, run `hub doctor`")]
    Forbidden(#[source] StoreError),
    /// No connection to the database is to be had.
    #[error("the central database is not reachable at the moment")]
    Pool(#[source] PoolError),
    /// Too many wrong codes or signatures from one address.
    #[error("too many wrong tries from this address; come back in {} s", .0.ms.div_ceil(1000))]
    Wait(Wait),
    /// Too many edges are compared at once.
    #[error("other edges are being compared with the centre; come back in a moment")]
    Busy,
    /// The operating system has no randomness.
    #[error("the hub cannot draw random numbers")]
    Random(#[source] getrandom::Error),
    /// An answer could not be put together.
    #[error("the hub could not put its answer together")]
    Answer(#[source] StreamError),
}

impl Error {
    fn entry(&self) -> &'static ErrorCode {
        match self {
            Self::Unauthorized => const { listed(CODES, "unauthorized") },
            Self::Revoked(_) => const { listed(CODES, "revoked") },
            Self::UnknownCode => const { listed(CODES, "unknown_code") },
            Self::UsedCode => const { listed(CODES, "used_code") },
            Self::ExpiredCode => const { listed(CODES, "expired_code") },
            Self::NameTaken(_) => const { listed(CODES, "name_taken") },
            Self::OtherTenant => const { listed(CODES, "other_tenant") },
            Self::NoPagesCa => const { listed(CODES, "no_pages_ca") },
            Self::ForeignNames(..) => const { listed(CODES, "foreign_names") },
            Self::OtherCentre => const { listed(CODES, "other_centre") },
            Self::Protocol(_) => const { listed(CODES, "bad_protocol") },
            Self::MediaType => const { listed(CODES, "unsupported_media_type") },
            Self::TooLarge(_) => const { listed(CODES, "too_large") },
            Self::Message(_) => const { listed(CODES, "bad_message") },
            Self::Wait(_) => const { listed(CODES, "too_many_tries") },
            Self::Fence => const { listed(CODES, "fence") },
            Self::Forbidden(_) => const { listed(CODES, "forbidden") },
            Self::Database(error) if !error.is_retryable() => const { listed(CODES, "internal") },
            Self::Random(_) | Self::Answer(_) => const { listed(CODES, "internal") },
            Self::Database(_) | Self::Pool(_) | Self::Busy => const { listed(CODES, "unavailable") },
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let ErrorCode { code, status, .. } = *self.entry();
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::warn!(code, cause = causes(&self), "request failed");
        }
        let title = status.canonical_reason().unwrap_or("error");
        let problem = Problem::new(status.as_u16(), title, code, self.to_string());
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let retry_s = match &self {
            Self::Wait(Wait { ms }) => Some(ms.div_ceil(1000)),
            _ => (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_S),
        };
        if let Some(seconds) = retry_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Forbidden(_) => Self::Forbidden(error),
            error => Self::Database(error),
        }
    }
}

impl From<Wait> for Error {
    fn from(wait: Wait) -> Self {
        Self::Wait(wait)
    }
}

impl From<ReachError> for Error {
    fn from(error: ReachError) -> Self {
        match error {
            ReachError::Pool(error) => Self::Pool(error),
            ReachError::Store(error) => error.into(),
        }
    }
}

impl From<getrandom::Error> for Error {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

impl From<StreamError> for Error {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::TooLarge => Self::TooLarge(error.to_string()),
            StreamError::Compression(_) | StreamError::Line { .. } => Self::Message(error.to_string()),
        }
    }
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Stream(error) => error.into(),
            BatchError::Rows(_) => Self::TooLarge(error.to_string()),
            BatchError::Shape(_) => Self::Message(error.to_string()),
        }
    }
}

/// An error and what caused it, on one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ").replace('\n', " ")
}
