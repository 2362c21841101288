//! One task at the centre and at three sites: what the tests of single rules start from.
//!
//! Replica 1 is the centre, the others are edges. Times are milliseconds on the writer's clock.

use sync::merge::clock::{Dot, Hlc};
use sync::merge::conflict::{Conflict, Kind};
use sync::merge::ids::{ReplicaId, RowId, TableId};
use sync::merge::plan::{Push, PushPlan, plan_push, unacknowledged};
use sync::merge::resolve::{Merged, merge};
use sync::merge::value::{Value, Values};
use sync::merge::vector::Vector;
use sync::merge::version::Row;
use uuid::Uuid;

use crate::history::{Actor, History};

/// The table of tasks.
pub const TASKS: TableId = TableId(8);
/// The one row there is.
pub const ROW: RowId = RowId(Uuid::from_u128(1));
/// What a task cannot be without.
pub const NEEDED: [&str; 2] = ["title", "priority"];
/// A clock that is far ahead, in Unix milliseconds.
pub const YEAR_2099_MS: u64 = 4_070_908_800_000;

/// A text value.
pub fn text(value: &str) -> Value {
    Value::text(value)
}

/// Text values by register.
pub fn values(entries: &[(&str, &str)]) -> Values {
    entries.iter().map(|(register, value)| ((*register).to_owned(), text(value))).collect()
}

/// Replicas 1 to 4 that all hold one task, written by the centre at time 10.
pub fn four_that_know_one_task(history: &mut History) -> [Actor; 4] {
    let mut centre = Actor::new(1);
    history.insert(&mut centre, 10, values(&[("title", "new"), ("priority", "low"), ("updated_at", "10")]));
    let copy = |id| Actor { row: centre.row.clone(), seen: centre.seen, ..Actor::new(id) };
    [centre.clone(), copy(2), copy(3), copy(4)]
}

/// `actor` writes the title.
pub fn set_title(history: &mut History, actor: &mut Actor, now_ms: u64, title: &str) {
    history.update(actor, now_ms, &[("title", Some(text(title)))]);
}

/// `actor` takes over the state of another that has seen more.
pub fn sees(actor: &mut Actor, other: &Actor) {
    actor.row = other.row.clone();
    actor.seen = other.seen;
}

/// Merges two replicas with `updated_at` quiet.
pub fn join(ours: &Actor, theirs: &Actor) -> Merged {
    merge(TASKS, ROW, &ours.row, &theirs.row, &["updated_at"])
}

/// Kind, register and loser of each conflict, sorted.
pub fn losers(conflicts: &[Conflict]) -> Vec<(Kind, Option<&str>, u32, u64)> {
    let mut losers = Vec::new();
    for conflict in conflicts {
        let loser = conflict.loser.dot;
        losers.push((conflict.kind, conflict.register.as_deref(), loser.replica.0, loser.seq));
    }
    losers.sort();
    losers
}

/// What an edge sends for its row when the hub's vector was last known to be `base`.
pub fn push_of(edge: &Actor, base: &Vector) -> Push {
    let own = [edge.id];
    let carried = unacknowledged(&edge.row, base, &own);
    let values = carried.map(|register| (register.clone(), edge.row.values[register].clone())).collect();
    Push { version: edge.row.version.clone(), base: base.clone(), values, needed: NEEDED.to_vec() }
}

/// What the hub plans for a push by a replica whose ids are `own`.
pub fn hub_plans(hub: Option<&Row>, push: &Push, own: &[u32]) -> PushPlan {
    let own: Vec<ReplicaId> = own.iter().copied().map(ReplicaId).collect();
    plan_push(TASKS, ROW, hub, push, &own, &["updated_at"])
}

/// A version vector.
pub fn vector(entries: &[(u32, u64)]) -> Vector {
    entries.iter().map(|&(replica, seq)| (ReplicaId(replica), seq)).collect()
}

/// A dot by nobody in particular.
pub fn dot(replica: u32, seq: u64, unix_ms: u64) -> Dot {
    Dot { replica: ReplicaId(replica), seq, hlc: Hlc::at(unix_ms), by: None }
}
