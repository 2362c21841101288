//! Canonical text: the one spelling of a JSON value, a timestamp and a uuid, so that equal values are equal bytes.
//!
//! JSON follows RFC 8785 for keys and strings, without spaces; integers of 64 bits are exact, other numbers are the
//! shortest double. What fits neither is refused, never rounded.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::merge::limits::{FIELD_BYTES_MAX, JSON_DEPTH_MAX};

/// Why a value has no canonical form.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CanonicalError {
    /// Not JSON, or not UTF-8 text that JSON can carry.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// A key stands twice in one object.
    #[error("the key {0:?} stands twice in one object")]
    DuplicateKey(String),
    /// Nested too deeply.
    #[error("JSON nested deeper than {JSON_DEPTH_MAX} levels")]
    TooDeep,
    /// Neither a 64-bit integer nor the decimal form of a double.
    #[error("the number {0} is neither a 64-bit integer nor a double")]
    Number(String),
    /// A NUL character, which PostgreSQL cannot store.
    #[error("text with a NUL character")]
    Nul,
    /// A column that must hold an object holds something else.
    #[error("metadata must be a JSON object")]
    NotAnObject,
    /// A timestamp that is not RFC 3339, or outside of the years 1 to 9999.
    #[error("{0:?} is not a timestamp between the years 1 and 9999")]
    Timestamp(String),
    /// A field larger than a message may carry.
    #[error("a field of {0} bytes, {FIELD_BYTES_MAX} at most")]
    TooLarge(usize),
}

/// The canonical form of a JSON text.
pub fn json(text: &str) -> Result<String, CanonicalError> {
    let raw: &RawValue = serde_json::from_str(text).map_err(syntax)?;
    let mut out = String::with_capacity(text.len());
    write_value(raw, 0, &mut out)?;
    Ok(out)
}

/// The members of a JSON object: key to canonical text.
pub fn json_members(text: &str) -> Result<BTreeMap<String, String>, CanonicalError> {
    if text.len() > FIELD_BYTES_MAX {
        return Err(CanonicalError::TooLarge(text.len()));
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(syntax)?;
    if !raw.get().starts_with('{') {
        return Err(CanonicalError::NotAnObject);
    }
    let mut members = BTreeMap::new();
    for (key, value) in members_of(raw)? {
        let mut out = String::with_capacity(value.get().len());
        write_value(value, 1, &mut out)?;
        if members.contains_key(&key) {
            return Err(CanonicalError::DuplicateKey(key));
        }
        members.insert(key, out);
    }
    Ok(members)
}

/// A JSON object out of canonical members.
pub fn json_object<'a>(members: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut members: Vec<_> = members.into_iter().collect();
    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    let mut out = String::from("{");
    for (index, (key, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(key, &mut out);
        out.push(':');
        out.push_str(value);
    }
    out.push('}');
    out
}

/// A string as JSON.
pub fn json_string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    out
}

/// A finite double as JSON: an integer where it is one and exact, else the shortest form.
pub fn json_real(real: f64) -> String {
    let mut out = String::new();
    write_real(real, &mut out);
    out
}

/// Text without the characters that one of the databases cannot hold.
pub fn text(text: &str) -> Result<&str, CanonicalError> {
    match text.len() {
        size if size > FIELD_BYTES_MAX => Err(CanonicalError::TooLarge(size)),
        _ if text.contains('\0') => Err(CanonicalError::Nul),
        _ => Ok(text),
    }
}

/// A timestamp as `YYYY-MM-DDTHH:MM:SS.ffffffZ`, from RFC 3339 with any offset and any number of decimals
/// (cut to microseconds).
pub fn timestamp(text: &str) -> Result<String, CanonicalError> {
    let refuse = || CanonicalError::Timestamp(text.to_owned());
    let parsed = DateTime::parse_from_rfc3339(text).map_err(|_| refuse())?;
    // Counted in microseconds, a leap second is the one after it, as it is for PostgreSQL.
    timestamp_from_micros(parsed.timestamp_micros()).ok_or_else(refuse)
}

/// A timestamp from microseconds since 1970; `None` for years outside of 1 to 9999.
pub fn timestamp_from_micros(micros: i64) -> Option<String> {
    format_timestamp(DateTime::from_timestamp_micros(micros)?)
}

/// Any time, as PostgreSQL writes it in UTC: for the person who has to find one that has no canonical form.
pub fn timestamp_in_words(micros: i64) -> String {
    use chrono::Datelike as _;
    let Some(time) = DateTime::from_timestamp_micros(micros) else {
        return "a time in a year of six digits".to_owned();
    };
    let (year, era) = if time.year() < 1 { (1 - time.year(), " BC") } else { (time.year(), "") };
    format!("{year:04}-{}+00{era}", time.format("%m-%d %H:%M:%S%.f"))
}

/// The microseconds since 1970 of a canonical timestamp.
pub fn timestamp_micros(text: &str) -> Result<i64, CanonicalError> {
    let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.6fZ");
    parsed.map(|time| time.and_utc().timestamp_micros()).map_err(|_| CanonicalError::Timestamp(text.to_owned()))
}

fn format_timestamp(time: DateTime<Utc>) -> Option<String> {
    use chrono::Datelike as _;
    (1..=9999).contains(&time.year()).then(|| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn write_value(raw: &RawValue, depth: usize, out: &mut String) -> Result<(), CanonicalError> {
    if depth > JSON_DEPTH_MAX {
        return Err(CanonicalError::TooDeep);
    }
    let text = raw.get();
    match text.as_bytes().first() {
        Some(b'{') => write_object(raw, depth, out),
        Some(b'[') => write_array(raw, depth, out),
        Some(b'"') => {
            let string: String = serde_json::from_str(text).map_err(syntax)?;
            write_string(self::text(&string)?, out);
            Ok(())
        }
        Some(b't' | b'f' | b'n') => {
            out.push_str(text);
            Ok(())
        }
        _ => write_number(text, out),
    }
}

fn write_object(raw: &RawValue, depth: usize, out: &mut String) -> Result<(), CanonicalError> {
    let mut members = members_of(raw)?;
    members.sort_by(|(left, _), (right, _)| left.encode_utf16().cmp(right.encode_utf16()));
    if let Some(twice) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(CanonicalError::DuplicateKey(twice[0].0.clone()));
    }
    out.push('{');
    for (index, (key, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_string(text(&key)?, out);
        out.push(':');
        write_value(value, depth + 1, out)?;
    }
    out.push('}');
    Ok(())
}

fn write_array(raw: &RawValue, depth: usize, out: &mut String) -> Result<(), CanonicalError> {
    let items: Vec<&RawValue> = serde_json::from_str(raw.get()).map_err(syntax)?;
    out.push('[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write_value(item, depth + 1, out)?;
    }
    out.push(']');
    Ok(())
}

fn write_number(text: &str, out: &mut String) -> Result<(), CanonicalError> {
    if let Ok(integer) = text.parse::<i64>() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{integer}");
        return Ok(());
    }
    let refuse = || CanonicalError::Number(text.chars().take(40).collect());
    let real: f64 = text.parse().map_err(|_| refuse())?;
    if !real.is_finite() || decimal(text) != decimal(&format!("{real:e}")) {
        return Err(refuse());
    }
    write_real(real, out);
    Ok(())
}

/// The decimal value of a number's text as (negative, digits without zeros at either end, exponent), so that two
/// spellings can be compared without rounding.
fn decimal(text: &str) -> Option<(bool, String, i64)> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return Some((false, String::new(), 0));
    }
    let trailing = digits.len() - digits.trim_end_matches('0').len();
    let exponent = exponent.parse::<i64>().ok()?.checked_sub(i64::try_from(fraction.len()).ok()?)?;
    Some((negative, significant.to_owned(), exponent.checked_add(i64::try_from(trailing).ok()?)?))
}

/// ECMAScript's shortest form (RFC 8785 section 3.2.2.3).
fn write_real(real: f64, out: &mut String) {
    let scientific = format!("{real:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Writing to a string cannot fail.
    let _ = match real {
        _ if real == 0.0 => write!(out, "0"),
        _ if (-6..21).contains(&exponent) => write!(out, "{real}"),
        _ if exponent > 0 => write!(out, "{mantissa}e+{exponent}"),
        _ => write!(out, "{mantissa}e{exponent}"),
    };
}

/// RFC 8785 section 3.2.2.2: the two-character escapes, \u00xx for the other control characters, all else as is.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            control if control < ' ' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

/// The members of an object in their order, duplicates included, which a map would hide.
fn members_of(raw: &RawValue) -> Result<Vec<(String, &RawValue)>, CanonicalError> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                if member.0.contains('\0') {
                    return Err(A::Error::custom("a key with a NUL character"));
                }
                members.push(member);
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(raw.get()).deserialize_map(Members).map_err(syntax)
}

fn syntax(error: serde_json::Error) -> CanonicalError {
    let text = error.to_string();
    let half = ["surrogate", "unexpected end of hex escape"].iter().any(|part| text.contains(part));
    match () {
        () if text.contains("recursion limit") => CanonicalError::TooDeep,
        () if half => CanonicalError::Syntax("an escape \\u that is half of a surrogate pair".to_owned()),
        () => CanonicalError::Syntax(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &str, expect: Result<&str, &str>) {
        let got = json(input).map_err(|error| error.to_string());
        assert_eq!(got.as_deref().map_err(String::as_str), expect, "{input}");
    }

    #[test]
    fn spellings_of_one_value_become_one_text() {
        check("{ \"b\" : 1 , \"a\" : [ true , null ] }", Ok("{\"a\":[true,null],\"b\":1}"));
        check("1.0", Ok("1"));
        check("-0.0", Ok("0"));
        check("1e2", Ok("100"));
        check("0.10", Ok("0.1"));
        check("1E-7", Ok("1e-7"));
        check("1e21", Ok("1e+21"));
        check("1000000000000000000000000000000", Ok("1e+30"));
        check("9223372036854775807", Ok("9223372036854775807"));
        check("\"\\u00e9\\u000A\\/\"", Ok("\"é\\n/\""));
        check("{\"\u{10000}\":1,\"\u{ffff}\":2}", Ok("{\"\u{10000}\":1,\"\u{ffff}\":2}"));
    }

    #[test]
    fn what_cannot_be_kept_exactly_is_refused() {
        check("1e400", Err("the number 1e400 is neither a 64-bit integer nor a double"));
        let long = "12345678901234567890123";
        check(long, Err(&format!("the number {long} is neither a 64-bit integer nor a double")));
        check("{\"a\":1,\"a\":2}", Err("the key \"a\" stands twice in one object"));
        check("\"\\u0000\"", Err("text with a NUL character"));
        assert!(matches!(json("\"\\ud800\""), Err(CanonicalError::Syntax(_))));
        assert!(json(&"[".repeat(100_000)).is_err());
        let deep = format!("{}1{}", "[".repeat(70), "]".repeat(70));
        assert_eq!(json(&deep), Err(CanonicalError::TooDeep));
    }

    #[test]
    fn timestamps_are_utc_with_six_decimals() {
        assert_eq!(timestamp("2026-01-02T03:04:05+02:00").as_deref(), Ok("2026-01-02T01:04:05.000000Z"));
        assert_eq!(timestamp("2026-01-02T03:04:05.1234567Z").as_deref(), Ok("2026-01-02T03:04:05.123456Z"));
        assert_eq!(timestamp("2016-12-31T23:59:60.5Z").as_deref(), Ok("2017-01-01T00:00:00.500000Z"));
        assert_eq!(timestamp("1969-12-31T23:59:59.9999999Z").as_deref(), Ok("1969-12-31T23:59:59.999999Z"));
        assert!(timestamp("9999-12-31T23:59:60Z").is_err());
        assert!(timestamp("0000-00-00T00:00:00Z").is_err());
        assert!(timestamp("infinity").is_err());
        assert_eq!(timestamp_from_micros(i64::MAX), None);
        assert_eq!(timestamp_micros("1970-01-01T00:00:01.000002Z"), Ok(1_000_002));
    }
}
