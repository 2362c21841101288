//! A comparison of this edge with the centre, without the network: ranges of rows as numbers, narrowed to the rows that
//! differ. What it costs is in proportion to the difference.
//!
//! The driver asks [`Comparison::question`], brings the answer to [`Comparison::handle_answer`], and has the rows that
//! this returns settled by [`reconcile`]. The state here is what remains to be asked; nothing is stored before the end.

use std::collections::{BTreeSet, VecDeque};

use rusqlite::Connection;
use uuid::Uuid;

use super::error::StoreError;
use super::reconcile::{self, Theirs};
use super::versions;
use super::{digest, self_state};
use crate::catalog::{self, Direction, TABLES};
use crate::merge::ids::ReplicaId;
use crate::wire::digest::{PARTS, fold, split, text};
use crate::wire::frames::DigestAnswer;
use crate::wire::message::Fence;
use crate::wire::recovery::{Difference, Digest, Found, Range, Reconcile, Verification};

/// Rows of this edge in the ranges of one question.
const ASKED_ROWS_MAX: u64 = 65_536;
/// Ranges in one question.
const ASKED_RANGES_MAX: usize = 256;
/// Rows that are wanted in one question.
const WANTED_MAX: usize = 500;
/// A range with more rows here than this is cut before it is asked about again.
const WHOLE_ROWS_MAX: u64 = 1_024;
/// Differences that are named; the others are counted.
const NAMED_MAX: usize = 1_000;

/// What the hub said of the comparison when it asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What to do first.
    pub reconcile: Reconcile,
    /// The centre's incarnation.
    pub incarnation: Uuid,
}

/// A row by its table's name and its id.
type Name = (String, Uuid);

/// A comparison under way.
#[derive(Clone, Debug)]
pub struct Comparison {
    terms: Terms,
    replica: u32,
    fence: Fence,
    /// How far this edge had pulled when it began.
    since: Option<String>,
    /// Where it goes on to pull afterwards.
    cursor: Option<String>,
    ranges: VecDeque<Range>,
    /// Each once: a row may be in question for more than one reason.
    want: BTreeSet<Name>,
    found: Verification,
}

impl Comparison {
    /// Of the whole mirror, after [`reconcile::begin`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new(connection: &mut Connection, terms: Terms) -> Result<Self, StoreError> {
        let this = self_state::load(connection)?;
        let replica = this.replica.0;
        let (ranges, rows) = digest::whole(connection)?;
        let want = deaths_in_question(connection, &terms)?;
        let found = Verification { replica, rows, ..Verification::default() };
        let (fence, since) = (this.fence, this.cursor);
        Ok(Self { terms, replica, fence, since, cursor: None, ranges: ranges.into(), want, found })
    }

    /// What it found so far.
    pub fn found(&self) -> &Verification {
        &self.found
    }

    /// Whether the centre was rewound, so that what it lacks may be lost.
    pub fn is_rewound(&self) -> bool {
        !self.terms.reconcile.renames.is_empty()
    }

    /// The names that what the centre wrote and lost has from now on.
    pub fn lost(&self) -> Vec<ReplicaId> {
        self.terms.reconcile.renames.iter().map(|(_, _, to)| ReplicaId(*to)).collect()
    }

    /// What shows that the centre was there from which rows are taken over. After a rewind that is the incarnation in which
    /// this edge still is: it shall be told what to rename as long as the comparison is not complete.
    pub fn proof(&self) -> Option<&str> {
        self.cursor.as_deref().filter(|_| !self.is_rewound())
    }

    /// The next question; `None` when everything was asked.
    pub fn question(&self) -> Option<Digest> {
        let begin = self.cursor.is_none();
        let (mut ranges, mut rows) = (Vec::new(), 0);
        let want = match self.ranges.is_empty() || self.want.len() >= WANTED_MAX {
            true => self.want.iter().take(WANTED_MAX).cloned().collect(),
            false => Vec::new(),
        };
        if want.is_empty() {
            for range in self.ranges.iter().take(ASKED_RANGES_MAX) {
                rows += range.rows;
                if rows > ASKED_ROWS_MAX && !ranges.is_empty() {
                    break;
                }
                ranges.push(range.clone());
            }
        }
        (begin || !ranges.is_empty() || !want.is_empty()).then_some(Digest {
            replica: self.replica,
            begin,
            fence: Some(self.fence.clone()),
            cursor: if begin { self.since.clone() } else { self.cursor.clone() },
            ranges,
            want,
        })
    }

    /// Takes the answer to the last question, which took so many bytes, and returns the rows that differ, as the centre has
    /// them: they have to be settled before the next question.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn handle_answer(
        &mut self,
        connection: &mut Connection,
        answer: DigestAnswer,
        bytes: u64,
    ) -> Result<Vec<Theirs>, StoreError> {
        self.found.bytes += bytes;
        let DigestAnswer { cursor, found, rows, absent, held } = answer;
        if cursor.is_some() {
            self.cursor = cursor;
        }
        let answered: Vec<Range> = self.ranges.drain(..found.len().min(self.ranges.len())).collect();
        let (ranges, want) = narrow(connection, answered, found)?;
        self.ranges.extend(ranges);
        let settled = |name: &Name| {
            rows.iter().any(|row| (&row.table, row.id) == (&name.0, name.1))
                || absent.contains(name)
                || held.contains(name)
        };
        self.want.retain(|name| !settled(name));
        self.want.extend(want);
        let absent = absent.into_iter().map(|(table, id)| Theirs::Absent(table, id));
        Ok(rows.into_iter().map(Theirs::Row).chain(absent).collect())
    }

    /// Notes what was found in settling rows.
    pub fn note(&mut self, differences: Vec<Difference>) {
        self.found.differing += differences.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.found.differences.len());
        self.found.differences.extend(differences.into_iter().take(room));
    }

    /// Stores that everything was asked and settled.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn complete(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let cursor = self.cursor.clone().unwrap_or_default();
        reconcile::complete(connection, self.terms.incarnation, &cursor, self.is_rewound())
    }
}

/// The rows that were deleted here and wait; after a rewind every one that was deleted, since the centre may have lost the
/// death, or know it by another name. Ranges are of living rows, so they show neither.
fn deaths_in_question(connection: &Connection, terms: &Terms) -> Result<BTreeSet<Name>, StoreError> {
    let mut names = BTreeSet::new();
    for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
        let tracked = match terms.reconcile.renames.is_empty() {
            true => versions::load_all_pending(connection, table)?,
            false => versions::load_all_of(connection, table)?,
        };
        let dead = tracked.into_iter().filter(|(_, tracked)| !tracked.version.is_alive());
        names.extend(dead.map(|(id, _)| (table.name.to_owned(), id.0)));
    }
    Ok(names)
}

/// What remains of the ranges that were answered: parts that differ, to be asked about again, and rows.
fn narrow(
    connection: &mut Connection,
    asked: Vec<Range>,
    found: Vec<Found>,
) -> Result<(Vec<Range>, Vec<Name>), StoreError> {
    let (mut ranges, mut want) = (Vec::new(), Vec::new());
    for (range, found) in asked.into_iter().zip(found) {
        let Some(table) = catalog::by_name(&range.table) else { continue };
        match found {
            Found::Equal => {}
            Found::Parts(parts) => {
                for part in parts {
                    let ends = (part.after, part.to);
                    let here = digest::hashes(connection, table, ends)?;
                    let whole = fold(table, ends, &here);
                    if whole == part {
                        continue;
                    }
                    match whole.rows > WHOLE_ROWS_MAX {
                        true => ranges.extend(split(table, ends, &here, PARTS)),
                        false => ranges.push(whole),
                    }
                }
            }
            Found::Rows(theirs) => {
                let here = digest::hashes(connection, table, (range.after, range.to))?;
                let here: Vec<(Uuid, String)> = here.into_iter().map(|(id, hash)| (id, text(hash))).collect();
                let differing = theirs.iter().filter(|row| !here.contains(row));
                let missing = here.iter().filter(|(id, _)| !theirs.iter().any(|(other, _)| other == id));
                want.extend(differing.chain(missing).map(|(id, _)| (range.table.clone(), *id)));
            }
        }
    }
    Ok((ranges, want))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite;

    #[test]
    fn what_a_comparison_takes_over_is_proved_by_the_cursor_of_its_first_answer_though_it_be_broken_off() {
        let (mut connection, _) = sqlite::open_in_memory().unwrap().into_parts();
        let reconcile = Reconcile { fence: Default::default(), renames: Vec::new() };
        let terms = Terms { reconcile, incarnation: Uuid::nil() };
        let none = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let answer = || {
            let (found, rows, absent, held) = none.clone();
            DigestAnswer { cursor: Some("sealed".to_owned()), found, rows, absent, held }
        };
        let rewound = Reconcile { renames: vec![(1, 3, 9)], ..terms.reconcile.clone() };
        for (reconcile, held) in [(rewound, None), (terms.reconcile.clone(), Some("sealed"))] {
            let mut comparison = Comparison::new(&mut connection, Terms { reconcile, ..terms.clone() }).unwrap();
            comparison.handle_answer(&mut connection, answer(), 0).unwrap();
            reconcile::store(&mut connection, (&[], &[]), (&comparison.lost(), comparison.proof()), 0).unwrap();
            let this = self_state::load(&connection).unwrap();
            assert_eq!((this.cursor.as_deref(), this.reconcile), (held, held.is_some()));
        }
    }

    #[test]
    fn a_row_that_was_deleted_here_is_asked_for_if_it_waits_or_the_centre_was_rewound_though_no_range_shows_it() {
        let (mut connection, _) = sqlite::open_in_memory().unwrap().into_parts();
        let (tenant, id) = (Uuid::from_u128(1), Uuid::from_u128(4));
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        let insert = "insert into tasks (id, tenant_id, title) values (?1, ?2, 'one')";
        connection.execute(insert, [id.to_string(), tenant.to_string()]).unwrap();
        let terms =
            Terms { reconcile: Reconcile { fence: Default::default(), renames: Vec::new() }, incarnation: Uuid::nil() };
        assert_eq!(Comparison::new(&mut connection, terms.clone()).unwrap().want, BTreeSet::new());
        connection.execute("update sync_rows set base = '{\"1\":1}'", []).unwrap();
        connection.execute("delete from tasks", []).unwrap();
        let mut comparison = Comparison::new(&mut connection, terms.clone()).unwrap();
        comparison.ranges.clear();
        assert_eq!(comparison.question().unwrap().want, [("tasks".to_owned(), id)]);
        connection.execute("update sync_rows set base = null, vv = '{\"9\":4}', gone = '{\"9\":4}'", []).unwrap();
        assert_eq!(Comparison::new(&mut connection, terms.clone()).unwrap().want, BTreeSet::new());
        let renames = vec![(1, 3, 9)];
        let rewound = Terms { reconcile: Reconcile { renames, ..terms.reconcile }, ..terms };
        let comparison = Comparison::new(&mut connection, rewound).unwrap();
        assert_eq!(comparison.want, [("tasks".to_owned(), id)].into(), "the centre may have lost its death");
    }
}
