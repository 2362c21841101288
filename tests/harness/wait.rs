//! Waiting for a condition, bounded, instead of for a duration.

use std::thread;
use std::time::Duration;

const POLL_MS: u64 = 20;
const POLLS_MAX: u32 = 6_000;

/// Polls until `condition` yields something, for two minutes at most: far longer than anything here takes on a machine
/// that is doing nothing else, because a test must not fail on one that is.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    for _ in 0..POLLS_MAX {
        if let Some(value) = condition() {
            return value;
        }
        thread::park_timeout(Duration::from_millis(POLL_MS));
    }
    panic!("waited in vain: {what}");
}

/// Polls until `condition` holds.
#[track_caller]
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}
