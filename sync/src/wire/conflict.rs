//! Conflicts between their message form and the merge's.

use serde_json::value::RawValue;

use super::canonical;
use super::convert::{ConvertError, json_of, register_value};
use super::message::{ConflictKind, ConflictStatus, ConflictText, PartyText};
use super::version::DotText;
use crate::catalog::{self, Table};
use crate::merge::conflict::{Conflict, Kind, Party, Status};
use crate::merge::ids::RowId;

/// A conflict as a message carries it; `None` for a table that is not in the catalog.
pub fn text(conflict: &Conflict) -> Option<ConflictText> {
    Some(ConflictText {
        table: catalog::by_id(conflict.table)?.name.to_owned(),
        row: conflict.row.0,
        kind: match conflict.kind {
            Kind::EditEdit => ConflictKind::EditEdit,
            Kind::EditDelete => ConflictKind::EditDelete,
        },
        register: conflict.register.clone(),
        status: match conflict.status {
            Status::Open => ConflictStatus::Open,
            Status::Dismissed => ConflictStatus::Dismissed,
            Status::Restored => ConflictStatus::Restored,
        },
        loser: party_text(&conflict.loser),
        winner: party_text(&conflict.winner),
    })
}

/// A conflict out of a message.
///
/// # Errors
/// A table or register that the catalog does not know, or a value that its register cannot hold.
pub fn parse(text: &ConflictText) -> Result<Conflict, ConvertError> {
    let unknown = || ConvertError::Type { table: "conflicts", column: "t".to_owned(), expected: "a synced table" };
    let table = catalog::by_name(&text.table).ok_or_else(unknown)?;
    let register = text.register.as_deref();
    if let Some(register) = register {
        let refuse = |source| ConvertError::Canonical { table: table.name, column: "register".to_owned(), source };
        canonical::text(register).map_err(refuse)?;
        let unknown = table.columns_of(register).next().is_none() && catalog::split_key(register).is_none();
        if unknown {
            return Err(ConvertError::Type { table: table.name, column: register.to_owned(), expected: "a register" });
        }
    }
    Ok(Conflict {
        table: table.id,
        row: RowId(text.row),
        kind: match text.kind {
            ConflictKind::EditEdit => Kind::EditEdit,
            ConflictKind::EditDelete => Kind::EditDelete,
        },
        register: text.register.clone(),
        loser: party(table, register, &text.loser)?,
        winner: party(table, register, &text.winner)?,
        status: match text.status {
            ConflictStatus::Open => Status::Open,
            ConflictStatus::Dismissed => Status::Dismissed,
            ConflictStatus::Restored => Status::Restored,
        },
    })
}

/// One side as a message and the centre's tables carry it.
pub fn party_text(party: &Party) -> PartyText {
    // Canonical text is valid JSON; a null stands in for what cannot be.
    let raw = |json| RawValue::from_string(json).unwrap_or_else(|_| RawValue::NULL.to_owned());
    PartyText { dot: DotText(party.dot), value: party.value.as_ref().map(|value| raw(json_of(value))) }
}

/// One side out of its text form.
pub fn party(table: &'static Table, register: Option<&str>, text: &PartyText) -> Result<Party, ConvertError> {
    let value = match (register, &text.value) {
        (Some(register), Some(raw)) => Some(register_value(table, register, raw)?),
        _ => None,
    };
    Ok(Party { dot: text.dot.0, value })
}
