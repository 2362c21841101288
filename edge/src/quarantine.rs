//! Looking at rows that were refused, and giving them up.
//!
//! Giving up is carried out by the hub, whose row takes the place of what was written. The entry is listed until then.

use rusqlite::{Connection, Transaction};
use sync::sqlite::ledger::{self, Quarantined};
use sync::sqlite::quarantine::{self, Discard};
use uuid::Uuid;

use crate::action::Act;
use crate::audit::Event;
use crate::refusal::Refusal;

/// The rows that were refused, here or at HQ, the newest first.
///
/// # Errors
/// [`Refusal::Store`].
pub fn list(tx: &Connection) -> Result<Vec<Quarantined>, Refusal> {
    Ok(ledger::quarantined(tx)?)
}

/// Gives up what was written here to a refused row. It stays on the list until headquarters has carried it out.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn discard(tx: &Transaction<'_>, act: &Act, id: Uuid) -> Result<(), Refusal> {
    act.person.require_admin("discard refused rows")?;
    match quarantine::discard(tx, id)? {
        Discard::Asked => {}
        Discard::Unknown => return Err(Refusal::NotFound("refused row")),
        Discard::Hubs => {
            let reason = "nothing was written here that could be given up: it is headquarters' row, which this box cannot \
                          store; it goes when the row is changed there, or this box upgraded";
            return Err(Refusal::Forbidden(reason.to_owned()));
        }
    }
    let (resource, details) = (Some(id), "{}".to_owned());
    act.record(tx, Event { action: "delete", resource_type: "quarantine", resource, details })
}
