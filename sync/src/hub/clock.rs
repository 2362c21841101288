//! The only place of the hub that reads a clock or draws random bytes.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Now, in Unix milliseconds; 0 on a machine whose clock stands before 1970.
#[expect(clippy::disallowed_methods, reason = "the hub's one clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Now, for the sample data.
pub fn now() -> DateTime<Utc> {
    i64::try_from(unix_ms()).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

/// Now, for measuring.
#[expect(clippy::disallowed_methods, reason = "the hub's one clock")]
pub fn instant() -> Instant {
    Instant::now()
}

/// Milliseconds since this was first asked. Never goes backwards.
pub fn monotonic_ms() -> u64 {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    let passed = instant().duration_since(*STARTED.get_or_init(instant));
    u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
}

/// A random id.
#[expect(clippy::disallowed_methods, reason = "the hub's one source of randomness")]
pub fn id() -> Uuid {
    Uuid::new_v4()
}

/// Random bytes of the operating system.
///
/// # Errors
/// When the operating system has none to give, which it says once at boot if ever.
#[expect(clippy::disallowed_methods, reason = "the hub's one source of randomness")]
pub fn random<const BYTES: usize>() -> Result<[u8; BYTES], getrandom::Error> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}
