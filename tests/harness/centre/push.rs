//! A push at the centre: plans by the real merge, references checked, parents last, as `pg::apply` does it.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::SmallRng;
use sync::catalog::{self, Table};
use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::Conflict;
use sync::merge::fence::{Admission, Mark, admission};
use sync::merge::ids::{ReplicaId, RowId};
use sync::merge::plan::{Clamp, Push, PushPlan, clamp, clamp_conflict, plan_discard, plan_gone, plan_push};
use sync::merge::rename::unanswered;
use sync::merge::value::{Value, Values};
use sync::merge::vector::Vector;
use sync::merge::version::{Row, Version};
use sync::wire::frames::{PushBody, read_push};
use sync::wire::message::{self, Instead, Outcome, Pushed, PushedLine, RowAnswer};
use sync::wire::stream::Writer;
use sync::wire::version::VectorText;
use sync::wire::{conflict, convert, digest};

use super::fences::Answered;
use super::{Centre, Database, RowKey, Temper, name_of, pull_row};
use crate::journal::{Author, Deed, Journal, Key, Registers, Seen, Write};
use crate::schedule::register_text;

/// Why a request was refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The fence token, the cursor or the id is not what it should be: a hello tells why.
    Fence,
    /// It cannot be believed.
    Forged(String),
}

/// The answer to a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The batch was taken now.
    Taken(Vec<u8>),
    /// It had been taken, and its answer is given again.
    Repeated(Vec<u8>),
}

/// What the pusher had seen of each row when it put the batch together.
pub(super) type Batch = BTreeMap<Key, Seen>;

/// A pushed row beside what came of it.
struct Candidate {
    table: &'static Table,
    key: RowKey,
    push: Push,
    clamps: Vec<Clamp>,
    fate: Option<Fate>,
    planned: Option<Planned>,
    discarded: bool,
}

struct Planned {
    row: Row,
    conflicts: Vec<Conflict>,
    exact: bool,
}

enum Fate {
    Taken(Vector, bool),
    Busy,
    NeedFull,
    Refused(&'static str),
}

/// What a push is taken with.
struct Work<'a> {
    edge: usize,
    own: Vec<ReplicaId>,
    replica: ReplicaId,
    seen: &'a Batch,
    now_ms: u64,
    txid: i64,
}

impl Centre {
    /// Takes a push; `seen` is what the pusher had seen when it put the batch together.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn push(
        &mut self,
        edge: usize,
        (body, seen): (&[u8], &Batch),
        temper: Temper,
        journal: &mut Journal,
        (now_ms, random): (u64, &mut SmallRng),
    ) -> Result<Receipt, Refused> {
        let push = read_push(body).expect("an edge sends whole bodies");
        let replica = push.batch.replica;
        let Some(fence) = self.database.fences.get(&replica).filter(|fence| fence.edge == edge) else {
            return Err(Refused::Fence);
        };
        let said = Mark { count: push.batch.fence.count, word: push.batch.fence.token.clone() };
        let token = Mark { count: fence.count, word: fence.token.clone().unwrap_or_default() };
        let last = fence.last.as_ref().filter(|last| last.batch == push.batch.id && last.body == body);
        match (admission(&said, &token, fence.before.as_deref(), last.is_some()), last) {
            (Admission::Next, _) => {}
            (Admission::Repeated, Some(last)) => {
                self.met.push("a lost answer is given again");
                return Ok(Receipt::Repeated(last.answer.clone()));
            }
            (Admission::Repeated, None) | (Admission::Stale, _) => return Err(Refused::Fence),
        }
        let answers = self.take(edge, &push, (seen, temper), journal, (now_ms, random))?;
        let database = &mut self.database;
        let count = push.batch.fence.count + 1;
        let token = database.token(replica, count, random);
        let answer = answer_body(&push, message::Fence { count, token: token.clone() }, answers, now_ms);
        let fence = database.fences.get_mut(&replica).expect("it was found");
        fence.before = fence.token.replace(token);
        fence.count = count;
        fence.high_seq = fence.high_seq.max(push.batch.high_seq);
        fence.last = Some(Answered { batch: push.batch.id, body: body.to_vec(), answer: answer.clone() });
        Ok(Receipt::Taken(answer))
    }

    /// Takes the rows and conflicts of a push whatever its fence token says: the merge alone has to see that it has them.
    pub fn replay(&mut self, edge: usize, body: &[u8], now_ms: u64, random: &mut SmallRng) {
        let push = read_push(body).expect("an edge sends whole bodies");
        let taken =
            self.take(edge, &push, (&Batch::new(), Temper::default()), &mut Journal::default(), (now_ms, random));
        taken.expect("what was taken once is taken again");
    }

    fn take(
        &mut self,
        edge: usize,
        push: &PushBody,
        (seen, temper): (&Batch, Temper),
        journal: &mut Journal,
        (now_ms, random): (u64, &mut SmallRng),
    ) -> Result<Vec<RowAnswer>, Refused> {
        let mut candidates: Vec<Candidate> = push.rows.iter().map(candidate).collect();
        let (own, replica) = (self.database.own(edge), ReplicaId(push.batch.replica));
        let work = Work { edge, own, replica, seen, now_ms, txid: 0 };
        for one in &mut candidates {
            self.plan(one, &work, temper, random)?;
        }
        let work = Work { txid: self.database.transactions.begin(), ..work };
        self.write(&mut candidates, &work, journal);
        for one in candidates.iter_mut().filter(|one| one.discarded) {
            one.fate = Some(self.discard(one, &work, journal));
        }
        self.take_conflicts(push, &candidates, &work);
        self.remember(push, &candidates, &work);
        self.database.transactions.end(work.txid);
        Ok(candidates.into_iter().map(|one| self.row_answer(one)).collect())
    }

    fn plan(&self, one: &mut Candidate, work: &Work<'_>, temper: Temper, random: &mut SmallRng) -> Result<(), Refused> {
        let poison = |value: &Value| matches!(value, Value::Text(text) if text.starts_with("poison"));
        let busy = random.random_range(0..1000) < temper.busy_of_1000 || self.is_locked(one.key, None);
        one.fate = match () {
            () if busy => Some(Fate::Busy),
            () if one.discarded => None,
            () if temper.refuses_poison && one.push.values.values().any(poison) => Some(Fate::Refused("poison")),
            () => None,
        };
        if one.fate.is_some() || one.discarded {
            return Ok(());
        }
        let known = self.database.rows.get(&one.key).map(|stored| &stored.row);
        let version = known.map(|row| row.version.clone()).unwrap_or_default();
        if known.is_none() && one.push.base.is_empty() {
            one.push.base = self.database.acknowledged(one.key.1, &one.push);
        }
        one.clamps = clamp(&mut one.push.version, &version, &work.own, Database::ceiling(work.now_ms));
        match one.decide(known, &work.own) {
            PushPlan::Known => one.fate = Some(Fate::Taken(version.vv.clone(), version == one.push.version)),
            PushPlan::NeedFull => one.fate = Some(Fate::NeedFull),
            PushPlan::Store { row, conflicts, exact } => one.planned = Some(Planned { row, conflicts, exact }),
            PushPlan::Gone { conflicts } => {
                one.planned = Some(Planned { row: Row::default(), conflicts, exact: false });
            }
            PushPlan::Refused(forgery) => return Err(Refused::Forged(format!("{forgery:?} in {:?}", one.push))),
        }
        Ok(())
    }

    /// Everything but deletes of parents, then those, children first, then once more what failed.
    fn write(&mut self, candidates: &mut [Candidate], work: &Work<'_>, journal: &mut Journal) {
        let is_parent = |one: &Candidate| ["sites", "devices"].contains(&one.table.name);
        let dies = |one: &Candidate| {
            let lives = one.planned.as_ref().is_some_and(|planned| planned.row.version.is_alive());
            one.planned.is_some() && !lives && is_parent(one)
        };
        let (dying, rest): (Vec<usize>, Vec<usize>) =
            (0..candidates.len()).partition(|index| dies(&candidates[*index]));
        let mut failed: Vec<usize> =
            rest.into_iter().filter(|index| !self.write_row(&mut candidates[*index], work, journal)).collect();
        for table in ["devices", "sites"] {
            for index in dying.iter().copied() {
                if candidates[index].table.name != table {
                    continue;
                }
                if self.child_is_busy(candidates, candidates[index].key) {
                    (candidates[index].fate, candidates[index].planned) = (Some(Fate::Busy), None);
                    continue;
                }
                self.spare(&mut candidates[index], work, journal);
                self.write_row(&mut candidates[index], work, journal);
            }
        }
        loop {
            let before = failed.len();
            failed.retain(|index| !self.write_row(&mut candidates[*index], work, journal));
            if failed.len() == before {
                break;
            }
        }
    }

    /// Whether a row that refers to this one is held by somebody.
    fn child_is_busy(&self, candidates: &[Candidate], parent: RowKey) -> bool {
        let mut busy = candidates.iter().filter(|one| matches!(one.fate, Some(Fate::Busy)));
        let refers = |one: &Candidate| {
            let stored = self.database.rows.get(&one.key);
            stored.is_some_and(|stored| super::references::refers(one.key, &stored.row, parent))
        };
        busy.any(refers) || self.is_referred(parent, None)
    }

    /// A parent to which rows still refer was deleted by somebody who had not seen them: it stays, by a write of the centre.
    fn spare(&mut self, one: &mut Candidate, work: &Work<'_>, journal: &mut Journal) {
        let database = &mut self.database;
        let Some(mut touched) = database.living(one.key).cloned() else { return };
        if !database.has_children(one.key) {
            return;
        }
        let dot = database.stamp(&touched.version, work.now_ms);
        touched.version.write(dot, &["updated_at".to_owned()]);
        if let PushPlan::Store { row, conflicts, exact } = one.decide(Some(&touched), &work.own) {
            self.met.push("a parent stays for the sake of its children");
            one.planned = Some(Planned { row, conflicts, exact });
            let deed = Deed::Wrote(Registers::from([("updated_at".to_owned(), None)]));
            database.note_own(one.key, dot.seq, deed, journal);
        }
    }

    /// Writes one planned row. Says whether that is done; a row that refers to what is not there is refused, for now.
    fn write_row(&mut self, one: &mut Candidate, work: &Work<'_>, journal: &mut Journal) -> bool {
        let Some(planned) = &one.planned else { return true };
        let alive = planned.row.version.is_alive();
        let parents = super::references::parents(one.key, &planned.row);
        if alive && parents.iter().any(|parent| self.is_locked(*parent, None)) {
            (one.fate, one.planned) = (Some(Fate::Busy), None);
            return true;
        }
        let before = self.database.rows.get(&one.key).map(|stored| &stored.row);
        if alive && self.database.missing_reference(one.key, &planned.row, before).is_some() {
            one.fate = Some(Fate::Refused("missing_reference"));
            return false;
        }
        if alive && !one.push.needed.iter().all(|register| planned.row.values.contains_key(*register)) {
            one.fate = Some(Fate::Refused("missing_value"));
            return false;
        }
        let Some(Planned { row, conflicts, exact }) = one.planned.take() else { return true };
        let exact = exact && one.clamps.is_empty();
        if row.version.vv.is_empty() {
            self.met.push("a write meets a forgotten row");
            self.database.bury(one, work, journal);
        } else {
            let echo_of = exact.then_some(work.replica);
            self.database.store_pushed(one.key, row, echo_of, (work.txid, work.now_ms));
        }
        conflicts.iter().for_each(|_| self.met.push("two writes conflict"));
        conflicts.into_iter().for_each(|conflict| self.database.take_conflict(conflict, false, work.txid));
        let vv = self.database.rows[&one.key].row.version.vv.clone();
        one.fate = Some(Fate::Taken(vv, exact));
        true
    }

    /// The hub's row supersedes what was refused and given up.
    fn discard(&mut self, one: &Candidate, work: &Work<'_>, journal: &mut Journal) -> Fate {
        if matches!(one.fate, Some(Fate::Busy)) {
            return Fate::Busy;
        }
        let database = &mut self.database;
        let known = database.rows.get(&one.key).map(|stored| stored.row.clone());
        let seen = known.as_ref().map(|row| row.version.clone()).unwrap_or_default();
        let mut refused = one.push.clone();
        clamp(&mut refused.version, &seen, &work.own, Database::ceiling(work.now_ms));
        let highest = if seen.hlc() > refused.version.hlc() { &seen } else { &refused.version };
        let dot = database.stamp(highest, work.now_ms);
        let Some(row) = plan_discard(known.as_ref(), &refused, &work.own, dot) else {
            if let Some(stored) = database.rows.get_mut(&one.key) {
                (stored.txid, stored.echo_of) = (work.txid, None);
            }
            return Fate::Taken(seen.vv, false);
        };
        self.met.push("a refused row is given up");
        let own = work.seen.get(&name_of(one.key)).into_iter().flatten().copied();
        let own: Seen = own.filter(|place| journal.write(*place).author == Author::Edge(work.edge)).collect();
        database.knowledge.learn(name_of(one.key), &own);
        let written = row.version.dots.named.iter().filter(|(_, named)| **named == dot);
        let written =
            written.map(|(register, _)| (register.clone(), register_text(row.values.get(register)))).collect();
        // A dead row has these values too, should an edit bring it back.
        database.note_own(one.key, dot.seq, Deed::Wrote(written), journal);
        if !row.version.is_alive() {
            database.note_own(one.key, dot.seq, Deed::Deleted, journal);
        }
        let vv = row.version.vv.clone();
        database.store_pushed(one.key, row, None, (work.txid, work.now_ms));
        Fate::Taken(vv, false)
    }

    fn take_conflicts(&mut self, push: &PushBody, candidates: &[Candidate], work: &Work<'_>) {
        for text in &push.conflicts {
            let mut found = conflict::parse(text).expect("edges push readable conflicts");
            let stored = self.database.rows.get(&(found.table, found.row));
            let version = stored.map(|stored| stored.row.version.clone()).unwrap_or_default();
            let lowered = clamp_conflict(&mut found, &version, Database::ceiling(work.now_ms));
            let of_row = candidates.iter().find(|one| one.key == (found.table, found.row));
            if of_row.is_none_or(|one| matches!(one.fate, Some(Fate::Taken(..)))) {
                if lowered {
                    self.met.push("a stamp in a conflict is lowered");
                }
                self.database.take_conflict(found, lowered, work.txid);
            }
        }
    }

    /// What is kept of a push beside its rows: which writes were taken, what the centre has seen now, what is refused.
    fn remember(&mut self, push: &PushBody, candidates: &[Candidate], work: &Work<'_>) {
        let database = &mut self.database;
        for (one, sent) in candidates.iter().zip(&push.rows) {
            let entry = (work.edge, one.key);
            match one.fate {
                Some(Fate::Taken(..)) => {
                    database.refused.remove(&entry);
                    if one.discarded {
                        continue;
                    }
                    let version =
                        Version { vv: sent.vv.0.clone(), gone: sent.gone.0.clone(), dots: sent.dots.0.clone() };
                    let taken = unanswered(&version, &sent.base.0, &work.own);
                    let names = taken.iter().map(|dot| ((dot.replica.0, dot.seq, dot.hlc.0), (dot.replica.0, dot.seq)));
                    let former = sent.formerly.iter().filter(|name| work.own.contains(&ReplicaId(name.replica)));
                    let former =
                        former.map(|name| ((name.replica, name.seq, name.hlc), (push.batch.replica, name.now_seq)));
                    let said = Row { version: version.clone(), values: one.push.values.clone() };
                    for ((replica, seq, hlc), now) in names.chain(former) {
                        let dot = Dot { replica: ReplicaId(now.0), seq: now.1, hlc: Hlc(0), by: None };
                        let write = (now, digest::contents(&said, &dot));
                        database.accepted.entry((one.key.1, replica, seq, hlc)).or_insert(write);
                    }
                    if let Some(seen) = work.seen.get(&name_of(one.key)) {
                        database.knowledge.learn(name_of(one.key), seen);
                    }
                }
                Some(Fate::Refused(_) | Fate::NeedFull) => _ = database.refused.insert(entry),
                _ => {}
            }
        }
    }

    fn row_answer(&self, one: Candidate) -> RowAnswer {
        let (outcome, vv, code) = match &one.fate {
            Some(Fate::Taken(vv, true)) => (Outcome::Accepted, vv.clone(), None),
            Some(Fate::Taken(vv, false)) => (Outcome::Merged, vv.clone(), None),
            Some(Fate::NeedFull) => (Outcome::NeedFull, Vector::default(), None),
            Some(Fate::Refused(code)) => (Outcome::Quarantined, Vector::default(), Some(*code)),
            Some(Fate::Busy) | None => (Outcome::Busy, Vector::default(), None),
        };
        let taken = matches!(one.fate, Some(Fate::Taken(..)));
        let clamps = one.clamps.iter().filter(|_| taken).map(|clamp| (clamp.replica.0, clamp.seq, clamp.hlc.0));
        let refused = matches!(one.fate, Some(Fate::Refused(_) | Fate::NeedFull));
        let stored = self.database.rows.get(&one.key).filter(|_| refused);
        RowAnswer {
            table: one.table.name.to_owned(),
            id: one.key.1.0,
            outcome,
            vv: VectorText(vv),
            clamps: clamps.collect(),
            code: code.map(str::to_owned),
            reason: code.map(|code| format!("the simulation refuses it: {code}")),
            hub: stored.map(|stored| Box::new(pull_row(&one.key, &stored.row))),
            blocker: None,
        }
    }
}

impl Candidate {
    fn decide(&self, known: Option<&Row>, own: &[ReplicaId]) -> PushPlan {
        plan_push(self.key.0, self.key.1, known, &self.push, own, &self.table.quiet())
    }
}

impl Database {
    /// What was taken of a row's writes.
    fn acknowledged(&self, id: RowId, push: &Push) -> Vector {
        let row = Row { version: push.version.clone(), values: push.values.clone() };
        let taken = |dot: &&Dot| {
            let (replica, seq) = (dot.replica.0, dot.seq);
            let names = self.accepted.range((id, replica, seq, 0)..=(id, replica, seq, u64::MAX));
            let said = names.map(|(_, (_, said))| said);
            said.into_iter().any(|said| digest::is_part(&digest::contents(&row, dot), said))
        };
        row.version.dots.iter().filter(taken).map(|dot| (dot.replica, dot.seq)).collect()
    }

    /// What takes the place of a row that was forgotten here: everything that the pusher has seen of it is gone.
    fn bury(&mut self, one: &Candidate, work: &Work<'_>, journal: &mut Journal) {
        let pushed = &one.push.version;
        let known = self.rows.get(&one.key).map(|stored| stored.row.version.clone()).unwrap_or_default();
        let dot = self.stamp(if pushed.hlc() > known.hlc() { pushed } else { &known }, work.now_ms);
        let version = plan_gone(&known, pushed, |replica| self.replicas.contains_key(&replica.0), dot);
        if let Some(seen) = work.seen.get(&name_of(one.key)) {
            self.knowledge.learn(name_of(one.key), seen);
        }
        self.note_own(one.key, dot.seq, Deed::Deleted, journal);
        self.store_pushed(one.key, Row { version, values: Values::new() }, None, (work.txid, work.now_ms));
    }

    /// Notes a write that the centre made in taking a push.
    fn note_own(&mut self, key: RowKey, seq: u64, deed: Deed, journal: &mut Journal) {
        let row = name_of(key);
        let name = (self.hub.replica, seq);
        let place = journal.add(Write { row, author: Author::Centre, name, deed, past: self.knowledge.of(row) });
        self.knowledge.learn_one(row, place);
    }
}

fn candidate(sent: &message::PushRow) -> Candidate {
    let table = catalog::by_name(&sent.table).expect("edges push tables of the catalog");
    let values = convert::values(table, &sent.values).expect("edges push readable values");
    let version = Version { vv: sent.vv.0.clone(), gone: sent.gone.0.clone(), dots: sent.dots.0.clone() };
    let push = Push { version, base: sent.base.0.clone(), values, needed: table.needed() };
    let key = (table.id, RowId(sent.id));
    let discarded = sent.instead.as_deref() == Some(&Instead::Discarded);
    Candidate { table, key, push, clamps: Vec::new(), fate: None, planned: None, discarded }
}

fn answer_body(push: &PushBody, fence: message::Fence, answers: Vec<RowAnswer>, now_ms: u64) -> Vec<u8> {
    let count = u64::try_from(answers.len()).expect("few rows");
    let mut writer = Writer::default();
    let head = Pushed { id: push.batch.id, fence, unix_ms: now_ms };
    writer.line(&PushedLine::Batch(head)).expect("memory");
    for answer in answers {
        writer.line(&PushedLine::Row(answer)).expect("memory");
    }
    writer.line(&PushedLine::End(count)).expect("memory");
    writer.finish().expect("memory")
}
