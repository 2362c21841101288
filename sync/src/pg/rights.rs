//! Whether the hub's role may do what a hub does, table by table, and whether the second wall between tenants stands.

use std::fmt;

use tokio_postgres::Client;

use super::connection::HUB_ROLE;
use super::error::StoreError;
use crate::catalog::TABLES;

/// A table in which the hub's role cannot do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The table, with its schema.
    pub table: String,
    /// The rights that are missing.
    pub rights: String,
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, rights } = self;
        write!(formatter, "{HUB_ROLE} may not {rights} {table}; run `grant {rights} on {table} to {HUB_ROLE}`")
    }
}

/// A table whose wall is not as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenWall {
    /// The table, with its schema.
    pub table: String,
    /// What is wrong.
    pub problem: String,
    /// Whether rows are hidden from the hub, which then touches none.
    pub hides: bool,
}

impl fmt::Display for BrokenWall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, problem, hides } = self;
        match hides {
            true => write!(
                formatter,
                "{table}: {problem}, so it touches none; drop the policy, limit it to the roles that it is meant for, or make \
                 the one that is missing again (migrations/central/V0015__walls.sql)"
            ),
            false => write!(
                formatter,
                "{table}: {problem}; run `alter table {table} enable row level security`, and make the policy \
                 hub_keeps_to_its_tenant again if it is missing (migrations/central/V0015__walls.sql)"
            ),
        }
    }
}

/// Every table in which the hub's role cannot do its work, by name; none when that role does not exist.
///
/// # Errors
/// [`StoreError`].
pub async fn missing(client: &Client) -> Result<Vec<Lack>, StoreError> {
    let statement = "
      select format('%s.%s', schema_.nspname, relation.relname), lacking.rights
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as schema_ on schema_.oid = relation.relnamespace
      join pg_catalog.pg_roles as hub on hub.rolname = $1
      cross join lateral (
        select coalesce(string_agg(wanted, ', ' order by place), '') as rights
        from unnest(array['select', 'insert', 'update', 'delete']) with ordinality as wanted (wanted, place)
        where not has_table_privilege(hub.oid, relation.oid, wanted)
          and (relation.relname, wanted) not in (
            ('audit_logs', 'update'), ('audit_logs', 'delete'), ('hub', 'insert'), ('hub', 'delete'), ('replicas', 'delete')
          )
      ) as lacking
      where relation.relkind in ('r', 'p')
        and (schema_.nspname = 'sync' or schema_.nspname = 'public' and relation.relname = any($2))
        and lacking.rights <> ''
      order by 1";
    let tables: Vec<&str> = TABLES.iter().map(|table| table.name).chain(["audit_logs"]).collect();
    let rows = client.query(statement, &[&HUB_ROLE, &tables]).await?;
    Ok(rows.iter().map(|row| Lack { table: row.get(0), rights: row.get(1) }).collect())
}

/// Every table whose wall is not as it was made, by name.
///
/// # Errors
/// [`StoreError`].
pub async fn broken_walls(client: &Client) -> Result<Vec<BrokenWall>, StoreError> {
    let rows = client.query("select relation, problem, hides from sync.broken_walls order by 1", &[]).await?;
    Ok(rows.iter().map(|row| BrokenWall { table: row.get(0), problem: row.get(1), hides: row.get(2) }).collect())
}

/// Why the role that is signed in could step out of the hub's role and over the wall: `is a superuser`, `owns the tables`, or
/// `bypasses row level security`; `None` for a role that is as it should be.
///
/// # Errors
/// [`StoreError`].
pub async fn is_mighty(client: &Client) -> Result<Option<&'static str>, StoreError> {
    let statement = "
      select role_.rolsuper, role_.rolbypassrls, exists (
        select from sync.walls as wall join pg_catalog.pg_class as relation on relation.oid = wall.relation
        where pg_has_role(session_user, relation.relowner, 'usage')
      )
      from pg_catalog.pg_roles as role_ where role_.rolname = session_user";
    let row = client.query_one(statement, &[]).await?;
    Ok(match (row.get(0), row.get(1), row.get(2)) {
        (true, _, _) => Some("is a superuser"),
        (_, _, true) => Some("owns the tables"),
        (_, true, _) => Some("bypasses row level security"),
        (false, false, false) => None,
    })
}
