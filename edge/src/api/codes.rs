//! Every code that the API answers a refused request with: its status, when it comes, and what to do about it.
//!
//! Codes are stable. `error.rs` knows which of them a refusal has, the API's description and `docs/errors.md` list them.

use axum::http::StatusCode;

/// A stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode {
    /// The code.
    pub code: &'static str,
    /// The HTTP status that it comes with.
    pub status: StatusCode,
    /// When it comes.
    pub when: &'static str,
    /// What to do about it.
    pub what_to_do: &'static str,
}

/// `malformed_json`
pub const MALFORMED_JSON: ErrorCode = ErrorCode {
    code: "malformed_json",
    status: StatusCode::BAD_REQUEST,
    when: "the body is not JSON, or not UTF-8",
    what_to_do: "send one JSON object",
};
/// `truncated`
pub const TRUNCATED: ErrorCode = ErrorCode {
    code: "truncated",
    status: StatusCode::BAD_REQUEST,
    when: "the body did not arrive whole",
    what_to_do: "send the request again",
};
/// `invalid_header`
pub const INVALID_HEADER: ErrorCode = ErrorCode {
    code: "invalid_header",
    status: StatusCode::BAD_REQUEST,
    when: "a header cannot be taken: `header` names it",
    what_to_do: "mend the header",
};
/// `unauthorized`
pub const UNAUTHORIZED: ErrorCode = ErrorCode {
    code: "unauthorized",
    status: StatusCode::UNAUTHORIZED,
    when: "nobody is signed in, or the session or the membership has ended",
    what_to_do: "sign in: POST /api/v1/session",
};
/// `wrong_credentials`
pub const WRONG_CREDENTIALS: ErrorCode = ErrorCode {
    code: "wrong_credentials",
    status: StatusCode::UNAUTHORIZED,
    when: "the e-mail address or the PIN is wrong; which of them is not told",
    what_to_do: "try again, or have the PIN set anew at the centre",
};
/// `forbidden`
pub const FORBIDDEN: ErrorCode = ErrorCode {
    code: "forbidden",
    status: StatusCode::FORBIDDEN,
    when: "the person's role or sites do not allow it",
    what_to_do: "ask an admin of the tenant",
};
/// `cross_site`
pub const CROSS_SITE: ErrorCode = ErrorCode {
    code: "cross_site",
    status: StatusCode::FORBIDDEN,
    when: "a browser sent the request from another site's page",
    what_to_do: "use the edge's own pages, or a bearer token",
};
/// `not_found`
pub const NOT_FOUND: ErrorCode = ErrorCode {
    code: "not_found",
    status: StatusCode::NOT_FOUND,
    when: "this tenant has no such thing; one of another tenant gets the same answer",
    what_to_do: "check the id",
};
/// `no_such_route`
pub const NO_SUCH_ROUTE: ErrorCode = ErrorCode {
    code: "no_such_route",
    status: StatusCode::NOT_FOUND,
    when: "nothing is served at this path",
    what_to_do: "look at /docs",
};
/// `method_not_allowed`
pub const METHOD_NOT_ALLOWED: ErrorCode = ErrorCode {
    code: "method_not_allowed",
    status: StatusCode::METHOD_NOT_ALLOWED,
    when: "the path is served by other methods",
    what_to_do: "use one of those in the header Allow",
};
/// `request_timeout`
pub const REQUEST_TIMEOUT: ErrorCode = ErrorCode {
    code: "request_timeout",
    status: StatusCode::REQUEST_TIMEOUT,
    when: "the request did not arrive, or could not be answered, within 60 s",
    what_to_do: "send it again; look at the status before repeating a write without an Idempotency-Key",
};
/// `serial_number_taken`
pub const SERIAL_NUMBER_TAKEN: ErrorCode = ErrorCode {
    code: "serial_number_taken",
    status: StatusCode::CONFLICT,
    when: "another device of the tenant has the serial number",
    what_to_do: "look the other device up by the number",
};
/// `already_restored`
pub const ALREADY_RESTORED: ErrorCode = ErrorCode {
    code: "already_restored",
    status: StatusCode::CONFLICT,
    when: "the conflict was restored before",
    what_to_do: "nothing: the value is back already",
};
/// `nothing_left`
pub const NOTHING_LEFT: ErrorCode = ErrorCode {
    code: "nothing_left",
    status: StatusCode::CONFLICT,
    when: "nothing is left here of the row that the conflict is about",
    what_to_do: "restore it at another site, or at the centre",
};
/// `own_site`
pub const OWN_SITE: ErrorCode = ErrorCode {
    code: "own_site",
    status: StatusCode::CONFLICT,
    when: "this edge stands at the site that was to be deleted",
    what_to_do: "revoke the edge, then delete the site at the centre",
};
/// `version_mismatch`
pub const VERSION_MISMATCH: ErrorCode = ErrorCode {
    code: "version_mismatch",
    status: StatusCode::PRECONDITION_FAILED,
    when: "the row is not in the version that If-Match names; `current` is the row as it is",
    what_to_do: "look at the current row and decide again",
};
/// `too_large`
pub const TOO_LARGE: ErrorCode = ErrorCode {
    code: "too_large",
    status: StatusCode::PAYLOAD_TOO_LARGE,
    when: "the body is larger than 1 MiB",
    what_to_do: "send less at once",
};
/// `unsupported_media_type`
pub const UNSUPPORTED_MEDIA_TYPE: ErrorCode = ErrorCode {
    code: "unsupported_media_type",
    status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
    when: "the body is of a type that is not taken here",
    what_to_do: "send application/json",
};
/// `not_an_object`
pub const NOT_AN_OBJECT: ErrorCode = ErrorCode {
    code: "not_an_object",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "the body is JSON, but no object",
    what_to_do: "send one JSON object",
};
/// `unknown_field`
pub const UNKNOWN_FIELD: ErrorCode = ErrorCode {
    code: "unknown_field",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "the body has a field that there is not",
    what_to_do: "leave it out; the detail lists the fields",
};
/// `unknown_parameter`
pub const UNKNOWN_PARAMETER: ErrorCode = ErrorCode {
    code: "unknown_parameter",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "the query has a parameter that there is not",
    what_to_do: "leave it out; the detail lists the parameters",
};
/// `read_only_field`
pub const READ_ONLY_FIELD: ErrorCode = ErrorCode {
    code: "read_only_field",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "the body sets a field that is not for clients to set",
    what_to_do: "leave it out",
};
/// `missing_field`
pub const MISSING_FIELD: ErrorCode = ErrorCode {
    code: "missing_field",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "the body lacks a field that is needed",
    what_to_do: "add it",
};
/// `wrong_type`
pub const WRONG_TYPE: ErrorCode = ErrorCode {
    code: "wrong_type",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "a value is of another type than expected",
    what_to_do: "send the type that the detail names",
};
/// `unknown_label`
pub const UNKNOWN_LABEL: ErrorCode = ErrorCode {
    code: "unknown_label",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "a word is not one of those that may stand there",
    what_to_do: "send one of `allowed`",
};
/// `invalid_value`
pub const INVALID_VALUE: ErrorCode = ErrorCode {
    code: "invalid_value",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "a value is of the right type and cannot be taken",
    what_to_do: "mend it as the detail says",
};
/// `missing_reference`
pub const MISSING_REFERENCE: ErrorCode = ErrorCode {
    code: "missing_reference",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "a field names a row that this tenant does not have",
    what_to_do: "check the id",
};
/// `idempotency_key_reused`
pub const IDEMPOTENCY_KEY_REUSED: ErrorCode = ErrorCode {
    code: "idempotency_key_reused",
    status: StatusCode::UNPROCESSABLE_ENTITY,
    when: "the Idempotency-Key was used for another request in the last 24 hours",
    what_to_do: "use a new key for a new request",
};
/// `locked_out`
pub const LOCKED_OUT: ErrorCode = ErrorCode {
    code: "locked_out",
    status: StatusCode::TOO_MANY_REQUESTS,
    when: "too many wrong PINs for this address",
    what_to_do: "wait as long as Retry-After says",
};
/// `too_many_requests`
pub const TOO_MANY_REQUESTS: ErrorCode = ErrorCode {
    code: "too_many_requests",
    status: StatusCode::TOO_MANY_REQUESTS,
    when: "too many people are signing in at once",
    what_to_do: "wait as long as Retry-After says",
};
/// `too_many_listeners`
pub const TOO_MANY_LISTENERS: ErrorCode = ErrorCode {
    code: "too_many_listeners",
    status: StatusCode::TOO_MANY_REQUESTS,
    when: "as many programs listen to the events as may",
    what_to_do: "close a stream, or wait as long as Retry-After says",
};
/// `internal`
pub const INTERNAL: ErrorCode = ErrorCode {
    code: "internal",
    status: StatusCode::INTERNAL_SERVER_ERROR,
    when: "the edge failed; nothing was changed",
    what_to_do: "look at the edge's log, and run `edge doctor`",
};
/// `not_enrolled`
pub const NOT_ENROLLED: ErrorCode = ErrorCode {
    code: "not_enrolled",
    status: StatusCode::SERVICE_UNAVAILABLE,
    when: "the edge belongs to no tenant yet",
    what_to_do: "run `edge enroll` on it",
};
/// `exchange_failed`
pub const EXCHANGE_FAILED: ErrorCode = ErrorCode {
    code: "exchange_failed",
    status: StatusCode::SERVICE_UNAVAILABLE,
    when: "an exchange with the hub was asked for and did not complete",
    what_to_do: "look at `last_error` of the status; what waits is kept and sent later",
};
/// `busy`
pub const BUSY: ErrorCode = ErrorCode {
    code: "busy",
    status: StatusCode::SERVICE_UNAVAILABLE,
    when: "another program has kept the edge's database locked",
    what_to_do: "try again; end the other program's transaction if it lasts",
};
/// `disk_full`
pub const DISK_FULL: ErrorCode = ErrorCode {
    code: "disk_full",
    status: StatusCode::INSUFFICIENT_STORAGE,
    when: "the edge's disk is full; nothing was changed",
    what_to_do: "make room on the box; reading and uploading go on",
};

/// All of them, by status.
pub const CODES: &[ErrorCode] = &[
    MALFORMED_JSON,
    TRUNCATED,
    INVALID_HEADER,
    UNAUTHORIZED,
    WRONG_CREDENTIALS,
    FORBIDDEN,
    CROSS_SITE,
    NOT_FOUND,
    NO_SUCH_ROUTE,
    METHOD_NOT_ALLOWED,
    REQUEST_TIMEOUT,
    SERIAL_NUMBER_TAKEN,
    ALREADY_RESTORED,
    NOTHING_LEFT,
    OWN_SITE,
    VERSION_MISMATCH,
    TOO_LARGE,
    UNSUPPORTED_MEDIA_TYPE,
    NOT_AN_OBJECT,
    UNKNOWN_FIELD,
    UNKNOWN_PARAMETER,
    READ_ONLY_FIELD,
    MISSING_FIELD,
    WRONG_TYPE,
    UNKNOWN_LABEL,
    INVALID_VALUE,
    MISSING_REFERENCE,
    IDEMPOTENCY_KEY_REUSED,
    LOCKED_OUT,
    TOO_MANY_REQUESTS,
    TOO_MANY_LISTENERS,
    INTERNAL,
    NOT_ENROLLED,
    EXCHANGE_FAILED,
    BUSY,
    DISK_FULL,
];
