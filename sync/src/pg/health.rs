//! Whether the centre still captures every write. Asked at start, by every session and by `hub doctor`.
//!
//! It looks and repairs nothing. Restores, ORMs and well-meant scripts take triggers away without a word: after `alter table
//! .. disable trigger all`, `enable trigger all` brings them back in a state in which a session in replica role escapes
//! them. A finding means that writes may have been missed since.

use std::collections::BTreeMap;
use std::fmt;

use tokio_postgres::Client;

use super::capture::{self, Event, SETTINGS, Trigger};
use super::error::StoreError;
use crate::catalog::{Kind, TABLES, Table};

/// Columns that the centre keeps to itself.
const CENTRE_ONLY: [(&str, &str); 2] = [("users", "keycloak_id"), ("users", "metadata")];

/// One way in which a synced table is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table, with its schema.
    pub table: &'static str,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a synced table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no such table.
    TableMissing,
    /// It is partitioned, inherits or is inherited from: statements on a part of it fire no trigger of the whole.
    TableInParts,
    /// It is the target of a logical replication, whose worker fires no statement triggers.
    TableSubscribed,
    /// The trigger does not exist.
    TriggerMissing(Event),
    /// The trigger exists and does not fire for every session; the state as in `pg_trigger.tgenabled`.
    TriggerNotAlways(Event, char),
    /// The trigger or its function is not what this program installs.
    TriggerDiffers(Event),
    /// The catalog's column does not exist.
    ColumnMissing(&'static str),
    /// The column has another type or another idea of null; what it should be, and what it is.
    ColumnDiffers(&'static str, String, String),
    /// The catalog does not know the column: it stays at the centre.
    ColumnUnknown(String),
}

impl Problem {
    /// True if writes may be lost on the way; an unknown column is only news.
    pub fn is_error(&self) -> bool {
        !matches!(self, Self::ColumnUnknown(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = self.table;
        let install = "run `hub db migrate up`, and compare the edges by digest";
        match &self.problem {
            Problem::TableMissing => write!(f, "{table} does not exist; run `hub db migrate up`"),
            Problem::TableInParts => write!(f, "{table} is partitioned or inherited; make it one ordinary table"),
            Problem::TableSubscribed => {
                write!(
                    f,
                    "{table} is written by a subscription, which fires no statement triggers; end the subscription"
                )
            }
            Problem::TriggerMissing(event) => write!(f, "{table} has no trigger for {}; {install}", event.name()),
            Problem::TriggerNotAlways(event, state) => {
                write!(f, "the trigger of {table} for {} is in state '{state}' instead of 'A'; {install}", event.name())
            }
            Problem::TriggerDiffers(event) => {
                write!(f, "the trigger of {table} for {} is of another release; {install}", event.name())
            }
            Problem::ColumnMissing(column) => write!(f, "{table}.{column} does not exist; run `hub db migrate up`"),
            Problem::ColumnDiffers(column, expected, found) => {
                write!(f, "{table}.{column} is {found} instead of {expected}; run `hub db check`")
            }
            Problem::ColumnUnknown(column) => {
                write!(f, "{table}.{column} is not in the catalog and stays at the centre")
            }
        }
    }
}

/// Compares tables, columns, triggers and functions with what the catalog asks for; empty if all is well. Findings come in
/// catalog order.
pub async fn verify(client: &Client) -> Result<Vec<Finding>, StoreError> {
    let (relations, columns, triggers) = (relations(client).await?, columns(client).await?, installed(client).await?);
    let mut findings = Vec::new();
    for table in TABLES {
        let mut found = |problem| findings.push(Finding { table: table.pg, problem });
        let Some(relation) = relations.get(table.pg) else {
            found(Problem::TableMissing);
            continue;
        };
        if relation.in_parts {
            found(Problem::TableInParts);
        }
        if relation.subscribed {
            found(Problem::TableSubscribed);
        }
        compare_columns(table, &columns).into_iter().for_each(&mut found);
        let events = Event::ALL.map(|event| Trigger { table, event });
        events.into_iter().filter_map(|trigger| compare_trigger(trigger, &triggers)).for_each(&mut found);
    }
    Ok(findings)
}

struct Relation {
    in_parts: bool,
    subscribed: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Installed {
    function: String,
    text: String,
    settings: Vec<String>,
    definer: bool,
    /// Level, moment and events, as in `pg_trigger.tgtype`.
    kind: i16,
    /// The names of the transition tables, before and after.
    transition: (Option<String>, Option<String>),
    conditional: bool,
}

type Columns = BTreeMap<(String, String), String>;
type Triggers = BTreeMap<(String, String), (char, Installed)>;

fn compare_columns(table: &'static Table, columns: &Columns) -> Vec<Problem> {
    let known = table.columns.iter().filter_map(|column| {
        let expected = format!("{}{}", type_of(column.kind), if column.nullable { "" } else { " not null" });
        match columns.get(&(table.pg.to_owned(), column.name.to_owned())) {
            None => Some(Problem::ColumnMissing(column.name)),
            Some(found) if *found == expected => None,
            Some(found) => Some(Problem::ColumnDiffers(column.name, expected, found.clone())),
        }
    });
    let is_known = |name: &str| table.column(name).is_some() || CENTRE_ONLY.contains(&(table.name, name));
    let unknown = columns.keys().filter(|(owner, name)| owner == table.pg && !is_known(name));
    known.chain(unknown.map(|(_, name)| Problem::ColumnUnknown(name.clone()))).collect()
}

fn compare_trigger(trigger: Trigger, triggers: &Triggers) -> Option<Problem> {
    let Some((enabled, installed)) = triggers.get(&(trigger.table.pg.to_owned(), trigger.name())) else {
        return Some(Problem::TriggerMissing(trigger.event));
    };
    if *installed != expected(trigger) {
        return Some(Problem::TriggerDiffers(trigger.event));
    }
    (*enabled != 'A').then_some(Problem::TriggerNotAlways(trigger.event, *enabled))
}

fn expected(trigger: Trigger) -> Installed {
    let (old, new) = trigger.event.transition_tables();
    Installed {
        function: format!("sync.{}", trigger.function()),
        text: capture::sha256(&trigger.body()),
        settings: SETTINGS.map(str::to_owned).to_vec(),
        definer: true,
        // Bits of pg_trigger.h: 2 before, 4 insert, 8 delete, 16 update, 32 truncate; for each statement has no bit.
        kind: match trigger.event {
            Event::Insert => 4,
            Event::Update => 16,
            Event::Delete => 8,
            Event::Truncate => 2 | 32,
        },
        transition: (old.map(str::to_owned), new.map(str::to_owned)),
        conditional: false,
    }
}

/// The column's type as PostgreSQL prints it with a search path that hides schema `public`.
fn type_of(kind: Kind) -> String {
    match kind {
        Kind::Uuid => "uuid".to_owned(),
        Kind::Text => "text".to_owned(),
        Kind::Enum(name, _) => format!("public.{name}"),
        Kind::Timestamp => "timestamp with time zone".to_owned(),
        Kind::Real => "double precision".to_owned(),
        Kind::Json => "jsonb".to_owned(),
    }
}

async fn relations(client: &Client) -> Result<BTreeMap<String, Relation>, StoreError> {
    let statement = "
      select
        format('%s.%s', schema_.nspname, relation.relname),
        relation.relkind <> 'r' or exists (
          select from pg_catalog.pg_inherits as link where relation.oid in (link.inhrelid, link.inhparent)
        ),
        exists (select from pg_catalog.pg_subscription_rel as link where link.srrelid = relation.oid)
      from pg_catalog.pg_class as relation
      join pg_catalog.pg_namespace as schema_ on schema_.oid = relation.relnamespace
      where schema_.nspname in ('public', 'sync') and relation.relkind in ('r', 'p', 'v', 'm', 'f')";
    let rows = client.query(statement, &[]).await?;
    Ok(rows.iter().map(|row| (row.get(0), Relation { in_parts: row.get(1), subscribed: row.get(2) })).collect())
}

/// Type and nullability of every column, by table and name. The type is qualified unless it is PostgreSQL's own, whatever
/// the session's search path.
async fn columns(client: &Client) -> Result<Columns, StoreError> {
    let statement = "
      select
        format('%s.%s', schema_.nspname, relation.relname),
        attribute.attname::text,
        case when type_schema.nspname = 'pg_catalog' then '' else type_schema.nspname || '.' end
          || case
            when type_schema.nspname = 'pg_catalog' then format_type(attribute.atttypid, attribute.atttypmod)
            else type_.typname
          end
          || case when attribute.attnotnull then ' not null' else '' end
      from pg_catalog.pg_attribute as attribute
      join pg_catalog.pg_class as relation on relation.oid = attribute.attrelid
      join pg_catalog.pg_namespace as schema_ on schema_.oid = relation.relnamespace
      join pg_catalog.pg_type as type_ on type_.oid = attribute.atttypid
      join pg_catalog.pg_namespace as type_schema on type_schema.oid = type_.typnamespace
      where schema_.nspname in ('public', 'sync') and relation.relkind in ('r', 'p')
        and attribute.attnum > 0 and not attribute.attisdropped";
    let rows = client.query(statement, &[]).await?;
    Ok(rows.iter().map(|row| ((row.get(0), row.get(1)), row.get(2))).collect())
}

async fn installed(client: &Client) -> Result<Triggers, StoreError> {
    let statement = "
      select
        format('%s.%s', schema_.nspname, relation.relname),
        trigger_.tgname::text,
        trigger_.tgenabled,
        format('%s.%s', function_schema.nspname, function_.proname),
        encode(sha256(convert_to(function_.prosrc, 'UTF8')), 'hex'),
        coalesce(function_.proconfig, '{}'),
        function_.prosecdef,
        trigger_.tgtype,
        trigger_.tgoldtable::text,
        trigger_.tgnewtable::text,
        trigger_.tgqual is not null or trigger_.tgattr <> ''
      from pg_catalog.pg_trigger as trigger_
      join pg_catalog.pg_class as relation on relation.oid = trigger_.tgrelid
      join pg_catalog.pg_namespace as schema_ on schema_.oid = relation.relnamespace
      join pg_catalog.pg_proc as function_ on function_.oid = trigger_.tgfoid
      join pg_catalog.pg_namespace as function_schema on function_schema.oid = function_.pronamespace
      where not trigger_.tgisinternal and starts_with(trigger_.tgname, 'sync_capture_')";
    let rows = client.query(statement, &[]).await?;
    let triggers = rows.iter().map(|row| {
        let enabled = char::from(row.get::<_, i8>(2).unsigned_abs());
        let installed = Installed {
            function: row.get(3),
            text: row.get(4),
            settings: row.get(5),
            definer: row.get(6),
            kind: row.get(7),
            transition: (row.get(8), row.get(9)),
            conditional: row.get(10),
        };
        ((row.get(0), row.get(1)), (enabled, installed))
    });
    Ok(triggers.collect())
}
