//! Which rows refer to which at the centre, as its foreign keys say, and who sees which users.

use std::collections::BTreeMap;

use sync::catalog::{self, Scope};
use sync::merge::ids::{ReplicaId, RowId, TableId};
use sync::merge::value::Value;
use sync::merge::version::Row;
use uuid::Uuid;

use super::{Changes, Database, RowKey};

/// Child, column, parent, and whether the child goes with its parent.
const REFERENCES: &[(&str, &str, &str, bool)] = &[
    ("user_tenant_associations", "user_id", "users", true),
    ("devices", "site_id", "sites", true),
    ("tasks", "site_id", "sites", false),
    ("tasks", "device_id", "devices", false),
    ("tasks", "user_id", "users", false),
];

fn number(table: &str) -> TableId {
    catalog::by_name(table).expect("a table of the catalog").id
}

fn references(child: RowKey) -> impl Iterator<Item = &'static (&'static str, &'static str, &'static str, bool)> {
    REFERENCES.iter().filter(move |(table, ..)| number(table) == child.0)
}

fn target(row: &Row, column: &str) -> Option<RowId> {
    match row.values.get(column) {
        Some(Value::Text(id)) => id.parse().ok().map(RowId),
        _ => None,
    }
}

/// The rows to which a row refers.
pub(super) fn parents(child: RowKey, row: &Row) -> Vec<RowKey> {
    references(child).filter_map(|(_, column, parent, _)| Some((number(parent), target(row, column)?))).collect()
}

/// Whether a row refers to another one.
pub(super) fn refers(child: RowKey, row: &Row, parent: RowKey) -> bool {
    parents(child, row).contains(&parent)
}

/// What becomes of a row when one to which it refers is deleted: `None`, it goes as well.
pub(super) fn when_deleted(child: RowKey, row: &Row, parent: RowKey) -> Option<Changes> {
    let mut changes = BTreeMap::new();
    for (_, column, table, goes) in references(child) {
        if number(table) == parent.0 && target(row, column) == Some(parent.1) {
            if *goes {
                return None;
            }
            changes.insert((*column).to_owned(), Some(Value::Null));
        }
    }
    Some(changes)
}

impl Database {
    /// Whether a living row of a table that edges write refers to this one.
    pub(super) fn has_children(&self, parent: RowKey) -> bool {
        let living = self.rows.iter().filter(|(_, stored)| stored.row.version.is_alive());
        let mut pushed = living.filter(|((table, _), _)| catalog::by_id(*table).is_some_and(|table| table.dumped));
        pushed.any(|(key, stored)| refers(*key, &stored.row, parent))
    }

    /// The column of a pushed row that refers to what is not there, or to somebody who is no member. Whoever was assigned
    /// before may stay.
    pub(super) fn missing_reference(&self, key: RowKey, row: &Row, before: Option<&Row>) -> Option<&'static str> {
        let is_missing = |(_, column, parent, _): &&(&str, &'static str, &str, bool)| {
            let Some(id) = target(row, column) else { return false };
            match *parent {
                "users" => before.is_none_or(|before| target(before, column) != Some(id)) && !self.is_member(id.0),
                _ => self.living((number(parent), id)).is_none(),
            }
        };
        references(key).find(is_missing).map(|(_, column, ..)| *column)
    }

    fn is_member(&self, user: Uuid) -> bool {
        self.refer_to_user("user_tenant_associations", user)
    }

    fn refer_to_user(&self, table: &str, user: Uuid) -> bool {
        let table = number(table);
        let first = RowId(Uuid::nil());
        let of_table = self.rows.range((table, first)..).take_while(|((other, _), _)| *other == table);
        let mut living = of_table.filter(|(_, stored)| stored.row.version.is_alive());
        living.any(|(_, stored)| target(&stored.row, "user_id") == Some(RowId(user)))
    }

    /// Whether the edges of the tenant see the row: users only while a membership or a task refers to them.
    pub fn in_scope(&self, (table, id): RowKey) -> bool {
        let referred = catalog::by_id(table).is_some_and(|table| table.scope == Scope::Referred);
        !referred || self.is_member(id.0) || self.refer_to_user("tasks", id.0)
    }

    /// Notes which users' scope a write may change. To be called before the row is stored.
    pub(super) fn note_scope(&mut self, key: RowKey, row: &Row, txid: i64) {
        if !["user_tenant_associations", "tasks"].map(number).contains(&key.0) {
            return;
        }
        let before = self.living(key).and_then(|row| target(row, "user_id"));
        let after = Some(row).filter(|row| row.version.is_alive()).and_then(|row| target(row, "user_id"));
        if before != after {
            self.scope_changes.extend(before.into_iter().chain(after).map(|user| (user.0, txid)));
        }
    }

    /// The same for a row that an edge pushed.
    pub(super) fn store_pushed(&mut self, key: RowKey, row: Row, echo_of: Option<ReplicaId>, at: (i64, u64)) {
        self.note_scope(key, &row, at.0);
        self.store(key, row, echo_of, at.0, at.1);
    }
}
