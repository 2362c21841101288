//! What a register holds. Foreign data becomes a `Value` in `wire/`, in canonical form, or is refused there.

use std::collections::BTreeMap;

/// The unit of merging, by name: a column (`title`), a group of columns that win together, named by its first
/// (`status`), or one top-level key of a JSON object (`metadata.firmware`).
pub type Register = String;

/// The values of a row by register. A JSON key that the row lacks has no entry.
pub type Values = BTreeMap<Register, Value>;

/// One register's value in canonical form, so that equal values compare equal.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL null.
    Null,
    /// Text, an enum's label, a lower-case uuid, or a timestamp in UTC with six decimals.
    Text(String),
    /// A finite double; negative zero is stored as zero.
    Real(f64),
    /// Canonical JSON text of one key's value (RFC 8785, integers exact).
    Json(String),
    /// The columns of a group, in catalog order.
    Group(Vec<Self>),
}

impl Value {
    /// A text value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}
