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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use crate::merge::clock::{Dot, Hlc};
    use crate::merge::conflict::{Conflict, Kind, Party, Status};
    use crate::merge::ids::ReplicaId;
    use crate::merge::value::Value;
    use crate::sqlite::audit::{self, AuditRow};
    use crate::sqlite::fixture::{TASK, edge_with_a_task};
    use crate::wire::frames::{PushBody, read_push};
    use crate::wire::message::FormerName;

    const OWN: ReplicaId = ReplicaId(7);
    const CENTRE: ReplicaId = ReplicaId(1);
    const TENANT: Uuid = Uuid::from_u128(1);

    fn edge() -> Connection {
        edge_with_a_task(OWN, "one")
    }

    fn insert_task(connection: &Connection, id: u128, title: &str) {
        let insert = "insert into tasks (id, tenant_id, title) values (?1, ?2, ?3)";
        connection.execute(insert, [Uuid::from_u128(id).to_string(), TENANT.to_string(), title.to_owned()]).unwrap();
    }

    fn tasks() -> &'static Table {
        catalog::by_name("tasks").unwrap()
    }

    fn try_batch(connection: &mut Connection, room: Room) -> Option<PushBody> {
        let in_flight = prepare_within(connection, Uuid::from_u128(5), 0, room).unwrap()?;
        Some(read_push(&in_flight.body).unwrap())
    }

    fn batch(connection: &mut Connection) -> PushBody {
        try_batch(connection, ALL_THERE_IS).expect("something waits")
    }

    fn ids(body: &PushBody) -> Vec<u128> {
        body.rows.iter().map(|row| row.id.as_u128()).collect()
    }

    fn dot(replica: ReplicaId, seq: u64) -> Dot {
        Dot { replica, seq, hlc: Hlc(seq), by: None }
    }

    fn conflict(row: u128, seq: u64) -> Conflict {
        let party = |replica, value: &str| Party { dot: dot(replica, seq), value: Some(Value::text(value)) };
        Conflict {
            table: tasks().id,
            row: RowId(Uuid::from_u128(row)),
            kind: Kind::EditEdit,
            register: Some("title".to_owned()),
            loser: party(OWN, "lost"),
            winner: party(CENTRE, "won"),
            status: Status::Open,
        }
    }

    /// Refuses a row that waits, as an answer of the hub does.
    fn refused_by_the_hub(connection: &mut Connection, id: u128) {
        let (id, tx) = (RowId(Uuid::from_u128(id)), connection.transaction().unwrap());
        let tracked = versions::load(&tx, tasks(), id).unwrap().unwrap();
        let refused = Refused {
            way: Way::Up,
            table: tasks().id,
            row: id,
            code: refusals::DOES_NOT_FIT.as_str().to_owned(),
            reason: "for a test".to_owned(),
            payload: "{}".to_owned(),
        };
        refuse(&tx, &self_state::load(&tx).unwrap(), tasks(), id, tracked, &refused, 0).unwrap();
        tx.commit().unwrap();
    }

    /// Somebody gives up what the hub refused.
    fn given_up(connection: &mut Connection, id: u128) {
        refused_by_the_hub(connection, id);
        let tx = connection.transaction().unwrap();
        let entry = ledger::quarantine_id(Way::Up, tasks().id, RowId(Uuid::from_u128(id)));
        assert_eq!(quarantine::discard(&tx, entry).unwrap(), quarantine::Discard::Asked);
        tx.commit().unwrap();
    }

    #[test]
    fn what_is_in_flight_is_sent_again_byte_for_byte_and_not_at_all_when_it_is_damaged() {
        let mut connection = edge();
        let first = prepare(&mut connection, Uuid::from_u128(5), 0).unwrap();
        insert_task(&connection, 9, "made meanwhile");
        assert_eq!(prepare(&mut connection, Uuid::from_u128(6), 0).unwrap(), first);
        connection.execute("update sync_inflight set body = cast(body || x'00' as blob)", []).unwrap();
        assert!(prepare(&mut connection, Uuid::from_u128(6), 0).is_err());
    }

    #[test]
    fn what_was_answered_is_in_flight_no_more() {
        let mut connection = edge();
        prepare(&mut connection, Uuid::from_u128(5), 0).unwrap();
        let tx = connection.transaction().unwrap();
        delete(&tx).unwrap();
        assert_eq!(load(&tx).unwrap(), None);
    }

    #[test]
    fn refused_rows_stay_where_they_are_until_all_are_to_be_sent_once_more() {
        let mut connection = edge();
        insert_task(&connection, 9, "two");
        for id in [TASK.0.as_u128(), 9] {
            refused_by_the_hub(&mut connection, id);
        }
        assert!(try_batch(&mut connection, ALL_THERE_IS).is_none());
        assert_eq!(retry_refused(&mut connection).unwrap(), 2);
        assert_eq!(ids(&batch(&mut connection)), [TASK.0.as_u128(), 9]);
    }

    #[test]
    fn a_batch_takes_a_first_line_of_any_size_and_then_what_there_is_room_for() {
        let line = || RawValue::from_string("\"12345678\"".to_owned()).unwrap();
        let key = |id| Key { table: tasks().id, id: RowId(Uuid::from_u128(id)) };
        let mut draft = Draft { lines: Vec::new(), bytes: 0, bytes_max: 30, rows: BTreeSet::new(), high_seq: 0 };
        assert!(draft.takes(1_000), "or a large row would wait for ever");
        draft.add_row(key(0), 8, [line()]);
        draft.add_row(key(1), 3, [line()]);
        assert_eq!((draft.bytes, draft.high_seq), (20, 8));
        assert_eq!((draft.takes(10), draft.takes(11)), (true, false));
        draft.rows.extend((2..).map(key).take(PUSH_ROWS_MAX - 3));
        assert!(draft.takes(10), "one more row than {}", draft.rows.len());
        draft.rows.insert(key(u128::MAX));
        assert!(!draft.takes(10), "no more than {}", draft.rows.len());
        draft.rows.insert(key(u128::MAX - 1));
        assert!(!draft.takes(0));
    }

    #[test]
    fn a_batch_brings_the_living_parents_first_and_then_the_dead_children_first() {
        let mut connection = edge();
        let insert = "insert into devices (id, tenant_id, site_id, name, type) values (?1, ?2, ?2, 'd', 'sensor')";
        for id in [20, 21] {
            connection.execute(insert, [Uuid::from_u128(id).to_string(), TENANT.to_string()]).unwrap();
        }
        insert_task(&connection, 9, "dies");
        for (table, id) in [("devices", 20), ("tasks", 9)] {
            let delete = format!("delete from {table} where id = ?1");
            connection.execute(&delete, [Uuid::from_u128(id).to_string()]).unwrap();
        }
        assert_eq!(ids(&batch(&mut connection)), [21, TASK.0.as_u128(), 9, 20]);
    }

    #[test]
    fn a_row_that_cannot_be_read_is_refused_here_told_to_the_hub_and_stops_no_other() {
        let mut connection = edge();
        insert_task(&connection, 9, "two");
        connection.pragma_update(None, "ignore_check_constraints", true).unwrap();
        connection.execute("update tasks set due_date = 'soon' where title = 'one'", []).unwrap();
        let body = batch(&mut connection);
        assert_eq!(ids(&body), [9, TASK.0.as_u128()]);
        let [sent, withheld] = body.rows.as_slice() else { panic!("two rows") };
        assert_eq!(sent.instead, None);
        let Some(Instead::Withheld { code, .. }) = withheld.instead.as_deref() else { panic!("it has values") };
        assert_eq!(code, refusals::UNREADABLE.as_str());
        assert!(withheld.values.is_empty());
        let tracked = versions::load(&connection, tasks(), TASK).unwrap().unwrap();
        assert_eq!(tracked.refused.unwrap().code, refusals::UNREADABLE.as_str());
        let listed = ledger::quarantined(&connection).unwrap();
        assert_eq!(listed.iter().map(|entry| entry.row).collect::<Vec<_>>(), [TASK]);
        // It is told once.
        connection.execute("delete from sync_inflight", []).unwrap();
        connection.execute("update sync_rows set base = null where row_id <> ?1", [TASK.0.to_string()]).unwrap();
        assert!(try_batch(&mut connection, ALL_THERE_IS).is_none());
    }

    #[test]
    fn records_go_with_the_rows_if_there_is_room_for_them() {
        let mut connection = edge();
        let record = AuditRow {
            id: Uuid::from_u128(30),
            tenant: Some(TENANT),
            user: None,
            action: "create".to_owned(),
            resource_type: "task".to_owned(),
            resource: None,
            details: "{}".to_owned(),
            created_at: "2026-01-01T00:00:00.000000Z".to_owned(),
        };
        audit::insert(&connection, &record).unwrap();
        for (audits, expected) in [(false, 0), (true, 1)] {
            let body = try_batch(&mut connection, Room { audits, ..ALL_THERE_IS }).unwrap();
            assert_eq!((body.rows.len(), body.audits.len()), (1, expected));
            connection.execute("delete from sync_inflight", []).unwrap();
        }
        let body = try_batch(&mut connection, Room { bytes: 1, audits: true }).unwrap();
        assert_eq!((body.rows.len(), body.audits.len()), (1, 0), "the first line took it all");
    }

    #[test]
    fn a_row_that_is_given_up_is_sent_as_such_with_its_values() {
        let mut connection = edge();
        given_up(&mut connection, TASK.0.as_u128());
        let body = batch(&mut connection);
        let [row] = body.rows.as_slice() else { panic!("one row") };
        assert_eq!(row.instead.as_deref(), Some(&Instead::Discarded));
        assert!(row.values.contains_key("title"), "should it be written again meanwhile, it is made of them");
    }

    #[test]
    fn a_row_that_is_written_again_is_given_up_no_more_though_there_is_no_room_for_it_yet() {
        let mut connection = edge();
        insert_task(&connection, 9, "two");
        given_up(&mut connection, 9);
        connection.execute("update tasks set title = 'better' where title = 'two'", []).unwrap();
        let body = try_batch(&mut connection, Room { bytes: 1, audits: true }).unwrap();
        assert_eq!(ids(&body), [TASK.0.as_u128()]);
        assert_eq!(ledger::quarantined(&connection).unwrap().iter().filter(|entry| entry.discarded).count(), 0);
    }

    #[test]
    fn a_conflict_goes_with_its_row_and_a_decision_alone_if_its_row_does_not_wait() {
        let mut connection = edge();
        let tx = connection.transaction().unwrap();
        for conflict in [conflict(TASK.0.as_u128(), 1), conflict(99, 2)] {
            ledger::record(&tx, conflict).unwrap();
        }
        tx.commit().unwrap();
        let body = batch(&mut connection);
        let sent: Vec<u128> = body.conflicts.iter().map(|conflict| conflict.row.as_u128()).collect();
        assert_eq!((ids(&body), sent), (vec![TASK.0.as_u128()], vec![TASK.0.as_u128(), 99]));
    }

    #[test]
    fn a_batch_of_decisions_ends_where_the_room_or_the_number_of_lines_does() {
        let mut connection = edge();
        let tx = connection.transaction().unwrap();
        let many = (1..3_000).map(|seq| conflict(99, seq));
        let kept = many.map(|conflict| Kept { id: conflict.id(), conflict, pending: true }).collect();
        let conflicts = [(Key { table: tasks().id, id: RowId(Uuid::from_u128(99)) }, kept)].into_iter().collect();
        for (bytes_max, expected) in [(usize::MAX, 2 * PUSH_ROWS_MAX + 1), (1, 1)] {
            let mut draft = Draft { lines: Vec::new(), bytes: 0, bytes_max, rows: BTreeSet::new(), high_seq: 0 };
            collect_decisions(&tx, &conflicts, &mut draft).unwrap();
            assert_eq!(draft.lines.len(), expected);
        }
    }

    #[test]
    fn a_row_says_what_its_writes_were_called_before_the_edge_took_another_id() {
        let mut connection = edge();
        let tx = connection.transaction().unwrap();
        let former = dot(ReplicaId(6), 4);
        let renamed = [((former.replica, former.seq), 1)].into_iter().collect();
        former_names::follow(&tx, (tasks(), TASK), OWN, &[former], &renamed).unwrap();
        tx.commit().unwrap();
        let name = FormerName { replica: 6, seq: 4, hlc: 4, now_seq: 1 };
        assert_eq!(batch(&mut connection).rows[0].formerly, [name]);
    }

    /// Text that hardly becomes smaller: every printable letter that JSON writes as it is, in no order.
    fn noise(length: usize) -> String {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from(b'#' + u8::try_from(state % 57).unwrap())
        };
        std::iter::repeat_with(&mut next).take(length).collect()
    }

    fn line_of(bytes: usize, letters: impl FnOnce(usize) -> String) -> Box<RawValue> {
        RawValue::from_string(format!("\"{}\"", letters(bytes - 2))).unwrap()
    }

    fn letters(length: usize) -> String {
        "a".repeat(length)
    }

    #[test]
    fn a_large_row_travels_alone_while_it_is_small_enough_as_sent_and_as_read() {
        assert!(fits(&[line_of(100_000, noise)]).unwrap());
        let inflated_max = BODY_BYTES_MAX - 1_024 - 1;
        assert!(fits(&[line_of(inflated_max, letters)]).unwrap());
        assert!(!fits(&[line_of(inflated_max + 1, letters)]).unwrap(), "the hub would not read all of it");
        // As sent, a body of this size fits, but not with a head and an end.
        let sent = |length| {
            let mut writer = Writer::default();
            writer.line(&line_of(length, noise)).unwrap();
            writer.finish().unwrap().len()
        };
        let (mut length, wanted) = (PUSH_BYTES_MAX, PUSH_BYTES_MAX - 512);
        for _ in 0..3 {
            length = length * wanted / sent(length);
        }
        assert!(sent(length).abs_diff(wanted) < 400);
        assert!(!fits(&[line_of(length, noise)]).unwrap());
        assert!(fits(&[line_of(length - 4_096, noise)]).unwrap());
    }

    #[test]
    fn a_batch_of_several_large_rows_is_no_larger_than_the_hub_reads_whatever_they_hold() {
        let mut connection = edge();
        let text = noise(1_800_000);
        for (id, part) in [(9, 0), (10, 600_000), (11, 1_200_000)] {
            insert_task(&connection, id, &text[part..][..600_000]);
        }
        let in_flight = prepare(&mut connection, Uuid::from_u128(5), 0).unwrap().unwrap();
        assert!(in_flight.body.len() <= PUSH_BYTES_MAX, "{} bytes", in_flight.body.len());
    }

    #[test]
    fn a_row_that_is_too_large_is_refused_here_and_one_that_shrinks_on_its_way_is_sent() {
        let mut connection = edge();
        insert_task(&connection, 9, &letters(1_000_000));
        insert_task(&connection, 10, &noise(1_000_000));
        connection.execute("update tasks set description = title where id like '%a'", []).unwrap();
        let description = noise(2_000_000).split_off(1_000_000);
        let update = "update tasks set description = ?1 where length(description) > 1";
        assert_eq!(connection.execute(update, [description]).unwrap(), 1);
        let mut told = Vec::new();
        while let Some(body) = try_batch(&mut connection, ALL_THERE_IS) {
            told.extend(body.rows.iter().map(|row| (row.id.as_u128(), row.instead.clone())));
            for row in &body.rows {
                let settled = "update sync_rows set base = null where row_id = ?1";
                connection.execute(settled, [row.id.to_string()]).unwrap();
            }
            connection.execute("delete from sync_inflight", []).unwrap();
        }
        told.sort_by_key(|(id, _)| *id);
        let [(4, None), (9, None), (10, Some(instead))] = told.as_slice() else { panic!("{told:?}") };
        assert!(matches!(&**instead, Instead::Withheld { code, .. } if code == refusals::TOO_LARGE.as_str()));
    }

    #[test]
    fn a_value_is_missed_only_where_this_edge_wrote_it_and_the_hub_does_not_have_it() {
        let mut connection = edge();
        let tx = connection.transaction().unwrap();
        let this = self_state::load(&tx).unwrap();
        let missed = |replica, base: Option<Vector>, values: Values| {
            let mut version = Version::default();
            version.write(dot(replica, 3), &["title".to_owned()]);
            let row = Row { version: version.clone(), values };
            missing(&this, tasks(), &row, &Tracked { version, base, refused: None, hub_had_ms: None })
        };
        let (nothing, all): (Vector, Vector) = (Vector::default(), [(OWN, 3)].into_iter().collect());
        let title: Values = [("title".to_owned(), Value::text("one"))].into_iter().collect();
        assert_eq!(missed(OWN, Some(nothing.clone()), Values::new()), Some("title"));
        assert_eq!(missed(OWN, Some(nothing.clone()), title), None);
        assert_eq!(missed(OWN, Some(all), Values::new()), None);
        assert_eq!(missed(CENTRE, Some(nothing), Values::new()), None);
        assert_eq!(missed(OWN, None, Values::new()), None);
    }

    #[test]
    fn an_answer_acknowledges_no_write_of_this_id_that_was_made_after_its_batch() {
        let this = self_state::load(&edge()).unwrap();
        let hubs: Vector = [(OWN, 9), (CENTRE, 5), (ReplicaId(6), 8)].into_iter().collect();
        let expected: Vector = [(OWN, 4), (CENTRE, 5), (ReplicaId(6), 8)].into_iter().collect();
        assert_eq!(acknowledged_by(&this, &hubs, 4), expected);
    }
}
