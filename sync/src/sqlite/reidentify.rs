//! A new replica id for an edge that was restored from a copy or is one.
//!
//! What waits may be what the hub has already, under the same numbers, or other writes under numbers that a copy used
//! too. So the hub is asked about every write that waits; what it has is acknowledged, the rest goes to the new id with
//! its stamps. Nothing is thrown away, and no number is used for a second write.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::apply;
use super::error::StoreError;
use super::former_names;
use super::outbox;
use super::self_state::{self, SelfState};
use super::versions::{self, Tracked};
use crate::catalog::{Direction, TABLES};
use crate::merge::clock::Dot;
use crate::merge::ids::{ReplicaId, RowId};
use crate::merge::rename::{reissue, take_names, unanswered};
use crate::merge::vector::Vector;
use crate::wire::digest;
use crate::wire::message::Enrolled;
use crate::wire::recovery::{AcceptedRow, Reidentified};

/// Writes that the hub has, exactly: by their row, replica, seq and stamp, the replica and seq under which it has them.
pub type Taken = BTreeMap<(Uuid, (u32, u64, u64)), (u32, u64)>;

/// What the hub's answers to [`waiting`] say.
pub fn taken(answers: &[AcceptedRow]) -> Taken {
    answers.iter().flat_map(|row| row.taken().map(|(name, now)| ((row.id, name), now))).collect()
}

/// Every write that waits, for the hub to say which it has.
///
/// # Errors
/// [`StoreError`].
pub fn waiting(tx: &Connection) -> Result<Vec<AcceptedRow>, StoreError> {
    let own = self_state::load(tx)?.own();
    let (mut rows, none) = (Vec::new(), Vector::default());
    for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
        for (id, tracked) in versions::load_all_pending(tx, table)? {
            let dots = unanswered(&tracked.version, tracked.base.as_ref().unwrap_or(&none), &own);
            let (row, _) = apply::local(tx, table, id, &tracked)?;
            let contents = dots.iter().map(|dot| digest::contents(&row, dot)).collect();
            let dots: Vec<_> = dots.iter().map(|dot| (dot.replica.0, dot.seq, dot.hlc.0)).collect();
            if !dots.is_empty() {
                rows.push(AcceptedRow { table: table.name.to_owned(), id: id.0, dots, contents, now: Vec::new() });
            }
        }
    }
    Ok(rows)
}

/// Takes the new id. Writes made since the hub was asked are none that it has.
///
/// # Errors
/// [`StoreError`]; then nothing is changed.
pub fn adopt(connection: &mut Connection, given: &Reidentified, taken: &Taken) -> Result<(), StoreError> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let this = self_state::load(&tx)?;
    self_state::replace_former(&tx, &given.former)?;
    let seq = move_all(&tx, &this, taken, ReplicaId(given.replica))?;
    self_state::set_replica(&tx, ReplicaId(given.replica), seq)?;
    self_state::set_fence(&tx, &given.fence)?;
    // Its rows wait still, under their new names. Nobody would answer it under the old token.
    outbox::delete(&tx)?;
    tx.commit()?;
    Ok(())
}

/// Takes the identity of an edge that was enrolled a second time, because the centre had forgotten the first. What waits goes
/// to the new id; what was acknowledged keeps its name, under which other edges know it.
///
/// # Errors
/// [`StoreError`].
pub fn enroll_again(tx: &Transaction<'_>, identity: &Enrolled, hub_url: &str) -> Result<(), StoreError> {
    let this = self_state::load(tx)?;
    let seq = move_all(tx, &this, &Taken::new(), ReplicaId(identity.replica))?;
    self_state::enrolled_again(tx, identity, hub_url, seq)?;
    outbox::delete(tx)
}

/// Moves every row that waits; says how many numbers of the new id are used.
fn move_all(tx: &Transaction<'_>, this: &SelfState, taken: &Taken, to: ReplicaId) -> Result<u64, StoreError> {
    let mut seq = 0;
    for table in TABLES.iter().filter(|table| table.direction == Direction::Both) {
        for (id, tracked) in versions::load_all_pending(tx, table)? {
            let Moved { tracked, dots, renamed } = moved(this, id, tracked, taken, to, &mut seq);
            versions::save(tx, table, id, &tracked)?;
            former_names::follow(tx, (table, id), this.replica, &dots, &renamed)?;
        }
    }
    Ok(seq)
}

/// A row under the new id.
struct Moved {
    tracked: Tracked,
    /// The writes that wait, as they were called.
    dots: Vec<Dot>,
    /// What they are called now.
    renamed: BTreeMap<(ReplicaId, u64), u64>,
}

/// A row that waits, under the new id as far as the hub does not have it. One that the hub has whole waits no more.
fn moved(this: &SelfState, id: RowId, tracked: Tracked, taken: &Taken, to: ReplicaId, seq: &mut u64) -> Moved {
    let Tracked { mut version, base, hub_had_ms, .. } = tracked;
    let mut acknowledged = base.unwrap_or_default();
    let own = this.own();
    let mut elsewhere = BTreeMap::new();
    for dot in unanswered(&version, &acknowledged, &own) {
        let name = (dot.replica, dot.seq);
        match taken.get(&(id.0, (dot.replica.0, dot.seq, dot.hlc.0))).map(|(replica, seq)| (ReplicaId(*replica), *seq))
        {
            Some(now) if now != name => _ = elsewhere.insert(name, now),
            Some(_) => acknowledged.observe(dot.replica, dot.seq),
            None => {}
        }
    }
    take_names(&mut version, &mut acknowledged, &elsewhere);
    let next = || {
        *seq += 1;
        *seq
    };
    let dots = unanswered(&version, &acknowledged, &own);
    let renamed = reissue(&mut version, &acknowledged, &own, to, next);
    let base = (!renamed.is_empty()).then_some(acknowledged);
    Moved { tracked: Tracked { version, base, refused: None, hub_had_ms }, dots, renamed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::fixture::edge_with_a_task;
    use crate::wire::message::Fence;

    #[test]
    fn an_id_that_is_anothers_now_is_our_own_no_more() {
        let mut connection = edge_with_a_task(ReplicaId(7), "one");
        connection.execute("insert into sync_former (replica) values (5), (6)", []).unwrap();
        let given = Reidentified { replica: 9, former: vec![5, 7], fence: Fence::default() };
        adopt(&mut connection, &given, &Taken::new()).unwrap();
        assert_eq!(self_state::load(&connection).unwrap().own(), [9, 5, 7].map(ReplicaId));
    }
}
