//! Why a row is not taken: the codes of the quarantine, at the hub and at an edge.

use super::codes::{ErrorCode, listed};

/// Every code with which a row is refused. The status is none: a refused row fails no request.
pub const CODES: &[ErrorCode] = &[
    row(
        "missing_reference",
        "at the hub: a reference points to nothing that the tenant has, or to another tenant's row",
        "write the reference again, or the row that it points to; it is tried again by itself",
    ),
    row(
        "serial_number_taken",
        "at the hub: another device of the tenant has the serial number",
        "give one of the two devices another number",
    ),
    row(
        "not_unique",
        "at the hub: another row has the value of a unique key, which the reason names",
        "change the value",
    ),
    row("missing_value", "at the hub: a column that may not be empty is", "write the column"),
    row(
        "bad_value",
        "at the hub: a value does not fit its column: malformed, out of range or too long",
        "write the value again",
    ),
    row(
        "rule",
        "at the hub: a check of the central schema does not hold; its name in the reason reads as the rule",
        "change the row so that the rule holds",
    ),
    row(
        "not_permitted",
        "at the hub: its database role may not write the row",
        "at HQ: `hub doctor`, then `hub db migrate up` as the owner",
    ),
    row(
        "refused",
        "at the hub: the database refused the row for another reason, a trigger there kept it out, or its id is taken",
        "read the reason; at HQ: look for the trigger",
    ),
    row(
        "unknown_table",
        "the other side sent a row of a table that this one does not have",
        "upgrade the side that lacks it",
    ),
    row(
        "person_revoked",
        "at the hub: a person wrote it after their access to the tenant had ended",
        "have somebody else write it, or give the person access again",
    ),
    row("read_only", "at the hub: an edge pushed a row of a table that is written at HQ only", "change the row at HQ"),
    row(
        "need_full",
        "at the hub: it lacks writes of others that the edge has seen, as after a restore at HQ",
        "nothing at the site; at HQ see that every edge has exchanged",
    ),
    row(
        "bad_row",
        "at the hub: a row of a push cannot be read at all",
        "upgrade the older side; the row stays at this site meanwhile",
    ),
    row(
        "forged_version",
        "at the hub: the record of the row's writes claims what its site cannot have written, or contradicts itself",
        "at HQ: look at the box that sent it; give the row up at the site, and write it again there",
    ),
    row(
        "unreadable",
        "the row as it is stored has a value without canonical form, such as a number in a text column, a lone surrogate or NUL",
        "write the value again with a proper one",
    ),
    row(
        "local_unreadable",
        "at an edge: HQ sent a newer row, and the row as it is here cannot be read to be merged with it",
        "write the value that the reason names again",
    ),
    row(
        "value_missing",
        "at an edge: a value that was written here is not in the file any more",
        "write the column again",
    ),
    row(
        "too_large",
        "at an edge: the row is larger than a push may be",
        "make the row smaller; it stays at this site meanwhile",
    ),
    row("does_not_fit", "at an edge: HQ's row breaks a constraint of the edge's file", "upgrade the edge"),
    row("unreadable_conflict", "at an edge: a conflict that HQ sent is not understood", "upgrade the edge"),
    row(
        "bad_conflict",
        "at the hub: a conflict in a push cannot be stored",
        "at HQ: read the reason; the row itself was taken",
    ),
    row(
        "bad_audit",
        "at the hub: an audit record in a push cannot be stored",
        "at HQ: read the reason; nothing else was held up",
    ),
    row(
        "unsendable",
        "at the hub: a row there has a value without canonical form, such as the timestamp infinity",
        "at HQ: write the value again with a proper one",
    ),
];

const fn row(code: &'static str, when: &'static str, what_to_do: &'static str) -> ErrorCode {
    ErrorCode::new(code, 0, when, what_to_do)
}

/// A code of [`CODES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalCode(&'static ErrorCode);

impl RefusalCode {
    /// As it is stored and sent.
    pub const fn as_str(self) -> &'static str {
        self.0.code
    }

    const fn named(code: &str) -> Self {
        Self(listed(CODES, code))
    }
}

/// `missing_reference`.
pub const MISSING_REFERENCE: RefusalCode = RefusalCode::named("missing_reference");
/// `serial_number_taken`.
pub const SERIAL_NUMBER_TAKEN: RefusalCode = RefusalCode::named("serial_number_taken");
/// `not_unique`.
pub const NOT_UNIQUE: RefusalCode = RefusalCode::named("not_unique");
/// `missing_value`.
pub const MISSING_VALUE: RefusalCode = RefusalCode::named("missing_value");
/// `bad_value`.
pub const BAD_VALUE: RefusalCode = RefusalCode::named("bad_value");
/// `rule`.
pub const RULE: RefusalCode = RefusalCode::named("rule");
/// `not_permitted`.
pub const NOT_PERMITTED: RefusalCode = RefusalCode::named("not_permitted");
/// `refused`.
pub const REFUSED: RefusalCode = RefusalCode::named("refused");
/// `unknown_table`.
pub const UNKNOWN_TABLE: RefusalCode = RefusalCode::named("unknown_table");
/// `person_revoked`.
pub const PERSON_REVOKED: RefusalCode = RefusalCode::named("person_revoked");
/// `read_only`.
pub const READ_ONLY: RefusalCode = RefusalCode::named("read_only");
/// `need_full`.
pub const NEED_FULL: RefusalCode = RefusalCode::named("need_full");
/// `forged_version`.
pub const FORGED_VERSION: RefusalCode = RefusalCode::named("forged_version");
/// `unreadable`.
pub const UNREADABLE: RefusalCode = RefusalCode::named("unreadable");
/// `local_unreadable`.
pub const LOCAL_UNREADABLE: RefusalCode = RefusalCode::named("local_unreadable");
/// `value_missing`.
pub const VALUE_MISSING: RefusalCode = RefusalCode::named("value_missing");
/// `too_large`.
pub const TOO_LARGE: RefusalCode = RefusalCode::named("too_large");
/// `does_not_fit`.
pub const DOES_NOT_FIT: RefusalCode = RefusalCode::named("does_not_fit");
/// `unreadable_conflict`.
pub const UNREADABLE_CONFLICT: RefusalCode = RefusalCode::named("unreadable_conflict");
/// `bad_conflict`.
pub const BAD_CONFLICT: RefusalCode = RefusalCode::named("bad_conflict");
/// `bad_audit`.
pub const BAD_AUDIT: RefusalCode = RefusalCode::named("bad_audit");
/// `unsendable`.
pub const UNSENDABLE: RefusalCode = RefusalCode::named("unsendable");
/// `bad_row`.
pub const BAD_ROW: RefusalCode = RefusalCode::named("bad_row");
