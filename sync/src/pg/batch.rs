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
use crate::merge::version::Version;
use crate::wire::canonical;
use crate::wire::message::{Audit, Fence, PushLine, PushRow};
use crate::wire::refusals::{self, RefusalCode};
use crate::wire::stream::{self, StreamError};
use crate::wire::{conflict, convert};

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
    /// Conflicts that nothing here can make sense of.
    pub strange: Vec<Strange>,
    /// Audit records written at the edge.
    pub audits: Vec<Audit>,
}

/// A pushed row, parsed or refused.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// As it came.
    pub row: PushRow,
    /// Its table and contents, or why it cannot be taken.
    pub parsed: Result<(&'static Table, Push), Refusal>,
}

/// A conflict that names no register of ours, kept for people to look at.
#[derive(Clone, Debug)]
pub struct Strange {
    /// The row it is about.
    pub row: Uuid,
    /// What is wrong with it.
    pub reason: String,
    /// As it came.
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
    /// The row's id.
    pub fn id(&self) -> RowId {
        RowId(self.row.id)
    }

    /// The row as JSON that PostgreSQL can hold.
    pub fn payload(&self) -> String {
        payload(&self.row)
    }
}

/// A message as JSON that PostgreSQL can hold, whatever the edge put into it.
pub(super) fn payload(message: &impl Serialize) -> String {
    let text = serde_json::to_string(message).unwrap_or_default();
    canonical::json(&text).unwrap_or_else(|_| format!("{{\"unreadable\":{}}}", canonical::json_string(&text)))
}

/// Reads a push.
pub fn parse(body: &[u8]) -> Result<Batch, BatchError> {
    let mut lines = stream::read::<PushLine>(body)?.into_iter();
    let Some(PushLine::Batch(head)) = lines.next() else {
        return Err(BatchError::Shape("its first line is not its head"));
    };
    let Some(PushLine::End(count)) = lines.next_back() else {
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
    let mut seen = BTreeSet::new();
    for line in lines {
        match line {
            PushLine::Row(row) if !seen.insert((row.table.clone(), row.id)) => {
                return Err(BatchError::Shape("a row stands in it twice"));
            }
            PushLine::Row(row) => batch.rows.push(incoming(row)),
            PushLine::Conflict(text) => match conflict::parse(&text) {
                Ok(conflict) => batch.conflicts.push(conflict),
                Err(error) => {
                    let strange = Strange { row: text.row, reason: error.to_string(), payload: payload(&text) };
                    batch.strange.push(strange);
                }
            },
            PushLine::Audit(audit) => batch.audits.push(audit),
            PushLine::Batch(_) | PushLine::End(_) => return Err(BatchError::Shape("a head or end in the middle")),
        }
    }
    if batch.rows.len() > PUSH_ROWS_MAX {
        return Err(BatchError::Rows(batch.rows.len()));
    }
    Ok(batch)
}

fn incoming(row: PushRow) -> Incoming {
    let parsed = parse_row(&row);
    Incoming { row, parsed }
}

fn parse_row(row: &PushRow) -> Result<(&'static Table, Push), Refusal> {
    let Some(table) = catalog::by_name(&row.table) else {
        let name: String = row.table.chars().filter(|character| !character.is_control()).take(60).collect();
        return Err(Refusal {
            code: refusals::UNKNOWN_TABLE,
            reason: format!("the centre has no synced table {name:?}"),
        });
    };
    if table.direction != Direction::Both {
        let reason = format!("{} are changed at the centre only", table.name);
        return Err(Refusal { code: refusals::READ_ONLY, reason });
    }
    let values = convert::values(table, &row.values);
    let values = values.map_err(|error| Refusal { code: refusals::BAD_VALUE, reason: error.to_string() })?;
    let version = Version { vv: row.vv.0.clone(), gone: row.gone.0.clone(), dots: row.dots.0.clone() };
    Ok((table, Push { version, base: row.base.0.clone(), values }))
}
