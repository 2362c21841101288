//! Looking at rows that were refused, and taking them off the list.
//!
//! Discarding an entry takes the reason off the list. It changes nothing of the row: one that HQ does not take is tried
//! again, and comes back to the list when it is refused again.

use rusqlite::{Connection, Transaction};
use sync::sqlite::ledger::{self, Quarantined};
use sync::sqlite::quarantine;
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

/// Takes an entry off the list.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Forbidden`], [`Refusal::Store`].
pub fn discard(tx: &Transaction<'_>, act: &Act, id: Uuid) -> Result<(), Refusal> {
    act.person.require_admin("discard refused rows")?;
    if !quarantine::remove(tx, id)? {
        return Err(Refusal::NotFound("refused row"));
    }
    let (resource, details) = (Some(id), "{}".to_owned());
    act.record(tx, Event { action: "delete", resource_type: "quarantine", resource, details })
}
