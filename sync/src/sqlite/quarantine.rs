//! Refused rows that somebody has seen and wants off the list. The list is the ledger's.

use rusqlite::Transaction;
use uuid::Uuid;

use super::error::StoreError;

/// Takes an entry off the list and says whether it was there.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn remove(tx: &Transaction<'_>, id: Uuid) -> Result<bool, StoreError> {
    let delete = "delete from sync_quarantine where id = ?";
    Ok(tx.prepare_cached(delete)?.execute([id.to_string()])? > 0)
}
