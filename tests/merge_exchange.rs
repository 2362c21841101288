//! One row, a hub and four edges, in miniature: pushes whose answers get lost, pulls that arrive late, clocks that are
//! wrong. Whatever happens, when everybody has been heard all hold the same row and no write is lost without a trace.
//!
//! The exchange is played with nothing but the plans of `sync::merge::plan`, which the stores carry out.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use sync::merge::clock::Hlc;
use sync::merge::conflict::Conflict;
use sync::merge::ids::{ReplicaId, RowId, TableId};
use sync::merge::plan::{Clamp, PullPlan, Push, PushPlan, clamp, plan_pull, plan_push, restamp, unacknowledged};
use sync::merge::value::{Value, Values};
use sync::merge::vector::Vector;
use sync::merge::version::Row;
use tests::history::{Actor, History, Seen};
use uuid::Uuid;

const TABLE: TableId = TableId(8);
const ROW: RowId = RowId(Uuid::from_u128(1));
const QUIET: [&str; 1] = ["updated_at"];
/// `status` stands for a group; the keys are removed as well as written.
const REGISTERS: [&str; 5] = ["title", "status", "priority", "metadata.a", "metadata.b.c"];
const EDGES: usize = 4;
/// How far each edge's clock is from the hub's, in milliseconds: right, an hour behind, a minute ahead, in 2099.
const CLOCK_ERRORS_MS: [i64; EDGES] = [0, -3_600_000, 60_000, 2_300_000_000_000];
const START_MS: u64 = 1_770_000_000_000;

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A replica (0 is the hub) writes the registers of a mask; an absent row is inserted, a dead one revived.
    Write { replica: usize, registers: u8, value: u8 },
    /// A replica deletes the row.
    Delete { replica: usize },
    /// An edge pushes what it has, or what it has already sent. The answer may be lost; the hub process may be one
    /// whose clock is a little slow.
    Push { edge: usize, answered: bool, slow_ms: u64 },
    /// An edge hears the lowered stamps of its last answered push again, as a new session does.
    Hello { edge: usize },
    /// The hub sends its row to an edge, which receives it later.
    Send { edge: usize },
    /// An edge receives what was sent first.
    Receive { edge: usize },
    /// Time passes.
    Wait { ms: u64 },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let edge = 0..EDGES;
    let event = prop_oneof![
        5 => (0..=EDGES, any::<u8>(), 0..3u8).prop_map(|(replica, registers, value)| Event::Write { replica, registers, value }),
        1 => (0..=EDGES).prop_map(|replica| Event::Delete { replica }),
        4 => (edge.clone(), any::<bool>(), 0..3u64)
            .prop_map(|(edge, answered, slow)| Event::Push { edge, answered, slow_ms: slow * 1_000 }),
        1 => edge.clone().prop_map(|edge| Event::Hello { edge }),
        3 => edge.clone().prop_map(|edge| Event::Send { edge }),
        3 => edge.prop_map(|edge| Event::Receive { edge }),
        1 => (0..600_000u64).prop_map(|ms| Event::Wait { ms }),
    ];
    vec(event, 1..80)
}

#[test]
fn replicas_agree_and_lose_no_write_whatever_happens_on_the_way() {
    let config = Config { cases: 1_500, failure_persistence: None, rng_seed: RngSeed::Fixed(20), ..Config::default() };
    let outcome = TestRunner::new(config).run(&events(), |events| {
        let mut world = World::new();
        for event in &events {
            world.play(event).map_err(TestCaseError::fail)?;
        }
        world.settle().and_then(|()| world.check()).map_err(TestCaseError::fail)
    });
    if let Err(broken) = outcome {
        panic!("{broken}");
    }
}

struct World {
    now_ms: u64,
    history: History,
    hub: Hub,
    edges: Vec<Edge>,
    /// Every conflict that any merge anywhere recorded.
    conflicts: Vec<Conflict>,
}

struct Hub {
    actor: Actor,
    /// The edge that holds exactly the hub's row, if the row came from one.
    echo_of: Option<usize>,
    /// The last answer to each edge, given again when the batch is repeated.
    answers: [Option<Answer>; EDGES],
}

#[derive(Clone)]
struct Answer {
    batch: u64,
    clamps: Vec<Clamp>,
    vv: Vector,
}

struct Edge {
    actor: Actor,
    base: Vector,
    in_flight: Option<Batch>,
    batches: u64,
    /// What the hub has sent and the edge has not received yet, oldest first.
    inbox: Vec<(Row, Seen)>,
}

#[derive(Clone)]
struct Batch {
    number: u64,
    push: Push,
    /// The whole row as sent.
    row: Row,
    seen: Seen,
}

impl World {
    fn new() -> Self {
        let edge = |index: usize| Edge {
            actor: Actor::new(index as u32 + 2),
            base: Vector::default(),
            in_flight: None,
            batches: 0,
            inbox: Vec::new(),
        };
        let hub = Hub { actor: Actor::new(1), echo_of: None, answers: [const { None }; EDGES] };
        let (history, edges) = (History::default(), (0..EDGES).map(edge).collect());
        Self { now_ms: START_MS, history, hub, edges, conflicts: Vec::new() }
    }

    fn play(&mut self, event: &Event) -> Result<(), String> {
        self.now_ms += 1;
        match *event {
            Event::Write { replica, registers, value } => self.write(replica, registers, value),
            Event::Delete { replica } => {
                let (history, actor, now_ms) = self.writer(replica);
                if actor.row.version.is_alive() {
                    history.delete(actor, now_ms);
                }
            }
            Event::Push { edge, answered, slow_ms } => self.push(edge, answered, slow_ms)?,
            Event::Hello { edge } => {
                if let Some(answer) = self.hub.answers[edge].clone().filter(|_| self.edges[edge].in_flight.is_none()) {
                    self.hear(edge, &answer);
                }
            }
            Event::Send { edge } => self.send(edge),
            Event::Receive { edge } => self.receive(edge)?,
            Event::Wait { ms } => self.now_ms += ms,
        }
        Ok(())
    }

    fn writer(&mut self, replica: usize) -> (&mut History, &mut Actor, u64) {
        if replica == 0 {
            self.hub.echo_of = None;
            return (&mut self.history, &mut self.hub.actor, self.now_ms);
        }
        let now_ms = self.now_ms.saturating_add_signed(CLOCK_ERRORS_MS[replica - 1]);
        (&mut self.history, &mut self.edges[replica - 1].actor, now_ms)
    }

    fn write(&mut self, replica: usize, registers: u8, value: u8) {
        let (history, actor, now_ms) = self.writer(replica);
        let of = |register: &str| Value::text(format!("{register} {value}"));
        let time = Value::text(now_ms.to_string());
        if actor.row.version.is_alive() {
            let chosen = REGISTERS.iter().enumerate().filter(|(bit, _)| registers >> bit & 1 == 1);
            let removes = |register: &str| value == 0 && register.contains('.');
            let mut changes: Vec<_> =
                chosen.map(|(_, &register)| (register, (!removes(register)).then(|| of(register)))).collect();
            if !changes.is_empty() {
                changes.push(("updated_at", Some(time)));
                history.update(actor, now_ms, &changes);
            }
            return;
        }
        let mut values = actor.row.values.clone();
        if values.is_empty() {
            values = REGISTERS[..4].iter().map(|register| ((*register).to_owned(), of(register))).collect();
        }
        values.extend([("title".to_owned(), of("title")), ("updated_at".to_owned(), time)]);
        history.insert(actor, now_ms, values);
    }

    fn push(&mut self, index: usize, answered: bool, slow_ms: u64) -> Result<(), String> {
        let edge = &mut self.edges[index];
        let own = [edge.actor.id];
        if edge.in_flight.is_none() {
            let (row, base) = (&edge.actor.row, &edge.base);
            if base.includes(&row.version.vv) {
                return Ok(());
            }
            let carried = unacknowledged(row, base, &own);
            let values = carried.map(|register| (register.clone(), row.values[register].clone())).collect::<Values>();
            let push = Push { version: row.version.clone(), base: base.clone(), values, needed: Vec::new() };
            edge.batches += 1;
            edge.in_flight = Some(Batch { number: edge.batches, push, row: row.clone(), seen: edge.actor.seen });
        }
        let Some(batch) = edge.in_flight.clone() else { return Ok(()) };
        let answer = self.accept(index, &batch, &own, self.now_ms - slow_ms)?;
        if answered {
            self.hear(index, &answer);
            self.edges[index].in_flight = None;
        }
        Ok(())
    }

    /// An edge takes in an answer.
    fn hear(&mut self, index: usize, answer: &Answer) {
        let Edge { actor, base, .. } = &mut self.edges[index];
        restamp(&mut actor.row.version, base, &answer.clamps);
        for dot in actor.row.version.dots.iter().filter(|dot| dot.replica == actor.id) {
            self.history.restamped(dot.replica, dot.seq, dot.hlc);
        }
        *base = base.join(&answer.vv);
    }

    /// The hub's side of a push.
    fn accept(&mut self, edge: usize, batch: &Batch, own: &[ReplicaId], now_ms: u64) -> Result<Answer, String> {
        let hub = &mut self.hub;
        if let Some(answer) = hub.answers[edge].as_ref().filter(|answer| answer.batch == batch.number) {
            return Ok(answer.clone());
        }
        let mut push = batch.push.clone();
        let clamps = clamp(&mut push.version, &hub.actor.row.version, own, Hlc::ceiling(now_ms));
        let known = (!hub.actor.row.version.vv.is_empty()).then_some(&hub.actor.row);
        match plan_push(TABLE, ROW, known, &push, own, &QUIET) {
            PushPlan::Known => {}
            PushPlan::Store { row, conflicts, exact } => {
                if exact && (row.version != push.version || row.values != batch.row.values) {
                    return Err(format!("not what edge {edge} holds, but it will not be echoed: {row:?}"));
                }
                hub.actor.row = row;
                hub.actor.seen |= batch.seen;
                hub.echo_of = exact.then_some(edge);
                self.conflicts.extend(conflicts);
                let again = plan_push(TABLE, ROW, Some(&hub.actor.row), &push, own, &QUIET);
                if again != PushPlan::Known {
                    return Err(format!("a repeated push changes something: {again:?}"));
                }
            }
            plan => return Err(format!("an honest push got {plan:?}")),
        }
        let answer = Answer { batch: batch.number, clamps, vv: hub.actor.row.version.vv.clone() };
        hub.answers[edge] = Some(answer.clone());
        Ok(answer)
    }

    fn send(&mut self, edge: usize) {
        let hub = &self.hub;
        if hub.echo_of != Some(edge) && !hub.actor.row.version.vv.is_empty() {
            self.edges[edge].inbox.push((hub.actor.row.clone(), hub.actor.seen));
        }
    }

    fn receive(&mut self, index: usize) -> Result<(), String> {
        // A pulled row may cover a write whose stamp the hub has lowered, so the answer comes first.
        if self.edges[index].in_flight.is_some() {
            self.push(index, true, 0)?;
        }
        let edge = &mut self.edges[index];
        if edge.inbox.is_empty() {
            return Ok(());
        }
        let (incoming, seen) = edge.inbox.remove(0);
        let local = (!edge.actor.row.version.vv.is_empty()).then_some(&edge.actor.row);
        match plan_pull(TABLE, ROW, local, &incoming, &QUIET) {
            PullPlan::Keep => {}
            PullPlan::Replace => edge.actor.row = incoming.clone(),
            PullPlan::Merge { row, conflicts } => {
                edge.actor.row = row;
                self.conflicts.extend(conflicts);
            }
        }
        edge.actor.seen |= seen;
        edge.base = edge.base.join(&incoming.version.vv);
        Ok(())
    }

    /// Everybody sends and receives until there is nothing more to say. Two rounds are enough: one for all writes to
    /// reach the hub, one for the edges that pushed early to hear of the rest.
    fn settle(&mut self) -> Result<(), String> {
        for _round in 0..2 {
            for edge in 0..EDGES {
                while !self.edges[edge].inbox.is_empty() {
                    self.receive(edge)?;
                }
                // What is in flight first, then what was written since; an answered push leaves nothing.
                self.push(edge, true, 0)?;
                self.push(edge, true, 0)?;
                if !self.edges[edge].base.includes(&self.edges[edge].actor.row.version.vv) {
                    return Err(format!("edge {edge} has pushed all it has, and the hub still lacks some"));
                }
                self.send(edge);
                self.receive(edge)?;
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let hub = &self.hub.actor;
        for actor in self.edges.iter().map(|edge| &edge.actor).chain([hub]) {
            if actor.row != hub.row {
                return Err(format!("replica {} holds {:?}, the hub {:?}", actor.id, actor.row, hub.row));
            }
        }
        if !self.history.agrees(&hub.row.version.vv, hub.seen) {
            return Err(format!("the vector does not say what was seen: {:?}", hub.row));
        }
        if hub.row.version.is_alive() != self.history.is_alive(hub.seen) {
            return Err(format!("alive or dead against the rule: {:?}", hub.row));
        }
        self.history.fates(hub.seen, &hub.row, &self.conflicts, &REGISTERS).map(|_fates| ())
    }
}
