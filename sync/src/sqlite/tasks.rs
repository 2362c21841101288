//! Lists of tasks.

use rusqlite::Connection;
use uuid::Uuid;

use super::error::StoreError;
use super::listing::{self, Filters, Key, Order, Page, Sort};
use crate::catalog::Table;

/// Which tasks.
#[derive(Clone, Debug, Default)]
pub struct TaskFilter {
    /// Those with one of these statuses; any when empty.
    pub statuses: Vec<String>,
    /// Those with one of these priorities; any when empty.
    pub priorities: Vec<String>,
    /// Those of this person.
    pub user_id: Option<Uuid>,
    /// Those at this site.
    pub site_id: Option<Uuid>,
    /// Those of this device.
    pub device_id: Option<Uuid>,
    /// Those due before this canonical time.
    pub due_before: Option<String>,
    /// Those due at this canonical time or after it.
    pub due_after: Option<String>,
    /// Those whose title or description contains this.
    pub q: Option<String>,
}

/// What tasks can be sorted by. Statuses and priorities sort as people rank them.
pub const SORTS: &[Sort] = &[
    Sort { name: "id", expression: "t.id", last: None },
    Sort { name: "title", expression: "t.title collate nocase", last: None },
    Sort {
        name: "status",
        expression: "case t.status when 'open' then 0 when 'in_progress' then 1 when 'blocked' then 2 \
                     when 'done' then 3 when 'cancelled' then 4 else 5 end",
        last: None,
    },
    Sort {
        name: "priority",
        expression: "case t.priority when 'low' then 0 when 'medium' then 1 when 'high' then 2 when 'urgent' then 3 \
                     else 4 end",
        last: None,
    },
    Sort { name: "due_date", expression: "coalesce(t.due_date, '')", last: Some("(t.due_date is null)") },
    Sort { name: "completed_at", expression: "coalesce(t.completed_at, '')", last: Some("(t.completed_at is null)") },
    Sort { name: "created_at", expression: "t.created_at", last: None },
    Sort { name: "updated_at", expression: "t.updated_at", last: None },
];

/// One page of a tenant's tasks.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn page(
    tx: &Connection,
    table: &'static Table,
    tenant: Uuid,
    filter: &TaskFilter,
    order: &Order,
    after: Option<&[Key]>,
    limit: u32,
) -> Result<Page, StoreError> {
    let mut filters = Filters::of_tenant(table, tenant);
    filters.any_of("t.status", &filter.statuses);
    filters.any_of("t.priority", &filter.priorities);
    filters.equal("t.user_id", filter.user_id.map(|id| id.to_string()).as_deref());
    filters.equal("t.site_id", filter.site_id.map(|id| id.to_string()).as_deref());
    filters.equal("t.device_id", filter.device_id.map(|id| id.to_string()).as_deref());
    if let Some(time) = &filter.due_before {
        filters.and("t.due_date < ?", [time.clone()]);
    }
    if let Some(time) = &filter.due_after {
        filters.and("t.due_date >= ?", [time.clone()]);
    }
    filters.contains(&["t.title", "t.description"], filter.q.as_deref());
    listing::page(tx, table, filters, order, after, limit)
}
