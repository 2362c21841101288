//! Conflicts between their form in the merge and their form in messages and in the edge's ledger.

use serde_json::value::RawValue;
use thiserror::Error;

use super::convert::{self, ConvertError};
use super::message::{ConflictKind, ConflictStatus, ConflictText, PartyText};
use super::version::DotText;
use crate::catalog::{self, Table};
use crate::merge::conflict::{Conflict, Kind, Party, Status};
use crate::merge::ids::RowId;

/// A conflict that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConflictError {
    /// It is about a table that the catalog does not know.
    #[error("a conflict about the unknown table {0:?}")]
    UnknownTable(String),
    /// One of its values does not fit the register.
    #[error("a conflict's value cannot be read: {0}")]
    Value(#[from] ConvertError),
}

/// A conflict as a message carries it.
///
/// # Errors
/// [`ConflictError::UnknownTable`] when its table is not in the catalog.
pub fn to_text(conflict: &Conflict) -> Result<ConflictText, ConflictError> {
    let unknown = || ConflictError::UnknownTable(format!("number {}", conflict.table.0));
    let table = catalog::by_id(conflict.table).ok_or_else(unknown)?;
    Ok(ConflictText {
        table: table.name.to_owned(),
        row: conflict.row.0,
        kind: conflict.kind.into(),
        register: conflict.register.clone(),
        status: conflict.status.into(),
        loser: party_text(&conflict.loser),
        winner: party_text(&conflict.winner),
    })
}

/// A conflict out of a message.
///
/// # Errors
/// [`ConflictError`] when its table or one of its values is not known here.
pub fn from_text(text: &ConflictText) -> Result<Conflict, ConflictError> {
    let unknown = || ConflictError::UnknownTable(text.table.clone());
    let table = catalog::by_name(&text.table).ok_or_else(unknown)?;
    let register = text.register.as_deref();
    Ok(Conflict {
        table: table.id,
        row: RowId(text.row),
        kind: text.kind.into(),
        register: text.register.clone(),
        loser: party(table, register, &text.loser)?,
        winner: party(table, register, &text.winner)?,
        status: text.status.into(),
    })
}

fn party_text(party: &Party) -> PartyText {
    // `json_of` writes JSON; a null stands in for what cannot be.
    let json = |value| RawValue::from_string(convert::json_of(value)).unwrap_or_else(|_| RawValue::NULL.to_owned());
    PartyText { dot: DotText(party.dot), value: party.value.as_ref().map(json) }
}

fn party(table: &'static Table, register: Option<&str>, text: &PartyText) -> Result<Party, ConvertError> {
    let value = match (register, &text.value) {
        (Some(register), Some(raw)) => Some(convert::register_value(table, register, raw)?),
        _ => None,
    };
    Ok(Party { dot: text.dot.0, value })
}

impl From<Kind> for ConflictKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::EditEdit => Self::EditEdit,
            Kind::EditDelete => Self::EditDelete,
        }
    }
}

impl From<ConflictKind> for Kind {
    fn from(kind: ConflictKind) -> Self {
        match kind {
            ConflictKind::EditEdit => Self::EditEdit,
            ConflictKind::EditDelete => Self::EditDelete,
        }
    }
}

impl From<Status> for ConflictStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Open => Self::Open,
            Status::Dismissed => Self::Dismissed,
            Status::Restored => Self::Restored,
        }
    }
}

impl From<ConflictStatus> for Status {
    fn from(status: ConflictStatus) -> Self {
        match status {
            ConflictStatus::Open => Self::Open,
            ConflictStatus::Dismissed => Self::Dismissed,
            ConflictStatus::Restored => Self::Restored,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::clock::{Dot, Hlc};
    use crate::merge::ids::ReplicaId;
    use crate::merge::value::Value;

    #[test]
    fn a_conflict_survives_a_round_trip() {
        let dot = |seq| Dot { replica: ReplicaId(3), seq, hlc: Hlc::at(seq), by: None };
        let group = Value::Group(vec![Value::text("done"), Value::Null]);
        let conflict = Conflict {
            table: catalog::by_name("tasks").unwrap().id,
            row: RowId(uuid::Uuid::nil()),
            kind: Kind::EditEdit,
            register: Some("status".to_owned()),
            loser: Party { dot: dot(1), value: Some(group) },
            winner: Party { dot: dot(2), value: None },
            status: Status::Dismissed,
        };
        let text = serde_json::to_string(&to_text(&conflict).unwrap()).unwrap();
        let read: ConflictText = serde_json::from_str(&text).unwrap();
        assert_eq!(from_text(&read).unwrap(), conflict);
    }
}
