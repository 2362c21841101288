//! The codes of the hub's problems, and of its commands.

use crate::wire::codes::ErrorCode;

/// Every code that a request to `/sync/v1` may be answered with, as `application/problem+json`.
pub const CODES: &[ErrorCode] = &[
    ErrorCode::new(
        "unauthorized",
        401,
        "the credential is nobody's, or there is none",
        "run `edge enroll` again with a new code; what is there is kept and sent",
    ),
    ErrorCode::new("revoked", 403, "the edge was revoked", "ask the operator of the hub"),
    ErrorCode::new(
        "unknown_code",
        401,
        "the enrolment code is nobody's",
        "look for typing errors, or issue another with `hub edge enroll`",
    ),
    ErrorCode::new("used_code", 410, "the enrolment code was used before", "issue another with `hub edge enroll`"),
    ErrorCode::new(
        "expired_code",
        410,
        "the enrolment code is older than 15 minutes",
        "issue another with `hub edge enroll`",
    ),
    ErrorCode::new(
        "no_pages_ca",
        404,
        "the hub has no CA for the edges' own pages",
        "at HQ: make one with `hub ca pages` and set HUB_PAGES_CA",
    ),
    ErrorCode::new(
        "foreign_names",
        422,
        "a certificate was asked for, and none of the names is the edge's own",
        "give the box a private address, or its own name in a domain of the CA",
    ),
    ErrorCode::new(
        "name_taken",
        409,
        "another edge took the name since the code was issued",
        "issue a code for another name",
    ),
    ErrorCode::new(
        "other_tenant",
        409,
        "an edge that is enrolled again holds work of another tenant than the code is for",
        "issue a code of its own tenant; this one is unused",
    ),
    ErrorCode::new(
        "other_centre",
        409,
        "an edge that is enrolled again had its identity from another centre",
        "enrol a new edge in another data directory, or ask the hub that it was enrolled at",
    ),
    ErrorCode::new(
        "bad_protocol",
        400,
        "the request speaks another version of the protocol, or carries no nonce",
        "upgrade the older side; a proxy between them must not take headers away",
    ),
    ErrorCode::new(
        "unsupported_media_type",
        415,
        "the body is of another type than application/x-ndjson",
        "upgrade the edge",
    ),
    ErrorCode::new(
        "too_large",
        413,
        "the body has too many bytes, rows or levels, packed or unpacked",
        "nothing at the site: edges keep below the limits; look for another sender",
    ),
    ErrorCode::new(
        "bad_message",
        400,
        "the body is cut, or not understood",
        "it is sent again by itself; if it stays, upgrade the older side",
    ),
    ErrorCode::new(
        "fence",
        409,
        "the edge's token is not the one that was given last: it is a copy, was restored, or the hub was",
        "nothing: the edge begins a new session and learns which it is",
    ),
    ErrorCode::new(
        "unavailable",
        503,
        "the central database is away or busy",
        "nothing: it is tried again after Retry-After",
    ),
    ErrorCode::new(
        "forbidden",
        503,
        "the hub's role lacks a right in the central database, or a policy would hide rows from it",
        "at HQ: run `hub doctor`, which names the table and the statement that mends it",
    ),
    ErrorCode::new("internal", 500, "the hub failed; the cause is in its log", "read the hub's log, run `hub doctor`"),
];

/// Every way in which a `hub` command ends without having done what was asked; the status is the process's.
pub const COMMAND_CODES: &[ErrorCode] = &[
    ErrorCode::new(
        "settings",
        2,
        "a setting cannot be used, or its name is not known",
        "correct the flag, variable or file that is named",
    ),
    ErrorCode::new(
        "connect",
        1,
        "there is no connection to the central database",
        "correct DATABASE_URL or DB_*, or start the server",
    ),
    ErrorCode::new("database", 1, "the central database refused", "do what the message says; `hub doctor` knows more"),
    ErrorCode::new("listen", 1, "the address is taken, or not this machine's", "set HUB_LISTEN to a free address"),
    ErrorCode::new(
        "certificate",
        1,
        "a certificate or key cannot be read, made or served with",
        "correct the file that is named; `hub ca` makes both",
    ),
    ErrorCode::new(
        "file_exists",
        1,
        "the file to be made is there already; it was not touched",
        "give another directory, or renew with `hub ca issue`",
    ),
    ErrorCode::new("serve", 1, "serving ended by a failure", "read the message and start again"),
    ErrorCode::new(
        "input",
        1,
        "what was named does not exist, or may not be",
        "name what is there, as the message says",
    ),
    ErrorCode::new(
        "secret",
        1,
        "a PIN or passphrase is not good enough",
        "give 6 or more digits, or 12 or more characters",
    ),
    ErrorCode::new("found", 1, "something needs attention, and was printed", "do what each printed line says"),
    ErrorCode::new("random", 1, "the operating system has no randomness", "see that the system offers getrandom"),
    ErrorCode::new("stdio", 1, "standard input or output failed", "see where they lead"),
];
