//! The texts of the capture functions. Nothing here talks to a database.
//!
//! Every statement that stamps ends in the same upsert, [`ON_KNOWN`]. The version proposed to it says by its shape what
//! happened to the row:
//! * `dots` has "*" alone: it was written whole, and no register named before counts any more.
//! * `dots` names registers beside "*": these were written. Its "*" is for a row that has no version, because it was written
//!   while the triggers were off.
//! * `last_row` is there: it died, and "-" is its delete.

use super::Event;
use crate::catalog::{Column, Policy, Scope, Table};

/// Users are versioned once, outside the tenants.
const NIL: &str = "'00000000-0000-0000-0000-000000000000'::uuid";

/// What a stamp does to the version that is there. It reads `v` and no earlier look at it: who merges a delete into a dead
/// row's version has no row to lock before it.
///
/// The stamp must be later than the row's highest. All proposed dots are one and the same, so where the clock stood still or
/// ran back, each becomes a later one. A row that lives although its version says it is dead was written while the triggers
/// were off: nobody knows who wrote what, so it counts as written whole.
const ON_KNOWN: &str = "
  on conflict (tenant_id, table_id, row_id) do update set
    txid = excluded.txid,
    hlc = greatest(v.hlc + 1, excluded.hlc),
    vv = v.vv || excluded.vv,
    dots =
      case
        when excluded.last_row is null and (excluded.dots - '*' = '{}' or v.last_row is not null)
        then jsonb_strip_nulls(jsonb_build_object('-', v.dots -> '-', '*', excluded.dots -> '*'))
        else v.dots
      end
      || case
        when excluded.hlc > v.hlc then excluded.dots - '*'
        else (
          select jsonb_object_agg(register, jsonb_set(excluded.dots -> '*', '{2}', to_jsonb(v.hlc + 1)))
          from jsonb_object_keys(excluded.dots) as register
          where register <> '*' or excluded.last_row is null and (excluded.dots - '*' = '{}' or v.last_row is not null)
        )
      end,
    gone = case when excluded.last_row is null then v.gone else v.vv || excluded.vv end,
    echo_of = null,
    last_row = excluded.last_row";

/// A snapshot from before the lock was granted does not see every row that TRUNCATE removes.
const REFUSE_OLD_SNAPSHOT: &str = "
  if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
    raise exception using
      errcode = 'feature_not_supported',
      message = format('truncate of %I.%I needs isolation level read committed', tg_table_schema, tg_table_name),
      hint = 'its rows have to be read before they go; use delete instead';
  end if;";

/// The body of the function for one event on one table.
///
/// Transition tables may be empty: the trigger fires for a statement that found no row. Then nothing is spent, no sequence
/// number and no transaction id.
pub(super) fn body(table: &Table, event: Event) -> String {
    let (changed, statements) = match event {
        Event::Insert => {
            ("exists (select from new_rows)", [inserted(table), unannounced(table), references_inserted(table)])
        }
        Event::Update => {
            ("exists (select from new_rows)", [updated(table), unannounced(table), references_moved(table)])
        }
        Event::Delete => {
            ("exists (select from old_rows)", [deleted(table), String::new(), references_in(table, "old_rows")])
        }
        Event::Truncate => ("true", [REFUSE_OLD_SNAPSHOT.to_owned(), truncated(table), references_in(table, table.pg)]),
    };
    format!(
        "
declare
  own_replica integer;
  own_txid bigint;
  own_hlc bigint;
  changed boolean;
  applying boolean := coalesce(current_setting('sync.applying', true), '') = 'on';
begin
  select hub.replica, {changed} into own_replica, changed from sync.hub as hub;
  if own_replica is null then
    raise exception using
      errcode = 'object_not_in_prerequisite_state',
      message = 'sync.hub is empty, so that no write can be stamped',
      hint = 'restore its row from a backup';
  end if;
  if not changed then
    return null;
  end if;
  own_txid := pg_current_xact_id()::text::bigint;
  own_hlc := floor(extract(epoch from clock_timestamp()) * 1000)::bigint << 16;
{}
  return null;
end
",
        statements.concat()
    )
}

fn inserted(table: &Table) -> String {
    let tenant = tenant_of(table, "n");
    let (present, expected) = (present(table, "n.id", &tenant), announced(table, "n.id", "is not null"));
    format!(
        "
  insert into sync.row_versions as v (tenant_id, table_id, row_id, txid, hlc, vv, dots)
  select
    numbered.tenant_id, {table_id}, numbered.id, own_txid, own_hlc,
    jsonb_build_object(own_replica::text, numbered.seq),
    jsonb_build_object('*', jsonb_build_array(own_replica, numbered.seq, own_hlc))
  from (
    select written.tenant_id, written.id, nextval('sync.seq') as seq
    from (
      select {tenant} as tenant_id, n.id
      from new_rows as n
      where {present} and not (applying and {expected})
      group by 1, 2
      order by 1, 2
    ) as written
  ) as numbered{ON_KNOWN};
",
        table_id = table.id.0,
    )
}

fn updated(table: &Table) -> String {
    let id = "coalesce(o.id, n.id)";
    let (present, expected, deleted) = (
        present(table, id, &tenant_of_either(table)),
        announced(table, id, "is not null"),
        announced(table, id, "is null"),
    );
    let filter = format!("not (applying and ({expected} or {deleted} and not {present}))");
    changed(table, "old_rows", "new_rows", &filter)
}

/// Compares the rows that a statement of our apply wrote with what was announced. One that is gone altogether was
/// deleted by another statement, which has its own capture.
fn unannounced(table: &Table) -> String {
    let expected = format!(
        "where expected.txid = own_txid and expected.table_id = {} and expected.final is not null
          and expected.row_id in (select written.id from new_rows as written)",
        table.id.0
    );
    let old = format!(
        "(
        select image.*
        from sync.announced as expected
        cross join lateral jsonb_populate_record(null::{}, expected.final) as image
        {expected}
      )",
        table.pg
    );
    let new = format!(
        "(
        select image.*
        from sync.announced as expected
        join {} as image on image.id = expected.row_id
        {expected}
      )",
        table.pg
    );
    let filter = format!("(n.id is not null or {})", present_anywhere(table, "o.id"));
    format!("\n  if applying then{}  end if;\n", changed(table, &old, &new, &filter))
}

/// Stamps the difference between two sets of images, which may hold several images of a row in any order.
///
/// A key that only the old ones have was left by its row, a key that only the new ones have was taken by one, and a row
/// under both was changed. So a new id or tenant is a delete and an insert, and a swap of two ids is two updates.
fn changed(table: &Table, old: &str, new: &str, filter: &str) -> String {
    format!(
        "
  insert into sync.row_versions as v (tenant_id, table_id, row_id, txid, hlc, vv, dots, gone, last_row)
  select
    own.tenant_id, {table_id}, own.id, own_txid, own_hlc, own.vv,
    jsonb_build_object('*', own.dot) || case
      when not own.present then jsonb_build_object('-', own.dot)
      when own.taken then '{{}}'
      else (
        select jsonb_object_agg(register, own.dot)
        from unnest(own.wrote) as image, jsonb_object_keys(image) as register
      )
    end,
    case when not own.present then own.vv end,
    own.last_row
  from (
    select
      numbered.*,
      jsonb_build_object(own_replica::text, numbered.seq) as vv,
      jsonb_build_array(own_replica, numbered.seq, own_hlc) as dot
    from (
      select written.*, nextval('sync.seq') as seq
      from (
        select
          pair.tenant_id, pair.id,
          bool_and(pair.present) as present, bool_and(pair.taken) as taken,
          array_agg(pair.wrote) as wrote, (array_agg(pair.last_row))[1] as last_row
        from (
          select
            {tenant} as tenant_id, coalesce(o.id, n.id) as id,
            there.present, o.id is null as taken, n.id is null as abandoned,
            {wrote} as wrote,
            case when not there.present then {last_row} end as last_row
          from {old} as o
          full join {new} as n on n.id = o.id{same_tenant}
          cross join lateral (select {present} as present offset 0) as there
          where {filter}
          offset 0
        ) as pair
        where not pair.present or pair.taken or not pair.abandoned and pair.wrote <> '{{}}'
        group by 1, 2
        order by 1, 2
      ) as written
    ) as numbered
  ) as own{ON_KNOWN}
  where excluded.last_row is null or v.last_row is null;
",
        table_id = table.id.0,
        tenant = tenant_of_either(table),
        wrote = wrote(table),
        last_row = last_row(table, |column| format!("case when n.id is null then o.{column} else n.{column} end")),
        same_tenant = if is_of_a_tenant(table) { " and n.tenant_id = o.tenant_id" } else { "" },
        present = present(table, "coalesce(o.id, n.id)", &tenant_of_either(table)),
    )
}

/// The registers that differ between the images `o` and `n`, as the keys of an object. Values in JSON are compared by their
/// bytes: 1 and 1.0 are equal to PostgreSQL and not to everybody else.
fn wrote(table: &Table) -> String {
    let columns = table.registers().map(|register| {
        let differs = |column: &Column| format!("o.{0} is distinct from n.{0}", column.name);
        let any = table.columns_of(register).map(differs).collect::<Vec<_>>().join(" or ");
        format!("'{register}', case when {any} then 0 end")
    });
    let keyed = table.columns.iter().filter(|column| column.policy == Policy::PerKey);
    let keys = keyed.map(|column| {
        format!(
            " || case
              when record_image_ne(row(o.{0}), row(n.{0})) then (
                select coalesce(jsonb_object_agg('{0}.' || key, 0), '{{}}')
                from jsonb_object_keys(o.{0} || n.{0}) as key
                where record_image_ne(row(o.{0} -> key), row(n.{0} -> key))
              )
              else '{{}}'
            end",
            column.name
        )
    });
    format!(
        "jsonb_strip_nulls(jsonb_build_object(
              {}
            )){}",
        columns.collect::<Vec<_>>().join(",\n              "),
        keys.collect::<String>()
    )
}

fn deleted(table: &Table) -> String {
    let tenant = tenant_of(table, "o");
    let (present, expected) = (present(table, "o.id", &tenant), announced(table, "o.id", "is null"));
    let last_row = last_row(table, |column| format!("o.{column}"));
    let rows = format!(
        "select distinct on ({tenant}, o.id) {tenant} as tenant_id, o.id, {last_row} as last_row
      from old_rows as o
      where not {present} and not (applying and {expected})
      order by {tenant}, o.id"
    );
    died(table, &rows)
}

/// Every row there is, and every row whose version lives: after TRUNCATE none is left, whatever was missed before.
fn truncated(table: &Table) -> String {
    let tenant = tenant_of(table, "o");
    let last_row = last_row(table, |column| format!("o.{column}"));
    let rows = format!(
        "select
        coalesce({tenant}, known.tenant_id) as tenant_id,
        coalesce(o.id, known.row_id) as id,
        case when o.id is null then '{{}}' else {last_row} end as last_row
      from {table_name} as o
      full join (
        select living.tenant_id, living.row_id
        from sync.row_versions as living
        where living.table_id = {table_id} and living.last_row is null
      ) as known on known.row_id = o.id{same_tenant}
      order by 1, 2",
        table_name = table.pg,
        table_id = table.id.0,
        same_tenant = if is_of_a_tenant(table) { " and known.tenant_id = o.tenant_id" } else { "" },
    );
    died(table, &rows)
}

fn died(table: &Table, rows: &str) -> String {
    format!(
        "
  insert into sync.row_versions as v (tenant_id, table_id, row_id, txid, hlc, vv, dots, gone, last_row)
  select
    own.tenant_id, {table_id}, own.id, own_txid, own_hlc, own.vv,
    jsonb_build_object('*', own.dot, '-', own.dot), own.vv, own.last_row
  from (
    select
      numbered.*,
      jsonb_build_object(own_replica::text, numbered.seq) as vv,
      jsonb_build_array(own_replica, numbered.seq, own_hlc) as dot
    from (
      select dead.*, nextval('sync.seq') as seq
      from (
      {rows}
      ) as dead
    ) as numbered
  ) as own{ON_KNOWN};
",
        table_id = table.id.0,
    )
}

fn references_inserted(table: &Table) -> String {
    references_in(table, "new_rows")
}

fn references_in(table: &Table, rows: &str) -> String {
    let columns = user_references(table);
    let select = columns.iter().map(|column| format!("select tenant_id, {column} as user_id from {rows}"));
    scope_changed(&select.collect::<Vec<_>>())
}

/// References that one side of the statement has and the other lacks: those that came, went, or moved.
fn references_moved(table: &Table) -> String {
    let select = |column: &str, one: &str, other: &str| {
        format!(
            "select tenant_id, user_id from (
      select id, tenant_id, {column} as user_id from {one} except select id, tenant_id, {column} from {other}
    ) as moved"
        )
    };
    let columns = user_references(table);
    let both = columns
        .iter()
        .flat_map(|column| [select(column, "old_rows", "new_rows"), select(column, "new_rows", "old_rows")]);
    scope_changed(&both.collect::<Vec<_>>())
}

fn scope_changed(references: &[String]) -> String {
    if references.is_empty() {
        return String::new();
    }
    format!(
        "
  insert into sync.scope_changes (tenant_id, user_id, txid)
  select distinct reference.tenant_id, reference.user_id, own_txid
  from (
    {}
  ) as reference
  where reference.user_id is not null;
",
        references.join("\n    union all\n    ")
    )
}

/// The columns that bring a user into a tenant's scope; `sync.user_scopes` reads the same ones.
fn user_references(table: &Table) -> &'static [&'static str] {
    match table.name {
        "user_tenant_associations" | "tasks" => &["user_id"],
        "user_site_assignments" => &["user_id", "assigned_by"],
        _ => &[],
    }
}

fn is_of_a_tenant(table: &Table) -> bool {
    matches!(table.scope, Scope::Tenant | Scope::Site)
}

/// The tenant under which the row `alias` is versioned.
fn tenant_of(table: &Table, alias: &str) -> String {
    match table.scope {
        Scope::Itself => format!("{alias}.id"),
        Scope::Referred => NIL.to_owned(),
        Scope::Tenant | Scope::Site => format!("{alias}.tenant_id"),
    }
}

fn tenant_of_either(table: &Table) -> String {
    match table.scope {
        Scope::Itself => "coalesce(o.id, n.id)".to_owned(),
        Scope::Referred => NIL.to_owned(),
        Scope::Tenant | Scope::Site => "coalesce(o.tenant_id, n.tenant_id)".to_owned(),
    }
}

/// Whether the row is in its table, under this tenant. A scalar subquery, because EXISTS may become a join, and the
/// session keeps the plan that it made for a small table.
fn present(table: &Table, id: &str, tenant: &str) -> String {
    if !is_of_a_tenant(table) {
        return present_anywhere(table, id);
    }
    format!("(select base.id from {} as base where base.id = {id} and base.tenant_id = {tenant}) is not null", table.pg)
}

fn present_anywhere(table: &Table, id: &str) -> String {
    format!("(select base.id from {} as base where base.id = {id}) is not null", table.pg)
}

/// Whether our apply announced the row in this transaction with a `final` that is so.
fn announced(table: &Table, id: &str, is: &str) -> String {
    format!(
        "exists (
        select from sync.announced as expected
        where expected.txid = own_txid and expected.table_id = {} and expected.row_id = {id} and expected.final {is}
      )",
        table.id.0
    )
}

/// A row's last values. Columns that the catalog lacks stay at the centre, dead or alive.
fn last_row(table: &Table, value: impl Fn(&str) -> String) -> String {
    let fields = table.columns.iter().map(|column| format!("'{}', {}", column.name, value(column.name)));
    format!("jsonb_build_object(\n          {}\n        )", fields.collect::<Vec<_>>().join(",\n          "))
}
