//! Tables as people name them.

use sync::catalog::{self, Table};

use super::error::CliError;

/// The table with a name that may be looked at; sign-in secrets may not.
pub(super) fn named(name: &str) -> Result<&'static Table, CliError> {
    let shown = || catalog::TABLES.iter().filter(|table| table.dumped);
    let known = || shown().map(|table| table.name).collect::<Vec<_>>().join(", ");
    let found = shown().find(|table| table.name == name);
    found.ok_or_else(|| CliError::Table { name: name.to_owned(), known: known() })
}
