//! Every bound that the hub and an edge agree on, with its unit.

/// Rows in one push batch.
pub const PUSH_ROWS_MAX: usize = 1_000;
/// Bytes of one push body as sent, compressed.
pub const PUSH_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the body with which a stranger asks for an identity, compressed.
pub const ENROLL_BYTES_MAX: usize = 4 * 1024;
/// Bytes of one message body once inflated.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How many times larger than its wire form a body may become.
pub const INFLATE_RATIO_MAX: usize = 100;
/// Rows in one pull page.
pub const PULL_ROWS_MAX: usize = 5_000;
/// Bytes of values in one pull page, before compression.
pub const PULL_BYTES_MAX: usize = 6 * 1024 * 1024;
/// Bytes of one field.
pub const FIELD_BYTES_MAX: usize = 1024 * 1024;
/// Nesting of a JSON value.
pub const JSON_DEPTH_MAX: usize = 64;
/// How long the head of a request may take to arrive, and a connection lie idle before it, in milliseconds.
pub const HEAD_MS_MAX: u64 = 30_000;
/// Connections that a program answers at once, if it may have as many files open.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Open files that are not for connections of strangers: databases, logs, sockets of our own.
pub const FILES_KEPT: usize = 48;
/// Connections that are answered at least, however few files may be open.
pub const CONNECTIONS_MIN: usize = 8;
/// How long a pull waits at the hub when there is nothing to send, in milliseconds: shorter than the minute after which many
/// a proxy gives up, and long enough that an idle edge costs less than a kilobyte a minute.
pub const LONG_POLL_MS: u64 = 55_000;
/// How long an enrolment code is good, in milliseconds.
pub const ENROLLMENT_MS: u64 = 15 * 60 * 1000;
/// How old a credential is when an edge that is online gets another one, in days.
pub const CREDENTIAL_RENEWED_DAYS: u16 = 7;
/// How long a credential is good, in days. An edge that was away for longer proves with its key who it is.
pub const CREDENTIAL_DAYS_MAX: u16 = 30;
/// How many credentials of one edge are good at once: each copy of a box has its own.
pub const CREDENTIALS_MAX: u16 = 16;
/// How long a challenge may be answered, in milliseconds.
pub const CHALLENGE_MS_MAX: u64 = 5 * 60 * 1000;
/// How long pending writes may go unacknowledged while the hub is reachable before the edge says it is stuck,
/// in milliseconds.
pub const STUCK_MS: u64 = 5 * 60 * 1000;
/// How long an edge may be silent, in days, before it is no longer waited for, and how long an edge keeps dead rows.
pub const RETENTION_DAYS: u16 = 90;
/// How long a former replica id of an edge may be silent, in days, before it is no longer waited for: nobody knows whether a
/// box uses it still.
pub const FORMER_DAYS: u16 = 7;
/// How long a row has been dead at least, in days, before the centre forgets it: long enough for edits made on it meanwhile.
pub const TOMBSTONE_DAYS_MIN: u16 = 7;
/// The first delay after a failure, in milliseconds.
pub const RETRY_MS_MIN: u64 = 250;
/// The longest that somebody on the way, or the hub, may send an edge away for, in milliseconds.
pub const RETRY_AFTER_MS_MAX: u64 = 5 * 60 * 1000;
/// The longest delay after failures in a row, in milliseconds.
pub const RETRY_MS_MAX: u64 = 30_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::clock::FUTURE_MS_MAX;

    /// What `docs/errors.md` and `docs/ARCHITECTURE.md` say, and what a link was measured with.
    #[test]
    fn limits_are_the_numbers_that_people_are_told() {
        let (kibibyte, mebibyte, minute_ms) = (1_024, 1_048_576, 60_000);
        let bytes = [
            ("a body as sent", PUSH_BYTES_MAX, mebibyte),
            ("what a stranger sends", ENROLL_BYTES_MAX, 4 * kibibyte),
            ("a body inflated", BODY_BYTES_MAX, 8 * mebibyte),
            ("a page's values", PULL_BYTES_MAX, 6 * mebibyte),
            ("a field", FIELD_BYTES_MAX, mebibyte),
        ];
        for (name, limit, told) in bytes {
            assert_eq!(limit, told, "{name}");
        }
        let times = [
            ("a code is good for", ENROLLMENT_MS, 15 * minute_ms),
            ("a challenge is good for", CHALLENGE_MS_MAX, 5 * minute_ms),
            ("an edge is stuck after", STUCK_MS, 5 * minute_ms),
            ("an edge is sent away for", RETRY_AFTER_MS_MAX, 5 * minute_ms),
            ("a clock may be ahead by", FUTURE_MS_MAX, 5 * minute_ms),
        ];
        for (name, limit_ms, told_ms) in times {
            assert_eq!(limit_ms, told_ms, "{name}");
        }
    }
}
