//! The record of who did what, written in the transaction that does it.

use rusqlite::Connection;
use sync::merge::value::Value;
use sync::sqlite::audit::{self, AuditRow};
use sync::sqlite::error::StoreError;
use sync::wire::canonical;
use sync::wire::convert::json_of;
use uuid::Uuid;

/// What happened to what.
#[derive(Clone, Debug)]
pub struct Event {
    /// `create`, `update`, `delete`, `restore`, `conflict`, `export`, `login`, `logout` or `login_failed`.
    pub action: &'static str,
    /// The kind of thing, in the singular.
    pub resource_type: &'static str,
    /// Which one.
    pub resource: Option<Uuid>,
    /// More, as a canonical JSON object.
    pub details: String,
}

/// Writes a record.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn record(
    tx: &Connection,
    id: Uuid,
    now: &str,
    tenant: Option<Uuid>,
    user: Option<Uuid>,
    event: Event,
) -> Result<(), StoreError> {
    let Event { action, resource_type, resource, details } = event;
    let (action, resource_type) = (action.to_owned(), resource_type.to_owned());
    audit::insert(
        tx,
        &AuditRow { id, tenant, user, action, resource_type, resource, details, created_at: now.to_owned() },
    )
}

/// Details with one more text in them.
pub fn with_text(details: &str, name: &str, text: &str) -> String {
    let mut members = canonical::json_members(details).unwrap_or_default();
    members.insert(name.to_owned(), canonical::json_string(text));
    canonical::json_object(members.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}

/// Details that name the columns with their values before and after; a side without columns is left out.
pub fn changes(before: &[(&str, &Value)], after: &[(&str, &Value)], more: &[(&str, String)]) -> String {
    let object = |columns: &[(&str, &Value)]| {
        let members: Vec<(&str, String)> = columns.iter().map(|(name, value)| (*name, json_of(value))).collect();
        canonical::json_object(members.iter().map(|(name, value)| (*name, value.as_str())))
    };
    let mut members: Vec<(&str, String)> = more.to_vec();
    members.extend((!before.is_empty()).then(|| ("before", object(before))));
    members.extend((!after.is_empty()).then(|| ("after", object(after))));
    canonical::json_object(members.iter().map(|(name, value)| (*name, value.as_str())))
}
