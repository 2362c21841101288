//! Whether the hub's role may do what a hub does, table by table.

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
    /// The rights that are missing; empty when all are there.
    pub rights: String,
    /// Whether row level security would hide rows.
    pub hidden: bool,
}

impl fmt::Display for Lack {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, rights, hidden } = self;
        if !rights.is_empty() {
            write!(formatter, "{HUB_ROLE} may not {rights} {table}; run `grant {rights} on {table} to {HUB_ROLE}`")?;
        }
        if *hidden {
            let mark = if rights.is_empty() { "" } else { "; " };
            write!(
                formatter,
                "{mark}row level security would hide rows of {table} from the hub, so it touches none; run \
                 `alter role {HUB_ROLE} bypassrls`, or `alter table {table} disable row level security`"
            )?;
        }
        Ok(())
    }
}

/// Every table in which the hub's role cannot do its work, by name; none when that role does not exist.
///
/// # Errors
/// [`StoreError`].
pub async fn missing(client: &Client) -> Result<Vec<Lack>, StoreError> {
    let statement = "
      select format('%s.%s', schema_.nspname, relation.relname), lacking.rights,
        relation.relrowsecurity and not (hub.rolsuper or hub.rolbypassrls)
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
        and (lacking.rights <> '' or relation.relrowsecurity and not (hub.rolsuper or hub.rolbypassrls))
      order by 1";
    let tables: Vec<&str> = TABLES.iter().map(|table| table.name).chain(["audit_logs"]).collect();
    let rows = client.query(statement, &[&HUB_ROLE, &tables]).await?;
    Ok(rows.iter().map(|row| Lack { table: row.get(0), rights: row.get(1), hidden: row.get(2) }).collect())
}
