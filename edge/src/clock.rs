//! The one place of the edge that reads the clock and makes randomness.
//!
//! Everything else takes time, ids and secrets as arguments. Wall-clock time is only ever a label and the upper part
//! of a stamp; what waits, waits by [`Clock::monotonic_ms`], and what expires, expires by [`Clock::steady_ms`]. Neither
//! goes backwards or jumps, whoever sets the box's clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use uuid::Uuid;

/// Reads time and makes randomness. Copies share one beginning.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    origin_ms: u64,
}

impl Clock {
    /// A clock whose monotonic time begins now, and whose steady time begins at the wall clock's.
    #[expect(clippy::disallowed_methods, reason = "this is where the edge reads the clock")]
    #[expect(clippy::new_without_default, reason = "reading the clock is never a default")]
    pub fn new() -> Self {
        let clock = Self { started: Instant::now(), origin_ms: 0 };
        Self { origin_ms: clock.unix_ms(), ..clock }
    }

    /// The same clock with a steady time that begins at `unix_ms` if it would begin earlier: so it goes on where an
    /// earlier process left it when the box's clock was turned back in between.
    #[must_use]
    pub fn not_before(self, unix_ms: u64) -> Self {
        Self { origin_ms: self.origin_ms.max(unix_ms), ..self }
    }

    /// Wall-clock time in milliseconds since 1970; 0 for a clock that stands before that.
    #[expect(clippy::disallowed_methods, reason = "this is where the edge reads the clock")]
    pub fn unix_ms(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since this clock was made. Never goes backwards.
    #[expect(clippy::disallowed_methods, reason = "this is where the edge reads the clock")]
    pub fn monotonic_ms(self) -> u64 {
        u64::try_from(Instant::now().duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    /// What sessions and kept answers expire by, in milliseconds: the wall clock as it stood at the start, and as many as
    /// have passed since. Close to [`Clock::unix_ms`] on a box whose clock nobody sets.
    pub fn steady_ms(self) -> u64 {
        self.origin_ms.saturating_add(self.monotonic_ms())
    }

    /// An id for a new row: version 7, so that rows made one after another lie together.
    #[expect(clippy::disallowed_methods, reason = "this is where the edge makes ids")]
    pub fn uuid_v7(self) -> Uuid {
        Uuid::now_v7()
    }

    /// An id that says nothing about when it was made.
    #[expect(clippy::disallowed_methods, reason = "this is where the edge makes ids")]
    pub fn uuid_v4(self) -> Uuid {
        Uuid::new_v4()
    }

    /// Random bytes fit for secrets.
    #[expect(clippy::disallowed_methods, reason = "this is where the edge makes secrets")]
    pub fn random<const N: usize>(self) -> [u8; N] {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).expect("a system that runs the edge has a random source");
        bytes
    }

    /// A random number from 0 to 1000, to spread retries with.
    pub fn jitter(self) -> u64 {
        u64::from(u32::from_be_bytes(self.random())) % 1001
    }
}
