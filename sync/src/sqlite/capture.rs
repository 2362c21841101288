//! The triggers that stamp every local write, whoever writes: our own API or a plain `sqlite3` program.
//!
//! Their texts are generated from the catalog and run on SQLite 3.38 and later. They stamp and keep; nothing here
//! decides who wins, compares two dots, or reads a value that another replica wrote.
//!
//! A stamp takes the next seq, puts it into the row's `vv`, and makes the dot the last write of the registers that
//! changed. The first stamp since the hub knew the row keeps what the hub knew as `base`. While `sync_self.applying` is
//! 1 every trigger is passed over at the cost of one look-up.
//!
//! SQLite's own rules shape the texts:
//!
//! - REPLACE deletes a row in silence unless the client has `recursive_triggers` on. A BEFORE trigger keeps the row that
//!   is in the way as the *candidate* and the AFTER trigger compares with it, so that a REPLACE is an update of what
//!   changed. If the delete trigger did run, its stamp is taken back first.
//! - An outer `or ignore` or `or replace` overrides the conflict clause of every statement in a trigger, but not an upsert
//!   and not a plain update that can meet no conflict. Nothing else is used.
//! - The order of two triggers of one event is not defined: those here exclude each other by conditions that neither
//!   changes, or do not touch what the other reads.
//! - A trigger cannot change NEW. `updated_at` and a missing `tenant_id` are filled in by a second update, which must not
//!   count as a write of its own.
//! - REAL values are copied from column to column. In JSON or text they would lose digits.

use rusqlite::Transaction;
use uuid::Uuid;

use super::error::StoreError;
use crate::catalog::{Column, Direction, Kind, Policy, TABLES, Table};
use crate::merge::ids::PersonId;

/// The name space of fingerprints (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x0d58_8b5f_2f0c_5a0e_8a4f_7761_7973_7461);

/// The texts of all capture triggers, ordered by trigger name. Every name begins with `sync_`.
pub fn triggers() -> Vec<String> {
    let mut triggers: Vec<Trigger> = Vec::new();
    for table in TABLES {
        match table.direction {
            Direction::Both => triggers.extend(captured(table).into_iter().chain(guarded(table))),
            Direction::Down => triggers.extend(refused(table)),
        }
    }
    triggers.extend(audit());
    triggers.extend(noted());
    triggers.sort_by(|one, other| one.name.cmp(&other.name));
    triggers.into_iter().map(Trigger::text).collect()
}

/// A name for the exact set of texts that [`triggers`] gives: equal on two edges iff they capture alike.
pub fn fingerprint() -> String {
    Uuid::new_v5(&NAMESPACE, triggers().join("\n").as_bytes()).to_string()
}

/// Lets the transaction write rows together with their versions: nothing is stamped or refused until [`resume`].
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn pause(tx: &Transaction<'_>) -> Result<(), StoreError> {
    // What apply writes may set `updated_at` to anything, so a move made before must not be remembered past it.
    tx.prepare_cached("update sync_self set applying = 1, moved_id = null, moved_at = null")?.execute([])?;
    Ok(())
}

/// Ends [`pause`]. To be called before the transaction commits, or plain clients would write unseen.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn resume(tx: &Transaction<'_>) -> Result<(), StoreError> {
    tx.prepare_cached("update sync_self set applying = 0")?.execute([])?;
    Ok(())
}

/// Names the person whose writes follow, or nobody. To be called with `None` before the transaction commits, or what
/// plain clients write would carry that person's name.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn act_for(tx: &Transaction<'_>, person: Option<PersonId>) -> Result<(), StoreError> {
    let person = person.map(|person| person.to_string());
    tx.prepare_cached("update sync_self set actor = ?1")?.execute([person])?;
    Ok(())
}

struct Trigger {
    name: String,
    event: String,
    when: String,
    body: Vec<String>,
}

impl Trigger {
    fn new(table: &str, what: &str, event: &str, when: String, body: Vec<String>) -> Self {
        Self { name: format!("sync_{table}_{what}"), event: format!("{event} on {table}"), when, body }
    }

    fn text(self) -> String {
        let Self { name, event, when, body } = self;
        let body: String = body.iter().map(|statement| format!("  {statement};\n")).collect();
        format!("create trigger {name} {event} when {when}\nbegin\n{body}end")
    }
}

/// Whether the write is somebody's, and not our own apply.
const LOCAL: &str = "(select applying from sync_self) = 0";
/// The dot of the stamp under way.
const DOT: &str = "(select stamp_dot from sync_self)";
/// The vector that holds only the stamp under way, of `sync_self`.
const SEEN: &str = r#"'{"' || replica || '":' || seq || '}'"#;
/// The wall clock in Unix milliseconds: one reading for a whole statement.
const NOW_MS: &str =
    "cast(strftime('%s', 'now') as integer) * 1000 + cast(substr(strftime('%f', 'now'), 4, 3) as integer)";
/// The wall clock as the mirror writes times.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%f', 'now') || '000Z'";
/// The version columns that a candidate keeps.
const VERSION: &str = "vv, dots, gone, hlc, base, refused";

fn captured(table: &Table) -> Vec<Trigger> {
    let on = table.sqlite;
    let candidate = format!("(select id from sync_candidate_{on})");
    let in_the_way = format!("{LOCAL} and (exists (select 1 from {on} where id = new.id) or {candidate} is not null)");
    let changed = differences(table, Past::Updated).join("\n  or ");
    vec![
        Trigger::new(on, "before_insert", "before insert", in_the_way, vec![consider(table)]),
        Trigger::new(
            on,
            "before_update",
            "before update of id",
            format!("new.id is not old.id and {LOCAL}"),
            vec![consider(table)],
        ),
        Trigger::new(
            on,
            "insert",
            "after insert",
            format!("{candidate} is not new.id and {LOCAL}"),
            insert(table, "true"),
        ),
        Trigger::new(
            on,
            "replace",
            "after insert",
            format!("{candidate} is new.id and {LOCAL}"),
            [take_back(table), update(table, Past::Replaced)].concat(),
        ),
        Trigger::new(
            on,
            "update",
            "after update",
            format!("{LOCAL} and new.id is old.id and (\n  {changed}\n)"),
            [update(table, Past::Updated), vec![move_updated_at(table)]].concat(),
        ),
        Trigger::new(on, "rekey", "after update of id", format!("new.id is not old.id and {LOCAL}"), rekey(table)),
        Trigger::new(
            on,
            "delete",
            "after delete",
            LOCAL.to_owned(),
            [vec![keep_version(table)], delete(table)].concat(),
        ),
        Trigger::new(
            on,
            "tenant",
            "after insert",
            "new.tenant_id is null".to_owned(),
            vec![format!("update {on} set tenant_id = (select tenant_id from sync_self) where id = new.id")],
        ),
        Trigger::new(
            on,
            "tenant_stays",
            "before update of tenant_id",
            format!("new.tenant_id is null and old.tenant_id is not null and {LOCAL}"),
            vec![refuse(&format!("{on}.tenant_id cannot be emptied: every row belongs to the tenant of this edge"))],
        ),
    ]
}

/// What no check of a table can say without making it anew: rows are this tenant's, and text is text. The hub refuses
/// both, and tells nobody but this edge, later. A key that is no uuid could not even be sent, so it is refused to clients who
/// have switched checks off too.
fn guarded(table: &Table) -> Vec<Trigger> {
    let on = table.sqlite;
    let texts = || table.columns.iter().filter(|column| matches!(column.kind, Kind::Text | Kind::Json));
    let names: Vec<&str> = texts().map(|column| column.name).collect();
    let (inserted, updated): (Vec<String>, Vec<String>) = texts()
        .map(|column| {
            let broken = broken(&format!("new.{}", column.name));
            (broken.clone(), format!("(new.{0} is not old.{0} and {broken})", column.name))
        })
        .unzip();
    let local = |conditions: Vec<String>| format!("(\n  {}\n) and {LOCAL}", conditions.join("\n  or "));
    let not_text = || vec![refuse(&format!("{on} takes no text with a NUL in it, and none that is not UTF-8"))];
    let ours = "(select tenant_id from sync_self)";
    let foreign =
        format!("new.tenant_id is not {ours} and new.tenant_id is not null and {ours} is not null and {LOCAL}");
    let uuid = "new.id glob '????????-????-????-????-????????????' and new.id not glob '*[^-0-9a-f]*'
    and length(replace(new.id, '-', '')) = 32";
    let nameless = format!("not ({uuid}) and {LOCAL}");
    let no_uuid = || vec![refuse(&format!("{on}.id is a uuid in lower case, 36 characters: leave it out to get one"))];
    let not_ours = || vec![refuse(&format!("{on}.tenant_id is not the tenant of this edge: leave it out"))];
    vec![
        Trigger::new(on, "text_insert", "before insert", local(inserted), not_text()),
        Trigger::new(on, "text_update", &format!("before update of {}", names.join(", ")), local(updated), not_text()),
        Trigger::new(on, "id_insert", "before insert", nameless.clone(), no_uuid()),
        Trigger::new(on, "id_update", "before update of id", nameless, no_uuid()),
        Trigger::new(on, "tenant_insert", "before insert", foreign.clone(), not_ours()),
        Trigger::new(
            on,
            "tenant_update",
            "before update of tenant_id",
            format!("new.tenant_id is not old.tenant_id and {foreign}"),
            not_ours(),
        ),
    ]
}

/// Whether a text holds a NUL or bytes that are no UTF-8. GLOB reads a bad first byte as U+FFFD, and bytes without one as
/// U+0080 to U+00BF, which the text then does not hold as they would be written. Some broken texts pass (where the same
/// character stands rightly as well, or U+FFFE and U+FFFF, which GLOB takes for U+FFFD too); they are refused when they
/// are sent.
fn broken(text: &str) -> String {
    let stray: Vec<String> = (0x80..=0xbf).map(|code| code.to_string()).collect();
    let stray = stray.join(",");
    format!(
        "(instr({text}, char(0)) > 0 or {text} glob '*[' || char(128) || '-' || char(191) || char(65533) || ']*' and exists (
    select 1 from json_each('[{stray},65533]') where {text} glob '*' || char(value) || '*' and instr({text}, char(value)) = 0
  ) and instr({text}, char(65534)) + instr({text}, char(65535)) = 0)"
    )
}

/// A table that is written at the centre only.
fn refused(table: &Table) -> Vec<Trigger> {
    let on = table.sqlite;
    let refuse = || vec![refuse(&format!("{on} is kept at the centre: change it there"))];
    ["insert", "update", "delete"]
        .map(|event| Trigger::new(on, event, &format!("before {event}"), LOCAL.to_owned(), refuse()))
        .into()
}

/// Audit records wait in the outbox, and none is changed or taken away here.
fn audit() -> Vec<Trigger> {
    let on = "audit_logs";
    let refuse = || vec![refuse("audit_logs only grows: add a record")];
    let remember = "insert into sync_audit_outbox (id) values (new.id) on conflict (id) do nothing".to_owned();
    let taken = format!("exists (select 1 from {on} where id = new.id) and {LOCAL}");
    vec![
        Trigger::new(on, "before_insert", "before insert", taken, refuse()),
        Trigger::new(on, "delete", "before delete", LOCAL.to_owned(), refuse()),
        Trigger::new(on, "insert", "after insert", LOCAL.to_owned(), vec![remember]),
        Trigger::new(on, "update", "before update", LOCAL.to_owned(), refuse()),
    ]
}

/// Whatever changes a row's version or standing is noted, apply's own writes included: live listeners are told of both.
fn noted() -> Vec<Trigger> {
    let note = |tbl: &str, row: &str| vec![format!("insert into sync_changes (tbl, row_id) values ({tbl}, {row})")];
    let changed = "new.vv is not old.vv or new.base is not old.base or new.refused is not old.refused";
    let trigger = |what: &str, event: &str, when: &str, body| Trigger {
        name: format!("sync_changes_{what}"),
        event: event.to_owned(),
        when: when.to_owned(),
        body,
    };
    vec![
        trigger("row_insert", "after insert on sync_rows", "true", note("new.tbl", "new.row_id")),
        trigger("row_update", "after update on sync_rows", changed, note("new.tbl", "new.row_id")),
        trigger("row_delete", "after delete on sync_rows", "true", note("old.tbl", "old.row_id")),
        trigger("conflict_insert", "after insert on sync_conflicts", "true", note("new.tbl", "new.row_id")),
        trigger(
            "conflict_update",
            "after update of status on sync_conflicts",
            "new.status <> old.status",
            note("new.tbl", "new.row_id"),
        ),
    ]
}

fn refuse(message: &str) -> String {
    format!("select raise(abort, '{message}')")
}

/// What a write is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    /// The row before an UPDATE: OLD.
    Updated,
    /// The candidate of a REPLACE, as `o`.
    Replaced,
    /// The candidate of an UPDATE that changed the key to one in use, as `o`.
    Overrun,
}

impl Past {
    fn row(self) -> &'static str {
        match self {
            Self::Updated => "old",
            Self::Replaced | Self::Overrun => "o",
        }
    }

    /// Whether `updated_at` is moved when the statement left it alone, so that it is written in any case.
    fn moves_updated_at(self) -> bool {
        self != Self::Replaced
    }
}

/// Keeps the row whose id is about to be used, or notes that there is none.
fn consider(table: &Table) -> String {
    let (on, columns) = (table.sqlite, list(table, ""));
    format!(
        "update sync_candidate_{on} set deleted_seq = null, ({columns}) = (select {columns} from {on} where id = new.id)"
    )
}

/// Takes the next seq and makes the dot of a write of row `id`, if `guard` holds. `moved` says whether the write
/// moves the row's `updated_at`.
fn stamp(table: &Table, id: &str, moved: Option<&str>, guard: &str) -> String {
    let tbl = table.id.0;
    let moved = moved.map_or_else(
        || "null, null".to_owned(),
        |moved| format!("case when {moved} then {id} end, case when {moved} then {NOW} end"),
    );
    format!(
        "update sync_self set (seq, stamp_hlc, stamp_dot, moved_id, moved_at) = (
    select n.seq, n.hlc, '[' || n.replica || ',' || n.seq || ',' || n.hlc || coalesce(',\"' || n.actor || '\"', '') || ']',
      {moved}
    from (
      select s.replica, s.actor, s.seq + 1 as seq, max(
        ({NOW_MS}) << 16,
        coalesce((select r.hlc + 1 from sync_rows r where r.tbl = {tbl} and r.row_id = {id}), 0)
      ) as hlc
      from sync_self s limit 1
    ) n
  ) where {guard}"
    )
}

/// Stores the stamp under way as the row's version. `dots` are those of a row that has no version yet, `merged` those
/// of one that has, `gone` likewise.
fn record(table: &Table, id: &str, dots: &str, gone: (&str, &str), merged: &str, guard: &str) -> String {
    let tbl = table.id.0;
    let (gone, gone_merged) = gone;
    format!(
        "insert into sync_rows (tbl, row_id, vv, dots, gone, hlc, base)
  select {tbl}, {id}, {SEEN}, {dots}, {gone}, stamp_hlc, '{{}}' from sync_self where {guard}
  on conflict (tbl, row_id) do update set
    vv = json_patch(vv, excluded.vv), dots = {merged}, gone = {gone_merged}, hlc = excluded.hlc,
    base = coalesce(base, vv), refused = null"
    )
}

const DOTS_WHOLE: &str = r#"'{"*":' || stamp_dot || '}'"#;
const GONE_STAYS: (&str, &str) = ("null", "gone");

/// A new row, or a dead one that lives again: one dot for every register. The last delete stays known.
fn insert(table: &Table, guard: &str) -> Vec<String> {
    let on = table.sqlite;
    let merged = r#"json_patch(excluded.dots, json_object('-', json_extract(dots, '$."-"')))"#;
    vec![
        stamp(table, "new.id", None, guard),
        record(table, "new.id", DOTS_WHOLE, GONE_STAYS, merged, guard),
        format!("delete from sync_last_{on} where id = new.id and {guard}"),
    ]
}

/// The changed registers of a living row.
fn update(table: &Table, past: Past) -> Vec<String> {
    let on = table.sqlite;
    let dots = changed_dots(table, past);
    let from_candidate = format!("from sync_candidate_{on} o where o.id = new.id");
    let (guard, dots) = match past {
        Past::Updated => ("true".to_owned(), dots),
        Past::Replaced => {
            let differs = differences(table, past).join(" or ");
            (format!("exists (select 1 {from_candidate} and ({differs}))"), format!("(select {dots} {from_candidate})"))
        }
        Past::Overrun => (replaced(table), format!("(select {dots} {from_candidate})")),
    };
    let moved = (past == Past::Updated).then_some("new.updated_at is old.updated_at");
    let merged = format!("json_patch(dots, {dots})");
    vec![stamp(table, "new.id", moved, &guard), record(table, "new.id", DOTS_WHOLE, GONE_STAYS, &merged, &guard)]
}

/// The death of the row in OLD. What has been seen of it is gone with it, its own stamp included.
fn delete(table: &Table) -> Vec<String> {
    let (on, columns, values) = (table.sqlite, list(table, ""), list(table, "old."));
    let kept: Vec<String> =
        table.columns.iter().skip(1).map(|column| format!("{0} = excluded.{0}", column.name)).collect();
    let dots = r#"'{"-":' || stamp_dot || '}'"#;
    vec![
        stamp(table, "old.id", None, "true"),
        record(table, "old.id", dots, (SEEN, "json_patch(vv, excluded.vv)"), "json_patch(dots, excluded.dots)", "true"),
        format!(
            "insert into sync_last_{on} ({columns}) values ({values}) on conflict (id) do update set {}",
            kept.join(", ")
        ),
    ]
}

/// A changed key: the old row dies, and the new one is inserted or, where one was in the way, updated.
fn rekey(table: &Table) -> Vec<String> {
    let fresh = format!("not {}", replaced(table));
    [
        take_back(table),
        delete(table),
        insert(table, &fresh),
        update(table, Past::Overrun),
        vec![remember_moved(), move_updated_at(table)],
    ]
    .concat()
}

/// Before a delete is stamped, what the candidate's version was: this may be a REPLACE of a client with
/// `recursive_triggers` on, whose AFTER trigger then takes the stamp back.
fn keep_version(table: &Table) -> String {
    let (on, tbl) = (table.sqlite, table.id.0);
    format!(
        "update sync_candidate_{on} set deleted_seq = (select seq + 1 from sync_self), ({VERSION}) = (
    select {VERSION} from sync_rows where tbl = {tbl} and row_id = old.id
  ) where id = old.id"
    )
}

/// Undoes the stamp of a delete that turned out to be half of a REPLACE. Nothing when there was none.
fn take_back(table: &Table) -> Vec<String> {
    let (on, tbl) = (table.sqlite, table.id.0);
    let deleted = format!("from sync_candidate_{on} where id = new.id and deleted_seq is not null");
    vec![
        format!("update sync_self set seq = seq - 1 where seq = (select deleted_seq {deleted})"),
        format!(
            "update sync_rows set ({VERSION}) = (select {VERSION} {deleted})
  where tbl = {tbl} and row_id = new.id and exists (select 1 {deleted})"
        ),
        format!("delete from sync_last_{on} where id = new.id and exists (select 1 {deleted})"),
    ]
}

fn replaced(table: &Table) -> String {
    format!("((select id from sync_candidate_{}) is new.id)", table.sqlite)
}

/// After a key change, the move of `updated_at` is announced whichever way the new row was stamped.
fn remember_moved() -> String {
    format!("update sync_self set moved_id = new.id, moved_at = {NOW}")
}

/// Moves `updated_at` to what the stamp announced, when the statement left it alone.
fn move_updated_at(table: &Table) -> String {
    let on = table.sqlite;
    format!(
        "update {on} set updated_at = (select moved_at from sync_self) where id = new.id and new.updated_at is old.updated_at"
    )
}

/// One condition for each column: it differs from the past, and that is a write.
fn differences(table: &Table, past: Past) -> Vec<String> {
    let mut conditions: Vec<String> = Vec::new();
    for column in table.columns {
        let differs = differs(column, past);
        match column.policy {
            Policy::Key => {}
            Policy::PerKey => conditions.push(format!("({differs} and exists {})", changed_keys(column, past))),
            Policy::Quiet if past == Past::Updated => conditions.push(format!(
                "({differs} and not exists (select 1 from sync_self where moved_id = new.id and moved_at = new.{}))",
                column.name
            )),
            _ => conditions.push(differs),
        }
    }
    conditions
}

/// Whether one column differs. A tenant that was left out and is filled in is no difference.
fn differs(column: &Column, past: Past) -> String {
    let (name, row) = (column.name, past.row());
    match (name, past) {
        ("tenant_id", Past::Updated) => format!("(new.{name} is not old.{name} and old.{name} is not null)"),
        ("tenant_id", _) => format!("coalesce(new.{name}, (select {name} from sync_self)) is not {row}.{name}"),
        _ => format!("new.{name} is not {row}.{name}"),
    }
}

/// The keys of a JSON object that were added, changed or removed, as a subquery. Type and value are compared, because
/// `json_each` gives true and 1 the same value, and an object and its text.
fn changed_keys(column: &Column, past: Past) -> String {
    let entries = |row: &str| format!("select key, type, value from json_each({row}.{})", column.name);
    let (new, old) = (entries("new"), entries(past.row()));
    format!("(select key from ({new} except {old}) union select key from ({old} except {new}))")
}

/// The dots of the registers that changed, as the text of a JSON object.
fn changed_dots(table: &Table, past: Past) -> String {
    let mut parts: Vec<String> = Vec::new();
    for column in table.columns.iter().filter(|column| column.policy == Policy::PerKey) {
        let (differs, keys) = (differs(column, past), changed_keys(column, past));
        let prefix = column.name;
        parts.push(format!(
            "case when {differs} then coalesce((
      select group_concat(',' || json_quote('{prefix}.' || key) || ':' || {DOT}, '') from {keys}
    ), '') else '' end"
        ));
    }
    for register in table.registers() {
        let columns: Vec<&Column> = table.columns_of(register).collect();
        let dot = format!("',\"{register}\":' || {DOT}");
        if past.moves_updated_at() && columns.iter().any(|column| column.policy == Policy::Quiet) {
            parts.push(dot);
            continue;
        }
        let differs: Vec<String> = columns.iter().map(|column| differs(column, past)).collect();
        parts.push(format!("case when {} then {dot} else '' end", differs.join(" or ")));
    }
    format!("'{{' || substr(\n    {}, 2) || '}}'", parts.join("\n    || "))
}

fn list(table: &Table, prefix: &str) -> String {
    table.columns.iter().map(|column| format!("{prefix}{}", column.name)).collect::<Vec<_>>().join(", ")
}
