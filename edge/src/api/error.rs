//! What is refused, as RFC 9457 problems. Codes are stable; details are for people.

use axum::Json;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use rusqlite::ErrorCode as SqliteCode;
use sync::sqlite::error::StoreError;
use sync::wire::codes::ErrorCode;
use sync::wire::problem::{PROBLEM_JSON, Problem};

use super::codes;
use super::row::RowJson;
use crate::refusal::{Mistake, Refusal};
use crate::sessions::SignInError;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no session.
    #[error("sign in first: POST /api/v1/session, then send the token as `Authorization: Bearer`")]
    SignedOut,
    /// A browser sent the request from another site's page.
    #[error("the request comes from another site's page, so the cookie does not count")]
    CrossSite,
    /// The request is for another host.
    #[error("this edge is not called {0:?}: use its address, or have the name added to EDGE_NAMES")]
    WrongHost(String),
    /// Nothing is served here.
    #[error("nothing is served at {0}")]
    NoRoute(String),
    /// Something is served here, by other methods.
    #[error("{0} is not possible here: the header Allow lists what is")]
    NoMethod(Method),
    /// The body is not JSON.
    #[error("the body is not JSON: {0}")]
    MalformedJson(String),
    /// The body is not an object.
    #[error("the body must be a JSON object")]
    NotAnObject,
    /// The body is too large.
    #[error("the body is larger than {} bytes", super::BODY_BYTES_MAX)]
    TooLarge,
    /// The request took too long.
    #[error("the request did not arrive, or could not be answered, within {} s", super::REQUEST_MS_MAX / 1000)]
    TooSlow,
    /// The body did not arrive whole.
    #[error("the body did not arrive whole")]
    Truncated,
    /// The body is of another type.
    #[error("send the body as {0}")]
    MediaType(&'static str),
    /// The body is compressed.
    #[error("send the body as it is, without Content-Encoding")]
    Coding,
    /// A query parameter cannot be taken.
    #[error("{name}: {reason}")]
    Parameter {
        /// Its name.
        name: String,
        /// What kind of mistake it is.
        mistake: Mistake,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// A header cannot be taken.
    #[error("{name}: {reason}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What is wrong with it, in words.
        reason: String,
    },
    /// As many listen as may.
    #[error("as many programs listen to this edge's events as may: try again later")]
    Crowded,
    /// A file could not be written.
    #[error("the file could not be written: {0}")]
    Unwritten(String),
    /// An exchange did not complete.
    #[error("the exchange did not complete: {0}")]
    ExchangeFailed(String),
    /// Signing in failed.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// The action was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl Error {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Its stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::SignedOut => codes::UNAUTHORIZED,
            Self::CrossSite => codes::CROSS_SITE,
            Self::WrongHost(_) => codes::WRONG_HOST,
            Self::NoRoute(_) => codes::NO_SUCH_ROUTE,
            Self::NoMethod(_) => codes::METHOD_NOT_ALLOWED,
            Self::MalformedJson(_) => codes::MALFORMED_JSON,
            Self::NotAnObject => codes::NOT_AN_OBJECT,
            Self::TooLarge => codes::TOO_LARGE,
            Self::TooSlow => codes::REQUEST_TIMEOUT,
            Self::Truncated => codes::TRUNCATED,
            Self::MediaType(_) => codes::UNSUPPORTED_MEDIA_TYPE,
            Self::Coding => codes::UNSUPPORTED_CODING,
            Self::Parameter { mistake: Mistake::Unknown, .. } => codes::UNKNOWN_PARAMETER,
            Self::Parameter { mistake, .. } => mistake_code(mistake),
            Self::Header { .. } => codes::INVALID_HEADER,
            Self::Crowded => codes::TOO_MANY_LISTENERS,
            Self::Unwritten(_) => codes::INTERNAL,
            Self::ExchangeFailed(_) => codes::EXCHANGE_FAILED,
            Self::SignIn(SignInError::Wrong) => codes::WRONG_CREDENTIALS,
            Self::SignIn(SignInError::WrongCode) => codes::WRONG_CODE,
            Self::SignIn(SignInError::Wait { .. }) => codes::LOCKED_OUT,
            Self::SignIn(SignInError::PeerWait { .. }) => codes::TOO_MANY_TRIES,
            Self::SignIn(SignInError::Crowded) => codes::TOO_MANY_REQUESTS,
            Self::SignIn(SignInError::Refused(refusal)) | Self::Refused(refusal) => code_of(refusal),
        }
    }

    /// What a person reads.
    pub fn detail(&self) -> String {
        match self.refusal() {
            Some(Refusal::Store(error)) if full(error) => {
                "the disk of this edge is full: nothing was changed, tell its operator".to_owned()
            }
            Some(Refusal::Store(error)) if failing(error) => {
                "the disk of this edge takes no writes: this one is not kept, tell its operator".to_owned()
            }
            Some(Refusal::Store(error)) if error.is_retryable() => {
                "another program is writing to this edge's database: try again".to_owned()
            }
            Some(Refusal::Store(_)) => "this edge failed, and nothing was changed: the cause is in its log".to_owned(),
            _ => self.to_string(),
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) | Self::SignIn(SignInError::Refused(refusal)) => Some(refusal),
            _ => None,
        }
    }

    fn problem(&self) -> Problem {
        let (code, status) = (self.code().code, self.status());
        let title = status.canonical_reason().unwrap_or("Error");
        let problem = Problem::new(status.as_u16(), title, code, self.detail());
        match self {
            Self::Parameter { name, mistake, .. } => {
                labelled(problem.with("field", name.clone()).with("parameter", name.clone()), mistake)
            }
            Self::Header { name, .. } => problem.with("header", *name),
            _ => match self.refusal() {
                Some(refusal) => blamed(problem, refusal),
                None => problem,
            },
        }
    }

    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::SignedOut | Self::SignIn(SignInError::Wrong | SignInError::WrongCode) => {
                Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Self::SignIn(SignInError::Wait { ms } | SignInError::PeerWait { ms }) => {
                Some((RETRY_AFTER, HeaderValue::from(ms.div_ceil(1000).max(1))))
            }
            Self::Coding => Some((ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
            Self::SignIn(SignInError::Crowded) => Some((RETRY_AFTER, HeaderValue::from(1))),
            Self::Crowded => Some((RETRY_AFTER, HeaderValue::from(30))),
            _ if self.status() == StatusCode::SERVICE_UNAVAILABLE => Some((RETRY_AFTER, HeaderValue::from(5))),
            _ => None,
        }
    }
}

/// Says where in the body the mistake is, by the field's name and as a JSON pointer (RFC 6901).
fn blamed(problem: Problem, refusal: &Refusal) -> Problem {
    match refusal {
        Refusal::InBatch { index, refusal } => {
            let mut problem = blamed(problem.with("index", *index), refusal);
            let below = problem.more.get("pointer").and_then(|pointer| pointer.as_str()).unwrap_or_default();
            let row = if matches!(**refusal, Refusal::SerialNumberTaken { .. }) { "/row" } else { "" };
            let pointer = format!("/operations/{index}{row}{below}");
            problem.more.insert("pointer".to_owned(), pointer.into());
            problem
        }
        Refusal::Invalid { field, mistake, .. } => {
            let name = field.rsplit('/').next().unwrap_or_default().to_owned();
            labelled(problem.with("field", name).with("pointer", format!("/{}", field.replace('~', "~0"))), mistake)
        }
        Refusal::SerialNumberTaken { .. } => problem.with("field", "serial_number").with("pointer", "/serial_number"),
        Refusal::Changed { current, .. } => {
            problem.with("current", serde_json::to_value(RowJson::whole(current)).unwrap_or_default())
        }
        _ => problem,
    }
}

fn labelled(problem: Problem, mistake: &Mistake) -> Problem {
    match mistake {
        Mistake::Label(allowed) => problem.with("allowed", allowed.clone()),
        _ => problem,
    }
}

fn code_of(refusal: &Refusal) -> ErrorCode {
    match refusal {
        Refusal::NotFound(_) => codes::NOT_FOUND,
        Refusal::Forbidden(_) => codes::FORBIDDEN,
        Refusal::Invalid { mistake, .. } => mistake_code(mistake),
        Refusal::SerialNumberTaken { .. } => codes::SERIAL_NUMBER_TAKEN,
        Refusal::Changed { .. } => codes::VERSION_MISMATCH,
        Refusal::InBatch { refusal, .. } => code_of(refusal),
        Refusal::KeyReused => codes::IDEMPOTENCY_KEY_REUSED,
        Refusal::AlreadyRestored => codes::ALREADY_RESTORED,
        Refusal::NothingLeft => codes::NOTHING_LEFT,
        Refusal::OwnSite => codes::OWN_SITE,
        Refusal::NotEnrolled => codes::NOT_ENROLLED,
        Refusal::MembershipEnded => codes::UNAUTHORIZED,
        Refusal::DiskFull => codes::DISK_FULL,
        Refusal::Store(error) if full(error) => codes::DISK_FULL,
        Refusal::Store(error) if failing(error) => codes::STORAGE_FAILED,
        Refusal::Store(error) if error.is_retryable() => codes::BUSY,
        Refusal::Store(_) => codes::INTERNAL,
    }
}

fn mistake_code(mistake: &Mistake) -> ErrorCode {
    match mistake {
        Mistake::Unknown => codes::UNKNOWN_FIELD,
        Mistake::ReadOnly => codes::READ_ONLY_FIELD,
        Mistake::Missing => codes::MISSING_FIELD,
        Mistake::Type => codes::WRONG_TYPE,
        Mistake::Label(_) => codes::UNKNOWN_LABEL,
        Mistake::Value => codes::INVALID_VALUE,
        Mistake::Reference => codes::MISSING_REFERENCE,
    }
}

fn full(error: &StoreError) -> bool {
    matches!(error, StoreError::Sqlite(error) if error.sqlite_error_code() == Some(SqliteCode::DiskFull))
}

fn failing(error: &StoreError) -> bool {
    let StoreError::Sqlite(error) = error else { return false };
    matches!(error.sqlite_error_code(), Some(SqliteCode::ReadOnly | SqliteCode::SystemIoFailure))
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Some(Refusal::Store(error)) = self.refusal() {
            tracing::error!(%error, "a request failed");
        }
        let mut response = (self.status(), Json(self.problem())).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some((name, value)) = self.header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The answer to a method that is not served here.
pub async fn no_method(method: Method) -> Error {
    Error::NoMethod(method)
}
