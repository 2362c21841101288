//! How long to wait after wrong secrets, so that a PIN cannot be guessed.
//!
//! A failure is counted on the disk before the secret is checked, so that pulling the plug in between gains nothing. The
//! wait is measured on the monotonic clock, from the failure or, after a restart, from the start: a clock that jumps
//! neither ends a wait early nor draws it out. Whether a PIN is a new one is told by the centre's stamps alone. Addresses
//! that nobody has are counted in the same way.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;
use sync::sqlite::error::StoreError;
use sync::sqlite::lockouts::{self, Lockout};

use crate::times;

/// How many wrong secrets in a row cost nothing.
pub const FREE_FAILURES: u32 = 3;
/// The first wait, doubled with every further failure, in milliseconds.
pub const WAIT_MS_MIN: u64 = 5_000;
/// The longest wait between two tries, in milliseconds.
pub const WAIT_MS_MAX: u64 = 15 * 60 * 1000;
/// After so many failures in a row, only a new PIN helps (NIST SP 800-63B, 5.2.2).
pub const FAILURES_MAX: u32 = 100;
/// How long somebody is told to wait who needs a new PIN, in milliseconds.
pub const EXHAUSTED_MS: u64 = 24 * 60 * 60 * 1000;
/// How many addresses that nobody has are remembered.
pub const STRANGERS_MAX: u32 = 1_000;

/// When the last failure of each address was, on the monotonic clock of this process.
#[derive(Debug, Default)]
pub struct Waits {
    since_ms: Mutex<HashMap<String, u64>>,
}

/// Whether a secret may be tried now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may, and the failure is counted already.
    Granted,
    /// Not before so many milliseconds have passed.
    Wait(u64),
}

impl Waits {
    /// Asks for a turn to try a secret for an address in lower case, and counts the failure that it may become.
    ///
    /// `verifier_set_at` is when the person's PIN was last set: failures from before it are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn take_turn(
        &self,
        tx: &Connection,
        email: &str,
        verifier_set_at: Option<&str>,
        unix_ms: u64,
        monotonic_ms: u64,
    ) -> Result<Turn, StoreError> {
        let stored = lockouts::find(tx, email)?.unwrap_or_default();
        let pin_set_at = verifier_set_at.unwrap_or_default().to_owned();
        let renewed = pin_set_at > stored.pin_set_at;
        let known = if renewed { Lockout::default() } else { stored };
        if known.failures >= FAILURES_MAX {
            return Ok(Turn::Wait(EXHAUSTED_MS));
        }
        let since_ms = self.lock().get(email).copied().unwrap_or_default();
        let ends_ms = since_ms.saturating_add(known.wait_ms);
        if monotonic_ms < ends_ms {
            return Ok(Turn::Wait(ends_ms - monotonic_ms));
        }
        let failures = known.failures + 1;
        let wait_ms = wait_after(failures);
        let until = times::timestamp(unix_ms.saturating_add(wait_ms));
        lockouts::store(tx, email, &Lockout { failures, pin_set_at, wait_ms }, &until)?;
        lockouts::trim(tx, STRANGERS_MAX)?;
        self.remember(email, monotonic_ms);
        Ok(Turn::Granted)
    }

    /// Forgets the failures of an address whose secret was right.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`].
    pub fn clear(&self, tx: &Connection, email: &str) -> Result<(), StoreError> {
        lockouts::clear(tx, email)?;
        self.lock().remove(email);
        Ok(())
    }

    fn remember(&self, email: &str, monotonic_ms: u64) {
        let mut since_ms = self.lock();
        since_ms.retain(|_, since| monotonic_ms.saturating_sub(*since) < WAIT_MS_MAX);
        since_ms.insert(email.to_owned(), monotonic_ms);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, u64>> {
        self.since_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_after(failures: u32) -> u64 {
    match failures.checked_sub(FREE_FAILURES) {
        None => 0,
        Some(doublings) => WAIT_MS_MIN.saturating_mul(1 << doublings.min(16)).min(WAIT_MS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_quarter_of_an_hour() {
        let waits: Vec<u64> = (1..=12).map(|failures| wait_after(failures) / 1000).collect();
        assert_eq!(waits, [0, 0, 5, 10, 20, 40, 80, 160, 320, 640, 900, 900]);
    }

    #[test]
    fn a_wait_outlives_a_restart_and_a_jump_of_the_clock() {
        let mut store = sync::sqlite::open_in_memory().unwrap();
        let tx = store.begin().unwrap();
        let waits = Waits::default();
        for _ in 0..FREE_FAILURES {
            assert_eq!(waits.take_turn(&tx, "a@b", None, 1_000, 70_000).unwrap(), Turn::Granted);
        }
        let year_ms = 365 * 86_400_000;
        assert_eq!(waits.take_turn(&tx, "a@b", None, year_ms, 70_001).unwrap(), Turn::Wait(WAIT_MS_MIN - 1));
        let restarted = Waits::default();
        assert_eq!(restarted.take_turn(&tx, "a@b", None, year_ms, 1).unwrap(), Turn::Wait(WAIT_MS_MIN - 1));
        assert_eq!(restarted.take_turn(&tx, "a@b", None, 0, WAIT_MS_MIN).unwrap(), Turn::Granted);
        let new_pin = times::timestamp(year_ms);
        for _ in 0..FREE_FAILURES {
            assert_eq!(restarted.take_turn(&tx, "a@b", Some(&new_pin), 0, 6_000).unwrap(), Turn::Granted);
        }
        assert_eq!(restarted.take_turn(&tx, "a@b", Some(&new_pin), 0, 6_000).unwrap(), Turn::Wait(WAIT_MS_MIN));
    }
}
