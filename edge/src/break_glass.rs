//! Emergency codes: for when nobody who is here has a PIN, and the centre cannot be reached to give them one.
//!
//! The operator of the box prints them beforehand and locks them away. Each begins one session, which reads everything of the
//! tenant and changes nothing, and ends within half a day. Making, using and revoking one is audited.

use rusqlite::{Connection, Transaction};
use serde::{Deserialize, Serialize};
use sync::sqlite::emergency_codes::{self, CodeRow};
use sync::sqlite::sessions;
use sync::wire::one_time_code;
use uuid::Uuid;

use crate::action::Act;
use crate::audit::Event;
use crate::refusal::Refusal;
use crate::sessions::hash;

/// How long a session lives that a code began, in milliseconds.
pub const AGE_MS_MAX: u64 = 12 * 60 * 60 * 1000;
/// How many codes are made at once, at most.
pub const CODES_MAX: u8 = 100;
/// What audit records call them.
pub const RESOURCE: &str = "emergency_code";

/// A code that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeCode {
    /// By which it is listed and revoked.
    pub id: Uuid,
    /// The code. It is not stored and cannot be shown again.
    pub code: String,
}

/// Makes codes.
///
/// # Errors
/// [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn make(tx: &Transaction<'_>, act: &Act, count: u8) -> Result<Vec<MadeCode>, Refusal> {
    act.person.require_admin("make emergency codes")?;
    let mut made = Vec::new();
    for _ in 0..count.min(CODES_MAX) {
        let (id, code) = (act.new_id(), one_time_code::code(act.random()));
        emergency_codes::insert(tx, id, &hash(&code), &act.now)?;
        act.record(tx, event("create", id))?;
        made.push(MadeCode { id, code });
    }
    Ok(made)
}

/// All codes that were made, the newest first, without what they are.
///
/// # Errors
/// [`Refusal::Store`].
pub fn list(tx: &Connection) -> Result<Vec<CodeRow>, Refusal> {
    Ok(emergency_codes::list(tx)?)
}

/// Makes a code good for nothing, and ends the session that it may have begun.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn revoke(tx: &Transaction<'_>, act: &Act, id: Uuid) -> Result<(), Refusal> {
    act.person.require_admin("revoke emergency codes")?;
    if !emergency_codes::revoke(tx, id, &act.now)? {
        return Err(Refusal::NotFound("emergency code"));
    }
    sessions::remove_of_code(tx, id)?;
    act.record(tx, event("delete", id))
}

fn event(action: &'static str, id: Uuid) -> Event {
    Event { action, resource_type: RESOURCE, resource: Some(id), details: "{}".to_owned() }
}
