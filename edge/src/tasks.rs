//! What people do with tasks.

use rusqlite::Transaction;
use sync::catalog::Table;
use sync::merge::value::Value;
use sync::sqlite::people;
use sync::sqlite::records::Record;
use uuid::Uuid;

use crate::action::Act;
use crate::draft::Draft;
use crate::edits::{self, Known, Reason};
use crate::refusal::{Mistake, Refusal};

/// The columns that people write.
pub const WRITABLE: &[&str] = &[
    "user_id",
    "site_id",
    "device_id",
    "title",
    "description",
    "status",
    "priority",
    "due_date",
    "completed_at",
    "metadata",
];

/// The table.
pub fn table() -> &'static Table {
    edits::table("tasks")
}

/// Adds a task. Without a site it is at its device's, or at this edge's.
///
/// # Errors
/// [`Refusal::Invalid`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn create(tx: &Transaction<'_>, act: &Act, mut draft: Draft) -> Result<Record, Refusal> {
    draft.require("title")?;
    check(tx, act, &draft, None)?;
    if draft.value("site_id").is_none() {
        draft.set("site_id", Value::text(site_of(tx, act, draft.text("device_id"))?.to_string()));
    }
    let id_in = |column: &str| draft.text(column).and_then(|id| Uuid::try_parse(id).ok());
    if !act.person.works_on(id_in("site_id"), id_in("user_id")) {
        return Err(act.person.not_theirs("task"));
    }
    let status = draft.text("status").unwrap_or("open").to_owned();
    complete(act, &mut draft, &status, None)?;
    let values = draft.values(table())?;
    edits::insert(tx, act, table(), act.new_id(), values, Reason::ordinary("create"))
}

/// Changes a task, as far as what is `known` of it allows.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Changed`], [`Refusal::Invalid`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn change(
    tx: &Transaction<'_>,
    act: &Act,
    id: Uuid,
    mut draft: Draft,
    known: Known<'_>,
) -> Result<Record, Refusal> {
    let target = edits::target(tx, table(), act, id, known)?;
    let record = &target.record;
    require_rights(act, record)?;
    edits::expect(record, known)?;
    check(tx, act, &draft, Some(record))?;
    let status = draft.text("status").or_else(|| record.text("status")).unwrap_or("open").to_owned();
    complete(act, &mut draft, &status, Some(record))?;
    let changes = draft.changes(record)?;
    let after = |column: &str| match changes.iter().find(|(name, _)| *name == column) {
        Some((_, Value::Text(id))) => Uuid::try_parse(id).ok(),
        Some(_) => None,
        None => record.reference(column),
    };
    // Somebody may hand a task of no site to a colleague, so only a move is judged again.
    if after("site_id") != record.reference("site_id") && !act.person.works_on(after("site_id"), after("user_id")) {
        return Err(act.person.not_theirs("task"));
    }
    edits::change(tx, act, target, changes, Reason::ordinary("update"))
}

/// Deletes a task, if it is still in the version `expected`.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Changed`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn delete(tx: &Transaction<'_>, act: &Act, id: Uuid, expected: Option<&str>) -> Result<(), Refusal> {
    let record = edits::find(tx, table(), act.tenant, id)?;
    require_rights(act, &record)?;
    edits::expect_version(&record, expected)?;
    edits::delete(tx, act, &record, Reason::ordinary("delete"))
}

/// Refuses unless the task is the person's to change.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn require_rights(act: &Act, record: &Record) -> Result<(), Refusal> {
    if act.person.works_on(record.reference("site_id"), record.reference("user_id")) {
        return Ok(());
    }
    Err(act.person.not_theirs("task"))
}

fn check(tx: &Transaction<'_>, act: &Act, draft: &Draft, record: Option<&Record>) -> Result<(), Refusal> {
    draft.require_words("title")?;
    edits::check_reference(tx, act, "site_id", edits::table("sites"), draft.value("site_id"))?;
    edits::check_reference(tx, act, "device_id", edits::table("devices"), draft.value("device_id"))?;
    let Some(assignee) = draft.text("user_id") else { return Ok(()) };
    // An assignee who has left the tenant may stay where they are; nobody new may be one.
    let unchanged = record.is_some_and(|record| record.text("user_id") == Some(assignee));
    let id = Uuid::try_parse(assignee).unwrap_or_default();
    if unchanged || people::is_member(tx, act.tenant, id)? {
        return Ok(());
    }
    Err(edits::missing("user_id", "member"))
}

/// Keeps status and completed_at in step: done has a time, and nothing else has.
fn complete(act: &Act, draft: &mut Draft, status: &str, record: Option<&Record>) -> Result<(), Refusal> {
    if status == "done" {
        let was_done = record.is_some_and(|record| record.text("status") == Some("done"));
        if !was_done {
            draft.set_default("completed_at", || Value::text(&*act.now));
        }
        return Ok(());
    }
    if draft.text("completed_at").is_some() {
        let reason = format!("only a task that is done has one, and this one is {status}");
        return Err(Refusal::invalid("completed_at", Mistake::Value, reason));
    }
    if draft.value("status").is_some() {
        draft.set("completed_at", Value::Null);
    }
    Ok(())
}

fn site_of(tx: &Transaction<'_>, act: &Act, device: Option<&str>) -> Result<Uuid, Refusal> {
    let Some(device) = device.and_then(|id| Uuid::try_parse(id).ok()) else { return Ok(act.site) };
    let device = edits::find(tx, edits::table("devices"), act.tenant, device)?;
    Ok(device.reference("site_id").unwrap_or(act.site))
}
