//! The codes of the API's problems. `tests/errors.rs` holds `error.rs` against this list, and prints `docs/errors.md`.

use sync::wire::codes::ErrorCode;

/// Every code that a request to the API may be answered with, as `application/problem+json`.
pub const CODES: &[ErrorCode] = &[
    ErrorCode::new(
        "malformed_json",
        400,
        "the body is not JSON",
        "send JSON in UTF-8; the detail says where it breaks",
    ),
    ErrorCode::new("truncated", 400, "the body did not arrive whole", "send the request again"),
    ErrorCode::new(
        "unauthorized",
        401,
        "there is no session, it has ended, or the membership has",
        "sign in: POST /api/v1/session",
    ),
    ErrorCode::new(
        "wrong_credentials",
        401,
        "the address or the secret is wrong",
        "try again; after three failures there is a wait",
    ),
    ErrorCode::new(
        "cross_site",
        403,
        "a browser sent the request from another site's page",
        "send it from this edge's own pages, or with a bearer token",
    ),
    ErrorCode::new(
        "forbidden",
        403,
        "the person's role or sites do not allow it",
        "ask an admin, or to be assigned to the site",
    ),
    ErrorCode::new(
        "no_such_route",
        404,
        "nothing is served at the path",
        "look at the paths in the API's documentation",
    ),
    ErrorCode::new("not_found", 404, "the tenant has no such thing, or no longer", "list what there is"),
    ErrorCode::new("method_not_allowed", 405, "the path takes other methods", "use one of the header Allow"),
    ErrorCode::new(
        "serial_number_taken",
        409,
        "another device of the tenant has the serial number",
        "give one of the two another number",
    ),
    ErrorCode::new("already_restored", 409, "the conflict was restored before", "nothing is to be done"),
    ErrorCode::new(
        "nothing_left",
        409,
        "nothing is left of the conflict's row at this edge",
        "restore it at another site, or at HQ",
    ),
    ErrorCode::new(
        "own_site",
        409,
        "the edge stands at the site that is to be deleted",
        "delete it at HQ, after the edge has been revoked",
    ),
    ErrorCode::new(
        "version_mismatch",
        412,
        "the row was changed since it was read; `current` is how it is now",
        "look at the current one and decide again",
    ),
    ErrorCode::new("too_large", 413, "the body is larger than 1 MiB", "send less at once"),
    ErrorCode::new("unsupported_media_type", 415, "the body is of another type", "send the type that the detail names"),
    ErrorCode::new("not_an_object", 422, "the body is JSON and no object", "send an object"),
    ErrorCode::new(
        "unknown_field",
        422,
        "there is no such field or parameter; `field` names it",
        "leave it out, or correct its name",
    ),
    ErrorCode::new("read_only_field", 422, "the field is not for clients to write", "leave it out"),
    ErrorCode::new("missing_field", 422, "the field is needed", "send it"),
    ErrorCode::new("wrong_type", 422, "the field is of another type", "send the type that the detail names"),
    ErrorCode::new("unknown_label", 422, "the value is none of those that `allowed` lists", "send one of them"),
    ErrorCode::new(
        "invalid_value",
        422,
        "the value is of the right type, and still wrong",
        "correct it, as the detail says",
    ),
    ErrorCode::new(
        "missing_reference",
        422,
        "the field names something that the tenant does not have",
        "name what is there",
    ),
    ErrorCode::new(
        "locked_out",
        429,
        "too many wrong secrets for the address",
        "wait for as long as Retry-After says; HQ can set a new PIN",
    ),
    ErrorCode::new("too_many_requests", 429, "too many people sign in at once", "try again after Retry-After"),
    ErrorCode::new(
        "internal",
        500,
        "the edge failed and changed nothing; the cause is in its log",
        "tell the operator of the box, who runs `edge doctor`",
    ),
    ErrorCode::new(
        "exchange_failed",
        503,
        "the exchange that was asked for did not complete",
        "look at GET /sync/status; what waits is kept",
    ),
    ErrorCode::new("not_enrolled", 503, "the edge belongs to no tenant yet", "run `edge enroll` on the box"),
    ErrorCode::new("busy", 503, "another program is writing to the edge's database", "try again after Retry-After"),
    ErrorCode::new(
        "disk_full",
        507,
        "the disk of the edge is full; nothing was changed",
        "tell the operator of the box to make room",
    ),
];
