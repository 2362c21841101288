//! Rows as numbers, so that two copies of a table are compared by what they add up to (range-based reconciliation;
//! Meyer, arXiv 2212.13567).
//!
//! A row's hash covers its version and its contents: a number that was used twice must not hide that two rows differ,
//! and a change that nobody captured leaves the version as it was. It is computed from the row as it is, never
//! stored. Sums do not depend on the order, and ranges are chosen by rank, so ids may cluster as they like.

use std::collections::BTreeMap;
use std::hash::Hasher as _;

use siphasher::sip::SipHasher13;
use uuid::Uuid;

use super::convert;
use super::recovery::{Found, Range};
use super::version::{DELETED, dots_text, vector_text};
use crate::catalog::Table;
use crate::merge::clock::Dot;
use crate::merge::ids::RowId;
use crate::merge::value::{Value, Values};
use crate::merge::version::{Row, Version};

/// Rows of the edge in one range of its first question.
pub const CHUNK_ROWS: usize = 16_384;
/// Parts into which a range that differs is cut.
pub const PARTS: usize = 16;
/// Rows that are named one by one.
pub const LEAF_ROWS: usize = 64;

/// A row's hash, of 8 bytes (SipHash-1-3 without a key: it finds accidents, it keeps nobody out).
pub fn row_hash(table: &'static Table, id: RowId, version: &Version, values: &Values) -> u64 {
    let mut hasher = SipHasher13::new();
    for text in [
        convert::dump_line(table, id, values),
        vector_text(&version.vv),
        vector_text(&version.gone),
        dots_text(&version.dots),
    ] {
        hasher.write(text.as_bytes());
        hasher.write_u8(0);
    }
    hasher.finish()
}

/// What a write has in the registers that still show it: their names, and hashes of the values. A delete says that it is one.
pub fn contents(row: &Row, write: &Dot) -> BTreeMap<String, String> {
    let registers = row.values.keys().chain(row.version.dots.named.keys());
    let shown = registers.filter(|register| row.version.dots.of(register).is_some_and(|dot| dot.same_write(write)));
    let deletes = row.version.dots.deleted.is_some_and(|dot| dot.same_write(write));
    let delete = deletes.then(|| (DELETED.to_owned(), value_hash(None)));
    shown.map(|register| (register.clone(), value_hash(row.values.get(register)))).chain(delete).collect()
}

/// Whether a row shows something else in a register under the name of a write with these contents, or shows an edit where they
/// are a delete's, or the other way round.
pub fn contradicts(row: &Row, write: (u32, u64), contents: &BTreeMap<String, String>) -> bool {
    let is_it = |dot: &Dot| (dot.replica.0, dot.seq) == write;
    if contents.contains_key(DELETED) {
        return row.version.dots.edits().any(is_it);
    }
    if !contents.is_empty() && row.version.dots.deleted.as_ref().is_some_and(is_it) {
        return true;
    }
    contents.iter().any(|(register, hash)| {
        let shown = row.version.dots.of(register).is_some_and(|dot| is_it(&dot));
        shown && value_hash(row.values.get(register)) != *hash
    })
}

/// Whether two writes with these contents are two, though they go by one name. What has been overwritten is not shown, so of a
/// write that shows nothing any more nothing can be told.
pub fn differ(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
    let mut shared = one.iter().filter_map(|(register, hash)| Some((hash, other.get(register)?))).peekable();
    match shared.peek() {
        Some(_) => shared.any(|(one, other)| one != other),
        None => !one.is_empty() && !other.is_empty(),
    }
}

/// Whether a write that shows this said all of it: `said` is the whole of what it said.
pub fn is_part(shown: &BTreeMap<String, String>, said: &BTreeMap<String, String>) -> bool {
    !shown.is_empty() && shown.iter().all(|(register, hash)| said.get(register) == Some(hash))
}

fn value_hash(value: Option<&Value>) -> String {
    let mut hasher = SipHasher13::new();
    hasher.write(value.map(convert::json_of).unwrap_or_default().as_bytes());
    text(hasher.finish())
}

/// A hash as it is sent.
pub fn text(hash: u64) -> String {
    format!("{hash:016x}")
}

/// Rows with their hashes, in the order of ids, as one range with these ends.
pub fn fold(table: &Table, (after, to): (Option<Uuid>, Option<Uuid>), rows: &[(Uuid, u64)]) -> Range {
    let sum = rows.iter().fold(0_u64, |sum, (_, hash)| sum.wrapping_add(*hash));
    Range { table: table.name.to_owned(), after, to, rows: rows.len() as u64, hash: text(sum) }
}

/// The same in `parts` of about equal length, which together reach from end to end.
pub fn split(
    table: &Table,
    (after, to): (Option<Uuid>, Option<Uuid>),
    rows: &[(Uuid, u64)],
    parts: usize,
) -> Vec<Range> {
    let each = rows.len().div_ceil(parts.max(1)).max(1);
    let count = rows.len().div_ceil(each).max(1);
    let mut from = after;
    (0..count)
        .map(|part| {
            let of_part = &rows[(part * each).min(rows.len())..((part + 1) * each).min(rows.len())];
            let end = if part + 1 == count { to } else { of_part.last().map(|(id, _)| *id) };
            fold(table, (std::mem::replace(&mut from, end), end), of_part)
        })
        .collect()
}

/// What the hub says of a range that an edge has asked about, given its own rows there with their hashes.
pub fn answer(table: &Table, asked: &Range, rows: &[(Uuid, u64)]) -> Found {
    let ends = (asked.after, asked.to);
    if fold(table, ends, rows) == *asked {
        return Found::Equal;
    }
    if rows.len() <= LEAF_ROWS {
        return Found::Rows(rows.iter().map(|(id, hash)| (*id, text(*hash))).collect());
    }
    Found::Parts(split(table, ends, rows, PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::merge::clock::Hlc;
    use crate::merge::ids::ReplicaId;

    #[test]
    fn every_part_of_a_row_is_in_its_hash() {
        let table = catalog::by_name("tasks").unwrap();
        let id = RowId(Uuid::from_u128(1));
        let dot = Dot { replica: ReplicaId(1), seq: 1, hlc: Hlc(5), by: None };
        let (mut version, mut values) = (Version::default(), Values::new());
        version.write(dot, &[]);
        values.insert("title".to_owned(), Value::text("a"));
        let hash = row_hash(table, id, &version, &values);
        assert_eq!(hash, row_hash(table, id, &version.clone(), &values.clone()));
        let mut later = version.clone();
        later.vv.observe(ReplicaId(2), 1);
        let mut stamped = version.clone();
        stamped.dots.default = Some(Dot { hlc: Hlc(6), ..dot });
        let mut revived = version.clone();
        revived.gone.observe(ReplicaId(2), 1);
        values.insert("title".to_owned(), Value::text("b"));
        let others = [
            row_hash(table, id, &version, &values),
            row_hash(table, id, &later, &Values::new()),
            row_hash(table, id, &stamped, &Values::new()),
            row_hash(table, id, &revived, &Values::new()),
            row_hash(table, RowId(Uuid::from_u128(2)), &version, &Values::new()),
        ];
        assert!(others.iter().all(|other| *other != hash), "{others:?}");
    }

    #[test]
    fn a_delete_and_an_edit_under_one_name_are_two_writes() {
        let dot = Dot { replica: ReplicaId(7), seq: 2, hlc: Hlc(9), by: None };
        let mut before = Row::default();
        before.version.write(Dot { seq: 1, ..dot }, &[]);
        before.values.insert("title".to_owned(), Value::text("a"));
        let (mut deleted, mut edited) = (before.clone(), before);
        deleted.version.delete(dot);
        edited.version.write(dot, &["title".to_owned()]);
        let (delete, edit) = (contents(&deleted, &dot), contents(&edited, &dot));
        let write = (7, 2);
        for (row, same, other) in [(&deleted, &delete, &edit), (&edited, &edit, &delete)] {
            assert!(differ(same, other), "{same:?} {other:?}");
            assert!(contradicts(row, write, other), "{row:?} {other:?}");
            assert!(!differ(same, same) && !contradicts(row, write, same), "{row:?} {same:?}");
            assert!(!differ(same, &BTreeMap::new()), "of one that says nothing, nothing can be told");
            assert!(!contradicts(row, write, &BTreeMap::new()));
        }
    }

    #[test]
    fn parts_reach_from_end_to_end_and_add_up() {
        let table = catalog::by_name("tasks").unwrap();
        let rows: Vec<(Uuid, u64)> = (1..=50).map(|n| (Uuid::from_u128(n), u64::MAX - n as u64)).collect();
        for (count, parts) in [(0, 1), (1, 1), (16, 16), (17, 9), (50, 13)] {
            let whole = fold(table, (None, None), &rows[..count]);
            let split = split(table, (None, None), &rows[..count], PARTS);
            assert_eq!(split.len(), parts);
            assert_eq!(split.iter().map(|part| part.rows).sum::<u64>(), whole.rows);
            let hash = |range: &Range| u64::from_str_radix(&range.hash, 16).unwrap();
            assert_eq!(split.iter().map(hash).fold(0, u64::wrapping_add), hash(&whole));
            assert!(split.windows(2).all(|pair| pair[0].to == pair[1].after && pair[0].to.is_some()));
            assert_eq!((split[0].after, split[split.len() - 1].to), (None, None));
        }
    }
}
