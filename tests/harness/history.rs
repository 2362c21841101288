//! What really happened to one row: every write, and which writes its writer had seen.
//!
//! States are judged against this record, so the judge shares no code with what it judges: knowledge is a set of
//! writes here, not a version vector. It acts on a row exactly as capture does (`Hlc::tick`, `Version::write`,
//! `Version::delete`) and never merges anything.

use std::collections::BTreeSet;

use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::{Conflict, Kind};
use sync::merge::ids::ReplicaId;
use sync::merge::value::{Register, Value, Values};
use sync::merge::vector::Vector;
use sync::merge::version::Row;

/// A set of writes, one bit for each, by their place in the history.
pub type Seen = u128;

/// A replica with its copy of the row.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Its id.
    pub id: ReplicaId,
    /// The seq of its latest write.
    pub seq: u64,
    /// Its copy; the default if it has none.
    pub row: Row,
    /// What it has seen.
    pub seen: Seen,
}

/// What a write did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Wrote the whole row.
    Whole,
    /// Wrote these registers.
    Some(BTreeSet<&'static str>),
    /// Deleted the row.
    Delete,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its dot.
    pub dot: Dot,
    /// What it did.
    pub act: Act,
    /// The values that it wrote; a register that it wrote and that is absent here is a removed JSON key.
    pub values: Values,
    /// What its writer had seen, the write itself left out.
    pub past: Seen,
}

/// Every write of one row, in an order in which it could have happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    writes: Vec<Write>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It shows, or it is a delete and the row is dead.
    Visible,
    /// A later edit of the same register had seen it, or, if it is a delete, any later write.
    Superseded,
    /// The row is dead, and a delete had seen it.
    Deleted,
    /// It is listed as a conflict.
    Listed,
    /// It wrote what another write with a fate of its own wrote.
    Equal,
}

impl Actor {
    /// A replica without the row.
    pub fn new(id: u32) -> Self {
        Self { id: ReplicaId(id), seq: 0, row: Row::default(), seen: 0 }
    }

    fn next(&mut self, now_ms: u64) -> Dot {
        self.seq += 1;
        Dot { replica: self.id, seq: self.seq, hlc: self.row.version.hlc().tick(now_ms), by: None }
    }
}

impl History {
    /// Every write.
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// `actor` writes the whole row, as an INSERT does.
    pub fn insert(&mut self, actor: &mut Actor, now_ms: u64, values: Values) {
        let dot = actor.next(now_ms);
        actor.row.version.write(dot, &[]);
        actor.row.values = values.clone();
        self.record(actor, dot, Act::Whole, values);
    }

    /// `actor` writes some registers, as an UPDATE does; `None` removes a JSON key.
    pub fn update(&mut self, actor: &mut Actor, now_ms: u64, changes: &[(&'static str, Option<Value>)]) {
        let dot = actor.next(now_ms);
        let registers: Vec<Register> = changes.iter().map(|(register, _)| (*register).to_owned()).collect();
        actor.row.version.write(dot, &registers);
        let mut written = Values::new();
        for (register, value) in changes {
            actor.row.values.remove(*register);
            if let Some(value) = value {
                actor.row.values.insert((*register).to_owned(), value.clone());
                written.insert((*register).to_owned(), value.clone());
            }
        }
        self.record(actor, dot, Act::Some(changes.iter().map(|(register, _)| *register).collect()), written);
    }

    /// `actor` deletes the row and keeps its last values.
    pub fn delete(&mut self, actor: &mut Actor, now_ms: u64) {
        let dot = actor.next(now_ms);
        actor.row.version.delete(dot);
        self.record(actor, dot, Act::Delete, Values::new());
    }

    fn record(&mut self, actor: &mut Actor, dot: Dot, act: Act, values: Values) {
        assert!(self.writes.len() < Seen::BITS as usize, "a history of more writes than bits");
        let past = actor.seen;
        actor.seen |= 1 << self.writes.len();
        self.writes.push(Write { dot, act, values, past });
    }

    /// Notes a stamp that was lowered after the write.
    pub fn restamped(&mut self, replica: ReplicaId, seq: u64, hlc: Hlc) {
        for write in &mut self.writes {
            if (write.dot.replica, write.dot.seq) == (replica, seq) {
                write.dot.hlc = hlc;
            }
        }
    }

    /// Whether `vv` says exactly what `seen` says.
    pub fn agrees(&self, vv: &Vector, seen: Seen) -> bool {
        self.writes.iter().enumerate().all(|(index, write)| vv.covers(&write.dot) == (seen >> index & 1 == 1))
    }

    /// Whether a row of which `seen` is known lives: some write of it was seen by no deleter.
    pub fn is_alive(&self, seen: Seen) -> bool {
        self.edits(seen).any(|(index, _)| !self.deletes(seen).any(|(_, delete)| delete.past >> index & 1 == 1))
    }

    /// The write of `register` with the highest stamp among those seen.
    pub fn winner(&self, seen: Seen, register: &str) -> Option<&Write> {
        let writes = self.edits(seen).filter(|(_, write)| write.wrote(register));
        writes.map(|(_, write)| write).max_by_key(|write| (write.dot.hlc, write.dot.replica, write.dot.seq))
    }

    /// What became of every write in `seen`, given the row that knows them all and every conflict ever recorded; one
    /// fate for each register of `registers` that the write wrote, and for a delete one. An error names the write
    /// that was lost without a trace, or the conflict that should not be.
    pub fn fates(
        &self,
        seen: Seen,
        row: &Row,
        conflicts: &[Conflict],
        registers: &[&'static str],
    ) -> Result<Vec<Fate>, String> {
        for conflict in conflicts {
            self.check_conflict(conflict)?;
        }
        for register in registers {
            self.check_winner(seen, row, register)?;
        }
        let mut fates = Vec::new();
        for (index, write) in self.seen(seen) {
            if write.act == Act::Delete {
                fates.push(self.fate_of_delete(index, seen, row, conflicts)?);
                continue;
            }
            for register in registers.iter().filter(|register| write.wrote(register)) {
                let own = self.fate_of_edit(index, register, seen, row, conflicts);
                let twin = || {
                    let same = |other: &Write| {
                        other.wrote(register) && other.values.get(*register) == write.values.get(*register)
                    };
                    let mut twins = self.edits(seen).filter(|(other, twin)| *other != index && same(twin));
                    twins.any(|(other, _)| self.fate_of_edit(other, register, seen, row, conflicts).is_some())
                };
                match own {
                    Some(fate) => fates.push(fate),
                    None if twin() => fates.push(Fate::Equal),
                    None => return Err(format!("{:?} of {register} is lost without a trace", write.dot)),
                }
            }
        }
        Ok(fates)
    }

    /// No register may show a write that a later write of it had seen.
    fn check_winner(&self, seen: Seen, row: &Row, register: &str) -> Result<(), String> {
        let Some(dot) = row.version.dots.of(register) else { return Ok(()) };
        let shown = self.writes.iter().position(|write| write.dot.same_write(&dot));
        let Some(shown) = shown else { return Err(format!("{register} shows {dot:?}, which nobody wrote")) };
        let mut later = self.edits(seen).filter(|(_, write)| write.wrote(register) && write.past >> shown & 1 == 1);
        match later.next() {
            Some((_, write)) => Err(format!("{register} shows {dot:?}, which {:?} had seen", write.dot)),
            None => Ok(()),
        }
    }

    fn fate_of_edit(
        &self,
        index: usize,
        register: &str,
        seen: Seen,
        row: &Row,
        conflicts: &[Conflict],
    ) -> Option<Fate> {
        let write = &self.writes[index];
        let saw = |(_, later): (usize, &Write)| later.past >> index & 1 == 1;
        let listed = |conflict: &Conflict| {
            conflict.register.as_deref() == Some(register) && conflict.loser.dot.same_write(&write.dot)
        };
        let alive = row.version.is_alive();
        if self.edits(seen).filter(|(_, later)| later.wrote(register)).any(saw) {
            return Some(Fate::Superseded);
        }
        if alive && row.version.dots.of(register).is_some_and(|dot| dot.same_write(&write.dot)) {
            return (row.values.get(register) == write.values.get(register)).then_some(Fate::Visible);
        }
        if conflicts.iter().any(listed) {
            return Some(Fate::Listed);
        }
        (!alive && self.deletes(seen).any(saw)).then_some(Fate::Deleted)
    }

    fn fate_of_delete(&self, index: usize, seen: Seen, row: &Row, conflicts: &[Conflict]) -> Result<Fate, String> {
        if !row.version.is_alive() {
            return Ok(Fate::Visible);
        }
        let own = |index: usize| {
            let dot = self.writes[index].dot;
            let listed = |conflict: &Conflict| conflict.kind == Kind::EditDelete && conflict.loser.dot.same_write(&dot);
            match () {
                () if self.seen(seen).any(|(_, later)| later.past >> index & 1 == 1) => Some(Fate::Superseded),
                () if conflicts.iter().any(listed) => Some(Fate::Listed),
                () => None,
            }
        };
        match own(index) {
            Some(fate) => Ok(fate),
            None if self.deletes(seen).any(|(other, _)| other != index && own(other).is_some()) => Ok(Fate::Equal),
            None => Err(format!("the delete {:?} is lost without a trace", self.writes[index].dot)),
        }
    }

    /// A conflict must be about two real writes, neither of which had seen the other, and carry what the loser wrote.
    fn check_conflict(&self, conflict: &Conflict) -> Result<(), String> {
        let find = |dot: &Dot| self.writes.iter().position(|write| write.dot.same_write(dot));
        let (Some(loser), Some(winner)) = (find(&conflict.loser.dot), find(&conflict.winner.dot)) else {
            return Err(format!("no such write: {conflict:?}"));
        };
        let (lost, won) = (&self.writes[loser], &self.writes[winner]);
        if won.past >> loser & 1 == 1 || lost.past >> winner & 1 == 1 {
            return Err(format!("one had seen the other: {conflict:?}"));
        }
        let as_written = match (&conflict.kind, &conflict.register) {
            (Kind::EditEdit, Some(register)) => {
                lost.wrote(register)
                    && won.wrote(register)
                    && conflict.loser.value.as_ref() == lost.values.get(register)
                    && conflict.winner.value.as_ref() == won.values.get(register)
                    && conflict.loser.value != conflict.winner.value
            }
            (Kind::EditDelete, None) => lost.act == Act::Delete && won.act != Act::Delete,
            _ => false,
        };
        if as_written { Ok(()) } else { Err(format!("not what was written: {conflict:?}")) }
    }

    fn seen(&self, seen: Seen) -> impl Iterator<Item = (usize, &Write)> {
        self.writes.iter().enumerate().filter(move |(index, _)| seen >> index & 1 == 1)
    }

    fn edits(&self, seen: Seen) -> impl Iterator<Item = (usize, &Write)> {
        self.seen(seen).filter(|(_, write)| write.act != Act::Delete)
    }

    fn deletes(&self, seen: Seen) -> impl Iterator<Item = (usize, &Write)> {
        self.seen(seen).filter(|(_, write)| write.act == Act::Delete)
    }
}

impl Write {
    /// Whether it wrote this register.
    pub fn wrote(&self, register: &str) -> bool {
        match &self.act {
            Act::Whole => true,
            Act::Some(registers) => registers.contains(register),
            Act::Delete => false,
        }
    }
}
