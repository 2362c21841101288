//! The centre of a simulated run: rows in memory, plans by the real merge, bodies by the real codec.
//!
//! It stands in for PostgreSQL and the hub. It decides nothing: `plan_push` and `clamp` do. A window is *rows whose
//! position is above the cursor's start*, its pages are read at different times, as the hub reads them.
//! It has no foreign keys: references are the business of the tests that have PostgreSQL.

use std::collections::BTreeMap;

use sync::catalog::{self, Direction, TABLES};
use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::{Conflict, Status};
use sync::merge::ids::{ReplicaId, RowId, TableId};
use sync::merge::plan::{Clamp, Push, PushPlan, clamp, plan_push};
use sync::merge::value::{Register, Value, Values};
use sync::merge::version::{Row, Version};
use sync::wire::frames::{PushBody, read_push};
use sync::wire::message::{
    Fence, Hello, Outcome, Page, PullEnd, PullLine, PullRow, Pushed, PushedLine, Replica, RowAnswer, Verdict, Welcome,
};
use sync::wire::stream::Writer;
use sync::wire::version::{DotsText, VectorText};
use sync::wire::{conflict, convert};
use uuid::Uuid;

use crate::journal::{Key, Knowledge, Seen};

/// The centre's replica id.
pub const CENTRE: u32 = 1;

/// Faults that the centre makes on purpose, and rules that a broken centre would not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Temper {
    /// Of a thousand pushed rows, how many are answered `busy`.
    pub busy_of_1000: u32,
    /// Whether rows with a title that begins with `poison` are refused.
    pub refuses_poison: bool,
}

/// A row at the centre.
#[derive(Clone, Debug)]
pub struct CentreRow {
    /// Its values and version.
    pub row: Row,
    position: u64,
    echo_of: Option<ReplicaId>,
}

#[derive(Clone, Debug)]
struct Member {
    fence: Fence,
    before: Fence,
    last: Option<(Uuid, Vec<u8>, Vec<u8>)>,
}

/// The centre.
#[derive(Clone, Debug, Default)]
pub struct Centre {
    /// Its rows, dead ones included.
    pub rows: BTreeMap<(TableId, RowId), CentreRow>,
    /// Its conflicts.
    pub conflicts: BTreeMap<Uuid, (Conflict, u64)>,
    /// What it has seen.
    pub knowledge: Knowledge,
    position: u64,
    seq: u64,
    members: BTreeMap<ReplicaId, Member>,
}

/// Why a push was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Its fence token is not the edge's.
    Fence,
    /// It cannot be believed.
    Forged(String),
}

/// A page on its way, with what the centre had seen of its rows.
#[derive(Clone, Debug)]
pub struct SentPage {
    /// The body.
    pub body: Vec<u8>,
    /// What the centre had seen.
    pub seen: BTreeMap<Key, Seen>,
}

struct Cursor {
    start: u64,
    end: Option<u64>,
    after: (TableId, RowId),
}

impl Centre {
    /// Gives an edge its identity.
    pub fn enroll(&mut self, replica: ReplicaId, token: String) -> Fence {
        let fence = Fence { count: 0, token };
        self.members.insert(replica, Member { fence: fence.clone(), before: fence.clone(), last: None });
        fence
    }

    /// Where its last change stands.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// How many of its own writes there were.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// A living row.
    pub fn living(&self, table: TableId, id: RowId) -> Option<&Row> {
        self.rows.get(&(table, id)).map(|stored| &stored.row).filter(|row| row.version.is_alive())
    }

    /// Writes a row as plain SQL at the centre does: `values` are the whole row when it is new or was dead, else the
    /// registers that change, `None` for a JSON key that goes. Returns the write's number.
    pub fn write(&mut self, table: TableId, id: RowId, values: &BTreeMap<Register, Option<Value>>, now_ms: u64) -> u64 {
        let mut row = self.rows.get(&(table, id)).map(|stored| stored.row.clone()).unwrap_or_default();
        let dot = self.stamp(&row, now_ms);
        if row.version.is_alive() {
            let registers: Vec<Register> = values.keys().cloned().collect();
            row.version.write(dot, &registers);
        } else {
            row.version.write(dot, &[]);
            row.values.clear();
        }
        for (register, value) in values {
            match value {
                Some(value) => row.values.insert(register.clone(), value.clone()),
                None => row.values.remove(register),
            };
        }
        self.store(table, id, row, None);
        dot.seq
    }

    /// Deletes a row as plain SQL at the centre does. Returns the write's number.
    pub fn delete(&mut self, table: TableId, id: RowId, now_ms: u64) -> u64 {
        let mut row = self.rows.get(&(table, id)).map(|stored| stored.row.clone()).unwrap_or_default();
        let dot = self.stamp(&row, now_ms);
        row.version.delete(dot);
        self.store(table, id, row, None);
        dot.seq
    }

    /// Raises the status of a conflict.
    pub fn decide(&mut self, id: Uuid, status: Status) {
        let Some((conflict, _)) = self.conflicts.get(&id).cloned() else { return };
        self.take_conflict(Conflict { status: conflict.status.max(status), ..conflict });
    }

    fn stamp(&mut self, row: &Row, now_ms: u64) -> Dot {
        self.seq += 1;
        Dot { replica: ReplicaId(CENTRE), seq: self.seq, hlc: row.version.hlc().tick(now_ms), by: None }
    }

    fn store(&mut self, table: TableId, id: RowId, row: Row, echo_of: Option<ReplicaId>) {
        self.position += 1;
        self.rows.insert((table, id), CentreRow { row, position: self.position, echo_of });
    }

    fn take_conflict(&mut self, conflict: Conflict) {
        let id = conflict.id();
        let joined = match self.conflicts.get(&id) {
            Some((stored, _)) => stored.clone().join(conflict),
            None => conflict,
        };
        if self.conflicts.get(&id).is_none_or(|(stored, _)| *stored != joined) {
            self.position += 1;
            self.conflicts.insert(id, (joined, self.position));
        }
    }

    /// Answers a hello.
    pub fn hello(&self, hello: &Hello, now_ms: u64) -> Welcome {
        let replica = ReplicaId(hello.replica);
        let known = self.members.get(&replica).is_some_and(|member| {
            let lost_answer = member.last.as_ref().is_some_and(|(batch, ..)| Some(*batch) == hello.in_flight);
            member.fence == hello.fence || (member.before == hello.fence && lost_answer)
        });
        let verdict = if known { Verdict::Ok } else { Verdict::Reidentify };
        let directory = self.members.keys().map(|id| Replica { id: id.0, name: format!("edge {id}"), site: None });
        Welcome {
            verdict,
            unix_ms: now_ms,
            directory: directory.collect(),
            app_version: "simulated".to_owned(),
            incarnation: None,
            reconcile: None,
        }
    }

    /// Takes a push. `busy` says for each row whether somebody holds it; `seen` is what the pusher had seen when it
    /// put the batch together.
    pub fn push(
        &mut self,
        body: &[u8],
        temper: Temper,
        seen: &BTreeMap<Key, Seen>,
        now_ms: u64,
        mut random: impl FnMut() -> u32,
    ) -> Result<Vec<u8>, Refused> {
        let push = read_push(body).expect("an edge sends whole bodies");
        let replica = ReplicaId(push.batch.replica);
        let member = self.members.get(&replica).expect("only enrolled edges push");
        if push.batch.fence != member.fence {
            return match &member.last {
                Some((batch, sent, answer))
                    if push.batch.fence == member.before && *batch == push.batch.id && sent == body =>
                {
                    Ok(answer.clone())
                }
                _ => Err(Refused::Fence),
            };
        }
        let answers = self.take_rows(&push, replica, temper, seen, now_ms, &mut random)?;
        let fence = Fence { count: push.batch.fence.count + 1, token: format!("{:08x}", random()) };
        let answer = answer_body(&push, &fence, answers, now_ms);
        let member = self.members.get_mut(&replica).expect("only enrolled edges push");
        member.before = std::mem::replace(&mut member.fence, fence);
        member.last = Some((push.batch.id, body.to_vec(), answer.clone()));
        Ok(answer)
    }

    /// Takes the rows and conflicts of a push whatever its fence token says, for checks of repeated delivery.
    pub fn replay(&mut self, body: &[u8], now_ms: u64) {
        let push = read_push(body).expect("an edge sends whole bodies");
        let replica = ReplicaId(push.batch.replica);
        let taken = self.take_rows(&push, replica, Temper::default(), &BTreeMap::new(), now_ms, &mut || 1000);
        taken.expect("what was taken once is taken again");
    }

    fn take_rows(
        &mut self,
        push: &PushBody,
        replica: ReplicaId,
        temper: Temper,
        seen: &BTreeMap<Key, Seen>,
        now_ms: u64,
        random: &mut impl FnMut() -> u32,
    ) -> Result<Vec<RowAnswer>, Refused> {
        let mut answers: Vec<RowAnswer> = Vec::new();
        for sent in &push.rows {
            let table = catalog::by_name(&sent.table).expect("edges push tables of the catalog");
            let values = convert::values(table, &sent.values).expect("edges push readable values");
            let mut incoming = Push {
                version: Version { vv: sent.vv.0.clone(), gone: sent.gone.0.clone(), dots: sent.dots.0.clone() },
                base: sent.base.0.clone(),
                values,
            };
            let mut answer = RowAnswer {
                table: sent.table.clone(),
                id: sent.id,
                outcome: Outcome::Busy,
                vv: VectorText::default(),
                clamps: Vec::new(),
                code: None,
                reason: None,
                hub: None,
                blocker: None,
            };
            let poison = |value: &Value| matches!(value, Value::Text(text) if text.starts_with("poison"));
            if random() % 1000 < temper.busy_of_1000 {
                answers.push(answer);
                continue;
            }
            if temper.refuses_poison && incoming.values.values().any(poison) {
                answer.outcome = Outcome::Quarantined;
                answer.code = Some("poison".to_owned());
                answer.reason = Some("the simulation refuses it".to_owned());
                let stored = self.rows.get(&(table.id, RowId(sent.id)));
                answer.hub = stored.map(|stored| Box::new(pull_row(&(table.id, RowId(sent.id)), &stored.row)));
                answers.push(answer);
                continue;
            }
            let key = (table.id, RowId(sent.id));
            let clamps = self.clamp(key, &mut incoming, replica, now_ms);
            answer.clamps = clamps.iter().map(|clamp| (clamp.replica.0, clamp.seq, clamp.hlc.0)).collect();
            answer.outcome = self.take_row(key, &incoming, replica)?;
            answer.vv = VectorText(self.rows.get(&key).map(|stored| stored.row.version.vv.clone()).unwrap_or_default());
            let name: Key = (table.name, sent.id);
            if let Some(seen) = seen.get(&name) {
                self.knowledge.learn(name, seen);
            }
            answers.push(answer);
        }
        for text in &push.conflicts {
            let refused = |answer: &&RowAnswer| answer.table == text.table && answer.id == text.row;
            let outcome = answers.iter().find(refused).map(|answer| answer.outcome);
            if matches!(outcome, None | Some(Outcome::Accepted | Outcome::Merged)) {
                self.take_conflict(conflict::parse(text).expect("edges push readable conflicts"));
            }
        }
        Ok(answers)
    }

    fn clamp(&self, key: (TableId, RowId), push: &mut Push, replica: ReplicaId, now_ms: u64) -> Vec<Clamp> {
        let known = self.rows.get(&key).map(|stored| stored.row.version.clone()).unwrap_or_default();
        clamp(&mut push.version, &known, &[replica], Hlc::ceiling(now_ms))
    }

    fn take_row(&mut self, key: (TableId, RowId), push: &Push, replica: ReplicaId) -> Result<Outcome, Refused> {
        let table = catalog::by_id(key.0).expect("edges push tables of the catalog");
        let known = self.rows.get(&key).map(|stored| &stored.row);
        match plan_push(key.0, key.1, known, push, &[replica], &table.quiet()) {
            PushPlan::Known => Ok(Outcome::Accepted),
            PushPlan::Store { row, conflicts, exact } => {
                self.store(key.0, key.1, row, exact.then_some(replica));
                conflicts.into_iter().for_each(|conflict| self.take_conflict(conflict));
                Ok(if exact { Outcome::Accepted } else { Outcome::Merged })
            }
            PushPlan::NeedFull => Ok(Outcome::NeedFull),
            PushPlan::Gone { .. } => Err(Refused::Forged("a row that the centre has never forgotten".to_owned())),
            PushPlan::Refused(forgery) => Err(Refused::Forged(format!("{forgery:?} in {push:?}"))),
        }
    }

    /// Whether a pull with this cursor would bring anything.
    pub fn has_news(&self, replica: ReplicaId, cursor: Option<&str>) -> bool {
        let cursor = Cursor::parse(cursor);
        let whole = cursor.start == 0;
        let row = |stored: &&CentreRow| stored.position > cursor.start && (whole || stored.echo_of != Some(replica));
        cursor.end.is_some()
            || self.rows.values().any(|stored| row(&stored))
            || self.conflicts.values().any(|(_, position)| *position > cursor.start)
    }

    /// One page for an edge, of at most `rows_max` rows.
    pub fn pull(&self, replica: ReplicaId, cursor: Option<&str>, rows_max: usize, now_ms: u64) -> SentPage {
        let from = Cursor::parse(cursor);
        let whole = from.start == 0;
        let end = from.end.unwrap_or(self.position);
        let due = self.rows.range((std::ops::Bound::Excluded(from.after), std::ops::Bound::Unbounded)).filter(
            |(_, stored)| {
                let new = stored.position > from.start;
                if whole { new && stored.row.version.is_alive() } else { new && stored.echo_of != Some(replica) }
            },
        );
        let due: Vec<_> = due.take(rows_max + 1).collect();
        let complete = due.len() <= rows_max;
        let mut lines: Vec<PullLine> = Vec::new();
        let mut seen = BTreeMap::new();
        for (key, stored) in due.iter().take(rows_max) {
            let table = catalog::by_id(key.0).expect("rows are of tables of the catalog");
            seen.insert((table.name, key.1.0), self.knowledge.of((table.name, key.1.0)));
            lines.push(PullLine::Row(pull_row(key, &stored.row)));
        }
        if complete {
            let new = self.conflicts.values().filter(|(_, position)| *position > from.start);
            lines.extend(new.map(|(found, _)| PullLine::Conflict(conflict::text(found).expect("known tables only"))));
        }
        let last = due.iter().take(rows_max).next_back().map_or(from.after, |(key, _)| **key);
        let next = if complete { format!("{end}") } else { format!("{}/{end}/{}/{}", from.start, last.0.0, last.1) };
        let count = u64::try_from(lines.len()).expect("few lines");
        let mut writer = Writer::default();
        let head = Page { unix_ms: now_ms, rows_total: None, replicas: 0 };
        writer.line(&PullLine::Page(head)).expect("memory");
        for line in &lines {
            writer.line(line).expect("memory");
        }
        writer.line(&PullLine::End(PullEnd { lines: count, cursor: next, complete })).expect("memory");
        SentPage { body: writer.finish().expect("memory"), seen }
    }

    /// The rows as `hub dump` prints them.
    pub fn dump(&self) -> String {
        let living = self.rows.iter().filter(|(_, stored)| stored.row.version.is_alive());
        let lines = living.filter_map(|((table, id), stored)| {
            let table = catalog::by_id(*table).filter(|table| table.dumped)?;
            Some(convert::dump_line(table, *id, &stored.row.values) + "\n")
        });
        lines.collect()
    }

    /// The versions of the rows that both sides write, as text by row.
    pub fn versions(&self) -> BTreeMap<Key, String> {
        let both = TABLES.iter().filter(|table| table.direction == Direction::Both);
        both.flat_map(|table| {
            let of_table = self.rows.iter().filter(|((of, _), _)| *of == table.id);
            of_table.map(|((_, id), stored)| ((table.name, id.0), version_text(&stored.row.version)))
        })
        .collect()
    }
}

/// A version as text, for comparing.
pub fn version_text(version: &Version) -> String {
    let Version { vv, gone, dots } = version;
    use sync::wire::version::{dots_text, vector_text};
    format!("vv {} gone {} dots {}", vector_text(vv), vector_text(gone), dots_text(dots))
}

impl Cursor {
    fn parse(text: Option<&str>) -> Self {
        let first = (TableId(0), RowId(Uuid::nil()));
        let Some(text) = text else { return Self { start: 0, end: None, after: first } };
        let parts: Vec<&str> = text.split('/').collect();
        let number = |index: usize| parts[index].parse().expect("cursors come back as they were given");
        match parts.len() {
            1 => Self { start: number(0), end: None, after: first },
            _ => Self {
                start: number(0),
                end: Some(number(1)),
                after: (
                    TableId(u8::try_from(number(2)).expect("table numbers are small")),
                    RowId(parts[3].parse().expect("cursors come back as they were given")),
                ),
            },
        }
    }
}

fn pull_row(key: &(TableId, RowId), row: &Row) -> PullRow {
    let table = catalog::by_id(key.0).expect("rows are of tables of the catalog");
    let values =
        if table.direction == Direction::Down && !row.version.is_alive() { Values::new() } else { row.values.clone() };
    PullRow {
        table: table.name.to_owned(),
        id: key.1.0,
        vv: VectorText(row.version.vv.clone()),
        gone: VectorText(row.version.gone.clone()),
        dots: DotsText(row.version.dots.clone()),
        values: convert::fields(table, &values),
    }
}

fn answer_body(push: &PushBody, fence: &Fence, answers: Vec<RowAnswer>, now_ms: u64) -> Vec<u8> {
    let count = u64::try_from(answers.len()).expect("few rows");
    let mut writer = Writer::default();
    let head = Pushed { id: push.batch.id, fence: fence.clone(), unix_ms: now_ms };
    writer.line(&PushedLine::Batch(head)).expect("memory");
    for answer in answers {
        writer.line(&PushedLine::Row(answer)).expect("memory");
    }
    writer.line(&PushedLine::End(count)).expect("memory");
    writer.finish().expect("memory")
}
