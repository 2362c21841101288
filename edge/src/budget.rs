//! How many bytes an edge on a metered link may exchange in a day.
//!
//! Counted are the bodies and about what the heads take, in both directions; not what lies below HTTP. A day is one of UTC by
//! the box's clock. The count outlives a restart (`budget.json` in the data directory). A batch is
//! no larger than what is left; a pull is made while anything is, so the last answer of a day may go over it, by one page.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sync::sqlite::outbox::{ALL_THERE_IS, Room};

use crate::data_dir::{DataDir, write_private};
use crate::times;

/// About what the two heads of an exchange take, in bytes.
pub const HEADS_BYTES: u64 = 550;
/// When so much of a day's bytes is used, audit records wait for the next day and leave the rest to rows, in percent.
pub const AUDITS_PERCENT_MAX: u64 = 75;
/// Less than this is no budget: it would not pay for asking every minute whether there is anything.
pub const DAILY_BYTES_MIN: u64 = 64 * 1024;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The bytes of a day.
#[derive(Debug)]
pub struct Budget {
    daily_bytes: Option<u64>,
    file: PathBuf,
    used: Mutex<Used>,
}

/// What is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Used {
    /// Days since 1970.
    day: u64,
    bytes: u64,
}

impl Budget {
    /// The budget of a data directory; without a limit nothing is counted.
    pub fn load(data: &DataDir, daily_bytes: Option<u64>) -> Self {
        let file = data.budget();
        // A count that cannot be read begins anew: the worst is a day that costs twice.
        let used = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Self { daily_bytes, file, used: Mutex::new(used) }
    }

    /// Whether everything is used at `unix_ms`: then how many milliseconds later it goes on, and how much a day has.
    pub fn used_up(&self, unix_ms: u64) -> Option<UsedUp> {
        let daily_bytes = self.daily_bytes.filter(|daily| self.used_on(unix_ms) >= *daily)?;
        Some(UsedUp { daily_bytes, after_ms: DAY_MS - unix_ms % DAY_MS, resumes_ms: (unix_ms / DAY_MS + 1) * DAY_MS })
    }

    /// What a batch may hold that is put together at `unix_ms`: no more than is left, and audit records only while much is.
    pub fn room(&self, unix_ms: u64) -> Room {
        let Some(daily_bytes) = self.daily_bytes else { return ALL_THERE_IS };
        let used = self.used_on(unix_ms);
        let left = usize::try_from(daily_bytes.saturating_sub(used)).unwrap_or(usize::MAX);
        Room { bytes: left.min(ALL_THERE_IS.bytes), audits: used < daily_bytes / 100 * AUDITS_PERCENT_MAX }
    }

    /// Counts an exchange whose bodies had so many bytes.
    pub fn spend(&self, unix_ms: u64, bodies_bytes: u64) {
        if self.daily_bytes.is_none() {
            return;
        }
        let kept = {
            let mut used = self.lock();
            let day = unix_ms / DAY_MS;
            if used.day != day {
                *used = Used { day, bytes: 0 };
            }
            used.bytes = used.bytes.saturating_add(bodies_bytes).saturating_add(HEADS_BYTES);
            serde_json::to_vec(&*used).unwrap_or_default()
        };
        if let Err(error) = write_private(&self.file, &kept) {
            tracing::warn!(%error, "the bytes of today could not be noted");
        }
    }

    fn used_on(&self, unix_ms: u64) -> u64 {
        let used = *self.lock();
        if used.day == unix_ms / DAY_MS { used.bytes } else { 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsedUp {
    /// What a day has.
    pub daily_bytes: u64,
    /// How long until there is more, in milliseconds.
    pub after_ms: u64,
    resumes_ms: u64,
}

impl std::fmt::Display for UsedUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = times::timestamp(self.resumes_ms);
        write!(
            f,
            "today's {} bytes (EDGE_DAILY_BYTES) are used up: what waits is kept, and sent from {at} on",
            self.daily_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_days_bytes_are_used_once_restart_or_not_and_the_next_day_has_its_own() {
        let random: [u8; 8] = crate::clock::Clock::new().random();
        let data = DataDir::new(std::env::temp_dir().join(format!("edge-budget-{}", u64::from_be_bytes(random))));
        data.create().unwrap();
        let load = || Budget::load(&data, Some(100_000));
        let noon_ms = 20_000 * DAY_MS + DAY_MS / 2;
        let budget = load();
        assert_eq!((budget.used_up(noon_ms), budget.room(noon_ms)), (None, Room { bytes: 100_000, audits: true }));
        budget.spend(noon_ms, 80_000);
        let left = 20_000 - usize::try_from(HEADS_BYTES).unwrap();
        assert_eq!((budget.used_up(noon_ms), budget.room(noon_ms)), (None, Room { bytes: left, audits: false }));
        load().spend(noon_ms, 20_000);
        let used_up = load().used_up(noon_ms).expect("all of it is used");
        assert_eq!(used_up.after_ms, DAY_MS / 2);
        assert!(used_up.to_string().contains("from 2024-10-05T00:00:00.000000Z on"), "{used_up}");
        assert_eq!(load().used_up(noon_ms + DAY_MS / 2), None);
        let unlimited = Budget::load(&data, None);
        assert_eq!((unlimited.used_up(noon_ms), unlimited.room(noon_ms)), (None, ALL_THERE_IS));
        std::fs::remove_dir_all(data.path()).unwrap();
    }
}
