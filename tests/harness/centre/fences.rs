//! Hellos, fence tokens and new ids, as the hub's routes and `pg::fences` keep them. `merge::fence` rules.

use std::collections::BTreeMap;

use rand::Rng as _;
use rand::rngs::SmallRng;
use sync::catalog;
use sync::merge::fence::{Greeting, Known, Mark, Ruling, Said, common_seq, history, is_spent, ruling};
use sync::merge::ids::{ReplicaId, RowId};
use sync::pg::cursor::{Checkpoint, Cursor, Snapshot, is_behind};
use sync::pg::fences;
use sync::wire::digest::{contradicts, differ};
use sync::wire::message::{self, Hello, Replica, Verdict, Welcome};
use sync::wire::recovery::{AcceptedRow, Reconcile, Reidentified};
use uuid::Uuid;

use super::{Centre, Database, Edge};

/// What a write said: hashes of values by register.
pub(super) type Contents = BTreeMap<String, String>;
/// A write that was taken: the name under which it was sent, and what it said.
pub(super) type Taken = ((u32, u64), Contents);

/// What is known of one replica id of an edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    pub(super) edge: usize,
    pub(super) token: Option<String>,
    pub(super) before: Option<String>,
    pub(super) count: u64,
    pub(super) last: Option<Answered>,
    pub(super) high_seq: u64,
    pub(super) checkpoint: Checkpoint,
    pub(super) acknowledged: Option<Snapshot>,
    pub(super) seen_ms: u64,
    pub(super) stale: bool,
    pub(super) compared: u64,
}

impl Fence {
    /// Whether deaths may be forgotten that whoever shows this cursor under the fence's id was not told of.
    pub(super) fn is_stale(&self, replica: u32, cursor: &Cursor) -> bool {
        self.stale || cursor.checkpoint.is_before(replica, self.compared)
    }
}

/// The batch that was answered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) batch: Uuid,
    pub(super) body: Vec<u8>,
    pub(super) answer: Vec<u8>,
}

impl Centre {
    /// Gives an edge its identity: a replica id and the fence to begin with.
    pub fn enroll(&mut self, edge: usize, now_ms: u64, random: &mut SmallRng) -> (ReplicaId, message::Fence) {
        let database = &mut self.database;
        let replica = database.draw_replica(edge, random);
        database.edges.insert(edge, Edge { replica, verified_ms: now_ms, seen_ms: now_ms, ..Edge::default() });
        (ReplicaId(replica), database.new_fence(edge, replica, random))
    }

    /// Asks for a comparison with an edge.
    pub fn verify(&mut self, edge: usize) {
        self.database.edges.get_mut(&edge).expect("the edge is enrolled").asked = true;
    }

    /// Answers a hello, as the hub's `judge` does.
    pub fn hello(&mut self, edge: usize, hello: &Hello, every_ms: u64, now_ms: u64, random: &mut SmallRng) -> Welcome {
        if self.server != self.database.hub.server {
            let above = self.database.last_seq();
            self.begin_incarnation(above, None, random);
        }
        self.database.edges.get_mut(&edge).expect("the edge is enrolled").seen_ms = now_ms;
        let replica = hello.replica;
        if let Some(fence) = self.database.fences.get_mut(&replica) {
            fence.seen_ms = now_ms;
        }
        let known = self.database.fences.get(&replica).map(|fence| fence.edge);
        let lost = known.is_none() && self.database.readmit(edge, replica);
        if known != Some(edge) && !lost {
            // Somebody else has that id: it was given again before the rewind was noticed.
            return self.database.welcome(Verdict::Reidentify, None, now_ms);
        }
        let database = &mut self.database;
        let present = database.hub.id;
        let cursor = database.open(edge, hello.cursor.as_deref());
        let shown = cursor.as_ref().map(|cursor| cursor.incarnation).filter(|id| !id.is_nil());
        let since = shown.or(hello.incarnation).unwrap_or(present);
        let here = since == present;
        let unknown = shown.filter(|_| !here && database.renames(since).is_none());
        let (said, known) = (database.said(hello, cursor.as_ref()), database.known(replica));
        let fence = &database.fences[&replica];
        let start = cursor.as_ref().and_then(|cursor| cursor.start.as_ref());
        let behind = here && is_behind(start, fence.acknowledged.as_ref());
        let stale = cursor.as_ref().map_or(fence.stale, |cursor| fence.is_stale(replica, cursor));
        let greeting = Greeting {
            here,
            unknown: unknown.is_some(),
            history: history(&said, &known),
            spent: is_spent(&said, &known),
            has_cursor: cursor.is_some(),
            asked: hello.reconcile
                || hello.cursor.is_some() && (stale || behind || database.is_due(edge, every_ms, now_ms)),
        };
        match ruling(greeting) {
            Ruling::GoOn => {
                let fence = database.fences.get_mut(&replica).expect("it was found");
                fence.high_seq = fence.high_seq.max(hello.seq);
                database.welcome(Verdict::Ok, None, now_ms)
            }
            Ruling::Reidentify => database.welcome(Verdict::Reidentify, None, now_ms),
            Ruling::Compare => {
                let terms = Reconcile { fence: hello.fence.clone(), renames: Vec::new() };
                database.welcome(Verdict::Reconcile, Some(terms), now_ms)
            }
            Ruling::Rejoin => database.rejoin(replica, since, now_ms, random),
            Ruling::Rewind => {
                let said = cursor.as_ref().map(|cursor| cursor.checkpoint.seq);
                let own = common_seq(database.fences[&replica].checkpoint.seq, said);
                let above = if lost { database.common_seq() } else { own };
                self.begin_incarnation(above, unknown, random);
                self.database.welcome(Verdict::Reidentify, None, now_ms)
            }
        }
    }

    /// Which writes of an edge were taken exactly so.
    pub fn accepted(&self, edge: usize, rows: &[AcceptedRow]) -> Vec<AcceptedRow> {
        let own = self.database.own(edge);
        let taken = |row: &AcceptedRow| {
            let table = catalog::by_name(&row.table).expect("edges ask about tables of the catalog").id;
            let stored = self.database.rows.get(&(table, RowId(row.id)));
            let shown: Vec<_> = stored
                .into_iter()
                .flat_map(|stored| stored.row.version.dots.iter().map(|dot| (dot.replica.0, dot.seq, dot.hlc.0)))
                .collect();
            let kept = |name: &(u32, u64, u64)| self.database.accepted.get(&(RowId(row.id), name.0, name.1, name.2));
            let now = |name: &(u32, u64, u64)| {
                let kept = kept(name).map(|(now, _)| *now);
                kept.or_else(|| shown.contains(name).then_some((name.0, name.1)))
            };
            let is_other = |name: &(u32, u64, u64), now: &(u32, u64), contents: &Contents| {
                stored.is_some_and(|stored| contradicts(&stored.row, *now, contents))
                    || kept(name).is_some_and(|(_, said)| differ(said, contents))
            };
            let named = row.dots.iter().zip(&row.contents).filter(|(name, _)| own.contains(&ReplicaId(name.0)));
            let known = named.filter_map(|(name, contents)| Some((*name, now(name)?, contents)));
            let same = known.filter(|(name, now, contents)| !is_other(name, now, contents));
            row.clone().answered(&same.map(|(name, now, _)| (name, now)).collect())
        };
        rows.iter().map(taken).collect()
    }

    /// A new replica id for a restored edge or a copy that had these.
    pub fn reidentify(&mut self, edge: usize, had: &[ReplicaId], random: &mut SmallRng) -> Reidentified {
        let database = &mut self.database;
        had.iter().for_each(|id| _ = database.readmit(edge, id.0));
        let former = database.own(edge).iter().map(|id| id.0).collect();
        let replica = database.draw_replica(edge, random);
        let fence = database.new_fence(edge, replica, random);
        database.edges.get_mut(&edge).expect("the edge is enrolled").replica = replica;
        Reidentified { replica, former, fence }
    }
}

impl Database {
    fn draw_replica(&mut self, edge: usize, random: &mut SmallRng) -> u32 {
        let ReplicaId(wanted) = fences::replica(random.random());
        let replica = if self.replicas.contains_key(&wanted) { self.next_replica() } else { wanted };
        self.replicas.insert(replica, Some(edge));
        replica
    }

    /// A replica id that nobody has, of those that are numbered in turn.
    pub(super) fn next_replica(&mut self) -> u32 {
        self.last_replica = (self.last_replica + 1..).find(|id| !self.replicas.contains_key(id)).expect("ids are left");
        self.replicas.insert(self.last_replica, None);
        self.last_replica
    }

    fn new_fence(&mut self, edge: usize, replica: u32, random: &mut SmallRng) -> message::Fence {
        let token = self.token(replica, 0, random);
        self.fences.insert(
            replica,
            Fence { edge, token: Some(token.clone()), seen_ms: self.edges[&edge].seen_ms, ..Fence::default() },
        );
        message::Fence { count: 0, token }
    }

    pub(super) fn token(&self, replica: u32, count: u64, random: &mut SmallRng) -> String {
        fences::text(&fences::token(&self.hub.key, ReplicaId(replica), count, random.random()))
    }

    /// Every replica id that an edge ever had.
    pub fn own(&self, edge: usize) -> Vec<ReplicaId> {
        self.replicas.iter().filter(|(_, of)| **of == Some(edge)).map(|(id, _)| ReplicaId(*id)).collect()
    }

    /// Gives an edge a replica id back that this database has lost; says whether it was free.
    fn readmit(&mut self, edge: usize, replica: u32) -> bool {
        let free = !self.replicas.contains_key(&replica);
        if free {
            self.replicas.insert(replica, Some(edge));
            self.fences.insert(
                replica,
                Fence { edge, token: Some(String::new()), seen_ms: self.edges[&edge].seen_ms, ..Fence::default() },
            );
        }
        free
    }

    pub(super) fn is_due(&self, edge: usize, every_ms: u64, now_ms: u64) -> bool {
        let edge = &self.edges[&edge];
        edge.asked || every_ms > 0 && edge.verified_ms + every_ms < now_ms
    }

    fn said(&self, hello: &Hello, cursor: Option<&Cursor>) -> Said<Uuid> {
        let replica = ReplicaId(hello.replica);
        let checkpoint = cursor.map(|cursor| cursor.checkpoint).filter(|mark| mark.replica == hello.replica);
        let xmax = self.transactions.snapshot().xmax;
        Said {
            seq: hello.seq,
            token: Mark { count: hello.fence.count, word: hello.fence.token.clone() },
            token_sealed: fences::is_sealed(&self.hub.key, replica, &hello.fence),
            checkpoint: checkpoint.map(|mark| Mark { count: mark.count, word: mark.nonce.to_string() }),
            beyond: cursor.and_then(|cursor| cursor.start.as_ref()).is_some_and(|start| start.xmax > xmax),
            in_flight: hello.in_flight,
            forked: hello.forked,
        }
    }

    fn known(&self, replica: u32) -> Known<Uuid> {
        let fence = &self.fences[&replica];
        Known {
            high_seq: fence.high_seq,
            token: Mark { count: fence.count, word: fence.token.clone().unwrap_or_default() },
            word_before: fence.before.clone(),
            last_batch: fence.last.as_ref().map(|answered| answered.batch),
            checkpoint: Mark { count: fence.checkpoint.count, word: fence.checkpoint.nonce.to_string() },
        }
    }

    fn welcome(&self, verdict: Verdict, reconcile: Option<Reconcile>, now_ms: u64) -> Welcome {
        let name = |edge: &Option<usize>| edge.map_or_else(|| "centre".to_owned(), |edge| format!("edge {edge}"));
        let directory = self.replicas.iter().map(|(id, edge)| Replica { id: *id, name: name(edge), site: None });
        Welcome {
            verdict,
            unix_ms: now_ms,
            directory: directory.collect(),
            app_version: "simulated".to_owned(),
            incarnation: Some(self.hub.id),
            reconcile,
        }
    }

    /// What an edge is told that last agreed with incarnation `since`. It gets a fence of its own in the present one.
    fn rejoin(&mut self, replica: u32, since: Uuid, now_ms: u64, random: &mut SmallRng) -> Welcome {
        let renames = self.renames(since).unwrap_or_default();
        let renames = renames.iter().map(|rename| (rename.from.0, rename.above, rename.to.0)).collect();
        let count = self.fences[&replica].count + 1;
        let token = self.token(replica, count, random);
        let fence = self.fences.get_mut(&replica).expect("it was found");
        (fence.count, fence.token, fence.before, fence.last) = (count, Some(token.clone()), None, None);
        let terms = Reconcile { fence: message::Fence { count, token }, renames };
        self.welcome(Verdict::Reconcile, Some(terms), now_ms)
    }

    /// Commits a checkpoint for the next cursor of a replica.
    pub(super) fn checkpoint(&mut self, replica: u32, nonce: Uuid) -> Checkpoint {
        let seq = self.hub.settled_seq;
        let fence = self.fences.get_mut(&replica).expect("only known replicas are answered");
        fence.checkpoint = Checkpoint { replica, count: fence.checkpoint.count + 1, nonce, seq };
        fence.checkpoint
    }
}
