//! The synced tables, once.
//!
//! Order is foreign-key order: parents before children. Trigger texts, codecs, dumps and the conformance test are
//! derived from this list. A new column is one line here plus one migration on each side. Nothing here knows SQL
//! beyond names.

use crate::merge::ids::TableId;
use crate::merge::value::Register;

/// Where a table's rows may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// At the centre only.
    Down,
    /// At the centre and at every edge.
    Both,
}

/// Which edges a row goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Edges of the tenant whose id is the row's id.
    Itself,
    /// Edges of the tenant in the row's `tenant_id`.
    Tenant,
    /// Edges of every tenant that refers to the row: the users.
    Referred,
    /// Edges of the site in the row's `site_id`.
    Site,
}

/// A column's type on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `uuid`; lower-case text in SQLite.
    Uuid,
    /// `text`.
    Text,
    /// A PostgreSQL enum, text with a check in SQLite: its type's name and its labels in order.
    Enum(&'static str, &'static [&'static str]),
    /// `timestamptz`; RFC 3339 text in UTC with six decimals and `Z` in SQLite.
    Timestamp,
    /// `double precision`; REAL in SQLite.
    Real,
    /// `jsonb`, always an object; text in SQLite.
    Json,
}

/// How a column's writes are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The row's key. It names the row and is no register.
    Key,
    /// A register of its own.
    Register,
    /// A register of its own that is never recorded as a conflict.
    Quiet,
    /// Wins and loses together with the other columns of the group named by its first column.
    Group(&'static str),
    /// One register per top-level key.
    PerKey,
}

/// A column of a synced table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name on both sides.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
    /// How it merges.
    pub policy: Policy,
}

/// A synced table.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    /// Its number, stored and sent.
    pub id: TableId,
    /// Its name in the protocol, the API and dumps.
    pub name: &'static str,
    /// Its qualified name in PostgreSQL.
    pub pg: &'static str,
    /// Its name in SQLite.
    pub sqlite: &'static str,
    /// Where it may be written.
    pub direction: Direction,
    /// Where its rows go.
    pub scope: Scope,
    /// Whether dumps list it.
    pub dumped: bool,
    /// Its columns in schema order, `id` first.
    pub columns: &'static [Column],
}

impl Table {
    /// The registers of the table in schema order; a `PerKey` column stands for its keys and is left out.
    pub fn registers(&self) -> impl Iterator<Item = &'static str> {
        let leads = |column: &&Column| match column.policy {
            Policy::Register | Policy::Quiet => true,
            Policy::Group(lead) => lead == column.name,
            Policy::Key | Policy::PerKey => false,
        };
        self.columns.iter().filter(leads).map(|column| column.name)
    }

    /// The columns that a register stands for; empty for a JSON key and for an unknown name.
    pub fn columns_of(&self, register: &str) -> impl Iterator<Item = &'static Column> {
        let register = register.to_owned();
        self.columns.iter().filter(move |column| match column.policy {
            Policy::Register | Policy::Quiet => column.name == register,
            Policy::Group(lead) => lead == register,
            Policy::Key | Policy::PerKey => false,
        })
    }

    /// The register that a column belongs to; for a `PerKey` column the prefix of its registers.
    pub fn register_of(&self, column: &str) -> Option<&'static str> {
        let column = self.columns.iter().find(|candidate| candidate.name == column)?;
        Some(match column.policy {
            Policy::Group(lead) => lead,
            _ => column.name,
        })
    }

    /// The registers that are never recorded as conflicts.
    pub fn quiet(&self) -> Vec<&'static str> {
        self.columns.iter().filter(|column| column.policy == Policy::Quiet).map(|column| column.name).collect()
    }

    /// The registers without which there is no row.
    pub fn needed(&self) -> Vec<&'static str> {
        self.registers().filter(|register| !self.columns_of(register).all(|column| column.nullable)).collect()
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&'static Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// The register of one key of a `PerKey` column.
pub fn key_register(column: &str, key: &str) -> Register {
    format!("{column}.{key}")
}

/// The column and key of a JSON key's register, split at the first dot; `None` for any other register.
pub fn split_key(register: &str) -> Option<(&str, &str)> {
    register.split_once('.')
}

/// A table by its number.
pub fn by_id(id: TableId) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.id == id)
}

/// A table by its name.
pub fn by_name(name: &str) -> Option<&'static Table> {
    TABLES.iter().find(|table| table.name == name)
}

/// The version of this list, raised whenever a table or a column is added. A hub with a lower one cannot take what an
/// edge with a higher one may send.
pub const VERSION: u32 = 1;

/// The tables in foreign-key order.
pub const TABLES: &[Table] = &[
    Table {
        id: TableId(1),
        name: "tenants",
        pg: "public.tenants",
        sqlite: "tenants",
        direction: Direction::Down,
        scope: Scope::Itself,
        dumped: true,
        columns: &[
            ID,
            column("name", Kind::Text),
            column("slug", Kind::Text),
            column("type", Kind::Enum("tenant_type", &["enterprise", "standard", "starter", "trial"])),
            column("status", Kind::Enum("tenant_status", &["active", "suspended", "archived", "pending"])),
            optional("keycloak_group_id", Kind::Text),
            METADATA,
            CREATED_AT,
            UPDATED_AT,
        ],
    },
    Table {
        id: TableId(2),
        name: "users",
        pg: "public.users",
        sqlite: "users",
        direction: Direction::Down,
        scope: Scope::Referred,
        dumped: true,
        columns: &[
            ID,
            column("email", Kind::Text),
            optional("first_name", Kind::Text),
            optional("last_name", Kind::Text),
            column("user_type", Kind::Enum("user_type", USER_TYPES)),
            CREATED_AT,
            UPDATED_AT,
        ],
    },
    Table {
        id: TableId(3),
        name: "user_tenant_associations",
        pg: "public.user_tenant_associations",
        sqlite: "user_tenant_associations",
        direction: Direction::Down,
        scope: Scope::Tenant,
        dumped: true,
        columns: &[
            ID,
            column("user_id", Kind::Uuid),
            column("tenant_id", Kind::Uuid),
            column("role", Kind::Enum("member_role", &["owner", "admin", "member", "viewer"])),
            column("status", Kind::Enum("member_status", &["active", "invited", "suspended"])),
            METADATA,
            CREATED_AT,
            UPDATED_AT,
        ],
    },
    Table {
        id: TableId(4),
        name: "sites",
        pg: "public.sites",
        sqlite: "sites",
        direction: Direction::Both,
        scope: Scope::Tenant,
        dumped: true,
        columns: &[
            ID,
            column("tenant_id", Kind::Uuid),
            column("name", Kind::Text),
            optional("address", Kind::Text),
            grouped("latitude", Kind::Real, "latitude", true),
            grouped("longitude", Kind::Real, "latitude", true),
            column("timezone", Kind::Text),
            METADATA,
            CREATED_AT,
            UPDATED_AT,
        ],
    },
    Table {
        id: TableId(5),
        name: "user_site_assignments",
        pg: "public.user_site_assignments",
        sqlite: "user_site_assignments",
        direction: Direction::Down,
        scope: Scope::Tenant,
        dumped: true,
        columns: &[
            ID,
            column("user_id", Kind::Uuid),
            column("site_id", Kind::Uuid),
            column("tenant_id", Kind::Uuid),
            optional("assigned_by", Kind::Uuid),
            METADATA,
            CREATED_AT,
            UPDATED_AT,
        ],
    },
    Table {
        id: TableId(6),
        name: "credentials",
        pg: "sync.credentials",
        sqlite: "sync_credentials",
        direction: Direction::Down,
        scope: Scope::Site,
        dumped: false,
        columns: &[
            ID,
            column("tenant_id", Kind::Uuid),
            column("user_id", Kind::Uuid),
            column("site_id", Kind::Uuid),
            column("verifier", Kind::Text),
            CREATED_AT,
            UPDATED_AT,
        ],
    },
    Table {
        id: TableId(7),
        name: "devices",
        pg: "public.devices",
        sqlite: "devices",
        direction: Direction::Both,
        scope: Scope::Tenant,
        dumped: true,
        columns: &[
            ID,
            column("tenant_id", Kind::Uuid),
            column("site_id", Kind::Uuid),
            column("name", Kind::Text),
            column("type", Kind::Enum("device_type", DEVICE_TYPES)),
            optional("serial_number", Kind::Text),
            column("status", Kind::Enum("device_status", DEVICE_STATUSES)),
            METADATA,
            CREATED_AT,
            UPDATED_AT,
        ],
    },
    Table {
        id: TableId(8),
        name: "tasks",
        pg: "public.tasks",
        sqlite: "tasks",
        direction: Direction::Both,
        scope: Scope::Tenant,
        dumped: true,
        columns: &[
            ID,
            column("tenant_id", Kind::Uuid),
            optional("user_id", Kind::Uuid),
            optional("site_id", Kind::Uuid),
            optional("device_id", Kind::Uuid),
            column("title", Kind::Text),
            optional("description", Kind::Text),
            grouped("status", Kind::Enum("task_status", TASK_STATUSES), "status", false),
            column("priority", Kind::Enum("task_priority", &["low", "medium", "high", "urgent"])),
            optional("due_date", Kind::Timestamp),
            grouped("completed_at", Kind::Timestamp, "status", true),
            METADATA,
            CREATED_AT,
            UPDATED_AT,
        ],
    },
];

const USER_TYPES: &[&str] = &["system_admin", "tenant_admin", "regular_user", "service_account", "guest_user"];
const DEVICE_TYPES: &[&str] =
    &["sensor", "controller", "gateway", "camera", "actuator", "meter", "beacon", "router", "server", "workstation"];
const DEVICE_STATUSES: &[&str] = &["online", "offline", "maintenance", "error", "decommissioned"];
const TASK_STATUSES: &[&str] = &["open", "in_progress", "blocked", "done", "cancelled"];

const ID: Column = Column { name: "id", kind: Kind::Uuid, nullable: false, policy: Policy::Key };
const METADATA: Column = Column { name: "metadata", kind: Kind::Json, nullable: false, policy: Policy::PerKey };
const CREATED_AT: Column = column("created_at", Kind::Timestamp);
const UPDATED_AT: Column = Column { name: "updated_at", kind: Kind::Timestamp, nullable: false, policy: Policy::Quiet };

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false, policy: Policy::Register }
}

const fn optional(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: true, policy: Policy::Register }
}

const fn grouped(name: &'static str, kind: Kind, lead: &'static str, nullable: bool) -> Column {
    Column { name, kind, nullable, policy: Policy::Group(lead) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_register_belongs_to_columns_of_its_table() {
        for table in TABLES {
            for register in table.registers() {
                assert!(table.columns_of(register).count() > 0, "{}.{register}", table.name);
                assert!(!register.contains('.'), "{}.{register} would read as a JSON key", table.name);
            }
            assert_eq!(table.columns[0].name, "id");
        }
    }

    #[test]
    fn what_is_exchanged_is_what_the_version_says() {
        let columns: Vec<usize> = TABLES.iter().map(|table| table.columns.len()).collect();
        assert_eq!((VERSION, columns), (1, vec![9, 7, 8, 10, 8, 7, 10, 14]), "raise VERSION with the list");
    }

    #[test]
    fn a_key_with_dots_is_split_at_the_first_one() {
        assert_eq!(split_key(&key_register("metadata", "a.b")), Some(("metadata", "a.b")));
    }
}
