//! A comparison with the centre, step by step: ranges of rows as numbers, narrowed to the rows that differ, and these
//! settled. What it costs is in proportion to the difference.
//!
//! One step is one question to the hub. A comparison that is dropped in the middle has changed only rows that it had
//! settled; the next one begins anew. The state here is what remains to be asked.

use std::collections::VecDeque;

use rusqlite::Connection;
use sync::catalog;
use sync::sqlite::error::StoreError;
use sync::sqlite::reconcile::{self, Theirs};
use sync::sqlite::{digest, self_state};
use sync::wire::digest::{PARTS, fold, split, text};
use sync::wire::frames::DigestAnswer;
use sync::wire::message::PullRow;
use sync::wire::recovery::{Difference, Digest, Found, Range, Reconcile, Verification};
use sync::wire::stream::Writer;
use uuid::Uuid;

use crate::exchange::{Exchange, StepError};

/// Rows of this edge in the ranges of one question.
const ASKED_ROWS_MAX: u64 = 65_536;
/// Ranges in one question.
const ASKED_RANGES_MAX: usize = 256;
/// Rows that are wanted in one question.
const WANTED_MAX: usize = 500;
/// A range with more rows here than this is cut before it is asked about again.
const WHOLE_ROWS_MAX: u64 = 1_024;
/// Bytes of one offer, before compression.
const OFFER_BYTES_MAX: usize = 512 * 1024;
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
    /// How far this edge had pulled before.
    pulled: Option<String>,
    cursor: Option<String>,
    ranges: VecDeque<Range>,
    want: Vec<Name>,
    found: Verification,
}

impl Comparison {
    /// What it found so far.
    pub fn found(&self) -> &Verification {
        &self.found
    }

    fn is_rewound(&self) -> bool {
        !self.terms.reconcile.renames.is_empty()
    }

    /// The next question.
    fn question(&self) -> Digest {
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
        Digest { replica: self.replica, begin, cursor: self.pulled.clone().filter(|_| begin), ranges, want }
    }

    fn note(&mut self, differences: Vec<Difference>) {
        self.found.differing += differences.len() as u64;
        let room = NAMED_MAX.saturating_sub(self.found.differences.len());
        self.found.differences.extend(differences.into_iter().take(room));
    }
}

impl Exchange {
    /// Asks for a comparison with the next hello.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn ask_comparison(&self) -> Result<(), StepError> {
        Ok(self.app.db.write(reconcile::ask).await?)
    }

    /// Begins a comparison.
    ///
    /// # Errors
    /// [`StepError`].
    pub async fn begin_comparison(&self, terms: Terms) -> Result<Comparison, StepError> {
        let reconcile = terms.reconcile.clone();
        let work = move |connection: &mut Connection| reconcile::begin(connection, &reconcile);
        self.app.db.write(work).await?;
        let read = |connection: &mut Connection| -> Result<_, StoreError> {
            Ok((self_state::load(connection)?, digest::whole(connection)?))
        };
        let (this, (ranges, rows)) = self.app.db.read(read).await?;
        let (replica, pulled) = (this.replica.0, this.cursor);
        let found = Verification { replica, rows, ..Verification::default() };
        Ok(Comparison { terms, replica, pulled, cursor: None, ranges: ranges.into(), want: Vec::new(), found })
    }

    /// Makes one step; says whether it was the last.
    ///
    /// # Errors
    /// [`StepError`]; the comparison can be begun anew then.
    pub async fn compare(&self, mut comparison: Comparison) -> Result<(Comparison, bool), StepError> {
        let asked = comparison.question();
        if asked.ranges.is_empty() && asked.want.is_empty() && comparison.cursor.is_some() {
            self.complete(&comparison).await?;
            return Ok((comparison, true));
        }
        let (answer, bytes) = self.hub.digest(&asked).await?;
        comparison.found.bytes += bytes;
        if let Some(cursor) = &answer.cursor {
            comparison.cursor = Some(cursor.clone());
        }
        let DigestAnswer { found, rows, absent, held, .. } = answer;
        let answered: Vec<Range> = comparison.ranges.drain(..found.len().min(comparison.ranges.len())).collect();
        let read = move |connection: &mut Connection| narrow(connection, answered, found);
        let (ranges, want) = self.app.db.read(read).await?;
        comparison.ranges.extend(ranges);
        let settled = |name: &Name| {
            rows.iter().any(|row| (&row.table, row.id) == (&name.0, name.1))
                || absent.contains(name)
                || held.contains(name)
        };
        comparison.want.retain(|name| !settled(name));
        comparison.want.extend(want);
        let theirs: Vec<Theirs> = rows
            .into_iter()
            .map(Theirs::Row)
            .chain(absent.into_iter().map(|(table, id)| Theirs::Absent(table, id)))
            .collect();
        if !theirs.is_empty() {
            let differences = self.settle(theirs, comparison.is_rewound()).await?;
            comparison.note(differences);
        }
        Ok((comparison, false))
    }

    /// Settles rows that differ. What is to be offered is at the hub before anything here is replaced.
    async fn settle(&self, theirs: Vec<Theirs>, rewound: bool) -> Result<Vec<Difference>, StepError> {
        let read = move |connection: &mut Connection| -> Result<_, StoreError> {
            let offers = reconcile::offers(connection, &theirs, rewound)?;
            Ok((theirs, offers))
        };
        let (theirs, offers) = self.app.db.read(read).await?;
        self.offer(&offers).await?;
        let now_ms = self.app.clock.unix_ms();
        let work = move |connection: &mut Connection| reconcile::store(connection, &theirs, rewound, now_ms);
        Ok(self.app.db.write(work).await?)
    }

    async fn offer(&self, offers: &[PullRow]) -> Result<(), StepError> {
        let mut writer = Writer::default();
        for row in offers {
            writer.line(row)?;
            if writer.len() > OFFER_BYTES_MAX {
                self.hub.offer(std::mem::take(&mut writer).finish()?).await?;
            }
        }
        if !writer.is_empty() {
            self.hub.offer(writer.finish()?).await?;
        }
        Ok(())
    }

    async fn complete(&self, comparison: &Comparison) -> Result<(), StepError> {
        let (incarnation, rewound) = (comparison.terms.incarnation, comparison.is_rewound());
        let cursor = comparison.cursor.clone().unwrap_or_default();
        self.hub.verified(&comparison.found).await?;
        let work = move |connection: &mut Connection| reconcile::complete(connection, incarnation, &cursor, rewound);
        Ok(self.app.db.write(work).await?)
    }
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
