//! Times as they are stored, and as people at the site read and write them.

use std::str::FromStr as _;

use chrono::{DateTime, LocalResult, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use sync::wire::canonical;

/// A wall-clock time in its stored form; the last moment of the year 9999 for one beyond it.
pub fn timestamp(unix_ms: u64) -> String {
    let micros = i64::try_from(unix_ms).unwrap_or(i64::MAX).saturating_mul(1000);
    canonical::timestamp_from_micros(micros).unwrap_or_else(|| "9999-12-31T23:59:59.999999Z".to_owned())
}

/// A stored time in Unix milliseconds, 0 for one before 1970; `None` when it is no time.
pub fn unix_ms(stored: &str) -> Option<u64> {
    let micros = canonical::timestamp_micros(stored).ok()?;
    Some(u64::try_from(micros / 1000).unwrap_or_default())
}

/// The stored form of a time `ms` before or after another.
pub fn shifted(stored: &str, ms: i64) -> String {
    let micros = canonical::timestamp_micros(stored).unwrap_or_default();
    canonical::timestamp_from_micros(micros.saturating_add(ms.saturating_mul(1000)))
        .unwrap_or_else(|| stored.to_owned())
}

/// Whether a name is one of the IANA time zones.
pub fn is_timezone(name: &str) -> bool {
    Tz::from_str(name).is_ok()
}

/// The clocks of one site.
#[derive(Clone, Copy, Debug)]
pub struct SiteClock {
    timezone: Tz,
}

impl SiteClock {
    /// The clocks in a time zone; UTC when its name is unknown here.
    pub fn new(timezone: &str) -> Self {
        Self { timezone: Tz::from_str(timezone).unwrap_or(Tz::UTC) }
    }

    /// The zone's name.
    pub fn zone(&self) -> &'static str {
        self.timezone.name()
    }

    /// A stored time as a person at the site reads it at `now_ms`: the year only when it is another one.
    pub fn read(&self, stored: &str, now_ms: u64) -> String {
        let Some(time) = parse(stored) else { return stored.to_owned() };
        let local = time.with_timezone(&self.timezone);
        let now = self.now(now_ms);
        let day = match self.days_until(stored, now_ms).unwrap_or_default() {
            0 => "today".to_owned(),
            1 => "tomorrow".to_owned(),
            -1 => "yesterday".to_owned(),
            _ if local.format("%Y").to_string() == now.format("%Y").to_string() => {
                local.format("%a %-d %b").to_string()
            }
            _ => local.format("%-d %b %Y").to_string(),
        };
        format!("{day} {}", local.format("%H:%M"))
    }

    /// How many midnights at the site lie between `now_ms` and a stored time; negative for the past.
    pub fn days_until(&self, stored: &str, now_ms: u64) -> Option<i64> {
        let local = parse(stored)?.with_timezone(&self.timezone);
        Some(local.date_naive().signed_duration_since(self.now(now_ms).date_naive()).num_days())
    }

    /// The time of day of a moment, with the date when it is another day than at `now_ms`.
    pub fn read_ms(&self, unix_ms: u64, now_ms: u64) -> String {
        let text = self.read(&timestamp(unix_ms), now_ms);
        text.strip_prefix("today ").map(str::to_owned).unwrap_or(text)
    }

    /// A stored time as a form's `datetime-local` field holds it.
    pub fn to_form(&self, stored: &str) -> String {
        let local = parse(stored).map(|time| time.with_timezone(&self.timezone));
        local.map(|time| time.format("%Y-%m-%dT%H:%M").to_string()).unwrap_or_default()
    }

    /// The stored form of what a `datetime-local` field holds; `None` when it is no time. An hour that the clocks
    /// skip is taken as the hour after, one that they repeat as its first time.
    pub fn from_form(&self, text: &str) -> Option<String> {
        let formats = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"];
        let naive = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
        let local = match self.timezone.from_local_datetime(&naive) {
            LocalResult::Single(time) | LocalResult::Ambiguous(time, _) => time,
            LocalResult::None => {
                let later = naive.checked_add_signed(TimeDelta::hours(1))?;
                self.timezone.from_local_datetime(&later).earliest()?
            }
        };
        canonical::timestamp(&local.with_timezone(&Utc).to_rfc3339_opts(SecondsFormat::Micros, true)).ok()
    }

    fn now(&self, now_ms: u64) -> DateTime<Tz> {
        parse(&timestamp(now_ms)).unwrap_or_default().with_timezone(&self.timezone)
    }
}

fn parse(stored: &str) -> Option<DateTime<Utc>> {
    canonical::timestamp_micros(stored).ok().and_then(DateTime::from_timestamp_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_reads_and_writes_its_own_time() {
        let berlin = SiteClock::new("Europe/Berlin");
        let now_ms = 1_767_225_600_000; // 2026-01-01T00:00:00Z
        for (stored, read) in [
            ("2026-01-01T22:30:00.000000Z", "today 23:30"),
            ("2025-12-31T23:30:00.000000Z", "today 00:30"),
            ("2025-12-31T22:30:00.000000Z", "yesterday 23:30"),
            ("2026-07-01T10:00:00.000000Z", "Wed 1 Jul 12:00"),
            ("2024-02-29T10:00:00.000000Z", "29 Feb 2024 11:00"),
        ] {
            assert_eq!(berlin.read(stored, now_ms), read);
            assert_eq!(berlin.from_form(&berlin.to_form(stored)).as_deref(), Some(stored));
        }
    }

    #[test]
    fn hours_that_clocks_skip_or_repeat_are_times_too() {
        let berlin = SiteClock::new("Europe/Berlin");
        let from = |text: &str| berlin.from_form(text).unwrap();
        assert_eq!(from("2026-03-29T02:30"), "2026-03-29T01:30:00.000000Z");
        assert_eq!(from("2026-10-25T02:30"), "2026-10-25T00:30:00.000000Z");
        assert_eq!(berlin.from_form("soon"), None);
    }
}
