//! Backups of the centre, what restoring one does, and new incarnations, as `pg::incarnation` keeps them.

use rand::Rng as _;
use rand::rngs::SmallRng;
use sync::merge::fence::Rename;
use sync::merge::ids::ReplicaId;
use sync::merge::rename::rename;
use uuid::Uuid;

use super::{Centre, Database};

/// How long a proposal of what is settled waits at least, in milliseconds.
const SETTLE_MS: u64 = 1_000;

/// An incarnation after the first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incarnation {
    former_id: Uuid,
    id: Uuid,
    rename: Rename,
    lost: u32,
    lost_ids: Vec<Uuid>,
}

/// How the centre goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A dump is read into the same server: its transaction numbers go on.
    Dump,
    /// A dump is read into a new server, which has hardly begun to count.
    NewServer,
    /// The storage is put back, identity, numbers and all.
    Image,
    /// A standby that lagged takes over.
    Failover,
}

impl Centre {
    /// What a backup would hold now.
    pub fn backup(&self) -> Database {
        self.database.clone()
    }

    /// Goes back to a backup.
    pub fn restore(&mut self, backup: &Database, kind: Kind) {
        let present = self.database.transactions.clone();
        self.database = backup.clone();
        self.drop_writers();
        let (system, timeline) = self.server;
        match kind {
            Kind::Dump => self.database.transactions.continue_from(&present),
            Kind::NewServer => {
                self.database.transactions = Default::default();
                self.server = (system + 1, 1);
            }
            Kind::Image => {}
            Kind::Failover => self.server = (system, timeline + 1),
        }
    }

    /// How many incarnations there were after the first one.
    pub fn incarnations(&self) -> usize {
        self.database.incarnations.len()
    }

    /// Begins a new incarnation. Whoever writes under the former id is waited for no longer than a lock lasts: here, they
    /// are rolled back.
    pub(super) fn begin_incarnation(&mut self, above: u64, lost_id: Option<Uuid>, random: &mut SmallRng) {
        for txid in self.open_writers() {
            self.roll_back(txid);
        }
        let database = &mut self.database;
        let id = Uuid::from_u128(random.random());
        database.last_replica += 1_000 + random.random_range(0..1_000_000);
        let (lost, replica) = (database.next_replica(), database.next_replica());
        let rule = Rename { from: ReplicaId(database.hub.replica), above, to: ReplicaId(replica) };
        for stored in database.rows.values_mut() {
            rename(&mut stored.row.version, rule);
        }
        database.move_into_the_present();
        let lost_ids = lost_id.into_iter().collect();
        database.incarnations.push(Incarnation { former_id: database.hub.id, id, rename: rule, lost, lost_ids });
        let hub = &mut database.hub;
        (hub.id, hub.replica, hub.server) = (id, replica, self.server);
        (hub.candidate_seq, hub.candidate_xmax, hub.candidate_ms) = (0, 0, 0);
        for fence in database.fences.values_mut() {
            (fence.token, fence.before) = (None, None);
        }
    }
}

impl Database {
    /// A dump on a new server brings transaction numbers from beyond the present; no snapshot would ever see them.
    fn move_into_the_present(&mut self) {
        let now = self.transactions.begin();
        let rows = self.rows.values_mut().map(|stored| &mut stored.txid);
        let scopes = self.scope_changes.iter_mut().map(|(_, txid)| txid);
        let conflicts = self.conflicts.values_mut().map(|(_, txid)| txid);
        rows.chain(scopes).chain(conflicts).filter(|txid| **txid > now).for_each(|txid| *txid = now);
        self.transactions.end(now);
    }

    /// Settles which of the centre's numbers can be told apart from now on.
    pub(super) fn settle(&mut self, now_ms: u64) {
        let horizon = self.transactions.horizon();
        let (drawn, xmax) = (self.seq, self.transactions.snapshot().xmax);
        let hub = &mut self.hub;
        if hub.candidate_ms + SETTLE_MS < now_ms && horizon >= hub.candidate_xmax {
            hub.settled_seq = hub.settled_seq.max(hub.candidate_seq);
            (hub.candidate_seq, hub.candidate_xmax, hub.candidate_ms) = (drawn, xmax, now_ms);
        }
    }

    /// What an edge has to rename that last agreed with incarnation `since`; `None` if this database never had that one.
    pub(super) fn renames(&self, since: Uuid) -> Option<Vec<Rename>> {
        let names = |one: &Incarnation| one.former_id == since || one.lost_ids.contains(&since);
        let rule = |one: &Incarnation| Rename { to: ReplicaId(one.lost), ..one.rename };
        let first = self.incarnations.iter().position(names);
        let last = self.incarnations.last().is_some_and(|one| one.id == since);
        first.map(|first| self.incarnations[first..].iter().map(rule).collect()).or_else(|| last.then(Vec::new))
    }

    /// The lowest common seq of all edges that ever had a cursor.
    pub(super) fn common_seq(&self) -> u64 {
        let had = self.fences.values().filter(|fence| fence.checkpoint.count > 0);
        had.map(|fence| fence.checkpoint.seq).min().unwrap_or(0)
    }

    /// The common seq when it was the server that changed.
    pub(super) fn last_seq(&self) -> u64 {
        self.fences.values().map(|fence| fence.checkpoint.seq).max().unwrap_or(0)
    }
}
