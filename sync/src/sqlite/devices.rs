//! Lists of devices, and the numbers that must be theirs alone.

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::error::StoreError;
use super::listing::{self, Filters, Key, Order, Page, Sort};
use crate::catalog::Table;

/// Which devices.
#[derive(Clone, Debug, Default)]
pub struct DeviceFilter {
    /// Those at this site.
    pub site_id: Option<Uuid>,
    /// Those of one of these types; any when empty.
    pub types: Vec<String>,
    /// Those with one of these statuses; any when empty.
    pub statuses: Vec<String>,
    /// The one with this serial number.
    pub serial_number: Option<String>,
    /// Those whose name or serial number contains this.
    pub q: Option<String>,
}

/// What devices can be sorted by.
pub const SORTS: &[Sort] = &[
    Sort { name: "id", expression: "t.id", last: None },
    Sort { name: "name", expression: "t.name collate nocase", last: None },
    Sort { name: "type", expression: "t.type", last: None },
    Sort { name: "status", expression: "t.status", last: None },
    Sort {
        name: "serial_number",
        expression: "coalesce(t.serial_number, '')",
        last: Some("(t.serial_number is null)"),
    },
    Sort { name: "created_at", expression: "t.created_at", last: None },
    Sort { name: "updated_at", expression: "t.updated_at", last: None },
];

/// One page of a tenant's devices.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn page(
    tx: &Connection,
    table: &'static Table,
    tenant: Uuid,
    filter: &DeviceFilter,
    order: &Order,
    after: Option<&[Key]>,
    limit: u32,
) -> Result<Page, StoreError> {
    let mut filters = Filters::of_tenant(table, tenant);
    filters.equal("t.site_id", filter.site_id.map(|id| id.to_string()).as_deref());
    filters.any_of("t.type", &filter.types);
    filters.any_of("t.status", &filter.statuses);
    filters.equal("t.serial_number", filter.serial_number.as_deref());
    filters.contains(&["t.name", "t.serial_number"], filter.q.as_deref());
    listing::page(tx, table, filters, order, after, limit)
}

/// The name of another device of the tenant that has a serial number already. Nothing but this keeps them apart here: the
/// mirror has no unique keys, and the centre would refuse the second one.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn serial_number_holder(
    tx: &Connection,
    tenant: Uuid,
    serial_number: &str,
    except: Uuid,
) -> Result<Option<String>, StoreError> {
    let sql = "select name from devices where tenant_id = ? and serial_number = ? and id <> ? limit 1";
    let keys = [tenant.to_string(), serial_number.to_owned(), except.to_string()];
    Ok(tx.prepare_cached(sql)?.query_row(keys, |row| row.get(0)).optional()?)
}
