//! What can go wrong between us and PostgreSQL, told apart by what the caller can do about it.
//!
//! A broken constraint is recognised by its name, which the migrations chose to read as a rule.

use std::fmt;

use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use super::schema::Difference;

/// A statement that failed. The variants that hold PostgreSQL's own error keep it as their source.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row breaks a rule of the schema.
    #[error("{} is refused by the {kind} {}", table_of(source), name_or(constraint, "without a name"))]
    Constraint {
        /// What kind of rule it is.
        kind: ConstraintKind,
        /// The rule's name, or the column's for a missing value; empty if PostgreSQL named neither.
        constraint: String,
        /// PostgreSQL's report, which names the table and shows the key.
        source: Error,
    },
    /// A value does not fit its type: malformed, out of range, too long (SQLSTATE class 22, and 54000 for its size).
    #[error("a value cannot be stored")]
    Value(#[source] Error),
    /// Another transaction stood in the way; the same transaction may succeed when it is run again.
    #[error("another transaction was in the way")]
    Contention(#[source] Error),
    /// The server could not be reached, closed the connection, or has no resources for us at the moment.
    #[error("the database is not reachable")]
    Unreachable(#[source] Error),
    /// Our role may not do this.
    #[error("the database role lacks a right; run `hub db migrate up` as the owner of the schema")]
    Forbidden(#[source] Error),
    /// A table, column, function or type is missing.
    #[error("the database has another schema; run `hub db migrate up`")]
    Schema(#[source] Error),
    /// The server refused a statement for a reason that no caller can repair, or our parameters do not fit it.
    #[error("the database refused a statement")]
    Statement(#[source] Error),
    /// The database's migrations are not the ones of this program.
    #[error("migrations differ: {}; nothing was changed", list(.0))]
    Migrations(Vec<Difference>),
    /// The database was never migrated, and yet has a table with a name of ours.
    #[error(
        "the database has a table {table} that is not ours; create an empty database and name that one; nothing was changed"
    )]
    Occupied {
        /// The table, with its schema.
        table: String,
    },
    /// A migration failed and was rolled back. Those before it stay applied.
    #[error("a migration failed and was rolled back")]
    Migrating(#[source] refinery::Error),
    /// The history of migrations holds a value that no migration tool of ours wrote.
    #[error("migration history: version {version} has an unreadable {column} \"{value}\"")]
    History {
        /// The migration's version.
        version: i32,
        /// Which column cannot be read.
        column: &'static str,
        /// What it holds.
        value: String,
    },
}

impl StoreError {
    /// True if running the same transaction again, unchanged, may succeed. The one place that decides it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Contention(_) | Self::Unreachable(_) => true,
            Self::Constraint { .. }
            | Self::Value(_)
            | Self::Forbidden(_)
            | Self::Schema(_)
            | Self::Statement(_)
            | Self::Migrations(_)
            | Self::Occupied { .. }
            | Self::Migrating(_)
            | Self::History { .. } => false,
        }
    }

    /// The name of the rule that a row broke, if that is what happened.
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { constraint, .. } => Some(constraint),
            _ => None,
        }
    }
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        let Some(database) = error.as_db_error() else {
            return if is_lost(&error) { Self::Unreachable(error) } else { Self::Statement(error) };
        };
        if let Some(kind) = ConstraintKind::of(database.code()) {
            let name = database.constraint().or_else(|| database.column()).unwrap_or_default();
            return Self::Constraint { kind, constraint: name.to_owned(), source: error };
        }
        match classify(database) {
            Class::Value => Self::Value(error),
            Class::Contention => Self::Contention(error),
            Class::Unreachable => Self::Unreachable(error),
            Class::Forbidden => Self::Forbidden(error),
            Class::Schema => Self::Schema(error),
            Class::Statement => Self::Statement(error),
        }
    }
}

/// The kinds of rules that a row can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConstraintKind {
    /// The key belongs to another row.
    Unique,
    /// The row refers to one that is not there, or is referred to.
    ForeignKey,
    /// A value is outside its allowed set or range.
    Check,
    /// A value is missing.
    NotNull,
    /// The row overlaps another one.
    Exclusion,
}

impl ConstraintKind {
    fn of(code: &SqlState) -> Option<Self> {
        // Compared in turn: an `SqlState` made from the wire has no pattern.
        let kinds = [
            (&SqlState::UNIQUE_VIOLATION, Self::Unique),
            (&SqlState::FOREIGN_KEY_VIOLATION, Self::ForeignKey),
            (&SqlState::RESTRICT_VIOLATION, Self::ForeignKey),
            (&SqlState::CHECK_VIOLATION, Self::Check),
            (&SqlState::NOT_NULL_VIOLATION, Self::NotNull),
            (&SqlState::EXCLUSION_VIOLATION, Self::Exclusion),
        ];
        kinds.into_iter().find(|(state, _)| *state == code).map(|(_, kind)| kind)
    }
}

impl fmt::Display for ConstraintKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Unique => "unique key",
            Self::ForeignKey => "foreign key",
            Self::Check => "check",
            Self::NotNull => "not-null rule",
            Self::Exclusion => "exclusion rule",
        })
    }
}

enum Class {
    Value,
    Contention,
    Unreachable,
    Forbidden,
    Schema,
    Statement,
}

/// By SQLSTATE: the first two characters are the class (PostgreSQL manual, appendix A).
fn classify(error: &DbError) -> Class {
    match error.code().code() {
        // Serialization failure, deadlock, lock not available, statement cancelled by a time-out, idle in transaction.
        "40001" | "40P01" | "55P03" | "57014" | "25P03" => Class::Contention,
        // Shutdown, crash of another session, starting up, database dropped: a new connection is needed.
        "57P01" | "57P02" | "57P03" | "57P05" => Class::Unreachable,
        "42501" => Class::Forbidden,
        // Unknown function, table, column, type, schema.
        "42883" | "42P01" | "42703" | "42704" | "3F000" => Class::Schema,
        code => match code.get(..2) {
            Some("22" | "54") => Class::Value,
            Some("08" | "53") => Class::Unreachable,
            Some("40") => Class::Contention,
            Some("28") => Class::Forbidden,
            _ => Class::Statement,
        },
    }
}

/// True for an error of the connection and not of the statement: the socket failed, or was closed.
fn is_lost(error: &Error) -> bool {
    let source = std::error::Error::source(error);
    error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>())
}

fn table_of(error: &Error) -> &str {
    error.as_db_error().and_then(DbError::table).unwrap_or("a row")
}

fn name_or<'name>(name: &'name str, otherwise: &'name str) -> &'name str {
    if name.is_empty() { otherwise } else { name }
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(Difference::to_string).collect::<Vec<_>>().join("; ")
}
