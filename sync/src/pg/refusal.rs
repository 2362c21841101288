//! From PostgreSQL's errors to what a person at a site reads about a row that was not taken.
//!
//! A reference to another tenant's row and a reference to nothing give the same answer, so that ids cannot be probed;
//! neither does the answer to a new row say that another tenant has its id.

use std::error::Error as _;

use super::batch::{REASON_CHARACTERS_MAX, Refusal};
use super::error::{ConstraintKind, StoreError};
use crate::catalog::Table;
use crate::merge::value::{Value, Values};
use crate::wire::refusals::{
    BAD_VALUE, MISSING_REFERENCE, MISSING_VALUE, NOT_PERMITTED, NOT_UNIQUE, REFUSED, RULE, SERIAL_NUMBER_TAKEN,
};

/// What a failed write means for its row.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// Somebody else is at it: ask again.
    Busy,
    /// It cannot be stored as it is.
    Refused(Refusal),
}

impl Failure {
    /// Whether another row of the same push may take away the reason.
    pub(super) fn depends_on_others(&self) -> bool {
        match self {
            Self::Busy => false,
            Self::Refused(refusal) => ![BAD_VALUE, MISSING_VALUE, RULE, NOT_PERMITTED].contains(&refusal.code),
        }
    }
}

/// The failure of one row out of the statement's error, or the error when it is none of the row's.
pub(super) fn of(table: &Table, values: &Values, error: StoreError) -> Result<Failure, StoreError> {
    let refused = |code, reason: String| Ok(Failure::Refused(Refusal { code, reason }));
    match &error {
        StoreError::Contention(_) => Ok(Failure::Busy),
        StoreError::Constraint { kind, constraint, .. } => match kind {
            ConstraintKind::ForeignKey => Ok(Failure::Refused(missing_reference(table, column_of(constraint)))),
            ConstraintKind::Unique if constraint.ends_with("_are_identified_by_id") => {
                Ok(Failure::Refused(kept_out(table)))
            }
            ConstraintKind::Unique if constraint.contains("serial_number") => {
                refused(SERIAL_NUMBER_TAKEN, serial_number_taken(values))
            }
            ConstraintKind::NotNull => refused(MISSING_VALUE, format!("{}.{constraint} is missing", table.name)),
            ConstraintKind::Unique => refused(NOT_UNIQUE, rule(constraint)),
            ConstraintKind::Check | ConstraintKind::Exclusion => refused(RULE, rule(constraint)),
        },
        StoreError::Value(_) => refused(BAD_VALUE, message(&error)),
        StoreError::Forbidden(_) => refused(NOT_PERMITTED, message(&error)),
        StoreError::Statement(source) if source.as_db_error().is_some() => refused(REFUSED, message(&error)),
        _ => Err(error),
    }
}

/// A reference to a row that is not there, or not of the tenant.
pub(super) fn missing_reference(table: &Table, column: &str) -> Refusal {
    let what = match column {
        "user_id" => "assignee",
        "reference" => "reference",
        column => column.strip_suffix("_id").unwrap_or(column),
    };
    let reason = format!("its {what} is not known at headquarters, or is not this tenant's ({}.{column})", table.name);
    Refusal { code: MISSING_REFERENCE, reason }
}

fn serial_number_taken(values: &Values) -> String {
    match values.get("serial_number") {
        Some(Value::Text(number)) => format!("another device already has the serial number {number:?}"),
        _ => "another device already has its serial number".to_owned(),
    }
}

/// A write that a trigger of the central database swallowed, or a new row whose id another row has.
///
/// Only another tenant's row can have it, so the two get one answer, and a rogue edge that probes ids is not told which
/// it met. What remains: that a row without any fault is refused at all lets one who knows such an id already confirm
/// that it is in use. Ids cannot be tried through, they have 122 random bits; only keys that begin with the tenant would
/// close it.
pub(super) fn kept_out(table: &Table) -> Refusal {
    let row = singular(table);
    let reason = format!(
        "the central database keeps the {row} from being written, by a trigger or because the id is taken; \
         write it again as a new {row}, or ask the operators of the hub"
    );
    Refusal { code: REFUSED, reason }
}

fn column_of(constraint: &str) -> &'static str {
    let columns = [
        ("_assignee_", "user_id"),
        ("_user_", "user_id"),
        ("_site_", "site_id"),
        ("_device_", "device_id"),
        ("_tenant_exists", "tenant_id"),
    ];
    columns.iter().find(|(part, _)| constraint.contains(part)).map_or("reference", |(_, column)| column)
}

fn singular(table: &Table) -> &'static str {
    table.name.strip_suffix('s').unwrap_or(table.name)
}

/// Constraint names read as rules.
fn rule(constraint: &str) -> String {
    format!("against the rule: {}", constraint.replace('_', " "))
}

/// PostgreSQL's own message, which names the value and no other row.
fn message(error: &StoreError) -> String {
    let database = error.source().and_then(|source| source.downcast_ref::<tokio_postgres::Error>());
    let message = database.and_then(|error| error.as_db_error()).map(tokio_postgres::error::DbError::message);
    message.map_or_else(|| error.to_string(), |message| message.chars().take(REASON_CHARACTERS_MAX).collect())
}
