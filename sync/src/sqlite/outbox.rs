//! What waits to be sent, as one batch at a time, and what its answer does.
//!
//! A batch is committed as bytes (`sync_inflight`) before the first of them is sent; until it is answered exactly
//! those bytes are sent again, and they are also the record of what the answer acknowledges. A row waits while its
//! `base` is set and the hub has not refused it.
//!
//! Invariants: a batch holds each row at most once, parents before children, then the dead, children first; a conflict
//! goes in the batch of its row. An answer acknowledges no write that was not in its batch. A row that cannot be sent
//! is refused here with a reason, of which the hub is told, and stops nothing.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::error::StoreError;
use super::former_names;
use super::hub_rows;
use super::ledger::{self, Kept, Refused, Way};
use super::self_state::{self, SelfState};
use super::versions::{self, Flow, Key, Tracked};
use super::{quarantine, rows};
use crate::catalog::{Direction, TABLES, Table};
use crate::merge::ids::RowId;
use crate::merge::limits::{BODY_BYTES_MAX, PUSH_BYTES_MAX, PUSH_ROWS_MAX};
use crate::merge::plan::unacknowledged;
use crate::merge::value::Values;
use crate::merge::vector::Vector;
use crate::merge::version::{Row, Version};
use crate::wire::convert::{self, Fields};
use crate::wire::message::{Batch, Instead, PushLine, PushRow};
use crate::wire::refusals::{self, RefusalCode};
use crate::wire::stream::{StreamError, Writer};
use crate::wire::version::{DotsText, VectorText};

/// Bytes of lines in a batch of several rows, before compression: little enough for the limit on the body whatever
/// they hold.
const LINES_BYTES_MAX: usize = PUSH_BYTES_MAX - 64 * 1024;

/// How often refused rows are sent once more, because what was in their way may be gone, in milliseconds.
pub const RETRY_REFUSED_MS: u64 = 60_000;

/// What a new batch may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// The bytes of its lines before compression; its first line may be larger.
    pub bytes: usize,
    /// Whether audit records may go with the rows.
    pub audits: bool,
}

/// The room of a link that nobody meters.
pub const ALL_THERE_IS: Room = Room { bytes: LINES_BYTES_MAX, audits: true };

/// A batch that was committed to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Its id.
    pub batch: Uuid,
    /// This replica's last write in it.
    pub high_seq: u64,
    /// The body.
    pub body: Vec<u8>,
}

/// The batch to send next: the one without an answer, or a new one under the id `batch`; `None` when nothing waits.
/// It is on the disk when this returns.
///
/// # Errors
/// [`StoreError`] when the database fails or holds a damaged version.
pub fn prepare(connection: &mut Connection, batch: Uuid, now_ms: u64) -> Result<Option<InFlight>, StoreError> {
    prepare_within(connection, batch, now_ms, ALL_THERE_IS)
}

/// The same with a new batch that is no larger than there is room for.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_within(
    connection: &mut Connection,
    batch: Uuid,
    now_ms: u64,
    room: Room,
) -> Result<Option<InFlight>, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let in_flight = match load(&tx)? {
        Some(in_flight) => Some(in_flight),
        None => build(&tx, batch, now_ms, room)?,
    };
    tx.commit()?;
    Ok(in_flight)
}

/// Lets every refused row be sent once more.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn retry_refused(connection: &mut Connection) -> Result<usize, StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rows = versions::forgive(&tx)?;
    tx.commit()?;
    Ok(rows)
}

/// The batch that was sent and not answered.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub fn load(tx: &Connection) -> Result<Option<InFlight>, StoreError> {
    let select = "select batch, high_seq, body, hash from sync_inflight";
    let mut statement = tx.prepare_cached(select)?;
    let stored = statement.query_row([], |row| {
        let (batch, hash): (String, String) = (row.get(0)?, row.get(3)?);
        let high_seq: i64 = row.get(1)?;
        Ok((batch, high_seq, row.get::<_, Vec<u8>>(2)?, hash))
    });
    let Some((batch, high_seq, body, hash)) = stored.optional()? else { return Ok(None) };
    let whole = Uuid::try_parse(&batch).ok().filter(|batch| content_hash(*batch, &body) == hash);
    let batch = whole.ok_or_else(|| StreamError::Compression(std::io::ErrorKind::InvalidData.into()))?;
    Ok(Some(InFlight { batch, high_seq: u64::try_from(high_seq).unwrap_or(0), body }))
}

/// Keeps the batch in flight.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn save(tx: &Transaction<'_>, in_flight: &InFlight) -> Result<(), StoreError> {
    let insert = "insert into sync_inflight (batch, hash, high_seq, body) values (?1, ?2, ?3, ?4)";
    let InFlight { batch, high_seq, body } = in_flight;
    let high_seq = i64::try_from(*high_seq).unwrap_or(i64::MAX);
    tx.prepare_cached(insert)?.execute(params![batch.to_string(), content_hash(*batch, body), high_seq, body])?;
    Ok(())
}

/// Forgets the batch in flight, because it was answered.
///
/// # Errors
/// [`StoreError::Sqlite`].
pub(super) fn delete(tx: &Transaction<'_>) -> Result<(), StoreError> {
    let delete = "delete from sync_inflight";
    tx.prepare_cached(delete)?.execute([])?;
    Ok(())
}

/// Binds a batch's id to its content.
fn content_hash(batch: Uuid, body: &[u8]) -> String {
    Uuid::new_v5(&batch, body).to_string()
}

/// A batch being put together.
struct Draft {
    lines: Vec<Box<RawValue>>,
    bytes: usize,
    bytes_max: usize,
    rows: BTreeSet<Key>,
    high_seq: u64,
}

fn build(tx: &Transaction<'_>, batch: Uuid, now_ms: u64, room: Room) -> Result<Option<InFlight>, StoreError> {
    let this = self_state::load(tx)?;
    let mut conflicts: BTreeMap<Key, Vec<Kept>> = BTreeMap::new();
    for kept in ledger::pending(tx)? {
        conflicts.entry(Key { table: kept.conflict.table, id: kept.conflict.row }).or_default().push(kept);
    }
    let mut draft = Draft { lines: Vec::new(), bytes: 0, bytes_max: room.bytes, rows: BTreeSet::new(), high_seq: 0 };
    let mut unsendable = Vec::new();
    collect_rows(tx, &this, &conflicts, &mut draft, &mut unsendable)?;
    for (table, id, tracked, refused) in unsendable {
        let Refused { code, reason, .. } = refused.clone();
        let line = without_values(table, id, &tracked, Instead::Withheld { code, reason })?;
        if !draft.takes(line.get().len()) {
            break;
        }
        draft.add_row(Key { table: table.id, id }, tracked.version.vv.seen(this.replica), [line]);
        refuse(tx, &this, table, id, tracked, &refused, now_ms)?;
    }
    collect_discards(tx, &this, &mut draft)?;
    collect_decisions(tx, &conflicts, &mut draft)?;
    let audits = if room.audits { ledger::audits_pending(tx, PUSH_ROWS_MAX)? } else { Vec::new() };
    for audit in audits {
        let line = json(&PushLine::Audit(audit))?;
        if !draft.takes(line.get().len()) {
            break;
        }
        draft.add([line]);
    }
    if draft.lines.is_empty() {
        return Ok(None);
    }
    let in_flight = InFlight { batch, high_seq: draft.high_seq, body: body(&this, batch, &draft)? };
    save(tx, &in_flight)?;
    Ok(Some(in_flight))
}

fn body(this: &SelfState, batch: Uuid, draft: &Draft) -> Result<Vec<u8>, StoreError> {
    let (replica, fence) = (this.replica.0, this.fence.clone());
    let mut writer = Writer::default();
    writer.line(&PushLine::Batch(Batch { id: batch, replica, high_seq: draft.high_seq, fence }))?;
    for line in &draft.lines {
        writer.line(line)?;
    }
    writer.line(&PushLine::End(u64::try_from(draft.lines.len()).unwrap_or(u64::MAX)))?;
    Ok(writer.finish()?)
}

impl Draft {
    fn takes(&self, bytes: usize) -> bool {
        self.lines.is_empty() || (self.bytes + bytes <= self.bytes_max && self.rows.len() < PUSH_ROWS_MAX)
    }

    fn add_row(&mut self, key: Key, own_seq: u64, lines: impl IntoIterator<Item = Box<RawValue>>) {
        self.add(lines);
        self.rows.insert(key);
        self.high_seq = self.high_seq.max(own_seq);
    }

    fn add(&mut self, lines: impl IntoIterator<Item = Box<RawValue>>) {
        for line in lines {
            self.bytes += line.get().len();
            self.lines.push(line);
        }
    }
}

type Unsendable = (&'static Table, RowId, Tracked, Refused);

/// The living rows, parents first, then the dead ones, children first, as many as fit.
fn collect_rows(
    tx: &Transaction<'_>,
    this: &SelfState,
    conflicts: &BTreeMap<Key, Vec<Kept>>,
    draft: &mut Draft,
    unsendable: &mut Vec<Unsendable>,
) -> Result<(), StoreError> {
    let pushed = || TABLES.iter().filter(|table| table.direction == Direction::Both);
    let living = pushed().map(|table| (table, true));
    let dead = pushed().rev().map(|table| (table, false));
    for (table, alive) in living.chain(dead) {
        let flow = versions::for_each_pending(tx, table, |id, tracked| {
            if tracked.version.is_alive() != alive {
                return Ok(Flow::GoOn);
            }
            let key = Key { table: table.id, id };
            let own_seq = tracked.version.vv.seen(this.replica);
            let of_row = conflicts.get(&key).map(Vec::as_slice).unwrap_or_default();
            let lines = match row_lines(tx, this, table, id, &tracked, of_row)? {
                Ok(lines) => lines,
                Err(refused) => {
                    unsendable.push((table, id, tracked, refused));
                    return Ok(Flow::GoOn);
                }
            };
            if !draft.takes(lines.iter().map(|line| line.get().len()).sum()) {
                return Ok(Flow::Stop);
            }
            draft.add_row(key, own_seq, lines);
            Ok(Flow::GoOn)
        })?;
        if flow == Flow::Stop {
            break;
        }
    }
    Ok(())
}

/// Refused rows that somebody here has given up. One that was written again since is sent like any other instead.
fn collect_discards(tx: &Transaction<'_>, this: &SelfState, draft: &mut Draft) -> Result<(), StoreError> {
    for key in quarantine::given_up(tx)? {
        let Some(table) = crate::catalog::by_id(key.table) else { continue };
        let tracked = versions::load(tx, table, key.id)?;
        let Some(tracked) = tracked.filter(|tracked| tracked.refused.is_some() && !draft.rows.contains(&key)) else {
            quarantine::reopen(tx, key)?;
            continue;
        };
        let line = discard_line(tx, this, table, key.id, &tracked)?;
        if !draft.takes(line.get().len()) {
            break;
        }
        draft.add_row(key, tracked.version.vv.seen(this.replica), [line]);
    }
    Ok(())
}

/// Decisions about conflicts of rows that wait for nothing else.
fn collect_decisions(
    tx: &Transaction<'_>,
    conflicts: &BTreeMap<Key, Vec<Kept>>,
    draft: &mut Draft,
) -> Result<(), StoreError> {
    for (key, of_row) in conflicts.iter().filter(|(key, _)| !draft.rows.contains(key)).collect::<Vec<_>>() {
        let Some(table) = crate::catalog::by_id(key.table) else { continue };
        if versions::load(tx, table, key.id)?.is_some_and(|tracked| tracked.base.is_some()) {
            continue;
        }
        for kept in of_row {
            let line = json(&PushLine::Conflict(ledger::text_of(kept.id, &kept.conflict)?))?;
            if !draft.takes(line.get().len()) || draft.lines.len() > 2 * PUSH_ROWS_MAX {
                return Ok(());
            }
            draft.add([line]);
        }
    }
    Ok(())
}

/// A row's line and those of its conflicts, or why the row cannot be sent.
fn row_lines(
    tx: &Transaction<'_>,
    this: &SelfState,
    table: &'static Table,
    id: RowId,
    tracked: &Tracked,
    conflicts: &[Kept],
) -> Result<Result<Vec<Box<RawValue>>, Refused>, StoreError> {
    let refused = |code: RefusalCode, reason: String, payload: &str| Refused {
        way: Way::Up,
        table: table.id,
        row: id,
        code: code.as_str().to_owned(),
        reason,
        payload: payload.to_owned(),
    };
    let alive = tracked.version.is_alive();
    let values = if alive { rows::load(tx, table, id) } else { rows::load_last(tx, table, id) };
    let values = match values {
        Ok(values) => values.unwrap_or_default(),
        Err(StoreError::Row { source, .. }) => return Ok(Err(refused(refusals::UNREADABLE, source.to_string(), "{}"))),
        Err(error) => return Err(error),
    };
    let row = Row { version: tracked.version.clone(), values };
    if let Some(register) = missing(this, table, &row, tracked) {
        let reason = format!("{}.{register} was written here and its value is not to be found", table.name);
        return Ok(Err(refused(refusals::VALUE_MISSING, reason, "{}")));
    }
    let formerly = former_names::load(tx, table, id)?;
    let pushed = PushRow { formerly, ..push_row(this, table, id, &row, tracked) };
    let mut lines = vec![json(&PushLine::Row(pushed))?];
    for kept in conflicts {
        lines.push(json(&PushLine::Conflict(ledger::text_of(kept.id, &kept.conflict)?))?);
    }
    let bytes: usize = lines.iter().map(|line| line.get().len()).sum();
    if bytes > LINES_BYTES_MAX && !fits(&lines)? {
        let reason = format!("a row of {bytes} bytes is more than a push may carry");
        return Ok(Err(refused(refusals::TOO_LARGE, reason, "{}")));
    }
    Ok(Ok(lines))
}

/// A register of this edge's that has not been acknowledged and has no value; the hub would refuse the batch.
fn missing(this: &SelfState, table: &'static Table, row: &Row, tracked: &Tracked) -> Option<&'static str> {
    let (base, own) = (tracked.base.as_ref()?, this.own());
    let unsent = |register: &&str| {
        let dot = row.version.dots.of(register);
        dot.is_some_and(|dot| own.contains(&dot.replica) && !base.covers(&dot)) && !row.values.contains_key(*register)
    };
    table.registers().find(unsent)
}

fn push_row(this: &SelfState, table: &'static Table, id: RowId, row: &Row, tracked: &Tracked) -> PushRow {
    let base = tracked.base.clone().unwrap_or_default();
    let own = this.own();
    let values: Values = unacknowledged(row, &base, &own)
        .filter_map(|register| row.values.get(register).map(|value| (register.clone(), value.clone())))
        .collect();
    PushRow {
        table: table.name.to_owned(),
        id: id.0,
        vv: VectorText(row.version.vv.clone()),
        gone: VectorText(row.version.gone.clone()),
        base: VectorText(base),
        dots: DotsText(row.version.dots.clone()),
        values: convert::fields(table, &values),
        instead: None,
        formerly: Vec::new(),
    }
}

/// A row that is given up. Its values travel with it if they can: should it be written again meanwhile, it is made of them.
fn discard_line(
    tx: &Transaction<'_>,
    this: &SelfState,
    table: &'static Table,
    id: RowId,
    tracked: &Tracked,
) -> Result<Box<RawValue>, StoreError> {
    let alive = tracked.version.is_alive();
    let values = if alive { rows::load(tx, table, id) } else { rows::load_last(tx, table, id) };
    if let Ok(Some(values)) = values {
        let row = Row { version: tracked.version.clone(), values };
        let discarded = Some(Box::new(Instead::Discarded));
        let line = json(&PushLine::Row(PushRow { instead: discarded, ..push_row(this, table, id, &row, tracked) }))?;
        if line.get().len() <= LINES_BYTES_MAX {
            return Ok(line);
        }
    }
    without_values(table, id, tracked, Instead::Discarded)
}

/// A row of which only the version is sent.
fn without_values(table: &Table, id: RowId, tracked: &Tracked, instead: Instead) -> Result<Box<RawValue>, StoreError> {
    let Version { vv, gone, dots } = tracked.version.clone();
    json(&PushLine::Row(PushRow {
        table: table.name.to_owned(),
        id: id.0,
        vv: VectorText(vv),
        gone: VectorText(gone),
        base: VectorText(tracked.base.clone().unwrap_or_default()),
        dots: DotsText(dots),
        values: Fields::new(),
        instead: Some(Box::new(instead)),
        formerly: Vec::new(),
    }))
}

/// Whether a row that is large before compression may travel alone.
fn fits(lines: &[Box<RawValue>]) -> Result<bool, StoreError> {
    let mut writer = Writer::default();
    for line in lines {
        writer.line(line)?;
    }
    // The head and the end are small; a KiB is far more than they need.
    Ok(writer.len() + 1024 <= BODY_BYTES_MAX && writer.finish()?.len() + 1024 <= PUSH_BYTES_MAX)
}

fn refuse(
    tx: &Transaction<'_>,
    this: &SelfState,
    table: &'static Table,
    id: RowId,
    tracked: Tracked,
    refused: &Refused,
    now_ms: u64,
) -> Result<(), StoreError> {
    let seq = tracked.version.vv.seen(this.replica);
    let refusal = versions::Refusal { code: refused.code.clone(), reason: refused.reason.clone(), seq };
    if tracked.base.as_ref().is_some_and(Vector::is_empty) {
        hub_rows::save(tx, table.id, id, None)?;
    }
    versions::save(tx, table, id, &Tracked { refused: Some(refusal), ..tracked })?;
    ledger::refuse(tx, refused, now_ms)
}

/// A line as JSON, so that its size is known before it is written.
fn json(line: &PushLine) -> Result<Box<RawValue>, StoreError> {
    serde_json::value::to_raw_value(line).map_err(|source| StoreError::Text { what: "a line of a batch", source })
}

/// What the hub has seen of a row, no more of this replica's writes than `own_seq`. Former ids write no more, so what the
/// hub has of them is what was sent.
pub(super) fn acknowledged_by(this: &SelfState, hubs: &Vector, own_seq: u64) -> Vector {
    let known = |(replica, seq): (_, u64)| (replica, if replica == this.replica { seq.min(own_seq) } else { seq });
    hubs.iter().map(known).collect()
}
