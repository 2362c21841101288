//! Waiting for what must happen, with a bound, and saying what was last seen when it does not.

use std::thread;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, timeout};

/// How long a condition may take on a busy machine before it counts as never.
pub const WAIT_MS_MAX: u64 = 30_000;
const LOOK_EVERY_MS: u64 = 20;
const POLLS_MAX: u32 = 6_000;

/// Looks until `look` returns `Ok`, and returns that.
///
/// # Panics
/// After [`WAIT_MS_MAX`], with `what` was waited for and the last thing that `look` saw instead.
#[track_caller]
pub fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> impl Future<Output = T> {
    within(WAIT_MS_MAX, what, look)
}

/// As [`eventually`], for something that may take longer or must be there sooner.
///
/// # Panics
/// After `wait_ms`, with `what` was waited for and the last thing that `look` saw instead.
#[track_caller]
pub fn within<T>(
    wait_ms: u64,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> impl Future<Output = T> {
    let asked_at = std::panic::Location::caller();
    async move {
        let mut seen = "nothing yet".to_owned();
        let looking = async {
            let mut ticks = interval(Duration::from_millis(LOOK_EVERY_MS));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match look().await {
                    Ok(found) => return found,
                    Err(instead) => seen = instead,
                }
            }
        };
        if let Ok(found) = timeout(Duration::from_millis(wait_ms), looking).await {
            return found;
        }
        panic!("{asked_at}: waited {wait_ms} ms for: {what}\nlast seen: {seen}");
    }
}

/// Polls until `condition` yields something, without a runtime, for two minutes at most: far longer than anything here
/// takes on a machine that is doing nothing else, because a test must not fail on one that is.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    for _ in 0..POLLS_MAX {
        if let Some(value) = condition() {
            return value;
        }
        thread::park_timeout(Duration::from_millis(LOOK_EVERY_MS));
    }
    panic!("waited in vain: {what}");
}

/// Polls until `condition` holds.
#[track_caller]
pub fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    until(what, || condition().then_some(()));
}

/// Measures what a test prints. No test decides by it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    #[expect(clippy::disallowed_methods, reason = "the one clock of the tests, for what they print")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How many milliseconds have passed.
    pub fn ms(self) -> f64 {
        self.0.elapsed().as_secs_f64() * 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happens_is_returned() {
        let mut looks = 0;
        let found = eventually("the third look", async || {
            looks += 1;
            if looks == 3 { Ok(looks) } else { Err(format!("look {looks}")) }
        });
        assert_eq!(found.await, 3);
    }

    #[tokio::test]
    async fn what_never_happens_is_told_with_what_was_seen() {
        let waiting = tokio::spawn(within(60, "rain", async || Err::<(), _>("a blue sky".to_owned())));
        let message = waiting.await.unwrap_err().into_panic().downcast::<String>().unwrap();
        assert!(message.contains("waited 60 ms for: rain") && message.contains("a blue sky"), "{message}");
    }
}
