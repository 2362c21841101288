//! A push body, read and parsed before any transaction begins.

use std::collections::BTreeSet;

use ring::digest;
use serde::Serialize;
use thiserror::Error;
use uuid::Uuid;

use crate::catalog::{self, Direction, Table};
use crate::merge::conflict::Conflict;
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::limits::PUSH_ROWS_MAX;
use crate::merge::plan::Push;
use crate::merge::value::Values;
use crate::merge::version::Version;
use crate::wire::canonical;
use crate::wire::message::{Audit, Fence, FormerName, Instead, OddLine, PushLine, PushRow, RowName};
use crate::wire::refusals::{self, RefusalCode};
use crate::wire::stream::{self, StreamError};
use crate::wire::{conflict, convert};

/// The name space of the ids of what cannot be read (RFC 9562, version 5).
const NAMESPACE: Uuid = Uuid::from_u128(0x91c4_0b7a_2f6d_5e08_a3b1_7761_7973_7461);

/// The longest reason of a refusal, in characters, where it may quote what came.
pub(super) const REASON_CHARACTERS_MAX: usize = 500;

/// A push, parsed.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Random; the same id always has the same content.
    pub id: Uuid,
    /// SHA-256 of the body.
    pub hash: Vec<u8>,
    /// The replica that the edge says it is.
    pub replica: ReplicaId,
    /// The highest seq in it.
    pub high_seq: u64,
    /// The fence token that the edge holds.
    pub fence: Fence,
    /// Its rows.
    pub rows: Vec<Incoming>,
    /// Conflicts found or decided at the edge.
    pub conflicts: Vec<Conflict>,
    /// Conflicts and audit records that nothing here can make sense of.
    pub strange: Vec<Strange>,
    /// Audit records written at the edge.
    pub audits: Vec<Audit>,
}

/// A pushed row, parsed or refused.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// The name of its table, as it came.
    pub table: String,
    /// The row.
    pub id: RowId,
    /// The highest write of the pusher in it, as far as that can be read.
    pub seq: u64,
    /// Its table and contents, or why it cannot be taken.
    pub parsed: Result<(&'static Table, Push), Refusal>,
    /// Whether its writes are given up.
    pub discarded: bool,
    /// What its writes were called before the edge took its present replica id.
    pub formerly: Vec<FormerName>,
    came: Came,
}

/// A row as it came.
#[derive(Clone, Debug)]
enum Came {
    Row(Box<PushRow>),
    Text(String),
}

/// A conflict or an audit record that nothing here can make sense of, kept for people to look at.
#[derive(Clone, Debug)]
pub struct Strange {
    /// Follows from what came, so that the same is kept once.
    pub id: Uuid,
    /// What is wrong with it.
    pub refusal: Refusal,
    /// As it came, as JSON that PostgreSQL can hold.
    pub payload: String,
}

/// Why a row is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Stable, for programs.
    pub code: RefusalCode,
    /// In words.
    pub reason: String,
}

/// A body that is no push.
#[derive(Debug, Error)]
pub enum BatchError {
    /// It cannot be read.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Its lines contradict each other.
    #[error("the push is not well formed: {0}")]
    Shape(&'static str),
    /// It has too many rows.
    #[error("the push has {0} rows, {PUSH_ROWS_MAX} at most; send the rest in another one")]
    Rows(usize),
}

impl Incoming {
    /// The row as JSON that PostgreSQL can hold.
    pub fn payload(&self) -> String {
        match &self.came {
            Came::Row(row) => payload(row),
            Came::Text(text) => holdable(text),
        }
    }
}

/// A message as JSON that PostgreSQL can hold, whatever the edge put into it.
pub(super) fn payload(message: &impl Serialize) -> String {
    holdable(&serde_json::to_string(message).unwrap_or_default())
}

fn holdable(text: &str) -> String {
    canonical::json(text).unwrap_or_else(|_| format!("{{\"unreadable\":{}}}", canonical::json_string(text)))
}

/// A line that is as the protocol has it, or one that is set aside.
enum Line {
    Plain(PushLine),
    OddRow(RowName, String, serde_json::Error),
    Strange(Strange),
}

/// Reads a push. A row, a conflict or an audit record that cannot be read is refused alone; a body that is cut, or has
/// lines of an unknown kind, is refused as a whole.
pub fn parse(body: &[u8]) -> Result<Batch, BatchError> {
    let mut lines = stream::read_with(body, line)?.into_iter();
    let Some(Line::Plain(PushLine::Batch(head))) = lines.next() else {
        return Err(BatchError::Shape("its first line is not its head"));
    };
    let Some(Line::Plain(PushLine::End(count))) = lines.next_back() else {
        return Err(BatchError::Shape("its last line is not its end"));
    };
    if usize::try_from(count) != Ok(lines.len()) {
        return Err(BatchError::Shape("its end counts other lines than came"));
    }
    let mut batch = Batch {
        id: head.id,
        hash: digest::digest(&digest::SHA256, body).as_ref().to_vec(),
        replica: ReplicaId(head.replica),
        high_seq: head.high_seq,
        fence: head.fence,
        rows: Vec::new(),
        conflicts: Vec::new(),
        strange: Vec::new(),
        audits: Vec::new(),
    };
    for line in lines {
        match line {
            Line::Plain(PushLine::Row(row)) => batch.rows.push(declared(incoming(row, batch.replica), batch.high_seq)),
            Line::OddRow(name, text, error) => batch.rows.push(odd_row(name, text, &error, batch.high_seq)),
            Line::Plain(PushLine::Conflict(text)) => match conflict::parse(&text) {
                Ok(conflict) => batch.conflicts.push(conflict),
                Err(error) => batch.strange.push(strange(refusals::BAD_CONFLICT, &error, payload(&text))),
            },
            Line::Plain(PushLine::Audit(audit)) => batch.audits.push(audit),
            Line::Strange(strange) => batch.strange.push(strange),
            Line::Plain(PushLine::Batch(_) | PushLine::End(_)) => {
                return Err(BatchError::Shape("a head or end in the middle"));
            }
        }
    }
    if batch.rows.len() > PUSH_ROWS_MAX {
        return Err(BatchError::Rows(batch.rows.len()));
    }
    let names: BTreeSet<(&str, RowId)> = batch.rows.iter().map(|row| (row.table.as_str(), row.id)).collect();
    match names.len() == batch.rows.len() {
        true => Ok(batch),
        false => Err(BatchError::Shape("a row stands in it twice")),
    }
}

fn line(bytes: &[u8]) -> Result<Line, serde_json::Error> {
    let error = match serde_json::from_slice(bytes) {
        Ok(line) => return Ok(Line::Plain(line)),
        Err(error) => error,
    };
    match serde_json::from_slice(bytes) {
        Ok(OddLine::Row(row)) => match serde_json::from_str(row.get()) {
            Ok(name) => Ok(Line::OddRow(name, row.get().to_owned(), error)),
            Err(_) => Err(error),
        },
        Ok(OddLine::Conflict(text)) => Ok(Line::Strange(strange(refusals::BAD_CONFLICT, &error, holdable(text.get())))),
        Ok(OddLine::Audit(text)) => Ok(Line::Strange(strange(refusals::BAD_AUDIT, &error, holdable(text.get())))),
        Err(_) => Err(error),
    }
}

fn strange(code: RefusalCode, error: &dyn std::error::Error, payload: String) -> Strange {
    let id = Uuid::new_v5(&NAMESPACE, payload.as_bytes());
    Strange { id, refusal: Refusal { code, reason: plain(error) }, payload }
}

/// What is wrong, in words that every database can hold: an error may quote what came, whatever its length.
fn plain(error: &dyn std::error::Error) -> String {
    let shown = |letter: char| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter };
    error.to_string().chars().map(shown).take(REASON_CHARACTERS_MAX).collect()
}

fn incoming(row: PushRow, replica: ReplicaId) -> Incoming {
    let parsed = parse_row(&row);
    let (table, id, seq) = (row.table.clone(), RowId(row.id), row.vv.0.seen(replica));
    let discarded = row.instead.as_deref() == Some(&Instead::Discarded);
    let formerly = row.formerly.clone();
    Incoming { table, id, seq, parsed, discarded, formerly, came: Came::Row(Box::new(row)) }
}

/// The row, refused if it has writes numbered beyond what the push says the edge has come to: its honest writes would look old
/// later.
fn declared(row: Incoming, high_seq: u64) -> Incoming {
    if row.seq <= high_seq {
        return row;
    }
    let reason = format!("the record of the row's writes goes up to {}, beyond the push's own {high_seq}", row.seq);
    Incoming { parsed: Err(Refusal { code: refusals::FORGED_VERSION, reason }), seq: high_seq, ..row }
}

/// A batch of one row that was refused before and is to be tried again as it is given here.
pub(super) fn released(row: PushRow, replica: ReplicaId) -> Batch {
    let row = incoming(row, replica);
    Batch {
        id: Uuid::nil(),
        hash: Vec::new(),
        replica,
        high_seq: row.seq,
        fence: Fence::default(),
        rows: vec![row],
        conflicts: Vec::new(),
        strange: Vec::new(),
        audits: Vec::new(),
    }
}

/// A row whose name is all that can be read. Its writes are somewhere below the batch's highest.
fn odd_row(name: RowName, text: String, error: &serde_json::Error, high_seq: u64) -> Incoming {
    let unreadable =
        || Refusal { code: refusals::BAD_ROW, reason: format!("the centre cannot read the row: {}", plain(error)) };
    let refusal = writable(&name.table).map_or_else(|refusal| refusal, |_| unreadable());
    let (table, id, came) = (name.table, RowId(name.id), Came::Text(text));
    Incoming { table, id, seq: high_seq, parsed: Err(refusal), discarded: false, formerly: Vec::new(), came }
}

fn parse_row(row: &PushRow) -> Result<(&'static Table, Push), Refusal> {
    let table = writable(&row.table)?;
    if let Some(Instead::Withheld { code, reason }) = row.instead.as_deref() {
        let reason = reason.chars().filter(|letter| !letter.is_control()).take(REASON_CHARACTERS_MAX).collect();
        return Err(Refusal { code: withheld(code), reason });
    }
    let values = match convert::values(table, &row.values) {
        Err(_) if row.instead.is_some() => Ok(Values::new()),
        values => values,
    };
    let values = values.map_err(|error| Refusal { code: refusals::BAD_VALUE, reason: plain(&error) })?;
    let version = Version { vv: row.vv.0.clone(), gone: row.gone.0.clone(), dots: row.dots.0.clone() };
    Ok((table, Push { version, base: row.base.0.clone(), values, needed: table.needed() }))
}

/// The code with which an edge withholds a row, if it is one that edges have.
fn withheld(code: &str) -> RefusalCode {
    let codes = [refusals::UNREADABLE, refusals::VALUE_MISSING, refusals::TOO_LARGE];
    codes.into_iter().find(|known| known.as_str() == code).unwrap_or(refusals::REFUSED)
}

/// The table of that name, if edges may write it.
fn writable(name: &str) -> Result<&'static Table, Refusal> {
    let Some(table) = catalog::by_name(name) else {
        let name: String = name.chars().filter(|character| !character.is_control()).take(60).collect();
        return Err(Refusal {
            code: refusals::UNKNOWN_TABLE,
            reason: format!("the centre has no synced table {name:?}"),
        });
    };
    if table.direction != Direction::Both {
        let reason = format!("{} are changed at the centre only", table.name);
        return Err(Refusal { code: refusals::READ_ONLY, reason });
    }
    Ok(table)
}
