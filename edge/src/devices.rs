//! What people do with devices.

use rusqlite::Transaction;
use sync::catalog::Table;
use sync::merge::value::Value;
use sync::sqlite::devices;
use sync::sqlite::records::Record;
use uuid::Uuid;

use crate::action::Act;
use crate::draft::Draft;
use crate::edits::{self, Known, Reason};
use crate::refusal::Refusal;

/// The columns that people write.
pub const WRITABLE: &[&str] = &["site_id", "name", "type", "serial_number", "status", "metadata"];

/// The table.
pub fn table() -> &'static Table {
    edits::table("devices")
}

/// Adds a device; at this edge's site when none is given.
///
/// # Errors
/// [`Refusal::Invalid`], [`Refusal::SerialNumberTaken`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn create(tx: &Transaction<'_>, act: &Act, mut draft: Draft) -> Result<Record, Refusal> {
    draft.require("name")?;
    draft.require("type")?;
    draft.set_default("site_id", || Value::text(act.site.to_string()));
    let id = act.new_id();
    check(tx, act, &draft, id)?;
    require_site(act, draft.text("site_id"))?;
    let values = draft.values(table())?;
    edits::insert(tx, act, table(), id, values, Reason::ordinary("create"))
}

/// Changes a device, as far as what is `known` of it allows.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Changed`], [`Refusal::Invalid`], [`Refusal::SerialNumberTaken`],
/// [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn change(tx: &Transaction<'_>, act: &Act, id: Uuid, draft: Draft, known: Known<'_>) -> Result<Record, Refusal> {
    let target = edits::target(tx, table(), act, id, known)?;
    let record = &target.record;
    require_rights(act, record)?;
    edits::expect(record, known)?;
    check(tx, act, &draft, id)?;
    if let Some(site) = draft.text("site_id") {
        require_site(act, Some(site))?;
    }
    let changes = draft.changes(record)?;
    edits::change(tx, act, target, changes, Reason::ordinary("update"))
}

/// Deletes a device, if it is still in the version `expected`. Its tasks stay and forget it.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Changed`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn delete(tx: &Transaction<'_>, act: &Act, id: Uuid, expected: Option<&str>) -> Result<(), Refusal> {
    let record = edits::find(tx, table(), act.tenant, id)?;
    require_rights(act, &record)?;
    edits::expect_version(&record, expected)?;
    edits::delete(tx, act, &record, Reason::ordinary("delete"))
}

/// Refuses unless the device is the person's to change.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn require_rights(act: &Act, record: &Record) -> Result<(), Refusal> {
    require_site(act, record.text("site_id"))
}

/// Refuses a serial number that another device of the tenant has.
///
/// # Errors
/// [`Refusal::SerialNumberTaken`], [`Refusal::Store`].
pub fn check_serial_number(
    tx: &Transaction<'_>,
    act: &Act,
    serial_number: Option<&str>,
    except: Uuid,
) -> Result<(), Refusal> {
    let Some(serial_number) = serial_number else { return Ok(()) };
    match devices::serial_number_holder(tx, act.tenant, serial_number, except)? {
        Some(holder) => Err(Refusal::SerialNumberTaken { serial_number: serial_number.to_owned(), holder }),
        None => Ok(()),
    }
}

fn require_site(act: &Act, site: Option<&str>) -> Result<(), Refusal> {
    match site.and_then(|site| Uuid::try_parse(site).ok()) {
        Some(site) if act.person.works_at(site) => Ok(()),
        _ => Err(act.person.not_theirs("device")),
    }
}

fn check(tx: &Transaction<'_>, act: &Act, draft: &Draft, id: Uuid) -> Result<(), Refusal> {
    draft.require_words("name")?;
    draft.require_words("serial_number")?;
    edits::check_reference(tx, act, "site_id", edits::table("sites"), draft.value("site_id"))?;
    check_serial_number(tx, act, draft.text("serial_number"), id)
}
