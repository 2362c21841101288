//! Every code that the API answers a refused request with: its status, when it comes, and what to do about it.
//!
//! Codes are stable. `error.rs` knows which of them a refusal has, the API's description and `docs/errors.md` list them.

use sync::wire::codes::ErrorCode;

/// `malformed_json`
pub const MALFORMED_JSON: ErrorCode =
    ErrorCode::new("malformed_json", 400, "the body is not JSON, or not UTF-8", "send one JSON object");
/// `truncated`
pub const TRUNCATED: ErrorCode =
    ErrorCode::new("truncated", 400, "the body did not arrive whole", "send the request again");
/// `invalid_header`
pub const INVALID_HEADER: ErrorCode =
    ErrorCode::new("invalid_header", 400, "a header cannot be taken: `header` names it", "mend the header");
/// `unauthorized`
pub const UNAUTHORIZED: ErrorCode = ErrorCode::new(
    "unauthorized",
    401,
    "nobody is signed in, or the session or the membership has ended",
    "sign in: POST /api/v1/session",
);
/// `wrong_credentials`
pub const WRONG_CREDENTIALS: ErrorCode = ErrorCode::new(
    "wrong_credentials",
    401,
    "the e-mail address or the PIN is wrong; which of them is not told",
    "try again, or have the PIN set anew at the centre",
);
/// `wrong_code`
pub const WRONG_CODE: ErrorCode = ErrorCode::new(
    "wrong_code",
    401,
    "the emergency code is wrong, revoked, or was used already; which of them is not told",
    "use another code, or have the operator of the box make one: `edge break-glass new`",
);
/// `forbidden`
pub const FORBIDDEN: ErrorCode =
    ErrorCode::new("forbidden", 403, "the person's role or sites do not allow it", "ask an admin of the tenant");
/// `cross_site`
pub const CROSS_SITE: ErrorCode = ErrorCode::new(
    "cross_site",
    403,
    "a browser sent the request from another site's page",
    "use the edge's own pages, or a bearer token",
);
/// `not_found`
pub const NOT_FOUND: ErrorCode = ErrorCode::new(
    "not_found",
    404,
    "this tenant has no such thing; one of another tenant gets the same answer",
    "check the id",
);
/// `no_such_route`
pub const NO_SUCH_ROUTE: ErrorCode =
    ErrorCode::new("no_such_route", 404, "nothing is served at this path", "look at /docs");
/// `method_not_allowed`
pub const METHOD_NOT_ALLOWED: ErrorCode = ErrorCode::new(
    "method_not_allowed",
    405,
    "the path is served by other methods",
    "use one of those in the header Allow",
);
/// `request_timeout`
pub const REQUEST_TIMEOUT: ErrorCode = ErrorCode::new(
    "request_timeout",
    408,
    "the request did not arrive, or could not be answered, within 60 s",
    "send it again; look at the status before repeating a write without an Idempotency-Key",
);
/// `serial_number_taken`
pub const SERIAL_NUMBER_TAKEN: ErrorCode = ErrorCode::new(
    "serial_number_taken",
    409,
    "another device of the tenant has the serial number",
    "look the other device up by the number",
);
/// `already_restored`
pub const ALREADY_RESTORED: ErrorCode =
    ErrorCode::new("already_restored", 409, "the conflict was restored before", "nothing: the value is back already");
/// `nothing_left`
pub const NOTHING_LEFT: ErrorCode = ErrorCode::new(
    "nothing_left",
    409,
    "nothing is left here of the row that the conflict is about",
    "restore it at another site, or at the centre",
);
/// `own_site`
pub const OWN_SITE: ErrorCode = ErrorCode::new(
    "own_site",
    409,
    "this edge stands at the site that was to be deleted",
    "revoke the edge, then delete the site at the centre",
);
/// `version_mismatch`
pub const VERSION_MISMATCH: ErrorCode = ErrorCode::new(
    "version_mismatch",
    412,
    "the row is not in the version that If-Match names; `current` is the row as it is",
    "look at the current row and decide again",
);
/// `unsupported_coding`
pub const UNSUPPORTED_CODING: ErrorCode = ErrorCode::new(
    "unsupported_coding",
    415,
    "the body is compressed, which is not taken here",
    "send it without Content-Encoding",
);
/// `wrong_host`
pub const WRONG_HOST: ErrorCode = ErrorCode::new(
    "wrong_host",
    421,
    "the request is for a name that this edge does not have, as that of a page which points its name here",
    "use the box's address, or add the name to EDGE_NAMES",
);
/// `too_large`
pub const TOO_LARGE: ErrorCode = ErrorCode::new("too_large", 413, "the body is larger than 1 MiB", "send less at once");
/// `unsupported_media_type`
pub const UNSUPPORTED_MEDIA_TYPE: ErrorCode = ErrorCode::new(
    "unsupported_media_type",
    415,
    "the body is of a type that is not taken here",
    "send application/json",
);
/// `not_an_object`
pub const NOT_AN_OBJECT: ErrorCode =
    ErrorCode::new("not_an_object", 422, "the body is JSON, but no object", "send one JSON object");
/// `unknown_field`
pub const UNKNOWN_FIELD: ErrorCode = ErrorCode::new(
    "unknown_field",
    422,
    "the body has a field that there is not",
    "leave it out; the detail lists the fields",
);
/// `unknown_parameter`
pub const UNKNOWN_PARAMETER: ErrorCode = ErrorCode::new(
    "unknown_parameter",
    422,
    "the query has a parameter that there is not",
    "leave it out; the detail lists the parameters",
);
/// `read_only_field`
pub const READ_ONLY_FIELD: ErrorCode =
    ErrorCode::new("read_only_field", 422, "the body sets a field that is not for clients to set", "leave it out");
/// `missing_field`
pub const MISSING_FIELD: ErrorCode =
    ErrorCode::new("missing_field", 422, "the body lacks a field that is needed", "add it");
/// `wrong_type`
pub const WRONG_TYPE: ErrorCode = ErrorCode::new(
    "wrong_type",
    422,
    "a value is of another type than expected",
    "send the type that the detail names",
);
/// `unknown_label`
pub const UNKNOWN_LABEL: ErrorCode =
    ErrorCode::new("unknown_label", 422, "a word is not one of those that may stand there", "send one of `allowed`");
/// `invalid_value`
pub const INVALID_VALUE: ErrorCode = ErrorCode::new(
    "invalid_value",
    422,
    "a value is of the right type and cannot be taken",
    "mend it as the detail says",
);
/// `missing_reference`
pub const MISSING_REFERENCE: ErrorCode =
    ErrorCode::new("missing_reference", 422, "a field names a row that this tenant does not have", "check the id");
/// `idempotency_key_reused`
pub const IDEMPOTENCY_KEY_REUSED: ErrorCode = ErrorCode::new(
    "idempotency_key_reused",
    422,
    "the Idempotency-Key was used for another request in the last 24 hours",
    "use a new key for a new request",
);
/// `locked_out`
pub const LOCKED_OUT: ErrorCode =
    ErrorCode::new("locked_out", 429, "too many wrong PINs for this address", "wait as long as Retry-After says");
/// `too_many_tries`
pub const TOO_MANY_TRIES: ErrorCode = ErrorCode::new(
    "too_many_tries",
    429,
    "too many wrong tries to sign in came from this device, as whoever",
    "wait as long as Retry-After says",
);
/// `too_many_requests`
pub const TOO_MANY_REQUESTS: ErrorCode = ErrorCode::new(
    "too_many_requests",
    429,
    "too many people are signing in at once",
    "wait as long as Retry-After says",
);
/// `too_many_listeners`
pub const TOO_MANY_LISTENERS: ErrorCode = ErrorCode::new(
    "too_many_listeners",
    429,
    "as many programs listen to the events as may",
    "close a stream, or wait as long as Retry-After says",
);
/// `internal`
pub const INTERNAL: ErrorCode = ErrorCode::new(
    "internal",
    500,
    "the edge failed; nothing was changed",
    "look at the edge's log, and run `edge doctor`",
);
/// `not_enrolled`
pub const NOT_ENROLLED: ErrorCode =
    ErrorCode::new("not_enrolled", 503, "the edge belongs to no tenant yet", "run `edge enroll` on it");
/// `exchange_failed`
pub const EXCHANGE_FAILED: ErrorCode = ErrorCode::new(
    "exchange_failed",
    503,
    "an exchange with the hub was asked for and did not complete",
    "look at `last_error` of the status; what waits is kept and sent later",
);
/// `busy`
pub const BUSY: ErrorCode = ErrorCode::new(
    "busy",
    503,
    "another program has kept the edge's database locked",
    "try again; end the other program's transaction if it lasts",
);
/// `storage_failed`
pub const STORAGE_FAILED: ErrorCode = ErrorCode::new(
    "storage_failed",
    503,
    "the edge's disk is read-only or fails; the write is not kept",
    "mend the disk; the edge goes on by itself",
);
/// `disk_full`
pub const DISK_FULL: ErrorCode = ErrorCode::new(
    "disk_full",
    507,
    "the edge's disk is full; nothing was changed",
    "make room on the box; reading and uploading go on",
);

/// All of them, by status.
pub const CODES: &[ErrorCode] = &[
    MALFORMED_JSON,
    TRUNCATED,
    INVALID_HEADER,
    UNAUTHORIZED,
    WRONG_CREDENTIALS,
    WRONG_CODE,
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
    UNSUPPORTED_CODING,
    WRONG_HOST,
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
    TOO_MANY_TRIES,
    TOO_MANY_REQUESTS,
    TOO_MANY_LISTENERS,
    INTERNAL,
    NOT_ENROLLED,
    EXCHANGE_FAILED,
    BUSY,
    STORAGE_FAILED,
    DISK_FULL,
];
