//! What people do with sites. All of it is for admins and owners.

use rusqlite::Transaction;
use sync::catalog::Table;
use sync::merge::value::Value;
use sync::sqlite::records::Record;
use uuid::Uuid;

use crate::action::Act;
use crate::draft::Draft;
use crate::edits::{self, Known, Reason};
use crate::refusal::{Mistake, Refusal};
use crate::times;

/// The columns that people write.
pub const WRITABLE: &[&str] = &["name", "address", "latitude", "longitude", "timezone", "metadata"];

/// The table.
pub fn table() -> &'static Table {
    edits::table("sites")
}

/// Adds a site.
///
/// # Errors
/// [`Refusal::Invalid`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn create(tx: &Transaction<'_>, act: &Act, draft: Draft) -> Result<Record, Refusal> {
    act.person.require_admin("add sites")?;
    draft.require("name")?;
    check(&draft)?;
    let values = draft.values(table())?;
    edits::insert(tx, act, table(), act.new_id(), values, Reason::ordinary("create"))
}

/// Changes a site, as far as what is `known` of it allows.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Changed`], [`Refusal::Invalid`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn change(tx: &Transaction<'_>, act: &Act, id: Uuid, draft: Draft, known: Known<'_>) -> Result<Record, Refusal> {
    let target = edits::target(tx, table(), act, id, known)?;
    let record = &target.record;
    require_rights(act)?;
    edits::expect(record, known)?;
    check(&draft)?;
    let changes = draft.changes(record)?;
    edits::change(tx, act, target, changes, Reason::ordinary("update"))
}

/// Deletes a site with its devices, if it is still in the version `expected`. Its tasks stay and forget it.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Changed`], [`Refusal::OwnSite`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn delete(tx: &Transaction<'_>, act: &Act, id: Uuid, expected: Option<&str>) -> Result<(), Refusal> {
    let record = edits::find(tx, table(), act.tenant, id)?;
    act.person.require_admin("delete sites")?;
    edits::expect_version(&record, expected)?;
    if id == act.site {
        return Err(Refusal::OwnSite);
    }
    edits::delete(tx, act, &record, Reason::ordinary("delete"))
}

/// Refuses unless sites are the person's to change.
///
/// # Errors
/// [`Refusal::Forbidden`].
pub fn require_rights(act: &Act) -> Result<(), Refusal> {
    act.person.require_admin("change sites")
}

fn check(draft: &Draft) -> Result<(), Refusal> {
    draft.require_words("name")?;
    if let Some(name) = draft.text("timezone").filter(|name| !times::is_timezone(name)) {
        let reason = format!("{name:?} is not a time zone: use an IANA name, for example Europe/Berlin");
        return Err(Refusal::invalid("timezone", Mistake::Value, reason));
    }
    for (column, limit) in [("latitude", 90.0), ("longitude", 180.0)] {
        if let Some(Value::Real(degrees)) = draft.value(column)
            && degrees.abs() > limit
        {
            let reason = format!("{degrees} is not between -{limit} and {limit}");
            return Err(Refusal::invalid(column, Mistake::Value, reason));
        }
    }
    Ok(())
}
