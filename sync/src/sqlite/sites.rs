//! Lists of sites.

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::error::StoreError;
use super::listing::{self, Filters, Key, Order, Page, Sort};
use crate::catalog::Table;

/// What sites can be sorted by.
pub const SORTS: &[Sort] = &[
    Sort { name: "id", expression: "t.id", last: None },
    Sort { name: "name", expression: "t.name collate nocase", last: None },
    Sort { name: "created_at", expression: "t.created_at", last: None },
    Sort { name: "updated_at", expression: "t.updated_at", last: None },
];

/// One page of a tenant's sites, those whose name or address contains `q` if it is given.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn page(
    tx: &Connection,
    table: &'static Table,
    tenant: Uuid,
    q: Option<&str>,
    order: &Order,
    after: Option<&[Key]>,
    limit: u32,
) -> Result<Page, StoreError> {
    let mut filters = Filters::of_tenant(table, tenant);
    filters.contains(&["t.name", "t.address"], q);
    listing::page(tx, table, filters, order, after, limit)
}

/// The name and the time zone of a site.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn name_and_timezone(tx: &Connection, site: Uuid) -> Result<Option<(String, String)>, StoreError> {
    let sql = "select name, timezone from sites where id = ?";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    Ok(tx.prepare_cached(sql)?.query_row([site.to_string()], read).optional()?)
}
