//! The capture triggers of the centre: generated from the catalog, installed after migrating.
//!
//! Whoever writes a synced row, by whatever statement, leaves a stamp in `sync.row_versions`: a new dot of the centre on
//! exactly the registers that changed. The triggers only stamp; who wins is decided in `merge` alone. They take no right
//! from the writer and need none of him: they run as the role that migrates.
//!
//! Invariants:
//! * One stamp for each row and statement, its seq drawn after the row was written, so it rises with the row's lock.
//! * A statement that changes no catalog column leaves no stamp.
//! * Whether a row is alive is read from the table itself, never concluded from the order in which triggers fire.
//! * `sync.applying` hides nothing. It only makes a trigger look whether a row was announced by our apply, and then the
//!   announced contents take the place of the old ones: what differs from them is a write of the centre.
//!
//! What an apply owes in return: it announces a row before it writes it, announces what each of its statements is to leave
//! behind, and stores the row's version before the row, so that a stamp made by its writing comes on top.

mod text;

use std::fmt::Write;

use ring::digest;
use tokio_postgres::{Client, Transaction};

use super::error::StoreError;
use crate::catalog::{TABLES, Table};

/// What a trigger waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Also COPY, and the inserting part of `on conflict` and MERGE.
    Insert,
    /// Also the updating part of `on conflict` and MERGE.
    Update,
    /// Cascades included.
    Delete,
    /// Fires before, because afterwards the last values are gone.
    Truncate,
}

/// One trigger of one table, with its function.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    /// The table it watches.
    pub table: &'static Table,
    /// What it waits for.
    pub event: Event,
}

/// Every trigger that has to be there, by table and event.
pub fn triggers() -> impl Iterator<Item = Trigger> {
    TABLES.iter().flat_map(|table| Event::ALL.map(|event| Trigger { table, event }))
}

/// The settings under which each function runs, as PostgreSQL stores them. Each is there for a reason:
/// * `search_path`: nobody can put an operator or a table of his own in our way.
/// * `row_security`: a filtered look at the table would take living rows for dead; better an error.
/// * `plan_cache_mode` and `enable_*`: a session plans each statement once, maybe for one row of an empty table, and must
///   survive 200,000 rows with that plan. Compiling it would cost more than running it (`jit`).
/// * `timezone`, `extra_float_digits`: a dead row's last values are stored exactly, whatever the writer's session prints.
pub const SETTINGS: [&str; 8] = [
    "search_path=pg_catalog, sync, public, pg_temp",
    "row_security=off",
    "plan_cache_mode=force_generic_plan",
    "enable_seqscan=off",
    "enable_bitmapscan=off",
    "jit=off",
    "TimeZone=UTC",
    "extra_float_digits=1",
];

/// Installs or replaces all functions and triggers, whatever was there before; nothing changes when all was right.
///
/// It locks the synced tables against writers until the transaction ends. The transaction's role becomes the owner of the
/// functions and has to be the owner of the tables.
///
/// # Errors
/// [`StoreError::Schema`] if a table or column is missing: migrate first. [`StoreError::Forbidden`] for another role.
pub async fn install(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.batch_execute(&script()).await?;
    Ok(())
}

/// The statements that [`install`] executes.
pub fn script() -> String {
    triggers().fold(String::new(), |mut script, trigger| {
        script.push_str(&trigger.definition());
        script
    })
}

/// A hash of the texts of all functions as this program generates them, in hexadecimal.
pub fn fingerprint() -> String {
    let mut texts = triggers().map(|trigger| (trigger.function(), trigger.body())).collect::<Vec<_>>();
    texts.sort_unstable();
    let mut all = String::new();
    for (name, body) in texts {
        write!(all, "{name}\n{body}\n").expect("a string takes any text");
    }
    sha256(&all)
}

/// The same hash of what is installed; `None` if nothing is. That the triggers call the functions and are enabled is for
/// [`super::health::verify`] to say.
pub async fn installed_fingerprint(client: &Client) -> Result<Option<String>, StoreError> {
    let statement = r#"
      select encode(sha256(convert_to(string_agg(
          proname || e'\n' || prosrc || e'\n', '' order by proname collate pg_catalog."C"
        ), 'UTF8')), 'hex')
      from pg_catalog.pg_proc
      where pronamespace = to_regnamespace('sync') and starts_with(proname, 'capture_')"#;
    let row = client.query_one(statement, &[]).await?;
    Ok(row.get(0))
}

/// SHA-256 in hexadecimal, as PostgreSQL's `encode(sha256(..), 'hex')`.
pub(super) fn sha256(text: &str) -> String {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes any text");
        hex
    })
}

impl Event {
    /// Every event, in the order in which triggers are listed.
    pub const ALL: [Self; 4] = [Self::Insert, Self::Update, Self::Delete, Self::Truncate];

    /// Its name in names of ours and in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
        }
    }

    /// The names of the transition tables with the rows before and after.
    pub fn transition_tables(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Self::Insert => (None, Some("new_rows")),
            Self::Update => (Some("old_rows"), Some("new_rows")),
            Self::Delete => (Some("old_rows"), None),
            Self::Truncate => (None, None),
        }
    }
}

impl Trigger {
    /// The trigger's name, unique within its table.
    pub fn name(self) -> String {
        format!("sync_capture_{}", self.event.name())
    }

    /// The function's name within schema `sync`.
    pub fn function(self) -> String {
        format!("capture_{}_{}", self.table.name, self.event.name())
    }

    /// The function's text between its quotes.
    pub fn body(self) -> String {
        text::body(self.table, self.event)
    }

    /// Function and trigger, as statements.
    fn definition(self) -> String {
        let (table, function, name, event) = (self.table.pg, self.function(), self.name(), self.event.name());
        let settings = SETTINGS.map(|setting| {
            let (parameter, value) = setting.split_once('=').unwrap_or((setting, ""));
            // Quotes keep the case of a value and would make one name of a list.
            let quote = if value.contains(',') { "" } else { "'" };
            format!("  set {parameter} = {quote}{value}{quote}\n")
        });
        let moment = if self.event == Event::Truncate { "before" } else { "after" };
        let referencing = match self.event.transition_tables() {
            (None, None) => String::new(),
            (old, new) => {
                let old = old.map(|old| format!(" old table as {old}")).unwrap_or_default();
                let new = new.map(|new| format!(" new table as {new}")).unwrap_or_default();
                format!("  referencing{old}{new}\n")
            }
        };
        format!(
            "create or replace function sync.{function}() returns trigger\n  language plpgsql security definer\n{}\
             as $capture${}$capture$;\n\
             revoke all on function sync.{function}() from public;\n\
             create or replace trigger {name} {moment} {event} on {table}\n{referencing}\
             \x20 for each statement execute function sync.{function}();\n\
             alter table {table} enable always trigger {name};\n",
            settings.concat(),
            self.body(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_catalog_has_its_four_triggers() {
        assert_eq!(triggers().count(), TABLES.len() * 4);
    }

    #[test]
    fn no_text_ends_its_own_quotes() {
        for trigger in triggers() {
            assert!(!trigger.body().contains("$capture$"), "{}", trigger.function());
        }
    }
}
