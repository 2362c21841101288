//! Whole bodies out of lines: a head, rows, and an end that counts them. What is not whole is refused as a whole.

use thiserror::Error;
use uuid::Uuid;

use super::message::{Audit, ConflictText, PushRow};
use super::message::{Batch, Evict, Page, PullEnd, PullLine, PullRow, PushLine, Pushed, PushedLine, RowAnswer};
use super::recovery::{DigestLine, Found};
use super::stream::{self, StreamError};

/// A body that is not whole.
#[derive(Debug, Error)]
pub enum FrameError {
    /// Its bytes cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It does not begin with a head, or does not end with an end, or has one of them in the middle.
    #[error("the body has no {0} in its place")]
    Misplaced(&'static str),
    /// Lines are missing.
    #[error("the body says that it has {said} lines and has {found}")]
    Count {
        /// What its end says.
        said: u64,
        /// How many came.
        found: u64,
    },
}

/// A push, as sent.
#[derive(Clone, Debug)]
pub struct PushBody {
    /// Its head.
    pub batch: Batch,
    /// The rows, in the order in which they are to be written.
    pub rows: Vec<PushRow>,
    /// Conflicts found or decided at the edge.
    pub conflicts: Vec<ConflictText>,
    /// Audit records of the edge.
    pub audits: Vec<Audit>,
}

/// The answer to a push.
#[derive(Clone, Debug)]
pub struct PushAnswer {
    /// Its head.
    pub head: Pushed,
    /// What became of each row.
    pub rows: Vec<RowAnswer>,
}

/// A page of a pull.
#[derive(Clone, Debug)]
pub struct PulledPage {
    /// Its head.
    pub head: Page,
    /// Rows, parents first.
    pub rows: Vec<PullRow>,
    /// Rows that left the edge's scope.
    pub evicted: Vec<Evict>,
    /// Conflicts.
    pub conflicts: Vec<ConflictText>,
    /// Its end.
    pub end: PullEnd,
}

/// The answer to a digest.
#[derive(Clone, Debug)]
pub struct DigestAnswer {
    /// A cursor to go on with, if one was wanted.
    pub cursor: Option<String>,
    /// What the hub has in the first of the ranges that were asked about.
    pub found: Vec<Found>,
    /// Rows that were wanted.
    pub rows: Vec<PullRow>,
    /// Rows that were wanted and that the centre knows nothing of.
    pub absent: Vec<(String, Uuid)>,
    /// Rows that were wanted and cannot be sent.
    pub held: Vec<(String, Uuid)>,
}

/// Reads the answer to a digest.
///
/// # Errors
/// [`FrameError`] when the body was cut or is no such answer.
pub fn read_digest(body: &[u8]) -> Result<DigestAnswer, FrameError> {
    let mut lines = stream::read::<DigestLine>(body)?.into_iter();
    let Some(DigestLine::Head(cursor)) = lines.next() else { return Err(FrameError::Misplaced("head")) };
    let Some(DigestLine::End(said)) = lines.next_back() else { return Err(FrameError::Misplaced("end")) };
    check_count(Some(said), lines.len())?;
    let mut answer = DigestAnswer { cursor, found: Vec::new(), rows: Vec::new(), absent: Vec::new(), held: Vec::new() };
    for line in lines {
        match line {
            DigestLine::Range(found) => answer.found.push(found),
            DigestLine::Row(row) => answer.rows.push(row),
            DigestLine::Absent(table, id) => answer.absent.push((table, id)),
            DigestLine::Held(table, id) => answer.held.push((table, id)),
            DigestLine::Head(_) => return Err(FrameError::Misplaced("head")),
            DigestLine::End(_) => return Err(FrameError::Misplaced("end")),
        }
    }
    Ok(answer)
}

/// Reads a push.
///
/// # Errors
/// [`FrameError`] when the body was cut or is no push.
pub fn read_push(body: &[u8]) -> Result<PushBody, FrameError> {
    let (mut batch, mut end) = (None, None);
    let (mut rows, mut conflicts, mut audits) = (Vec::new(), Vec::new(), Vec::new());
    for line in stream::read(body)? {
        check_place(batch.is_some(), end.is_some(), matches!(line, PushLine::Batch(_)))?;
        match line {
            PushLine::Batch(head) => batch = Some(head),
            PushLine::Row(row) => rows.push(row),
            PushLine::Conflict(conflict) => conflicts.push(conflict),
            PushLine::Audit(audit) => audits.push(audit),
            PushLine::End(lines) => end = Some(lines),
        }
    }
    let batch = batch.ok_or(FrameError::Misplaced("head"))?;
    check_count(end, rows.len() + conflicts.len() + audits.len())?;
    Ok(PushBody { batch, rows, conflicts, audits })
}

/// Reads the answer to a push.
///
/// # Errors
/// [`FrameError`] when the body was cut or is no such answer.
pub fn read_answer(body: &[u8]) -> Result<PushAnswer, FrameError> {
    let (mut head, mut end, mut rows) = (None, None, Vec::new());
    for line in stream::read(body)? {
        check_place(head.is_some(), end.is_some(), matches!(line, PushedLine::Batch(_)))?;
        match line {
            PushedLine::Batch(pushed) => head = Some(pushed),
            PushedLine::Row(row) => rows.push(row),
            PushedLine::End(lines) => end = Some(lines),
        }
    }
    let head = head.ok_or(FrameError::Misplaced("head"))?;
    check_count(end, rows.len())?;
    Ok(PushAnswer { head, rows })
}

/// Reads a page.
///
/// # Errors
/// [`FrameError`] when the body was cut or is no page.
pub fn read_page(body: &[u8]) -> Result<PulledPage, FrameError> {
    let (mut head, mut end) = (None, None);
    let (mut rows, mut evicted, mut conflicts) = (Vec::new(), Vec::new(), Vec::new());
    for line in stream::read(body)? {
        check_place(head.is_some(), end.is_some(), matches!(line, PullLine::Page(_)))?;
        match line {
            PullLine::Page(page) => head = Some(page),
            PullLine::Row(row) => rows.push(row),
            PullLine::Evict(evict) => evicted.push(evict),
            PullLine::Conflict(conflict) => conflicts.push(conflict),
            PullLine::End(pull_end) => end = Some(pull_end),
        }
    }
    let head = head.ok_or(FrameError::Misplaced("head"))?;
    check_count(end.as_ref().map(|end: &PullEnd| end.lines), rows.len() + evicted.len() + conflicts.len())?;
    let end = end.ok_or(FrameError::Misplaced("end"))?;
    Ok(PulledPage { head, rows, evicted, conflicts, end })
}

fn check_place(has_head: bool, has_end: bool, is_head: bool) -> Result<(), FrameError> {
    match () {
        () if has_end => Err(FrameError::Misplaced("end")),
        () if has_head == is_head => Err(FrameError::Misplaced("head")),
        () => Ok(()),
    }
}

fn check_count(said: Option<u64>, found: usize) -> Result<(), FrameError> {
    let said = said.ok_or(FrameError::Misplaced("end"))?;
    let found = u64::try_from(found).unwrap_or(u64::MAX);
    if said == found { Ok(()) } else { Err(FrameError::Count { said, found }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::Fence;
    use crate::wire::version::VectorText;

    fn body(lines: &[PushedLine]) -> Vec<u8> {
        let mut writer = stream::Writer::default();
        for line in lines {
            writer.line(line).unwrap();
        }
        writer.finish().unwrap()
    }

    fn head() -> PushedLine {
        PushedLine::Batch(Pushed { id: Uuid::nil(), fence: Fence::default(), unix_ms: 0 })
    }

    fn row() -> PushedLine {
        PushedLine::Row(RowAnswer {
            table: "tasks".to_owned(),
            id: Uuid::nil(),
            outcome: crate::wire::message::Outcome::Accepted,
            vv: VectorText::default(),
            clamps: Vec::new(),
            code: None,
            reason: None,
            hub: None,
            blocker: None,
        })
    }

    #[test]
    fn a_whole_answer_is_read() {
        let answer = read_answer(&body(&[head(), row(), PushedLine::End(1)])).unwrap();
        assert_eq!(answer.rows.len(), 1);
    }

    #[test]
    fn an_answer_without_its_head_its_end_or_a_line_is_refused() {
        let broken: [&[PushedLine]; 5] = [
            &[row(), PushedLine::End(1)],
            &[head(), row()],
            &[head(), PushedLine::End(1)],
            &[head(), head(), PushedLine::End(0)],
            &[head(), PushedLine::End(0), row()],
        ];
        for lines in broken {
            assert!(read_answer(&body(lines)).is_err(), "{lines:?}");
        }
    }
}
